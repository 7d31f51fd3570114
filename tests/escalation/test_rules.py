"""Which outputs become cases, and where a routing policy sends them."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook.extent import PATTERN_CHARACTERS, SEARCHES

from services.escalation.policy.check import Finding, unknown_tools, unreachable_rules
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read as read_policy
from services.kit.errors import InvalidInput

CATCH_ALL: dict[str, Any] = {
    "team": "support",
    "priority": "P3",
    "sla": {"claim": "30m", "resolve": "2h"},
}


CATEGORIES = ("billing", "refund", "tax", "tariff")
CLAUSES = st.fixed_dictionaries(
    {},
    optional={
        "predicted.category": st.sampled_from(["ta*", "billing", ["refund", "tax"], "*"]),
        "confidence": st.sampled_from([{"lt": 0.3}, {"ge": 0.5}]),
        "tool": st.sampled_from(["categoriser", "other"]),
    },
)
FACTS = st.fixed_dictionaries(
    {
        "predicted.category": st.sampled_from([*CATEGORIES, None]),
        "confidence": st.sampled_from([None, 0.0, 0.29, 0.3, 0.5, 1.0]),
        "tool": st.sampled_from(["categoriser", "other"]),
    }
)


@st.composite
def policies(draw: st.DrawFn) -> RoutingPolicy:
    rules = [
        {
            "id": f"r{n}",
            "when": draw(CLAUSES.filter(bool)),
            "owner": {"team": f"team-{n}"},
            "priority": "P2",
            "mode": draw(st.sampled_from(["active", "monitor"])),
        }
        for n in range(draw(st.integers(0, 4)))
    ]
    return RoutingPolicy.model_validate({"version": 1, "catch_all": CATCH_ALL, "rules": rules})


def matches(when: dict[str, Any], facts: dict[str, Any]) -> bool:
    """What 'all clauses hold' means, written another way."""

    def holds(clause: Any, value: Any) -> bool:
        if isinstance(clause, list):
            return any(holds(one, value) for one in clause)
        if not isinstance(clause, str):
            below = value is None or (clause.lt is not None and value < clause.lt)
            return below if clause.lt is not None else value is not None and value >= clause.ge
        if value is None:
            return False
        return value.startswith(clause[:-1]) if clause.endswith("*") else value == clause

    return all(holds(clause, facts[fact]) for fact, clause in when.items())


@given(policies(), FACTS)
def test_first_active_rule_that_matches_decides(
    policy: RoutingPolicy, facts: dict[str, Any]
) -> None:
    wanted = next(
        (r.id for r in policy.rules if r.mode == "active" and matches(r.when, facts)),  # type: ignore[arg-type]
        "catch-all",
    )
    route = policy.route(facts)
    assert route.rule == wanted
    never = [found.problem for found in unreachable_rules(policy)]
    assert not any(f"'{route.rule}' is never" in problem for problem in never)
    assert route.ladder, "a case without a rung has nobody"
    assert route.ladder[0].own == route.owner


@given(policies(), FACTS)
def test_explanation_ends_at_the_rule_that_decides(
    policy: RoutingPolicy, facts: dict[str, Any]
) -> None:
    tried = list(policy.explain(facts))
    assert tried[-1].rule == policy.route(facts).rule
    assert tried[-1].matched
    assert all(one.failed for one in tried if not one.matched)


WHOLE = "version: 1\ncatch_all: {team: a, priority: P3, sla: {claim: 1h, resolve: 2h}}\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "version: 1"),
        ("- a", "version: 1"),
        ("version: 1", "/catch_all"),
        (WHOLE.replace("version: 1", "version: 2"), "/version"),
        (WHOLE.replace("P3", "P9"), "/catch_all/priority"),
        (WHOLE.replace("1h", "soon"), "/catch_all/sla/claim"),
        (WHOLE.replace("team: a", "team: a, user: b"), "/catch_all"),
        (WHOLE + "rules: [", "line 3"),
        (WHOLE + "rules: []\nrules: []", "line 4"),
        (WHOLE + "rule: []", "/rule"),
        (
            WHOLE + "rules: [{id: a, when: {confidance: 1}, owner: {team: a}}]",
            "is no fact that is known here",
        ),
        (
            WHOLE + "rules: [{id: a, when: {confidence: {gte: 1}}, owner: {team: a}}]",
            "Use lt, le, gt and ge",
        ),
    ],
)
def test_policy_that_cannot_be_used_names_the_field(text: str, named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_policy(text)
    assert named in " ".join(f"{p.pointer} {p.problem} {p.hint}" for p in refused.value.problems)
    assert all(problem.hint for problem in refused.value.problems)


@pytest.mark.parametrize(
    ("clause", "says", "hint"),
    [
        ("kind: categroy", '"categroy" is no kind', "category, text, flag, fields"),
        ("kind: [text, foto]", '"foto" is no kind', "category, text, flag, fields"),
        ("trigger: disputed", '"disputed" is no trigger', "dispute"),
        ("trigger: 3", "3 is no text", "quotes"),
        ("confidence: {lt: 70}", "70 is not between 0 and 1", "0.7 for 70 %"),
        ("confidence: {ge: -0.1}", "-0.1 is not between 0 and 1", "0.7 for 70 %"),
        ("confidence: {lt: .nan}", "NaN is not between 0 and 1", "0.7 for 70 %"),
        ("confidence: {lt: null}", "null is not between 0 and 1", "0.7 for 70 %"),
        ("confidence: 70", "70 is not between 0 and 1", "0.7 for 70 %"),
        ("confidence: high", '"high" is not between 0 and 1', "0.7 for 70 %"),
        ("tool: {lt: 3}", "tool is no number", "Write the value"),
        ("version: {ge: 2}", "version is no number", "Write the value"),
        ("predicted.category: {gt: 1}", "predicted.category is no number", "Write the value"),
        ("predicted.confidence: {lt: 0.6}", "is no fact that is known here", "confidence"),
        ("attributes.vip: yes", "true is no text", "quotes"),
        ("version: 2026", "2026 is no text", "quotes"),
        ("language: [en, no]", "false is no text", "quotes"),
        ('predicted.flag: "true"', '"true" is neither true nor false', "true or false"),
    ],
)
def test_clause_that_fits_no_case_or_every_case_is_refused(
    clause: str, says: str, hint: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_policy(f"{WHOLE}rules: [{{id: my-rule, when: {{{clause}}}, owner: {{team: a}}}}]")
    (problem,) = refused.value.problems
    assert problem.pointer == f"/rules/0/when/{clause.partition(':')[0]}"
    assert "rule 'my-rule': " in problem.problem
    assert says in problem.problem
    assert hint in problem.hint


@pytest.mark.parametrize(
    "clause",
    [
        "kind: fields",
        'kind: "*"',
        "trigger: [dispute, unmatched]",
        'trigger: "tool_*"',
        "confidence: {lt: 1, ge: 0}",
        "confidence: 0.5",
        'tool: ["a-*", b]',
        "attributes.age: {lt: 70}",
        "predicted.flag: true",
    ],
)
def test_clause_that_can_hold_is_taken(clause: str) -> None:
    rules = f"rules: [{{id: a, when: {{{clause}}}, owner: {{team: a}}}}]"
    assert len(read_policy(WHOLE + rules).rules) == 1


def test_rule_without_a_clause_is_refused() -> None:
    with pytest.raises(InvalidInput, match="would always hold"):
        read_policy(f"{WHOLE}rules: [{{id: a, when: {{}}, owner: {{team: a}}}}]")


def test_test_of_what_no_case_has_is_refused() -> None:
    with pytest.raises(InvalidInput, match="is no fact of a case"):
        read_policy(f"{WHOLE}tests: [{{case: {{confidnce: 0.2}}, expect: {{team: a}}}}]")


@pytest.mark.parametrize(
    ("bounds", "amount", "holds"),
    [
        ("{lt: 100}", "5", True),
        ("{lt: 100}", "500", False),
        ("{gt: 100}", "500", True),
        ("{lt: 100}", None, False),
        ("{lt: 100}", "many", False),
        ("{lt: 100}", "nan", False),
    ],
)
def test_attribute_that_is_a_number_is_compared(
    bounds: str, amount: str | None, holds: bool
) -> None:
    rules = f"rules: [{{id: a, when: {{attributes.amount: {bounds}}}, owner: {{team: a}}}}]"
    facts = {} if amount is None else {"attributes.amount": amount}
    assert (read_policy(WHOLE + rules).route(facts).rule == "a") == holds


def test_tools_that_are_not_registered_are_named() -> None:
    policy = read_policy(
        WHOLE
        + """
