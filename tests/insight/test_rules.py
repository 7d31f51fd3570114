"""Rates that carry what they rest on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook import events

from services.feedback.metrics import EXCEPTION_TRIGGERS
from services.insight.rules import (
    COVERAGE,
    DAYS_FOR_LIMITS,
    Ratio,
    control_limits,
    wilson,
)
from tests.factories import NOON

COUNTS = st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Figures of Newcombe (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_published_figures(successes: int, n: int, low: float, high: float) -> None:
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(COUNTS)
def test_wilson_holds_the_share_within_bounds(counted: tuple[int, int]) -> None:
    successes, n = counted
    low, high = wilson(successes, n)
    assert 0 <= low <= successes / n + 1e-12
    assert successes / n - 1e-12 <= high <= 1
    assert low < high


@given(COUNTS)
def test_wilson_is_the_same_seen_from_the_other_side(counted: tuple[int, int]) -> None:
    successes, n = counted
    low, high = wilson(successes, n)
    assert wilson(n - successes, n) == pytest.approx((1 - high, 1 - low), abs=1e-9)


@given(COUNTS)
def test_wilson_narrows_as_n_grows(counted: tuple[int, int]) -> None:
    successes, n = counted
    low, high = wilson(successes, n)
    more_low, more_high = wilson(4 * successes, 4 * n)
    assert more_high - more_low < high - low


@given(st.integers(-100, 100_000), st.integers(-100, 100_000))
def test_ratio_answers_whatever_was_counted(part: int, whole: int) -> None:
    answer = Ratio.of(part, whole, COVERAGE, since=NOON, until=NOON).as_answer()
    assert 0 <= answer["numerator"] <= answer["n"]
    assert answer["n"] >= whole
    if answer["n"]:
        low, high = answer["interval"]
        assert 0 <= low <= answer["value"] + 1e-12
        assert answer["value"] - 1e-12 <= high <= 1


def test_exceptions_are_outputs_that_were_no_audit() -> None:
    assert set(events.TRIGGERS) - set(EXCEPTION_TRIGGERS) == {"audit", "unmatched"}


def test_ratio_of_nothing_has_no_value_and_says_so() -> None:
    answer = Ratio(0, 0, COVERAGE, NOON, NOON).as_answer()
    assert (answer["value"], answer["interval"], answer["n"]) == (None, None, 0)
    assert answer["definition"] == COVERAGE


def test_ratio_never_comes_without_what_it_rests_on() -> None:
    answer = Ratio(81, 263, COVERAGE, NOON, NOON).as_answer()
    assert answer["value"] == pytest.approx(0.308, abs=5e-4)
    assert answer["n"] == answer["denominator"] == 263
    assert answer["interval"] == pytest.approx([0.2553, 0.3662], abs=5e-5)
    assert {"method", "definition", "window"} <= answer.keys()


@given(
    st.none() | st.floats(0, 1),
    st.lists(st.integers(0, 1_000), max_size=28),
)
def test_limits_are_drawn_from_enough_days_and_hold_the_centre(
    centre: float | None, sizes: list[int]
) -> None:
    limits = control_limits(centre, sizes)
    enough = sum(size > 0 for size in sizes) >= DAYS_FOR_LIMITS
    assert (limits is not None) == (centre is not None and enough)
    if centre is not None and limits is not None:
        assert 0 <= limits[0] <= centre <= limits[1] <= 1
