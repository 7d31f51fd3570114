"""Moments as people type them: with a time zone, or by the wall clock of one that is known."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from services.kit.errors import invalid

FIRST_YEAR, LAST_YEAR = 1970, 2200
"""Outside these years nobody plans, and dates have an end."""


def read_moment(field: str, typed: str, zone: str) -> datetime:
    """A moment in UTC; without a zone of its own it is one by the wall clock of `zone`.

    Raises:
        InvalidInput: it is none; it names the field.
    """
    try:
        moment = datetime.fromisoformat(typed.strip())
    except ValueError:
        hint = "Write date and time as in 2026-12-24T09:00 or 2026-12-24T09:00+01:00."
        raise invalid(field, f"'{typed[:40]}' is no date with a time", hint) from None
    if not FIRST_YEAR <= moment.year <= LAST_YEAR:
        problem = f"the year {moment.year} is out of reach"
        raise invalid(field, problem, f"Write one from {FIRST_YEAR} to {LAST_YEAR}.")
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)
