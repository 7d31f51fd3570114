"""The calendar and the schedule that docs/schedules.md shows can be used as they stand there."""

import re
from datetime import UTC, datetime
from pathlib import Path

from services.people import calendars, rotations
from services.people.presence import Presence

TEXT = (Path(__file__).parent.parent.parent / "docs" / "schedules.md").read_text()
ANA, BEN, LEA = (f"{name}@example.org" for name in ("ana", "ben", "lea"))


def written(what: str) -> str:
    """The only document of a kind."""
    (found,) = re.findall(rf"```yaml\n(# {what}\n.+?)```", TEXT, re.DOTALL)
    return str(found)


def test_the_calendar_works_as_it_is_explained() -> None:
    working = calendars.working_calendar(calendars.read(written("calendar")).model_dump_json())
    eve, lunch = datetime(2026, 12, 24).date(), datetime(2026, 12, 23).date()  # noqa: DTZ001
    assert working.hours(eve) == ()
    assert working.hours(lunch) == ((540, 750), (810, 1080))


def test_the_schedule_works_as_it_is_explained() -> None:
    document = rotations.read(written("schedule")).model_dump_json()
    found = rotations.Rotation(*rotations.layers(document))
    monday, week = datetime(2026, 11, 2, 8, tzinfo=UTC), datetime(2026, 11, 9, 8, tzinfo=UTC)
    everybody = Presence(dict.fromkeys((ANA, BEN, LEA)))
    assert found.on_duty(monday, everybody) == ANA
    assert found.on_duty(week, everybody) == BEN
    assert found.on_duty(week, Presence({LEA: None})) == LEA


def test_what_is_written_is_read_as_it_was() -> None:
    document = rotations.read(written("schedule"))
    assert rotations.read(rotations.written(document.model_dump_json())) == document
