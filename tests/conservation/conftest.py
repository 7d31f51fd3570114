"""A pipeline after the story, to plant a bug in."""

from collections.abc import Iterator
from copy import deepcopy

import pytest

from tests.conservation.ledger import Ledger
from tests.conservation.planting import tell_the_story
from tests.factories import (
    cloned,
)
from tests.factories.pipeline import Pipeline, open_pipeline


@pytest.fixture(scope="module")
def told(postgres_url: str) -> Iterator[tuple[str, Ledger]]:
    """The database in which a story was told once, and the story's ledger."""
    with cloned(postgres_url) as url:
        with open_pipeline(url, relayed=True) as opened:
            tell_the_story(opened)
        yield url.rpartition("/")[2], opened.ledger


@pytest.fixture
def pipeline(postgres_url: str, told: tuple[str, Ledger]) -> Iterator[Pipeline]:
    """A copy of the pipeline after the story, to plant a bug in."""
    template, ledger = told
    with (
        cloned(postgres_url, template) as url,
        open_pipeline(url, deepcopy(ledger), relayed=True) as opened,
    ):
        yield opened
