"""Connections that are kept."""

import os
import resource
from collections.abc import Callable
from functools import partial

import psycopg
import pytest

from services.kit.database import KeptConnection, connect_alone
from tests.waiting import until


@pytest.fixture
def url(fresh_database: Callable[[], str]) -> str:
    return fresh_database()


def _backend(kept: KeptConnection) -> int:
    with kept.open() as connection:
        return connection.info.backend_pid


def test_connection_is_kept_until_the_server_drops_it(url: str) -> None:
    kept = KeptConnection(partial(connect_alone, url))
    first = _backend(kept)
    assert _backend(kept) == first
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (first,))
        gone = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s"
        until(lambda: other.execute(gone, (first,)).fetchone() == (0,))
    assert _backend(kept) != first
    kept.close()


def test_connection_is_dropped_where_its_use_fails(url: str) -> None:
    kept = KeptConnection(partial(connect_alone, url))
    first = _backend(kept)
    with pytest.raises(psycopg.DataError), kept.open() as connection:
        connection.execute("SELECT 1 / 0")
    assert _backend(kept) != first
    kept.close()


def test_connection_is_asked_however_many_files_are_open(url: str) -> None:
    wanted = 1_100
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < wanted + 200:
        pytest.skip("this system lets us open too few files")
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(wanted)]
    try:
        kept = KeptConnection(partial(connect_alone, url))
        assert _backend(kept) == _backend(kept)
        kept.close()
    finally:
        for number in opened:
            os.close(number)
