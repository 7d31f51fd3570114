"""What follows from several opinions, whatever they are."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.escalation.judgement import Asks, Opinion, agree, judged, standing
from services.tools.rules import VerdictKind

UPHELD, CORRECTED, UNDECIDABLE = (
    VerdictKind.UPHELD,
    VerdictKind.CORRECTED,
    VerdictKind.UNDECIDABLE,
)


def said(value: Any, verdict: VerdictKind = CORRECTED, who: str = "a") -> Opinion:
    return Opinion(who, verdict, value)


OPINIONS = st.lists(
    st.one_of(
        st.sampled_from(["billing", "refund", "tax", "other"]).map(said),
        st.sampled_from([UPHELD, UNDECIDABLE, VerdictKind.NOT_ACTIONABLE]).map(
            lambda verdict: said(None, verdict)
        ),
    ),
    max_size=3,
)


def counts(opinion: Opinion) -> tuple[VerdictKind, Any]:
    """An opinion on what the tool called `billing`."""
    return judged(opinion.verdict, opinion.value, "billing")


@given(OPINIONS, st.integers(2, 3))
def test_case_is_decided_by_two_that_agree_once_all_were_asked(
    opinions: list[Opinion], reviewers: int
) -> None:
    asks, decided = standing(opinions, reviewers=reviewers, tools_value="billing")
    alike, most = Counter(map(counts, opinions)).most_common(1)[0] if opinions else (None, 0)
    if len(opinions) < reviewers:
        assert (asks, decided) == (Asks.REVIEWER, None)
    elif most >= 2:
        assert asks is None
        assert decided is not None
        assert counts(decided) == alike
    else:
        assert decided is None
        assert asks is (Asks.LEAD if len(opinions) == 3 else Asks.REVIEWER)


@given(OPINIONS)
def test_order_does_not_change_what_is_decided(opinions: list[Opinion]) -> None:
    one, other = (
        standing(order, reviewers=2, tools_value="billing").decided
        for order in (opinions, opinions[::-1])
    )
    if len(opinions) > 1:
        assert (one and counts(one)) == (other and counts(other))


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (said("refund"), said("refund"), True),
        (said("refund"), said("tax"), False),
        (said("billing"), said(None, UPHELD), True),
        (said(True), said(1), False),
        (said(None, UNDECIDABLE), said(None, UNDECIDABLE), True),
        (said(None, UNDECIDABLE), said(None, VerdictKind.NOT_ACTIONABLE), False),
        (
            said({"city": {"value": "Porto", "confidence": 0.2}}),
            said({"city": {"value": "Porto"}}),
            True,
        ),
        (said({"city": {"value": "Porto"}}), said({"city": {"value": "Faro"}}), False),
    ],
)
def test_opinions_agree_where_verdict_and_value_do(
    one: Opinion, other: Opinion, *, alike: bool
) -> None:
    assert agree(one, other, "billing") is alike
    assert agree(other, one, "billing") is alike


def test_field_that_a_reviewer_left_out_was_not_changed() -> None:
    tools = {"city": {"value": "Faro"}, "zip": {"value": "8000"}}
    short = said({"city": {"value": "Porto"}})
    whole = said({"city": {"value": "Porto"}, "zip": {"value": "8000"}})
    other = said({"city": {"value": "Porto"}, "zip": {"value": "4000"}})
    assert agree(short, whole, tools)
    assert agree(whole, short, tools)
    assert not agree(short, other, tools)
