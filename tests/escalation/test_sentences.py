"""Rules in sentences: each clause is there, and nothing that is no clause."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook.conditions import ATTRIBUTE

from services.escalation.policy import sentences
from services.escalation.policy.model import CASE_FACTS, RoutingPolicy, Rule
from services.escalation.policy.read import read
from services.escalation.rules import Wanted
from services.kit.durations import parse_duration

NAMES = {
    Wanted("team", "billing-ops"): "Billing ops",
    Wanted("person", "hanna@example.org"): "Hanna Head",
}
POLICY = """
version: 1
catch_all: {team: ai-triage, sla: {claim: 4h, resolve: 2bd}, escalate: standard}
rules:
  - id: refund-disputes
    when: {trigger: dispute, tool: ticket-categoriser, predicted.category: "billing/*", confidence: {lt: 0.6}}
    owner: {team: billing-ops}
    priority: P2
    sla: {claim: 30m, resolve: 8h, calendar: uk-support}
    escalate: billing
  - id: tried
    mode: monitor
    when: {attributes.plan: [gold, platinum]}
    owner: {user: hanna@example.org}
    queue: vip
    priority: P1
ladders:
  standard: [{at: 0m, own: team:ai-triage}]
  billing:
    - {at: 0m, own: team:billing-ops}
    - {at: 1m, own: team:ai-triage}
    - {own: user:somebody@example.org}
    - {at: 2h, own: user:hanna@example.org, repeat: 4h}
