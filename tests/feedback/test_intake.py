"""Which requests of one group are refused, and what of the others is appended."""

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import psycopg
import pytest
from secondlook import events

from services.feedback.intake import Intake, Submission
from services.feedback.receiving import entry_of
from services.kit.database import connect_alone
from services.kit.errors import Conflict
from services.kit.eventlog.port import NewRecord
from services.kit.eventlog.postgres import PostgresLog
from tests.factories import Delivery, cloned, output, populate
from tests.factories.installation import open_resources


class Door:
    """An intake that keeps its first group until all other requests of a test wait."""

    def __init__(self, url: str, log: PostgresLog) -> None:
        self.appended: list[bytes] = []
        self._reached, self._opened = threading.Event(), threading.Event()
        self._intake = Intake(partial(connect_alone, url), log, self._append)

    def _append(self, _: psycopg.Connection[Any], records: Sequence[NewRecord]) -> None:
        self._reached.set()
        assert self._opened.wait(10)
        self.appended += [record.value for record in records]

    def take(self, *requests: Sequence[events.AnyEvent]) -> list[bool]:
        """Send all of these in one group; answers which of them were taken."""
        submit = self._intake.worker.submit
        submit(_submission([output("first")]), caller="somebody")
        assert self._reached.wait(10)
        waiting = [submit(_submission(request), caller="a tool") for request in requests]
        self._opened.set()
        errors = [future.exception(10) for future in waiting]
        assert all(error is None or isinstance(error, Conflict) for error in errors)
        return [error is None for error in errors]

    def close(self) -> None:
        """Stop it."""
        self._opened.set()
        self._intake.close()


def _submission(said: Sequence[events.AnyEvent]) -> Submission:
    return Submission([entry_of(f"/{n}", event) for n, event in enumerate(said)])


@pytest.fixture
def door(postgres_url: str) -> Iterator[Door]:
    """An intake in front of a database that holds the output `known`."""
    with cloned(postgres_url) as url:
        resources = open_resources(url)
        populate(resources.database)
        Delivery(resources.database).take(output("known", value="billing"))
        assert isinstance(resources.log, PostgresLog)
        opened = Door(url, resources.log)
        try:
            yield opened
        finally:
            opened.close()
            resources.close()


TAKEN_IN_THE_DATABASE = [output("new", value="tax"), output("known", value="tax")]
TAKEN_IN_ITSELF = [output("new", value="tax"), output("x"), output("x", value="tax")]


@pytest.mark.parametrize("refused", [TAKEN_IN_THE_DATABASE, TAKEN_IN_ITSELF])
def test_refused_request_holds_no_id(refused: list[Any], door: Door) -> None:
    assert door.take(refused, [output("new", value="refund")]) == [False, True]
    _first, only = door.appended
    assert b"refund" in only


def test_request_that_is_taken_holds_its_ids(door: Door) -> None:
    later = [output("other"), output("new", value="tax")]
    assert door.take([output("new")], later, [output("other", value="tax")]) == [True, False, True]
    assert len(door.appended) == 3
