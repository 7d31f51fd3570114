"""The decided truth of an output, whatever people say in whatever order."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook.gate import Decision

from services.feedback.rules import (
    UNDECIDED,
    CorrectionKind,
    DecidedBy,
    GivenVerdict,
    SaidWord,
    decide,
    trigger_for,
)
from services.tools.rules import Trigger, VerdictKind
from tests.factories import NOON

VALUES = st.sampled_from(["billing", "refund", "tax"])
MOMENTS = st.integers(0, 50).map(lambda n: NOON + timedelta(minutes=n))
VERDICTS = st.lists(
    st.builds(GivenVerdict, st.sampled_from(VerdictKind), VALUES, MOMENTS),
    max_size=4,
    unique_by=lambda verdict: verdict.at,
)


@st.composite
def words(draw: st.DrawFn) -> list[SaidWord]:
    kinds = draw(st.lists(st.sampled_from(CorrectionKind), max_size=6))
    return [SaidWord(k, draw(VALUES), draw(MOMENTS), f"e-{n}") for n, k in enumerate(kinds)]


@given(VALUES, words(), VERDICTS, st.randoms(use_true_random=False))
def test_truth_does_not_depend_on_the_order(
    value: str, said: list[SaidWord], verdicts: list[GivenVerdict], chance: Any
) -> None:
    truth = decide(value, said, verdicts)
    chance.shuffle(said)
    chance.shuffle(verdicts)
    assert decide(value, said, verdicts) == truth


@given(VALUES, words(), VERDICTS)
def test_truth_is_overridden_where_it_differs_and_nowhere_else(
    value: str, said: list[SaidWord], verdicts: list[GivenVerdict]
) -> None:
    truth = decide(value, said, verdicts)
    if truth.decided_by is None:
        assert truth == UNDECIDED
    else:
        assert truth.overridden == (truth.value != value)
        assert truth.decided_at is not None


@given(VALUES, words(), VERDICTS)
def test_newest_settling_verdict_beats_every_word(
    value: str, said: list[SaidWord], verdicts: list[GivenVerdict]
) -> None:
    settling = [v for v in verdicts if v.verdict.value in ("upheld", "corrected")]
    truth = decide(value, said, verdicts)
    assert (truth.decided_by is DecidedBy.VERDICT) == bool(settling)
    if settling:
        newest = max(settling, key=lambda v: v.at)
        assert truth.value == newest.value
        assert truth.decided_at == newest.at


@given(VALUES)
def test_upheld_without_saying_what_upholds_the_output(value: str) -> None:
    # Verdicts of before carried no value.
    given_ = GivenVerdict(VerdictKind.UPHELD, None, NOON)
    assert decide(value, [], [given_]).value == value


@given(VALUES, words())
def test_newest_settling_word_stands_without_a_verdict(value: str, said: list[SaidWord]) -> None:
    settling = [w for w in said if w.kind.value in ("correction", "confirmation")]
    truth = decide(value, said, [])
    if not settling:
        assert truth == UNDECIDED
        return
    newest = max(settling, key=lambda w: (w.occurred_at, w.event_id))
    assert truth.value == (newest.value if newest.kind.value == "correction" else value)
    assert truth.decided_by == newest.kind.value


@pytest.mark.parametrize(
    ("mine", "corrected", "overridden"),
    [
        (True, False, True),
        (True, True, False),
        ({"total": {"value": 3, "confidence": 0.9}}, {"total": {"value": 3}}, False),
        ({"total": {"value": 3}}, {"total": {"value": 4}}, True),
        ({"total": {"value": 1}}, {"total": {"value": True}}, True),
        ({"total": {"value": 3}, "tax": {"value": 1}}, {"tax": {"value": 1}}, False),
    ],
)
def test_override_looks_at_values_and_not_at_confidences(
    mine: Any, corrected: Any, overridden: bool
) -> None:
    said = SaidWord(CorrectionKind.CORRECTION, corrected, NOON, "e-1")
    assert decide(mine, [said], []).overridden is overridden


@pytest.mark.parametrize("disposition", ["proceed", "review", "fallback", "stop"])
@pytest.mark.parametrize("audit", [True, False])
def test_output_needs_a_person_for_one_reason(disposition: str, audit: bool) -> None:
    def trigger(reason: str, *, failed: bool = False) -> Trigger | None:
        decision = Decision("review", reason, 1, audit=audit)  # type: ignore[arg-type]
        return trigger_for(disposition=disposition, decision=decision, failed=failed)

    in_review = disposition == "review"
    unseen = Trigger.AUDIT if audit and disposition in ("proceed", "fallback") else None
    assert trigger("low_confidence", failed=True) is Trigger.TOOL_FAILURE
    assert trigger("low_confidence") is (Trigger.LOW_CONFIDENCE if in_review else unseen)
    assert trigger("policy") is (Trigger.POLICY if in_review else unseen)


def test_held_out_work_needs_nobody() -> None:
    held_out = Decision("fallback", "holdout", 1, holdout=True)
    assert trigger_for(disposition="fallback", decision=held_out, failed=False) is None
