"""Durations as people write them: ``4s``, ``30m``, ``2h``, ``3d``, ``2bd``."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

_PATTERN = re.compile(r"(\d{1,6})(s|m|h|d|bd)")
DAY = 86_400
"""The seconds of a day."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": DAY}
_SATURDAY = 5
_WORKING_DAYS = 5


@dataclass(frozen=True, slots=True)
class Duration:
    """A span of time: elapsed (`seconds`) or counted in working days (`business_days`).

    Exactly one of the two is used; the other is zero. Elapsed time is elapsed time, whatever
    clocks are set to meanwhile. A business day is any Monday to Friday in the time zone of the
    moment that the duration is added to, and ends at the same time by the clock.
    """

    seconds: int = 0
    business_days: int = 0

    def after(self, moment: datetime) -> datetime:
        """The moment at which this duration, begun at `moment` (with its zone), is over."""
        elapsed = moment.astimezone(UTC) + timedelta(seconds=self.seconds)
        result = elapsed.astimezone(moment.tzinfo)
        if self.business_days == 0:
            return result
        # After the first step it is a working day, from which five more are a week.
        weeks, more = divmod(self.business_days - 1, _WORKING_DAYS)
        for _ in range(more + 1):
            result += timedelta(days=1)
            while result.weekday() >= _SATURDAY:
                result += timedelta(days=1)
        return result + timedelta(weeks=weeks)

    def __str__(self) -> str:
        if self.business_days:
            return f"{self.business_days}bd"
        for unit in ("d", "h", "m"):
            if self.seconds and self.seconds % _SECONDS[unit] == 0:
                return f"{self.seconds // _SECONDS[unit]}{unit}"
        return f"{self.seconds}s"


def parse_duration(text: str) -> Duration:
    """Read one duration.

    Raises:
        ValueError: when `text` is not a whole number followed by s, m, h, d or bd.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise _no_duration(text, "30s, 15m, 2h, 3d or 2bd")
    number, unit = int(match[1]), match[2]
    if unit == "bd":
        return Duration(business_days=number)
    return Duration(seconds=number * _SECONDS[unit])


def parse_seconds(text: str) -> int:
    """Read one duration as elapsed seconds, where business days have no fixed length.

    Raises:
        ValueError: when `text` is not a whole number followed by s, m, h or d.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None or match[2] not in _SECONDS:
        raise _no_duration(text, "30s, 15m, 2h or 3d")
    return int(match[1]) * _SECONDS[match[2]]


def _no_duration(text: str, such_as: str) -> ValueError:
    return ValueError(
        f"'{text[:40]}' cannot be used; write a whole number and a unit, such as {such_as}"
    )