rules:
  - {id: one, when: {tool: nowhere}, owner: {team: a}}
  - {id: some, when: {tool: ["categ*", "x*"]}, owner: {team: a}}
"""
    )
    first = WHOLE.count("\n") + 3
    assert unknown_tools(policy, ["categoriser"]) == [
        Finding(first, "rule 'one': no tool 'nowhere' is registered"),
        Finding(first + 1, "rule 'some': no tool 'x*' is registered"),
    ]


@pytest.mark.parametrize(
    ("span", "longest"),
    [
        ("999999bd", "1310bd"),
        ("1311bd", "1310bd"),
        ("10481bh", "10480bh"),
        ("1831d", "1830d"),
        ("43921h", "1830d"),
    ],
)
@pytest.mark.parametrize(
    ("part", "pointer"),
    [
        ("rules: [{{id: a, when: {{kind: text}}, owner: {{team: a}}, sla: {sla}}}]", "/sla/claim"),
        ("ladders: {{a: [{{at: {span}, own: team:a}}]}}", "/at"),
        ("ladders: {{a: [{{at: 1h, own: team:a, repeat: {span}}}]}}", "/repeat"),
    ],
)
def test_span_over_five_years_is_refused(part: str, pointer: str, span: str, longest: str) -> None:
    part = part.format(span=span, sla=f"{{claim: {span}, resolve: 1h}}")
    with pytest.raises(InvalidInput) as refused:
        read_policy(f"{WHOLE}\n{part}")
    (problem,) = refused.value.problems
    assert problem.pointer.endswith(pointer)
    assert f"line {WHOLE.count(chr(10)) + 2}" in problem.problem
    assert "is over five years" in problem.problem
    assert problem.hint == f"Write {longest} at most."


def test_spans_of_five_years_are_taken() -> None:
    ladder = "ladders: {a: [{at: 1830d, own: team:a}, {at: 1310bd, own: team:b}]}"
    assert len(read_policy(WHOLE + ladder).ladders["a"]) == 2


def test_what_all_rules_ask_for_is_bounded_together() -> None:
    def rules(number: int) -> str:
        made = [
            {"id": f"r{n}", "when": {"cohort": f"*{'x' * 99}"}, "owner": {"team": "a"}}
            for n in range(number)
        ]
        return f"{WHOLE}rules: {json.dumps(made)}"

    most = PATTERN_CHARACTERS // 100
    assert len(read_policy(rules(most)).rules) == most
    with pytest.raises(InvalidInput) as refused:
        read_policy(rules(most + 1))
    (problem,) = refused.value.problems
    assert problem.pointer == f"/rules/{most}/when/cohort"
    assert "over 2,000 characters" in problem.problem
    assert "in full" in problem.hint


def test_bounds_of_all_rules_are_bounded_together() -> None:
    def rules(bounds: int) -> str:
        made = [
            {"id": f"r{n}", "when": {"confidence": {"lt": 0.5}}, "owner": {"team": "a"}}
            for n in range(bounds)
        ]
        return f"{WHOLE}rules: {json.dumps(made)}"

    assert len(read_policy(rules(SEARCHES)).rules) == SEARCHES
    with pytest.raises(InvalidInput) as refused:
        read_policy(rules(SEARCHES + 1))
    assert "over 500 bounds and patterns" in refused.value.problems[0].problem


def test_old_ways_are_told_of_the_new_ones() -> None:
    """Reviews are asked for by the gate, and ladders are called ladders."""
    with pytest.raises(InvalidInput) as refused:
        read_policy(f"{WHOLE}review: [{{id: vip, when: {{kind: text}}}}]\npolicies: {{}}")
    hints = {problem.pointer: problem.hint for problem in refused.value.problems}
    assert "review_when" in hints["/review"]
    assert "ladders" in hints["/policies"]


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("rules: [{id: a, when: {kind: text}, owner: {team: a}, queue: Big Queue}]", "/queue"),
        ("rules: [{id: a, when: {kind: text}, owner: {team: A Team}}]", "/owner/team"),
        ("rules: [{id: a, when: {kind: text}, owner: {user: nobody}}]", "/owner/user"),
        (f"rules: [{{id: a, when: {{kind: text}}, owner: {{user: {'x' * 200}@y.org}}}}]", "/user"),
    ],
)
def test_what_no_event_could_carry_is_refused(part: str, named: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_policy(f"{WHOLE}\n{part}")
    (problem,) = refused.value.problems
    assert named in problem.pointer
    assert f"line {WHOLE.count(chr(10)) + 2}" in problem.problem


@pytest.mark.parametrize(
    ("ladder", "problem"),
    [
        ([], "no rung"),
        ([{"at": "1h", "own": "team:a"}, {"at": "1h", "own": "team:b"}], "out of order"),
        (
            [{"at": "2bd", "own": "team:a"}, {"at": "3d", "own": "team:b"}],
            "out of order if a case opens on a Thursday",
        ),
        (
            [{"at": "0m", "own": "team:a", "repeat": "1h"}, {"at": "1h", "own": "team:b"}],
            "last rung",
        ),
        ([{"at": "0m", "own": "team:a", "repeat": "0s"}], "every 0s"),
        ([{"at": "0m", "own": "nobody"}], "names nobody"),
        ([{"own": "team:a", "repeat": "1h"}], "needs `at`"),
    ],
)
def test_ladder_ends_with_somebody(ladder: list[Any], problem: str) -> None:
    policy = {"version": 1, "catch_all": CATCH_ALL, "ladders": {"standard": ladder}}
    with pytest.raises(ValueError, match=problem):
        RoutingPolicy.model_validate(policy)
