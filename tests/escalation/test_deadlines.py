"""What is due when, by clocks that stand and go on."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from services.escalation.deadlines import last_reminder
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