"""  # noqa: E501 - a rule is read in one line


def called(owner: Wanted) -> str:
    return NAMES.get(owner, owner.id)


@pytest.fixture
def policy() -> RoutingPolicy:
    return read(POLICY)


def test_rule_in_a_sentence(policy: RoutingPolicy) -> None:
    assert sentences.of_rule(policy.rules[0], policy, called) == (
        "A dispute of ticket-categoriser that says billing/* with a confidence below 0.6 or none"
        " goes to Billing ops, priority P2: to be claimed within 30 minutes, resolved within 8"
        " hours by the calendar uk-support. It climbs 'billing'."
    )


def test_rule_that_is_only_tried_says_so(policy: RoutingPolicy) -> None:
    assert sentences.of_rule(policy.rules[1], policy, called) == (
        "A case whose plan is gold or platinum would go to Hanna Head, queue vip, priority P1: to"
        " be claimed within 4 hours, resolved within 2 working days. It climbs 'standard'."
        " It is only tried, and takes nothing."
    )


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("none", "Its cases are never made one incident."),
        ("{incident_at: 20}", "20 of them of the same cause within 2 hours become one incident."),
        (
            "{by: [version, predicted.category], window: 1h}",
            "10 of them whose version and predicted.category are the same within 1 hour become",
        ),
        ("{by: [failure]}", "10 of them whose failure is the same within 2 hours become one"),
    ],
)
def test_what_makes_cases_one_incident_in_a_sentence(group: str, said: str) -> None:
    policy = read(POLICY.replace("    priority: P2", f"    priority: P2\n    group: {group}"))
    assert f"It climbs 'billing'. {said}" in sentences.of_rule(policy.rules[0], policy, called)


def test_several_reviewers_are_in_the_sentence() -> None:
    policy = read(POLICY.replace("    priority: P2", "    priority: P2\n    reviewers: 2"))
    said = "2 people judge it, each without knowing what the tool or the others said."
    assert sentences.of_rule(policy.rules[0], policy, called).endswith(f"'billing'. {said}")
    assert "people judge" not in sentences.of_catch_all(policy, called)


def test_what_no_rule_takes_in_a_sentence(policy: RoutingPolicy) -> None:
    said = "goes to ai-triage, priority P3: to be claimed within 4 hours, resolved within 2 working"
    assert sentences.of_catch_all(policy, called).startswith(f"Every other case {said}")
    alone = policy.model_copy(update={"rules": []})
    assert sentences.of_catch_all(alone, called).startswith(f"Every case {said}")


def test_ladder_rung_by_rung(policy: RoutingPolicy) -> None:
    assert list(sentences.of_ladder(policy.ladders["billing"], called)) == [
        "From the opening on: the owner that the rule names.",
        "After 1 minute: ai-triage.",
        "At a missed deadline: somebody@example.org.",
        "After 2 hours: Hanna Head, told again every 4 hours.",
    ]


@pytest.mark.parametrize(
    ("when", "subject"),
    [
        ({"trigger": "low_confidence"}, "an output of low confidence"),
        (
            {"trigger": ["tool_failure", "unmatched"]},
            "a failure or a correction without its output",
        ),
        ({"trigger": "tool_*"}, "a failure"),
        ({"trigger": "tool_failure", "failure": "timeout"}, "a failure by timeout"),
        ({"trigger": "policy"}, "an output that a review condition holds up"),
        ({"trigger": "audit", "tool": ["a", "b", "c"]}, "an audit of a, b or c"),
        ({"tool": "*"}, "a case of anything"),
        ({"kind": ["text", "flag"]}, "a case whose output is a text or a flag"),
        (
            {"confidence": {"ge": 0.2, "lt": 0.6}},
            "a case with a confidence below 0.6 and at least 0.2",
        ),
        ({"confidence": {"le": 0.5}}, "a case with a confidence at most 0.5 or none"),
        ({"confidence": [0.1, 0.25]}, "a case with a confidence of 0.1 or 0.25"),
        ({"version": "m+p"}, "a case in version m+p"),
        (
            {"version.model": "m-1", "version.prompt": "p 1"},
            "a case by model m-1 with prompt 'p 1'",
        ),
        ({"language": "en", "cohort": "pilot"}, "a case in language en in cohort pilot"),
        ({"failure": ["timeout", "error"]}, "a case that failed by timeout or error"),
        ({"predicted.flag": True}, "a case that was raised"),
        ({"predicted.flag": [False]}, "a case that was not raised"),
        ({"attributes.amount": {"gt": 1000}}, "a case whose amount is above 1000"),
        (
            {"attributes.plan": "gold", "predicted.category": "late refund"},
            "a case that says 'late refund' and whose plan is gold",
        ),
        (
            {"predicted.category": [f"c{n}" for n in range(9)]},
            "a case that says c0, c1, c2, c3, c4 or one of 4 others",
        ),
    ],
)
def test_each_kind_of_clause(when: dict[str, Any], subject: str) -> None:
    assert sentences.subject(rule_of(when).when) == subject


@pytest.mark.parametrize(
    ("span", "words"),
    [
        ("30s", "30 seconds"), ("1m", "1 minute"), ("90m", "90 minutes"), ("24h", "1 day"),
        ("4bh", "4 working hours"), ("1bd", "1 working day"), ("0m", "0 seconds"),
    ],
)  # fmt: skip
def test_spans_in_words(span: str, words: str) -> None:
    assert sentences.in_words(parse_duration(span)) == words


# --- whatever somebody writes ---------------------------------------------------------------

_WORD = st.text("qxz", min_size=3, max_size=6)
"""Of letters that no sentence of ours has together."""
_BOUNDS = st.sampled_from([{"lt": 0.4}, {"ge": 0.3}, {"gt": 0.1, "le": 0.9}])
_NAMED = sorted(name for name, kind in CASE_FACTS.items() if kind.kind == "text" and not kind.words)
_CLAUSES: dict[str, st.SearchStrategy[Any]] = {
    "trigger": st.lists(st.sampled_from(CASE_FACTS["trigger"].words), min_size=1, max_size=3),
    "kind": st.sampled_from(CASE_FACTS["kind"].words),
    "failure": st.sampled_from(CASE_FACTS["failure"].words),
    "confidence": _BOUNDS | st.sampled_from([0.5, [0.1, 0.2]]),
    "predicted.flag": st.booleans(),
    **{name: _WORD | st.lists(_WORD, min_size=1, max_size=9) for name in _NAMED},
    ATTRIBUTE + "size": _WORD | st.sampled_from([{"gt": 5}]),
    ATTRIBUTE + "plan": _WORD | st.just("*") | st.text("ä *'", min_size=1, max_size=5),
}
_MARKS = {
    "tool": r" of (?!low|\d)", "version": " in version ", "version.model": " by model ",
    "version.prompt": " with prompt ", "language": " in language ", "cohort": " in cohort ",
    "kind": " whose output is ", "predicted.category": " that says ",
    "predicted.flag": " that was (not )?raised", "confidence": " with a confidence ",
    "failure": " by (timeout|error|refused|invalid)", ATTRIBUTE + "size": " whose size is ",
    ATTRIBUTE + "plan": " whose plan is ",
}  # fmt: skip
"""What a sentence says where it speaks of a fact."""


def policy_of(when: dict[str, Any]) -> RoutingPolicy:
    rule = {"id": "r", "when": when, "owner": {"team": "t"}}
    given = {
        "version": 1,
        "catch_all": {"team": "t", "sla": {"claim": "1h", "resolve": "1d"}},
        "rules": [rule],
    }
    return RoutingPolicy.model_validate(given)


def rule_of(when: dict[str, Any]) -> Rule:
    return policy_of(when).rules[0]


@given(st.fixed_dictionaries({}, optional=_CLAUSES).filter(bool))
def test_sentence_speaks_of_the_facts_that_are_asked_and_no_others(when: dict[str, Any]) -> None:
    said = sentences.subject(rule_of(when).when)
    spoken = re.sub(r"'[^']*'+", "", said).replace(" with a confidence of ", " with a confidence ")
    for fact, mark in _MARKS.items():
        assert bool(re.search(mark, spoken)) == (fact in when), (fact, said)
    assert said.startswith("a case") == ("trigger" not in when)
    words = re.findall(r"\b[qxz]{3,6}\b", spoken)
    assert set(words) <= set(_texts(when))
    phrases = sentences.phrases(rule_of(when).when)
    policy = policy_of(when)
    whole = sentences.of_rule(policy.rules[0], policy, called)
    assert whole.startswith(f"{said[:1].upper()}{said[1:]} goes to t, priority P3: to be claimed")
    hidden = {"confidence", "failure", "predicted.category", "predicted.flag"} & when.keys()
    could_be_audit = "audit" in when.get("trigger", ["audit"])
    assert whole.endswith("Audits pass it by.") == (bool(hidden) and could_be_audit)
    assert sorted(one.fact for one in phrases) == sorted(when.keys() - {"trigger"})


def _texts(when: dict[str, Any]) -> list[str]:
    return [
        str(one)
        for clause in when.values()
        for one in (clause if isinstance(clause, list) else [clause])
    ]
