"""Clauses: what holds, what is refused, and that neither takes long."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from secondlook import conditions
from secondlook.conditions import FACTS, Comparison, Condition, FactType, When, refusals

_when: TypeAdapter[dict[str, conditions.Clause]] = TypeAdapter(When)


def holds(when: dict[str, Any], **facts: Any) -> bool:
    assert list(refusals(when)) == []
    return Condition(_when.validate_python(when)).holds(conditions.facts_of(tool="t", **facts))


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("refund", "refund", True),
        ("refund", "Refund", False),
        ("refund", "refund ", False),
        ("refund*", "refund", True),
        ("*fund", "refund", True),
        ("re*nd", "refund", True),
        ("re*f*nd", "refund", True),
        ("re*fu*fund", "refund", False),
        ("refund*refund", "refund", False),
        ("*", "", True),
        ("**", "x", True),
        ("refund [EU]", "refund [EU]", True),
        ("refund [EU]", "refund E", False),
        ("refun?", "refund", False),
        ("refun?", "refun?", True),
        ("[!a]", "b", False),
        ("a.c", "abc", False),
        ("größe", "gro\u0308ße", True),
    ],
)
def test_in_a_pattern_the_asterisk_alone_is_special(
    pattern: str, text: str, expected: bool
) -> None:
    when = {"predicted.category": pattern}
    assert holds(when, kind="category", value=conditions.normalised(text)) == expected
    assert holds({"predicted.category": [pattern, "*no"]}, kind="category", value=text) == (
        expected and conditions.normalised(text) == text
    )


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_patterns_agree_with_a_plain_definition(pattern: str, text: str) -> None:
    def plainly(pattern: str, text: str) -> bool:
        if not pattern:
            return not text
        if pattern[0] == "*":
            return any(plainly(pattern[1:], text[at:]) for at in range(len(text) + 1))
        return text[:1] == pattern[0] and plainly(pattern[1:], text[1:])

    found = Condition({"cohort": pattern}).holds({"cohort": text})
    assert found == plainly(pattern, text)


def test_a_pattern_takes_linear_time() -> None:
    condition = Condition({"attributes.a": "a*" * 90 + "b"})
    begun = time.thread_time()
    assert not condition.holds({"attributes.a": "a" * 60_000})
    assert time.thread_time() - begun < 0.05


@pytest.mark.parametrize(
    ("clause", "value", "expected"),
    [
        ({"lt": 0.5}, 0.49, True),
        ({"lt": 0.5}, 0.5, False),
        ({"le": 0.5}, 0.5, True),
        ({"gt": 0.5}, 0.5, False),
        ({"ge": 0.5}, 0.5, True),
        ({"ge": 0.2, "lt": 0.5}, 0.3, True),
        ({"lt": 0.5}, None, True),
        ({"le": 0}, None, True),
        ({"ge": 0.2, "lt": 0.5}, None, False),
        ({"gt": 0}, None, False),
        ({"lt": 0.5}, float("nan"), True),
        (0.5, 0.5, True),
        (1, 1.0, True),
        ([0.1, 0.5], 0.5, True),
        (0, None, False),
    ],
)
def test_a_confidence_that_is_not_there_is_lower_than_any(
    clause: Any, value: float | None, expected: bool
) -> None:
    assert holds({"confidence": clause}, confidence=value) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1000", True),
        ("999.9", False),
        (" 1e3 ", True),
        ("many", False),
        ("nan", False),
        ("", False),
    ],
)
def test_an_attribute_is_a_number_where_it_reads_as_one(text: str, expected: bool) -> None:
    assert holds({"attributes.amount": {"ge": 1_000}}, attributes={"amount": text}) == expected
    assert not holds({"attributes.amount": {"lt": 1_000}}, attributes={})


def test_every_clause_must_hold_and_facts_that_are_not_there_fulfil_none() -> None:
    when = {"kind": "flag", "predicted.flag": True, "attributes.plan": ["gold", "plat*"]}
    facts: dict[str, Any] = {"kind": "flag", "value": True, "attributes": {"plan": "platinum"}}
    assert holds(when, **facts)
    assert not holds(when, **{**facts, "value": False})
    assert not holds(when, **{**facts, "attributes": {"plan": "blue"}})
    assert not holds(when, **{**facts, "attributes": None})
    assert not holds({"cohort": "*"})


def test_versions_are_two_facts_and_a_label() -> None:
    assert holds(
        {"version": "a+b", "version.model": "a", "version.prompt": "b"}, model="a", prompt="b"
    )
    assert not holds({"version.model": "a"}, model="a+b")
    assert holds({"version": "unversioned"})


@pytest.mark.parametrize(
    ("when", "fact", "named"),
    [
        ({}, "", "no clause"),
        ({"mood": "good"}, "mood", "no fact"),
        ({"attributes.": "x"}, "attributes.", "no fact"),
        ({7: "x"}, "7", "no fact"),
        ({"trigger": "audit"}, "trigger", "no fact"),
        ({"tool": {"lt": 5}}, "tool", "no number"),
        ({"confidence": {}}, "confidence", "lt, le, gt and ge"),
        ({"confidence": {"below": 0.5}}, "confidence", "lt, le, gt and ge"),
        ({"confidence": {"lt": 70}}, "confidence", "0.7 for 70 %"),
        ({"confidence": "0.5"}, "confidence", "0 and 1"),
        ({"confidence": {"lt": True}}, "confidence", "0 and 1"),
        ({"confidence": {"lt": 0.2, "gt": 0.5}}, "confidence", "no number lies"),
        ({"confidence": {"lt": 0.5, "ge": 0.5}}, "confidence", "no number lies"),
        ({"attributes.amount": {"ge": "1000"}}, "attributes.amount", "not in quotes"),
        ({"attributes.amount": {"ge": float("inf")}}, "attributes.amount", "no number"),
        ({"attributes.amount": {"ge": 10**400}}, "attributes.amount", "no number"),
        ({"attributes.vip": True}, "attributes.vip", "quotes"),
        ({"attributes.year": 2026}, "attributes.year", "quotes"),
        ({"attributes.a": []}, "attributes.a", "empty"),
        ({"attributes.a": ["x"] * 201}, "attributes.a", "200"),
        ({"attributes.a": "x" * 201}, "attributes.a", "200"),
        ({"attributes.a": "\0"}, "attributes.a", "no text"),
        ({"attributes.a": [["x"]]}, "attributes.a", "no text"),
        ({"kind": "score"}, "kind", "category"),
        ({"failure": ["timeout", "boredom"]}, "failure", "refused"),
        ({"predicted.flag": "yes"}, "predicted.flag", "true or false"),
        ({f"attributes.a{n}": "x" for n in range(21)}, "", "20 clauses"),
    ],
)
def test_a_clause_that_could_not_be_meant_is_refused_with_a_hint(
    when: dict[Any, Any], fact: str, named: str
) -> None:
    (found,) = refusals(when)
    assert found.fact == fact
    assert named in f"{found.problem}. {found.hint}"
    assert found.hint
    with pytest.raises(ValueError, match="clause"):
        _when.validate_python(when)


def test_which_facts_there_are_is_for_the_caller_to_say() -> None:
    more = {**FACTS, "trigger": FactType("text", ("audit", "dispute"))}
    assert list(refusals({"trigger": "audit"}, more)) == []
    assert list(refusals({"trigger": "a*"}, more)) == []
    (found,) = refusals({"trigger": "boredom"}, more)
    assert "audit, dispute" in found.hint


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ({"tool": "x"}, 'tool is "t", not "x"'),
        (
            {"confidence": Comparison(ge=0.5, lt=0.9)},
            "confidence is null, not below 0.9 and at least 0.5",
        ),
        ({"cohort": ["a", "b"]}, 'cohort is null, not one of "a", "b"'),
    ],
)
def test_what_failed_is_said_in_words(when: dict[str, Any], said: str) -> None:
    assert Condition(when).failed(conditions.facts_of(tool="t")) == said


def test_nothing_failed_where_all_hold() -> None:
    assert Condition({"tool": "t"}).failed({"tool": "t"}) is None
