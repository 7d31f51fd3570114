"""Calendars as people write them."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.kit.durations import parse_duration
from services.kit.errors import InvalidInput
from services.kit.working_time import after
from services.people.calendars import read, working_calendar

BERLIN = ZoneInfo("Europe/Berlin")
WHOLE = """
timezone: Europe/Berlin
hours: {mon-fri: ["09:00-17:00"]}
holidays: DE-BE
days_off: [2026-12-24]
"""


def test_hours_holidays_and_own_days_off_count() -> None:
    calendar = working_calendar(read(WHOLE).model_dump_json())
    # The 24th is a day off of ours, the 25th a holiday, then comes a weekend.
    begun = datetime(2026, 12, 23, 15, tzinfo=BERLIN)
    over = datetime(2026, 12, 28, 15, tzinfo=BERLIN)
    assert after(begun, parse_duration("1bd"), calendar) == over.astimezone(UTC)
    # On International Women's Day Berlin rests, and the rest of the country does not.
    womens_day = datetime(2027, 3, 8, 9, tzinfo=BERLIN)
    elsewhere = working_calendar(read(WHOLE.replace("DE-BE", "DE-BY")).model_dump_json())
    for one, day in ((calendar, 9), (elsewhere, 8)):
        over = datetime(2027, 3, day, 10, tzinfo=BERLIN)
        assert after(womens_day, parse_duration("1bh"), one) == over.astimezone(UTC)


def test_the_code_of_norway_is_no_word_for_no() -> None:
    assert read(WHOLE.replace("DE-BE", "NO")).holidays == "NO"


@pytest.mark.parametrize(
    ("written", "instead", "pointer", "problem"),
    [
        ("Europe/Berlin", "Mars", "/timezone", "line 2: there is no time zone 'Mars'"),
        ("Europe/Berlin", "../etc/passwd", "/timezone", "line 2: there is no time zone"),
        ("mon-fri", "mon-fry", "/hours/mon-fry", "line 3: 'mon-fry' is no day of the week"),
        ("mon-fri", "fri-mon", "/hours/fri-mon", "is no day of the week"),
        ("17:00", "08:00", "/hours/mon-fri", "'09:00-08:00' is no span of a day"),
        ("17:00", "24:30", "/hours/mon-fri", "is no span of a day"),
        ('["09:00-17:00"]', "9-17", "/hours/mon-fri", "it is no list"),
        ('"09:00-17:00"', '"09:00-17:00", "16:00-18:00"', "/hours/mon-fri", "begins before"),
        ('["09:00-17:00"]', "[]", "/hours", "nobody ever works"),
        ("{mon-fri:", '{fri: ["09:00-10:00"], mon-fri:', "/hours/mon-fri", "fri stands here twice"),
        ("DE-BE", "DE-XX", "/holidays", "no holidays are known for 'DE-XX'"),
        ("2026-12-24", "Christmas", "/days_off/0", "line 5: 'Christmas' is no date"),
        ("holidays:", "holyday:", "/holyday", "line 4: 'holyday' is no key here"),
    ],
)
def test_what_is_no_calendar_is_refused_with_its_line(
    written: str, instead: str, pointer: str, problem: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(WHOLE.replace(written, instead))
    (found,) = refused.value.problems
    assert found.pointer == pointer
    assert problem in found.problem
    assert found.hint


@pytest.mark.parametrize("text", ["", "[]", "{", 'hours: {mon: ["09:00-17:00"]}'])
def test_what_is_no_document_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        read(text)
