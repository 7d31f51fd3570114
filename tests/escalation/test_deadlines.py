"""What is due when, by clocks that stand and go on."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.escalation.deadlines import Mark, last_reminder, runs
from services.escalation.rules import Clock
from services.kit.durations import parse_duration
from services.kit.working_time import after, weekdays


@pytest.mark.parametrize("zone", ["Pacific/Auckland", "Europe/Berlin"])
def test_a_reminder_every_working_day_stays_at_its_hour(zone: str) -> None:
    # On the weekend after this Friday clocks are set in Berlin.
    friday = datetime(2026, 10, 23, 9, tzinfo=ZoneInfo(zone))
    calendar = weekdays(zone)
    begun = last_reminder(friday, "1bd", friday, calendar)
    monday = datetime(2026, 10, 26, 9, tzinfo=ZoneInfo(zone))
    assert after(begun, parse_duration("1bd"), calendar) == monday.astimezone(UTC)


@pytest.mark.parametrize("repeat", ["1h", "12h", "1d", "7d"])
@pytest.mark.parametrize("month", [3, 10])
def test_reminders_that_nobody_looked_for_count_elapsed_time(month: int, repeat: str) -> None:
    calendar = weekdays("Europe/Berlin")
    due = datetime(2026, month, 24, 9, tzinfo=calendar.zone)
    every = {"1h": 1, "12h": 12, "1d": 24, "7d": 168}[repeat]
    for hours in (0, 1, 23, 24, 100, 121, 200):
        now = due.astimezone(UTC) + timedelta(hours=hours)
        following = after(
            last_reminder(due, repeat, now, calendar), parse_duration(repeat), calendar
        )
        elapsed = following - due.astimezone(UTC)
        assert elapsed == timedelta(hours=every * (hours // every + 1))


_BEGUN = datetime(2026, 3, 23, 8, tzinfo=UTC)
_MINUTES = st.lists(st.integers(-60, 600), max_size=8)


def _marks(minutes: list[int]) -> list[Mark]:
    """A clock that stands and goes on in turns, at these moments."""
    moments = [_BEGUN + timedelta(minutes=at) for at in minutes]
    return [Mark(Clock.CLAIM, at, runs=n % 2 == 1) for n, at in enumerate(moments)]


def test_part_of_a_case_merged_before_it_was_opened_keeps_its_deadline() -> None:
    """The time went back between the two; it answers from then on as if it ran."""
    assert runs(_BEGUN, _marks([-5, -5]), Clock.CLAIM) == [(_BEGUN, _BEGUN), (_BEGUN, None)]


@given(minutes=_MINUTES)
def test_no_clock_runs_backwards(minutes: list[int]) -> None:
    ran = runs(_BEGUN, _marks(minutes), Clock.CLAIM)
    moments = [at for run in ran for at in run if at is not None]
    assert moments == sorted(moments)
    assert moments[:1] in ([], [_BEGUN])
