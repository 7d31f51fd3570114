"""Installations that grow old."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.factories import populate
from tests.factories.ageing import Kept


@pytest.fixture
def make(fresh_database: Callable[[], str]) -> Iterator[Callable[..., Kept]]:
    """Makes installations, each with settings of its own."""
    made: list[Kept] = []

    def make_one(*, maturity_seconds: int = 0, **settings: Any) -> Kept:
        made.append(Kept(fresh_database(), **settings))
        populate(made[-1].database, maturity_seconds=maturity_seconds)
        return made[-1]

    yield make_one
    for each in made:
        each.database.close()


@pytest.fixture
def kept(make: Callable[..., Kept]) -> Kept:
    """An installation that keeps everything for `KEPT` days."""
    return make()
