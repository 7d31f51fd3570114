"""Agreement of reviewers: by the published examples, by the library, and refused where it is."""

import random
import time
from collections import Counter
from collections.abc import Iterable
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.measurement.agreement import (
    LEAST,
    LEAST_FOR_ERROR,
    LEAST_FOR_INTERVAL,
    Kind,
    Label,
    agreement,
    alpha_of,
    krippendorff,
    reviewer_error,
)

# What crowd-kit asks of pandas goes, in time.
pytestmark = pytest.mark.filterwarnings("ignore:.*will be removed in a future version")

# Krippendorff 2011, section C: twelve units, four observers, labels 1 to 5, some missing.
_PUBLISHED = [
    ("1", "1", "1"),
    ("2", "2", "3", "2"),
    ("3", "3", "3", "3"),
    ("3", "3", "3", "3"),
    ("2", "2", "2", "2"),
    ("1", "2", "3", "4"),
    ("4", "4", "4", "4"),
    ("1", "1", "2", "1"),
    ("2", "2", "2", "2"),
    ("5", "5", "5"),
    ("1", "1"),
]


def labelled(units: Any) -> list[Label]:
    numbers = count()
    return [
        Label(number, f"reviewer-{place}", label)
        for unit in units
        for number in [next(numbers)]
        for place, label in enumerate(unit)
    ]


def kinds(units: Iterable[Iterable[str]]) -> Counter[Kind]:
    """How many units have each set of labels."""
    return Counter(tuple(sorted(unit)) for unit in units)


def test_alpha_is_that_of_the_published_example() -> None:
    assert krippendorff(kinds(_PUBLISHED)) == pytest.approx(0.743, abs=0.0005)


UNITS = st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=3), min_size=2, max_size=40)


def test_alpha_is_that_of_the_library() -> None:
    pd = pytest.importorskip("pandas")
    metrics = pytest.importorskip("crowdkit.metrics.data")

    @given(UNITS)
    def check(units: list[list[str]]) -> None:
        own = krippendorff(kinds(units))
        if own is not None:
            frame = pd.DataFrame(labelled(units), columns=["task", "worker", "label"])
            assert own == pytest.approx(metrics.alpha_krippendorff(frame))

    check()


@given(UNITS)
def test_alpha_is_one_just_where_all_agree(units: list[list[str]]) -> None:
    own = krippendorff(kinds(units))
    if own is not None:
        assert (own == 1) == all(len(set(unit)) == 1 for unit in units)
        assert own <= 1


def test_too_few_cases_are_refused_with_how_many_are_missing() -> None:
    few = agreement(labelled([("a", "b")] * (LEAST - 1))).alpha
    assert (few.estimate.value, few.estimate.n) == (None, LEAST - 1)
    assert few.estimate.refused is not None
    assert str(LEAST) in few.estimate.refused
    assert few.interval_refused == few.estimate.refused
    assert alpha_of(labelled([("a", "b"), *[("a", "a")] * LEAST])).value is not None


def test_one_label_alone_says_nothing() -> None:
    found = alpha_of(labelled([("a", "a")] * LEAST))
    assert found.value is None
    assert found.refused is not None


def test_cases_that_one_person_reviewed_do_not_count() -> None:
    assert alpha_of(labelled([("a",)] * 100)).n == 0


def test_categories_are_measured_each_against_all_others() -> None:
    units = [("a", "a")] * 20 + [("b", "c")] * 10 + [("c", "b")] * 10
    found = agreement(labelled(units), ["a", "b", "never"]).categories
    assert found.keys() == {"a", "b"}
    assert found["a"].value == 1
    assert found["b"].value is not None
    assert found["b"].value < 0


def test_interval_is_that_of_the_same_cases_in_any_order() -> None:
    units = [("a", "a")] * 30 + [("a", "b")] * 10 + [("b", "b")] * 15 + [("c", "a", "a")] * 5
    found = agreement(labelled(units), ["a", "c"])
    value, interval = found.alpha.estimate.value, found.alpha.interval
    assert value is not None
    assert interval is not None
    assert -1 <= interval[0] < value < interval[1] <= 1
    assert 0.2 < interval[1] - interval[0] < 0.6
    told = found.alpha.as_answer()
    assert (told["n"], told["interval"], told["method"]) == (60, list(interval), "bootstrap_95")
    assert agreement(labelled(reversed(units)), ["c", "a"]) == agreement(
        labelled(units), ["a", "c"]
    )


def test_interval_of_too_few_or_where_nobody_differed_is_refused() -> None:
    units = [("a", "a"), ("a", "b"), *[("b", "b")] * (LEAST_FOR_INTERVAL - 3)]
    few = agreement(labelled(units)).alpha
    assert (few.estimate.refused, few.interval) == (None, None)
    assert few.interval_refused is not None
    assert str(LEAST_FOR_INTERVAL) in few.interval_refused
    alike = agreement(labelled([("a", "a"), ("b", "b")] * LEAST_FOR_INTERVAL)).alpha
    assert (alike.estimate.value, alike.interval) == (1, None)
    assert alike.interval_refused is not None
    # One that differs is drawn not at all in a third of all draws.
    one = agreement(labelled([("a", "b"), *[("b", "b")] * LEAST_FOR_INTERVAL])).alpha
    assert (one.estimate.refused, one.interval) == (None, None)
    assert one.interval_refused is not None


def test_interval_holds_the_true_value_19_times_in_20() -> None:
    """Two reviewers of two categories who are wrong in a tenth of all cases: 4 · 0.1 · 0.9 off."""
    draw, held = random.Random(11), 0
    for _ in range(50):
        units = [[str(draw.random() < (0.1, 0.9)[case % 2]) for _ in "12"] for case in range(100)]
        interval = agreement(labelled(units)).alpha.interval
        assert interval is not None
        held += interval[0] <= 0.64 <= interval[1]
    assert 44 <= held <= 49


def test_interval_of_ten_thousand_cases_is_there_soon() -> None:
    """Even if everybody wrote something else: as many kinds of cases as there are cases. It takes
    half a second, more beside other tests."""
    draw = random.Random(13)
    said = labelled([[str(draw.randrange(5_000)) for _ in "12"] for _ in range(10_000)])
    begun = time.process_time()
    assert agreement(said).alpha.interval is not None
    assert time.process_time() - begun < 3


def simulated(cases: int, error: float, reviewers: int) -> list[Label]:
    """Reviewers who are wrong as often as that, each by themselves."""
    draw = random.Random(7)
    said = []
    for case in range(cases):
        truth = draw.choice("abcd")
        for reviewer in range(reviewers):
            wrong = draw.random() < error
            label = draw.choice([x for x in "abcd" if x != truth]) if wrong else truth
            said.append(Label(case, f"r-{reviewer}", label))
    return said


def test_error_of_reviewers_is_found_by_the_library() -> None:
    pytest.importorskip("crowdkit")
    found = reviewer_error(simulated(400, 0.1, reviewers=3))
    assert found.value == pytest.approx(0.1, abs=0.03)
    assert found.n == 400


def test_error_of_too_few_cases_is_refused() -> None:
    found = reviewer_error(simulated(LEAST_FOR_ERROR - 1, 0.1, reviewers=2))
    assert (found.value, found.n) == (None, LEAST_FOR_ERROR - 1)


def test_error_without_the_library_is_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "crowdkit.aggregation", None)
    found = reviewer_error(simulated(LEAST_FOR_ERROR, 0.1, reviewers=2))
    assert found.value is None
    assert found.refused is not None
    assert "crowd-kit" in found.refused
