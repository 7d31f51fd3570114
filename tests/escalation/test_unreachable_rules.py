"""Rules that are never reached: all that an earlier one covers, and none that takes a case."""

from itertools import permutations, product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter
from secondlook.conditions import Clause, Condition, refusals

from services.escalation.policy.check import unreachable_rules
from services.escalation.policy.covering import Cover
from services.escalation.policy.model import RoutingPolicy, When


def policy(*whens: dict[str, Any], mode: str = "active") -> RoutingPolicy:
    rules = [
        {"id": f"r{n}", "mode": mode if n == 0 else "active", "when": when, "owner": {"team": "t"}}
        for n, when in enumerate(whens)
    ]
    catch_all = {"team": "support", "sla": {"claim": "30m", "resolve": "2h"}}
    return RoutingPolicy.model_validate({"version": 1, "catch_all": catch_all, "rules": rules})


def unreachable(found: RoutingPolicy) -> list[str]:
    return [one.problem.split("'")[1] for one in unreachable_rules(found)]


@pytest.mark.parametrize(
    ("earlier", "later", "covered"),
    [
        ({"cohort": "a"}, {"cohort": "a"}, True),
        ({"cohort": "a"}, {"cohort": "a", "tool": "t"}, True),
        ({"cohort": "a", "tool": "t"}, {"cohort": "a"}, False),
        ({"cohort": "a"}, {"cohort": ["a"]}, True),
        ({"cohort": ["a", "b"]}, {"cohort": "a"}, True),
        ({"cohort": ["a", "b", "c"]}, {"cohort": ["c", "a"]}, True),
        ({"cohort": ["a", "b"]}, {"cohort": ["a", "c"]}, False),
        ({"cohort": "a*"}, {"cohort": "ab"}, True),
        ({"cohort": "a*"}, {"cohort": ["ab", "b"]}, False),
        ({"cohort": "a*"}, {"cohort": "ab*"}, True),
        ({"cohort": "ab*"}, {"cohort": "a*"}, False),
        ({"cohort": "a*c"}, {"cohort": "ab*c"}, True),
        ({"cohort": "a*b*"}, {"cohort": "a*"}, False),
        ({"cohort": ["b", "*"]}, {"cohort": ["a*", "*b"]}, True),
        ({"cohort": "*"}, {"tool": "t"}, False),
        # Every case has a tool.
        ({"tool": "*"}, {"cohort": "a"}, True),
        ({"tool": "t*"}, {"cohort": "a"}, False),
        ({"confidence": {"lt": 0.5}}, {"confidence": {"lt": 0.5}}, True),
        ({"confidence": {"lt": 0.5}}, {"confidence": {"lt": 0.4}}, True),
        ({"confidence": {"lt": 0.5}}, {"confidence": {"le": 0.5}}, False),
        ({"confidence": {"le": 0.5}}, {"confidence": {"lt": 0.5}}, True),
        ({"confidence": {"gt": 0.5}}, {"confidence": {"ge": 0.5}}, False),
        ({"confidence": {"gt": 0.5}}, {"confidence": {"gt": 0.5}}, True),
        ({"confidence": {"ge": 0.2, "lt": 0.8}}, {"confidence": {"gt": 0.2, "le": 0.7}}, True),
        ({"confidence": {"ge": 0.2, "le": 1}}, {"confidence": {"gt": 0.5}}, True),
        # One that is not there is below every bound.
        ({"confidence": {"ge": 0, "lt": 0.8}}, {"confidence": {"lt": 0.5}}, False),
        ({"confidence": {"lt": 0.8}}, {"confidence": {"ge": 0, "lt": 0.5}}, True),
        ({"confidence": {"lt": 0.8}}, {"cohort": "a"}, False),
        ({"confidence": {"lt": 0.5}}, {"confidence": [0.1, 0.2]}, True),
        ({"confidence": 1}, {"confidence": 1.0}, True),
        ({"attributes.n": {"ge": 5}}, {"attributes.n": {"gt": 5}}, True),
        ({"attributes.n": {"ge": 5}}, {"attributes.n": {"lt": 9}}, False),
        ({"attributes.n": {"ge": 5}}, {"attributes.n": ["5", "1e3"]}, True),
        ({"attributes.n": {"ge": 5}}, {"attributes.n": "5*"}, False),
        ({"attributes.n": "*"}, {"attributes.n": {"ge": 5}}, True),
        ({"attributes.n": ["5", "6"]}, {"attributes.n": {"ge": 5, "le": 5}}, False),
        ({"predicted.flag": [True, False]}, {"predicted.flag": True}, True),
        ({"predicted.flag": True}, {"predicted.flag": [True, False]}, False),
        # An audit passes by a rule that asks for what it hides.
        ({"confidence": {"lt": 0.5}}, {"trigger": "audit", "tool": "t"}, False),
    ],
)
def test_rule_that_an_earlier_one_covers_is_never_reached(
    earlier: dict[str, Any], later: dict[str, Any], covered: bool
) -> None:
    assert ("r2" in unreachable(policy(earlier, {"language": "xx"}, later))) == covered
    assert unreachable(policy(earlier, later, mode="monitor")) == []


TEXTS = ["".join(some) for n in range(4) for some in product("ab", repeat=n)]
NUMBERS = [0, 0.2, 0.25, 0.3, 0.5, 0.75, 1]
VALUES: dict[str, list[Any]] = {
    "tool": TEXTS[1:],
    "cohort": [None, *TEXTS],
    "attributes.n": [None, *TEXTS, *map(str, NUMBERS), "-3", "5e-1"],
    "confidence": [None, *NUMBERS],
    "predicted.flag": [None, True, False],
}
"""What cases can be, one of each."""

patterns = st.text("ab*", min_size=1, max_size=3)
texts = patterns | st.lists(patterns, min_size=1, max_size=3)
bounds = st.dictionaries(
    st.sampled_from(["lt", "le", "gt", "ge"]), st.sampled_from(NUMBERS), min_size=1, max_size=2
).filter(lambda bounds: not list(refusals({"confidence": bounds})))
shares = st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=2)
CLAUSES: dict[str, st.SearchStrategy[Any]] = {
    "tool": texts,
    "cohort": texts,
    "attributes.n": texts | bounds,
    "confidence": bounds | shares,
    "predicted.flag": st.sampled_from([True, False, [True, False]]),
}
_when: TypeAdapter[dict[str, Clause]] = TypeAdapter(When)


@given(
    st.sampled_from([*CLAUSES]).flatmap(
        lambda fact: st.tuples(st.just(fact), st.lists(CLAUSES[fact], min_size=9, max_size=9))
    )
)
def test_what_is_said_to_cover_another_takes_all_its_cases(drawn: tuple[str, list[Any]]) -> None:
    fact, clauses = drawn
    cases = [{"tool": "a", "trigger": "audit", fact: value} for value in VALUES[fact]]
    whens = [{"trigger": "a*"}, *(_when.validate_python({fact: one}) for one in clauses)]
    ready = [
        (Cover(when), {n for n, case in enumerate(cases) if Condition(when).holds(case)})
        for when in whens
    ]
    for (cover, taken), (other, others) in permutations(ready, 2):
        assert not cover.covers(other) or taken >= others
