"""Spans of time where people work at some hours of some days."""

from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.durations import Duration, Unit, parse_duration
from services.kit.working_time import (
    Run,
    WorkingCalendar,
    after,
    due,
    put_off,
    spent,
    weekdays,
)

BERLIN = ZoneInfo("Europe/Berlin")
NINE_TO_FIVE = ((9 * 60, 17 * 60),)
WITH_LUNCH = ((9 * 60, 12 * 60), (13 * 60, 18 * 60))
HOLIDAYS = {date(2026, 12, 25), date(2026, 4, 3), date(2026, 4, 6)}
OFFICE = WorkingCalendar(BERLIN, (NINE_TO_FIVE,) * 5 + ((), ()), HOLIDAYS.__contains__)
MIXED = WorkingCalendar(
    ZoneInfo("America/New_York"),
    (WITH_LUNCH, NINE_TO_FIVE, WITH_LUNCH, (), ((0, 24 * 60),), ((22 * 60, 24 * 60),), ()),
)
WEEKDAYS = weekdays("Europe/Berlin")
CALENDARS = st.sampled_from([OFFICE, MIXED, WEEKDAYS])


def berlin(month: int, day: int, hour: int, minute: int = 0, *, fold: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("begun", "lasts", "over"),
    [
        # On 29 March two o'clock becomes three.
        (berlin(3, 29, 1, 30), "30m", berlin(3, 29, 3)),
        (berlin(3, 28, 20), "24h", berlin(3, 29, 21)),
        (berlin(3, 28, 20), "1d", berlin(3, 29, 21)),
        # On 25 October three o'clock becomes two.
        (berlin(10, 25, 2, 30), "1h", berlin(10, 25, 2, 30, fold=1)),
        (berlin(10, 25, 2, 30, fold=1), "30m", berlin(10, 25, 3)),
        (berlin(10, 24, 20), "24h", berlin(10, 25, 19)),
        # A working day ends at the same time by the clock: after 71 hours here, and after 73.
        (berlin(3, 27, 10), "1bd", berlin(3, 30, 10)),
        (berlin(10, 23, 10), "1bd", berlin(10, 26, 10)),
        # Monday counts whole, for what began when nobody worked.
        (berlin(3, 28, 10), "1bd", berlin(3, 31, 0)),
    ],
)
def test_a_span_where_nobody_has_said_when_they_work(
    begun: datetime, lasts: str, over: datetime
) -> None:
    assert after(begun, parse_duration(lasts), WEEKDAYS) == over.astimezone(UTC)


@pytest.mark.parametrize(
    ("begun", "lasts", "over"),
    [
        # Friday to Monday, over the change of the clocks.
        (berlin(3, 27, 15), "1bd", berlin(3, 30, 15)),
        (berlin(3, 27, 15), "8bh", berlin(3, 30, 15)),
        (berlin(3, 27, 16, 30), "1bh", berlin(3, 30, 9, 30)),
        (berlin(10, 23, 16), "2bh", berlin(10, 26, 10)),
        # A span that ends with the day's work ends there.
        (berlin(3, 27, 9), "8bh", berlin(3, 27, 17)),
        (berlin(3, 27, 9), "1bd", berlin(3, 27, 17)),
        # Begun in the evening, at night, on a day off: as if when work begins.
        (berlin(3, 27, 20), "1bd", berlin(3, 30, 17)),
        (berlin(3, 30, 3), "1bh", berlin(3, 30, 10)),
        (berlin(4, 3, 12), "1bh", berlin(4, 7, 10)),
        # Over Easter: Good Friday and Monday are off.
        (berlin(4, 2, 16), "2bd", berlin(4, 8, 16)),
        (berlin(12, 24, 12), "1bd", berlin(12, 28, 12)),
    ],
)
def test_a_span_of_working_time(begun: datetime, lasts: str, over: datetime) -> None:
    assert after(begun, parse_duration(lasts), OFFICE) == over.astimezone(UTC)


def test_a_working_day_is_a_day_whatever_its_hours() -> None:
    new_york = MIXED.zone
    tuesday_noon = datetime(2026, 6, 2, 13, tzinfo=new_york)
    # Half of Tuesday's eight hours are over, so half of Wednesday's, which has a break.
    assert after(tuesday_noon, Duration(1, Unit.WORKING_DAYS), MIXED) == datetime(
        2026, 6, 3, 14, tzinfo=new_york
    ).astimezone(UTC)


A_YEAR = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_OF_A_YEAR = 365 * 86_400
MOMENTS = st.integers(0, SECONDS_OF_A_YEAR).map(lambda s: A_YEAR + timedelta(seconds=s))
SPANS = st.one_of(
    st.integers(0, 30 * 86_400).map(Duration),
    st.integers(0, 400 * 3600).map(lambda n: Duration(n, Unit.WORKING_SECONDS)),
    st.integers(0, 60).map(lambda n: Duration(n, Unit.WORKING_DAYS)),
)


