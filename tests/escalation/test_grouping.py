"""Causes: the same where everything that a rule groups by is, and only there."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.escalation.policy.grouping import (
    BY_TRIGGER,
    FACTS_TO_GROUP_BY,
    NOT_GROUPED,
    Group,
    cause,
    grouping_of,
)
from services.tools.rules import Trigger

_VALUES = st.one_of(st.none(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=80))
# The tool is named beside them, and is the same in both.
_NAMES = sorted({*FACTS_TO_GROUP_BY, "attributes.plan"} - {"tool"})
_FACTS = st.dictionaries(st.sampled_from(_NAMES), _VALUES)
_BY = st.lists(
    st.sampled_from([*FACTS_TO_GROUP_BY, "attributes.plan"]), min_size=1, max_size=6, unique=True
)


def named(group: Group, facts: dict[str, Any], **other: str) -> str:
    place = {"rule": "r", "trigger": "dispute", "tool": "t", **other}
    return cause(group, facts=facts, **place)


@given(_BY, _FACTS, _FACTS)
def test_same_cause_exactly_where_all_that_is_grouped_by_is_the_same(
    by: list[str], first: dict[str, Any], second: dict[str, Any]
) -> None:
    group = Group(by=by)

    def seen(facts: dict[str, Any]) -> list[Any]:
        parts = (facts.get("version.model") or None, facts.get("version.prompt") or None)
        values = [parts if name == "version" else facts.get(name) for name in by]
        return [(type(value), value) for value in values]

    if seen(first) == seen(second):
        assert named(group, first) == named(group, second)
    elif not any(isinstance(v, float) for facts in (first, second) for v in facts.values()):
        assert named(group, first) != named(group, second)


@given(_BY, st.text(max_size=5_000))
def test_a_cause_fits_into_an_index_whatever_the_facts_are(by: list[str], text: str) -> None:
    facts = dict.fromkeys([*FACTS_TO_GROUP_BY, "version.model", "version.prompt"], text)
    assert len(named(Group(by=by), facts).encode()) < 2_600


def test_rules_triggers_and_tools_are_never_mixed() -> None:
    group = Group(by=["tool"])
    places: tuple[dict[str, str], ...] = ({}, {"rule": "s"}, {"trigger": "audit"}, {"tool": "u"})
    assert len({named(group, {}, **place) for place in places}) == len(places)


def test_long_values_differ_past_what_is_kept() -> None:
    group = Group(by=["cohort"])
    first, second = ({"cohort": "x" * 70 + end} for end in "ab")
    assert named(group, first) != named(group, second)


@pytest.mark.parametrize("trigger", list(Trigger))
def test_what_is_grouped_where_no_rule_says_so(trigger: Trigger) -> None:
    asked = grouping_of(None, trigger)
    assert (asked is not None) == (trigger in (Trigger.TOOL_FAILURE, Trigger.DISPUTE))
    assert grouping_of(NOT_GROUPED, trigger) is None
    own = grouping_of(Group(by=["cohort"]), trigger)
    if trigger in (Trigger.AUDIT, Trigger.UNMATCHED):
        assert own is None
    else:
        assert own == Group(by=["cohort"])
        default = grouping_of(Group(), trigger)
        assert default is not None
        assert default.by == list(BY_TRIGGER[trigger])
