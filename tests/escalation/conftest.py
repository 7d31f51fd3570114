"""A log whose cases are routed by the tests' policy, one case, and who works on it."""

import pytest

from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from tests.factories import POLICY, Casework, Delivery, one, output, rows


@pytest.fixture
def database(populated: Database) -> Database:
    """People and the tool are there."""
    return populated


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers."""
    return Delivery(database, read_policy(POLICY))


@pytest.fixture
def case(log: Delivery, database: Database) -> int:
    """A case that is open."""
    log.take(output("o-1", confidence=0.4))
    return int(one(database, 'SELECT id FROM "case"'))


@pytest.fixture
def cases(log: Delivery, database: Database) -> list[int]:
    """Three cases that are open."""
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    return [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]


@pytest.fixture
def casework(database: Database) -> Casework:
    """What people do with it."""
    return Casework(database)
