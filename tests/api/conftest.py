"""The real apps over a real database, with people who are signed in."""

from collections.abc import Iterator

import pytest

from tests.factories.api import Api, open_api


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps over a database of this test's own."""
    with open_api(postgres_url) as opened:
        yield opened


@pytest.fixture(scope="module")
def _of_module(postgres_url: str) -> Iterator[Api]:
    with open_api(postgres_url) as opened:
        yield opened


_WRITTEN = """
SELECT (SELECT count(*) FROM log_record), (SELECT count(*) FROM dead_letter),
    (SELECT count(*) FROM audit_entry), (SELECT count(*) FROM timeline_entry),
    (SELECT max(revision) FROM gate_policy), (SELECT max(revision) FROM tool)
"""


@pytest.fixture
def untouched(_of_module: Api) -> Iterator[Api]:
    """The apps over a database that a module's tests share, as nothing of what they send may be
    taken: it is looked at after each of them."""
    before = _of_module.rows(_WRITTEN)
    yield _of_module
    assert _of_module.rows(_WRITTEN) == before
