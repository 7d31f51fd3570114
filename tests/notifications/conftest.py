"""A database with people and a tool, for every test of notifications."""

import pytest

from services.kit.database import Database
from tests.factories import Delivery


@pytest.fixture
def database(populated: Database) -> Database:
    """With people and the tool."""
    return populated


@pytest.fixture
def log(database: Database) -> Delivery:
    """The log, as the consumers see it."""
    return Delivery(database)
