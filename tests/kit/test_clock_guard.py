"""The guard of the clock over a database: what processes share of it, and what others are told."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from services.kit import clock_guard
from services.kit.clock_guard import ClockGuard, MachineClock

HOUR = timedelta(hours=1)


@dataclass
class Machine:
    """A steady clock that goes only where it is told to."""

    boot: str = "here"
    seconds: float = 1000.0

    def now(self) -> float:
        return self.seconds


@dataclass
class Wall:
    moment: datetime = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)

    def now(self, _: Session) -> datetime:
        return self.moment


@dataclass
class Two:
    """A wall clock, and a machine by it."""

    wall: Wall
    machine: Machine

    def guard(self) -> ClockGuard:
        """As a process has it that has just been started."""
        return ClockGuard(self.wall, self.machine, confirm_after=900)

    def go_on(self, seconds: float) -> None:
        self.machine.seconds += seconds
        self.wall.moment += timedelta(seconds=seconds)


@pytest.fixture
def two() -> Two:
    return Two(Wall(), Machine())


def test_guard_of_a_process_that_was_started_while_the_clock_was_wrong_does_not_believe_it(
    session: Session, two: Two
) -> None:
    two.guard().watch(session)
    two.wall.moment += HOUR
    assert two.guard().now(session) is None
    two.guard().watch(session)
    two.go_on(600)
    assert two.guard().now(session) is None
    two.wall.moment -= HOUR
    assert two.guard().now(session) == two.wall.moment


def test_guard_on_a_machine_that_was_started_anew_believes_what_it_finds(
    session: Session, two: Two
) -> None:
    two.guard().watch(session)
    two.machine.boot, two.machine.seconds = "again", 10.0
    two.wall.moment += HOUR
    assert two.guard().now(session) == two.wall.moment


def test_guard_that_only_asks_keeps_nothing(session: Session, two: Two) -> None:
    assert two.guard().now(session) is not None
    assert not clock_guard.watched(session, now=two.wall.moment)


def test_confirmed_clock_is_believed_from_the_next_look_on(session: Session, two: Two) -> None:
    guard = two.guard()
    guard.watch(session)
    assert clock_guard.confirm(session) == 0
    two.wall.moment += HOUR
    guard.watch(session)
    assert clock_guard.confirm(session) == 1
    assert guard.watch(session) is not None
    two.go_on(2)
    assert guard.now(session) == two.wall.moment
    assert [one.believed for one in clock_guard.watched(session, now=two.wall.moment)] == [True]


def test_others_are_told_how_far_the_clock_is_off_by_whoever_has_looked_lately(
    session: Session, two: Two
) -> None:
    two.guard().watch(session)
    elsewhere = Two(two.wall, Machine("elsewhere", 5.0))
    two.wall.moment -= HOUR
    two.guard().watch(session)
    elsewhere.guard().watch(session)
    told = clock_guard.watched(session, now=two.wall.moment)
    assert [(one.divergence, one.believed) for one in told] == [
        (-HOUR, False),
        (timedelta(), True),
    ]
    assert not clock_guard.watched(session, now=two.wall.moment + timedelta(minutes=3))


def test_log_says_once_that_the_clock_was_moved_and_once_that_it_is_back(
    session: Session, two: Two
) -> None:
    guard = two.guard()
    with capture_logs() as said:
        for by in (timedelta(), HOUR, timedelta(), timedelta(), -HOUR, timedelta()):
            two.wall.moment += by
            two.go_on(2)
            guard.watch(session)
    assert [(one["log_level"], one["seconds"]) for one in said] == [
        ("error", 3600),
        ("warning", 3600),
    ]


def test_machines_that_look_no_more_are_forgotten(session: Session, two: Two) -> None:
    two.guard().watch(session)
    later = two.wall.moment + timedelta(days=31)
    assert clock_guard.forget(session, now=two.wall.moment, limit=10) == 0
    assert clock_guard.forget(session, now=later, limit=10) == 1


def test_processes_of_a_machine_count_from_the_same_start() -> None:
    one, other = MachineClock(), MachineClock()
    assert one.boot == other.boot
    assert one.now() <= other.now()
