"""When people work: calendars as they are written, and as time is counted by them. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import holidays
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from services.kit import documents
from services.kit.documents import wrong
from services.kit.working_time import MIDNIGHT, Hours, WorkingCalendar

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_EXPLAINED = "docs/schedules.md"
_SPELL = re.compile(r"([01][0-9]|2[0-4]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_MOST_DAYS_OFF = 1000


def time_zone(name: Any) -> str:
    """The name of a time zone.

    Raises:
        PydanticCustomError: there is none of that name.
    """
    try:
        return ZoneInfo(str(name)).key
    except (KeyError, ValueError, OSError):
        hint = "Write one such as Europe/Berlin, America/New_York or UTC."
        raise wrong(f"there is no time zone '{str(name)[:40]}'", hint) from None


TimeZone = Annotated[str, BeforeValidator(time_zone)]


def _hours(written: Any) -> dict[str, list[str]]:
    """The spells of each day of the week, which may be written for several days together."""
    if not isinstance(written, dict) or not written:
        raise wrong("it names no day", 'Write `{mon-fri: ["09:00-17:00"]}`.')
    found: dict[str, list[str]] = {}
    for days, spells in written.items():
        for day in _days(str(days)):
            if day in found:
                raise wrong(f"{day} stands here twice", "Write each day once.", days)
            found[day] = _spells(spells, days)
    if not any(found.values()):
        raise wrong("nobody ever works", 'Write `{mon-fri: ["09:00-17:00"]}`.')
    return found


def _days(written: str) -> Sequence[str]:
    first, _, last = written.lower().partition("-")
    if first in DAYS and (last or first) in DAYS:
        begin, end = DAYS.index(first), DAYS.index(last or first)
        if begin <= end:
            return DAYS[begin : end + 1]
    hint = f"Write {', '.join(DAYS)}, or a span of them such as mon-fri."
    raise wrong(f"'{written[:40]}' is no day of the week", hint, written)


def _spells(written: Any, days: Any) -> list[str]:
    if not isinstance(written, list):
        raise wrong("it is no list", 'Write `["09:00-12:00", "13:00-17:00"]`.', days)
    over = 0
    for spell in written:
        begin, end = minutes(spell, days)
        if begin < over:
            raise wrong(f"{spell} begins before the one in front of it ends", "Order them.", days)
        over = end
    return list(written)


def minutes(spell: Any, *at: str | int) -> tuple[int, int]:
    """From when to when a spell of a day lasts, in minutes since midnight.

    Raises:
        PydanticCustomError: it is none.
    """
    match = _SPELL.fullmatch(spell) if isinstance(spell, str) else None
    begin, end = (
        (int(match[1]) * 60 + int(match[2]), int(match[3]) * 60 + int(match[4]))
        if match
        else (0, 0)
    )
    if match is None or not begin < end <= MIDNIGHT:
        hint = (
            'Write the clock as in "09:00-17:00", the end after the beginning; 24:00 is midnight.'
        )
        raise wrong(f"'{str(spell)[:40]}' is no span of a day", hint, *at)
    return begin, end


def _region(written: Any) -> str:
    """A country, or a part of one, whose holidays are known."""
    # To YAML the code of Norway is a word for no.
    written = "NO" if written is False else str(written)
    country, _, part = written.partition("-")
    try:
        holidays.country_holidays(country, subdiv=part or None)
    except (NotImplementedError, ValueError):
        hint = "Write a country as in DE, or a part of one as in DE-BE or US-CA."
        raise wrong(f"no holidays are known for '{written[:40]}'", hint) from None
    return str(written)


def _day_off(written: Any) -> date:
    if isinstance(written, date) and not isinstance(written, datetime):
        return written
    try:
        return date.fromisoformat(written)
    except (TypeError, ValueError):
        raise wrong(f"'{str(written)[:40]}' is no date", "Write 2026-12-24.") from None


class CalendarDocument(BaseModel):
    """A calendar as it is written: the hours of the days of a week, and the days without any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: TimeZone
    hours: Annotated[dict[str, list[str]], BeforeValidator(_hours)]
    holidays: Annotated[str, BeforeValidator(_region)] | None = None
    days_off: Annotated[
        list[Annotated[date, BeforeValidator(_day_off)]], Field(max_length=_MOST_DAYS_OFF)
    ] = []


def read(text: str) -> CalendarDocument:
    """Read a calendar.

    Raises:
        InvalidInput: it is no YAML or no calendar; every problem names its line.
    """
    found = documents.read(text, "The calendar", begin_with="`timezone:` and `hours:`")
    return documents.checked(found, CalendarDocument, explained_in=_EXPLAINED)


@lru_cache(maxsize=256)
def working_calendar(document: str) -> WorkingCalendar:
    """What a stored document, as JSON, says: as time is counted by it."""
    read = CalendarDocument.model_validate_json(document)
    monday, tuesday, wednesday, thursday, friday, saturday, sunday = _week(read.hours)
    return WorkingCalendar(
        ZoneInfo(read.timezone),
        (monday, tuesday, wednesday, thursday, friday, saturday, sunday),
        DaysOff(read.holidays, frozenset(read.days_off)),
    )


def _week(hours: Mapping[str, Sequence[str]]) -> Iterator[Hours]:
    for day in DAYS:
        yield tuple(minutes(spell) for spell in hours.get(day, ()))


class DaysOff:
    """The holidays of a region, and days of one's own."""

    def __init__(self, region: str | None, own: frozenset[date]) -> None:
        country, _, part = (region or "").partition("-")
        self._public = (
            holidays.country_holidays(country, subdiv=part or None) if region else frozenset[date]()
        )
        self._own = own

    def __call__(self, day: date) -> bool:
        return day in self._own or day in self._public
