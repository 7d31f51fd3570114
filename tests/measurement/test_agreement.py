"""Agreement of reviewers: by the published examples, by the library, and refused where it is."""

import random
from itertools import count
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.measurement.agreement import (
    LEAST,
    LEAST_FOR_ERROR,
    Label,
    agreement,
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


def test_alpha_is_that_of_the_published_example() -> None:
    assert krippendorff(_PUBLISHED) == pytest.approx(0.743, abs=0.0005)


UNITS = st.lists(st.lists(st.sampled_from("abc"), min_size=2, max_size=3), min_size=2, max_size=40)


def test_alpha_is_that_of_the_library() -> None:
    pd = pytest.importorskip("pandas")
    metrics = pytest.importorskip("crowdkit.metrics.data")

    @given(UNITS)
    def check(units: list[list[str]]) -> None:
        own = krippendorff(units)
        if own is not None:
            frame = pd.DataFrame(labelled(units), columns=["task", "worker", "label"])
            assert own == pytest.approx(metrics.alpha_krippendorff(frame))

    check()


@given(UNITS)
def test_alpha_is_one_just_where_all_agree(units: list[list[str]]) -> None:
    own = krippendorff(units)
    if own is not None:
        assert (own == 1) == all(len(set(unit)) == 1 for unit in units)
        assert own <= 1


def test_too_few_cases_are_refused_with_how_many_are_missing() -> None:
    few = agreement(labelled([("a", "b")] * (LEAST - 1)))
    assert (few.alpha.value, few.alpha.n) == (None, LEAST - 1)
    assert few.alpha.refused is not None
    assert str(LEAST) in few.alpha.refused
    assert agreement(labelled([("a", "b"), *[("a", "a")] * LEAST])).alpha.value is not None


def test_one_label_alone_says_nothing() -> None:
    found = agreement(labelled([("a", "a")] * LEAST))
    assert found.alpha.value is None
    assert found.alpha.refused is not None


def test_cases_that_one_person_reviewed_do_not_count() -> None:
    assert agreement(labelled([("a",)] * 100)).alpha.n == 0


def test_categories_are_measured_each_against_all_others() -> None:
    units = [("a", "a")] * 20 + [("b", "c")] * 10 + [("c", "b")] * 10
    found = agreement(labelled(units), ["a", "b", "never"]).categories
    assert found.keys() == {"a", "b"}
    assert found["a"].value == 1
    assert found["b"].value is not None
    assert found["b"].value < 0


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
