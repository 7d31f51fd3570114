"""Elapsed time is elapsed time, on the nights too on which clocks are set."""

import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.durations import Duration, parse_duration

BERLIN = ZoneInfo("Europe/Berlin")
A_YEAR = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def berlin(day: int, hour: int, minute: int = 0, *, month: int, fold: int = 0) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=BERLIN, fold=fold)


@pytest.mark.parametrize(
    ("begun", "lasts", "over"),
    [
        # On 29 March two o'clock becomes three.
        (berlin(29, 1, 30, month=3), "30m", berlin(29, 3, 0, month=3)),
        (berlin(28, 20, month=3), "24h", berlin(29, 21, month=3)),
        (berlin(28, 20, month=3), "1d", berlin(29, 21, month=3)),
        # On 25 October three o'clock becomes two.
        (berlin(25, 2, 30, month=10), "1h", berlin(25, 2, 30, month=10, fold=1)),
        (berlin(25, 2, 30, month=10, fold=1), "30m", berlin(25, 3, 0, month=10)),
        (berlin(24, 20, month=10), "24h", berlin(25, 19, month=10)),
        # A working day ends at the same time by the clock: after 71 hours here, and after 73.
        (berlin(27, 10, month=3), "1bd", berlin(30, 10, month=3)),
        (berlin(23, 10, month=10), "1bd", berlin(26, 10, month=10)),
    ],
)
def test_duration_over_a_change_of_the_clocks(begun: datetime, lasts: str, over: datetime) -> None:
    assert parse_duration(lasts).after(begun).astimezone(UTC) == over.astimezone(UTC)


@given(
    st.datetimes(A_YEAR, A_YEAR.replace(year=2027), timezones=st.just(BERLIN)),
    st.integers(0, 60),
)
def test_business_days_are_counted_one_by_one(begun: datetime, number: int) -> None:
    day = begun.astimezone(UTC).astimezone(BERLIN)  # of a moment that there is
    for _ in range(number):
        day += timedelta(days=1)
        while day.strftime("%a") in ("Sat", "Sun"):
            day += timedelta(days=1)
    over = Duration(business_days=number).after(begun)
    assert (over, over.astimezone(UTC)) == (day, day.astimezone(UTC))


def test_many_business_days_cost_no_more_than_few() -> None:
    begun = time.process_time()
    for _ in range(20):
        Duration(business_days=999_999).after(berlin(27, 10, month=3))
    assert time.process_time() - begun < 0.1


@given(
    st.datetimes(A_YEAR, A_YEAR.replace(year=2027), timezones=st.just(BERLIN)),
    st.integers(0, 100_000),
    st.sampled_from(["s", "m", "h"]),
)
def test_elapsed_time_is_the_same_in_every_zone(begun: datetime, number: int, unit: str) -> None:
    lasts = parse_duration(f"{number}{unit}")
    over = lasts.after(begun)
    assert over.astimezone(UTC) - begun.astimezone(UTC) == timedelta(seconds=lasts.seconds)
    assert over.astimezone(UTC) == lasts.after(begun.astimezone(UTC))
