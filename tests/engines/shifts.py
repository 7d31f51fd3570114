"""When something is due that is counted in hours of a night shift: by hand, from `zoneinfo`."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

BEGINS, ENDS = time(0), time(4)
"""Of every night, by the wall clock; all changes of summer time here lie in between."""


def due_after(opened: datetime, hours: int, zone: str) -> datetime:
    """When so many hours of the shift have passed: real ones, whatever its clock shows."""
    left = timedelta(hours=hours)
    for begin, end in _shifts(opened, ZoneInfo(zone)):
        here = max(timedelta(), end - max(begin, opened))
        if left <= here:
            return max(begin, opened) + left
        left -= here
    raise AssertionError("a week has enough of them")


def _shifts(around: datetime, zone: ZoneInfo) -> Iterator[tuple[datetime, datetime]]:
    first = around.astimezone(zone).date()
    for day in range(8):
        date = first + timedelta(days=day)
        begin, end = (datetime.combine(date, at, zone).astimezone(UTC) for at in (BEGINS, ENDS))
        yield begin, end
