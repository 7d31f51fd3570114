"""A clock that was moved, as an operator hears of it and says that it is right."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from services.app.roles import CONSUMED
from services.insight.metrics import BusinessCollector
from services.kit.clock_guard import ClockGuard
from services.kit.database import Database, make_engine
from tests.factories import rows
from tests.factories.clocks import Clocks


class Moved:
    """The machine's guard, and a clock that can be moved under it."""

    def __init__(self, database: Database) -> None:
        self.database, self.clocks = database, Clocks()
        self.guard = ClockGuard(self.clocks, self.clocks.steady, confirm_after=900)

    def watch(self, *, moved: timedelta = timedelta()) -> None:
        """Look at the clock as `tick` does; afterwards it tells what commands read, too."""
        self.clocks.moved = moved
        with self.database.transaction() as session:
            self.guard.watch(session)

    def metric(self, name: str) -> float | None:
        """What the exporter says."""
        registry = CollectorRegistry()
        registry.register(
            BusinessCollector(self.database, self.clocks, lambda _: {}, consumed=CONSUMED)
        )
        return registry.get_sample_value(f"secondlook_clock_{name}")


@pytest.fixture
def moved(run: Callable[..., Any]) -> Iterator[Moved]:
    database = Database(make_engine(os.environ["SECONDLOOK_DATABASE_URL"]))
    yield Moved(database)
    database.close()


def _clock(run: Callable[..., Any]) -> str:
    findings = json.loads(run("doctor", "--json").output)
    return next(one["problem"] for one in findings if one["looked_at"] == "clock")


def _was_an_hour_ahead(moved: Moved) -> None:
    """As if the clock had been an hour behind until now, so that commands read the same."""
    moved.watch(moved=timedelta(hours=-1))
    moved.watch()


def test_doctor_says_in_words_that_the_clock_was_moved(
    run: Callable[..., Any], moved: Moved
) -> None:
    assert _clock(run) == ""
    _was_an_hour_ahead(moved)
    said = _clock(run)
    assert said.startswith("the database's clock was moved ahead by 3600 s, and what goes by it")
    assert "gone on evenly for 15m" in said
    assert "`secondlook clock confirm`" in said


def test_exporter_says_how_far_the_clock_was_moved(moved: Moved) -> None:
    assert moved.metric("stopped_ticks") == 0
    _was_an_hour_ahead(moved)
    assert moved.metric("stopped_ticks") == 1
    assert moved.metric("divergence_seconds") == pytest.approx(3600, abs=5)


def test_operator_confirms_the_clock(run: Callable[..., Any], moved: Moved) -> None:
    _was_an_hour_ahead(moved)
    done = run("clock", "confirm", "--json")
    assert json.loads(done.output)["machines"] == 1
    moved.watch()
    assert _clock(run) == ""
    (entry,) = rows(moved.database, "SELECT actor, detail FROM audit_entry WHERE verb = 'confirm'")
    assert entry.actor.startswith("cli:")
    assert entry.detail["seconds"] == pytest.approx(3600, abs=5)


def test_clock_that_is_believed_cannot_be_confirmed(run: Callable[..., Any], moved: Moved) -> None:
    moved.watch()
    done = run("clock", "confirm")
    assert done.exit_code != 0
    assert "nothing to confirm" in str(done.exception)
