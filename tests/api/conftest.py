"""The real apps over a real database, with people who are signed in."""

from collections.abc import Iterator

import pytest

from tests.factories.api import Api, open_api


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps over a database of this test's own."""
    with open_api(postgres_url) as opened:
        yield opened
