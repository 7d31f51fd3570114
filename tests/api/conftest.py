"""The real apps over a real database, with people who are signed in."""

from collections.abc import Callable, Iterator

import pytest

from tests.factories.api import Api, open_api


@pytest.fixture
def api(fresh_database: Callable[[], str]) -> Iterator[Api]:
    """The apps over a database of this test's own."""
    with open_api(fresh_database()) as opened:
        yield opened
