"""Working time: how long a span lasts where people work at some hours of some days. Pure.

Elapsed time is elapsed time everywhere. Working hours and working days pass only while the
calendar says that somebody works: a working day is used up by that day's hours, however long
they are, so that one begun on a Friday at three is over on Monday at three, and one begun on a
Saturday when Monday's hours are.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.kit.durations import Duration, Unit

MIDNIGHT = 24 * 60
"""The minute of a day at which it is over."""
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)

Hours = tuple[tuple[int, int], ...]
"""From when to when somebody works on a day, in minutes since midnight; apart and in order."""
Run = tuple[datetime, datetime | None]
"""From when to when a clock ran; it still does where there is no end."""


def _never(_day: date) -> bool:
    return False


@dataclass(frozen=True)
class WorkingCalendar:
    """When people work: the hours of each day of the week, by the wall clock of a time zone.

    `week` has the hours of Monday to Sunday; at least one of the days has some. `off` says of a
    day whether nobody works on it all the same.
    """

    zone: ZoneInfo
    week: tuple[Hours, Hours, Hours, Hours, Hours, Hours, Hours]
    off: Callable[[date], bool] = _never

    def hours(self, day: date) -> Hours:
        """When somebody works on a day."""
        return () if self.off(day) else self.week[day.weekday()]

    def spells(self, day: date) -> Sequence[tuple[datetime, datetime]]:
        """The same as moments in UTC. An hour that the clocks leave out is not worked."""
        return _spells(self, day)


@lru_cache(maxsize=4096)
def _spells(calendar: WorkingCalendar, day: date) -> Sequence[tuple[datetime, datetime]]:
    at = [
        (_moment(day, begin, calendar.zone), _moment(day, end, calendar.zone))
        for begin, end in calendar.hours(day)
    ]
    return tuple((begin, end) for begin, end in at if begin < end)


@lru_cache(maxsize=4096)
def _whole(calendar: WorkingCalendar, day: date) -> Fraction:
    """The seconds of a day's work."""
    spells = calendar.spells(day)
    return sum((_seconds(end - begin) for begin, end in spells), Fraction(0))


def _moment(day: date, minute: int, zone: ZoneInfo) -> datetime:
    days, rest = divmod(minute, MIDNIGHT)
    clock = time(*divmod(rest, 60))
    return datetime.combine(day + days * _DAY, clock, zone).astimezone(UTC)


_ALL_DAY: Hours = ((0, MIDNIGHT),)


@lru_cache
def weekdays(zone: str) -> WorkingCalendar:
    """Monday to Friday, all day: what holds where nobody has said when they work."""
    workday: Hours = _ALL_DAY
    return WorkingCalendar(ZoneInfo(zone), (workday, workday, workday, workday, workday, (), ()))


# --- what of a span is used up, and when it is over -----------------------------------------


def after(
    moment: datetime, span: Duration, calendar: WorkingCalendar, *, used: Fraction = Fraction(0)
) -> datetime:
    """When a span is over that goes on at `moment`, of which so much is `used` up, in UTC.

    A span that ends with the day's work ends there, not when the next day's begins.

    Raises:
        OverflowError: that is after all dates that there are.
    """
    return _over(moment.astimezone(UTC), span.amount - used, span.unit, calendar)


def _over(begun: datetime, left: Fraction, unit: Unit, calendar: WorkingCalendar) -> datetime:
    if left <= 0:
        return begun
    if unit is Unit.SECONDS:
        return begun + _elapsed(left)
    for begin, end, worth in _work(begun, unit, calendar):
        if left <= worth:
            return begin + _elapsed(left / worth * _seconds(end - begin))
        left -= worth
    raise AssertionError("unreachable: the walk has no end")


def spent(begin: datetime, end: datetime, unit: Unit, calendar: WorkingCalendar) -> Fraction:
    """How much of a unit passes between two moments; none where the second is not later."""
    begun, over = begin.astimezone(UTC), end.astimezone(UTC)
    if over <= begun:
        return Fraction(0)
    if unit is Unit.SECONDS:
        return _seconds(over - begun)
    total = Fraction(0)
    for at, until, worth in _work(begun, unit, calendar):
        if at >= over:
            return total
        cut = min(until, over)
        total += worth * _seconds(cut - at) / _seconds(until - at)
    raise AssertionError("unreachable: the walk has no end")


def due(span: Duration, runs: Sequence[Run], calendar: WorkingCalendar) -> datetime | None:
    """When a clock that ran in these `runs`, in order, reaches a span; None while it stands.

    The moment may lie in a run that has ended: then it was reached there.
    """
    return _reached(Fraction(span.amount), span.unit, runs, calendar)


def put_off(
    due_at: datetime, since: datetime, runs: Sequence[Run], unit: Unit, calendar: WorkingCalendar
) -> datetime | None:
    """When something is due that would be at `due_at` by a clock that ran on from `since`, where it
    ran in these `runs` after that, counted in a unit; None while it stands.

    As it was where it is past, or where the clock runs from then till then.
    """
    if due_at <= since or any(
        begin <= since and (end is None or due_at <= end) for begin, end in runs
    ):
        return due_at
    left = spent(since, due_at, unit, calendar)
    ran = [(max(begin, since), end) for begin, end in runs if end is None or end > since]
    return _reached(left, unit, ran, calendar)


def _reached(
    amount: Fraction, unit: Unit, runs: Sequence[Run], calendar: WorkingCalendar
) -> datetime | None:
    used = Fraction(0)
    for begin, end in runs:
        passed = None if end is None else spent(begin, end, unit, calendar)
        if passed is None or used + passed >= amount:
            return _over(begin.astimezone(UTC), amount - used, unit, calendar)
        used += passed
    return None


def _work(
    begun: datetime, unit: Unit, calendar: WorkingCalendar
) -> Iterator[tuple[datetime, datetime, Fraction]]:
    """The spells of work from a moment on, each with what it is worth in a unit."""
    # A day's hours may reach into the next one's by the clock of the zone, never further.
    day = begun.astimezone(calendar.zone).date() - _DAY
    while True:
        for begin, end in calendar.spells(day):
            at = max(begin, begun)
            if at < end:
                seconds = _seconds(end - at)
                in_days = unit is Unit.WORKING_DAYS
                yield at, end, seconds / _whole(calendar, day) if in_days else seconds
        day += _DAY


def _seconds(span: timedelta) -> Fraction:
    return Fraction(span // _MICROSECOND, 1_000_000)


def _elapsed(seconds: Fraction) -> timedelta:
    return timedelta(microseconds=round(seconds * 1_000_000))