def close_to(one: Fraction, other: Fraction | int) -> bool:
    return abs(one - other) < Fraction(1, 1000)


@given(CALENDARS, MOMENTS, SPANS)
def test_what_a_span_takes_is_what_passes_until_it_is_over(
    calendar: WorkingCalendar, begun: datetime, span: Duration
) -> None:
    over = after(begun, span, calendar)
    assert over >= begun
    assert close_to(spent(begun, over, span.unit, calendar), span.amount)
    if span.amount:
        assert spent(begun, over - timedelta(seconds=1), span.unit, calendar) < span.amount


@given(CALENDARS, MOMENTS, st.integers(0, 10 * 86_400), st.integers(0, 10 * 86_400))
def test_working_time_adds_up(
    calendar: WorkingCalendar, begun: datetime, first: int, second: int
) -> None:
    middle = begun + timedelta(seconds=first)
    end = middle + timedelta(seconds=second)
    for unit in Unit:
        parts = spent(begun, middle, unit, calendar) + spent(middle, end, unit, calendar)
        assert parts == spent(begun, end, unit, calendar)


@given(CALENDARS, MOMENTS, st.integers(0, 20 * 1440))
def test_working_time_is_the_minutes_in_which_somebody_works(
    calendar: WorkingCalendar, begun: datetime, minutes: int
) -> None:
    begun = begun.replace(second=0)
    worked = 0
    for minute in range(minutes):
        local = (begun + timedelta(minutes=minute)).astimezone(calendar.zone)
        of_day = local.hour * 60 + local.minute
        worked += any(a <= of_day < b for a, b in calendar.hours(local.date()))
    end = begun + timedelta(minutes=minutes)
    assert spent(begun, end, Unit.WORKING_SECONDS, calendar) == worked * 60


@given(CALENDARS, MOMENTS, MOMENTS, SPANS)
def test_who_begins_later_is_not_due_earlier(
    calendar: WorkingCalendar, one: datetime, other: datetime, span: Duration
) -> None:
    first, second = sorted([one, other])
    assert after(first, span, calendar) <= after(second, span, calendar)


@given(CALENDARS, MOMENTS, st.lists(st.integers(0, 3 * 86_400), max_size=8), SPANS)
def test_a_clock_stands_while_it_does_not_run(
    calendar: WorkingCalendar, begun: datetime, steps: list[int], span: Duration
) -> None:
    moments = [begun]
    for step in steps:
        moments.append(moments[-1] + timedelta(seconds=step))
    runs: list[Run] = [
        (moments[i], moments[i + 1] if i + 1 < len(moments) else None)
        for i in range(0, len(moments), 2)
    ]
    reached = due(span, runs, calendar)
    ran = [(begin, end or datetime.max.replace(tzinfo=UTC)) for begin, end in runs]
    if reached is None:
        passed = sum((spent(begin, end, span.unit, calendar) for begin, end in ran), Fraction(0))
        assert passed < span.amount
    else:
        assert any(begin <= reached <= end for begin, end in ran)
        passed = sum((spent(b, min(e, reached), span.unit, calendar) for b, e in ran), Fraction(0))
        assert close_to(passed, span.amount)


def test_a_clock_that_never_ran_reaches_nothing() -> None:
    assert due(Duration(0), [], OFFICE) is None


@given(
    calendar=CALENDARS,
    unit=st.sampled_from([Unit.SECONDS, Unit.WORKING_SECONDS]),
    minutes=st.lists(st.integers(1, 5_000), min_size=3, max_size=3),
)
def test_what_is_put_off_has_what_was_left_of_it(
    calendar: WorkingCalendar, unit: Unit, minutes: list[int]
) -> None:
    """It was to be due some time after it came, and its clock stood for a while in between."""
    came, stood, left = (
        berlin(3, 27, 8).astimezone(UTC),
        *(timedelta(minutes=n) for n in minutes[:2]),
    )
    at = came + timedelta(minutes=minutes[2])
    stops = came + left
    found = put_off(at, came, [(came, stops), (stops + stood, None)], unit, calendar)
    assert found is not None
    if at <= stops:
        assert found == at
        return
    ran = spent(came, stops, unit, calendar) + spent(stops + stood, found, unit, calendar)
    assert ran == spent(came, at, unit, calendar)


def test_what_is_put_off_while_the_clock_stands_has_no_deadline() -> None:
    came = berlin(3, 27, 8)
    ran = [(came, came + timedelta(hours=1))]
    at = came + timedelta(hours=2)
    assert put_off(at, came, ran, Unit.SECONDS, OFFICE) is None
    assert put_off(came, came, ran, Unit.SECONDS, OFFICE) == came
