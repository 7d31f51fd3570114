"""What all conditions of a policy may ask for together, and that a decision's steps are bounded."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from secondlook import events, gate, policy
from secondlook._values import Strict
from secondlook.conditions import CHOICES
from secondlook.extent import PATTERN_CHARACTERS, SEARCHES, VALUES
from secondlook.policy import REVIEW_CONDITIONS, GatePolicy, ReviewConditions


class _Settings(Strict):
    review_when: ReviewConditions


def conditions(whens: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": f"c{n}", "when": when} for n, when in enumerate(whens)]


def policy_of(whens: Sequence[dict[str, Any]]) -> GatePolicy:
    return GatePolicy(
        tool="t",
        revision=1,
        state="live",
        kind="text",
        threshold=0,
        sampling_key="00" * 16,
        effective_at=datetime.now(UTC),
        review_when=events.valid(_Settings, review_when=conditions(whens)).review_when,
    )


def refused(whens: Sequence[dict[str, Any]]) -> events.Problem:
    with pytest.raises(events.InvalidEvent) as found:
        events.valid(_Settings, review_when=conditions(whens))
    (problem,) = found.value.problems
    return problem


FULL_LISTS = [{"attributes.a": [f"v{n}" for n in range(CHOICES)]}] * (VALUES // CHOICES)
LONG_PATTERNS = [{"cohort": "*" + "x" * 99}] * (PATTERN_CHARACTERS // 100)


def test_values_of_all_conditions_are_bounded_together() -> None:
    assert policy_of(FULL_LISTS)
    problem = refused([*FULL_LISTS, {"attributes.a": {"lt": 5}}])
    assert problem.pointer == f"/review_when/{len(FULL_LISTS)}/when/attributes.a"
    assert "over 2,000 values" in problem.problem
    assert problem.hint


def test_patterns_of_all_conditions_are_bounded_together() -> None:
    plain = {"cohort": ["x" * 100, "y" * 100]}
    assert policy_of([*LONG_PATTERNS, plain])
    problem = refused([*LONG_PATTERNS, plain, {"attributes.b": ["x", "*"]}])
    assert problem.pointer == f"/review_when/{len(LONG_PATTERNS) + 1}/when/attributes.b"
    assert "over 2,000 characters" in problem.problem
    assert "in full" in problem.hint


def test_bounds_and_patterns_of_all_conditions_are_bounded_together() -> None:
    bounds = [{f"attributes.a{n}": {"gt": n} for n in range(10)}] * (SEARCHES // 20)
    patterns = [{"cohort": [f"*{n}" for n in range(50)]}] * (SEARCHES // 100)
    policy_ = policy_of([*bounds, *patterns, {"cohort": ["x", "y"]}])
    assert policy_.steps == 250 * 2 + 5 * (1 + 50 * 2) + 1
    assert policy_of([{"cohort": "*a" * 60}]).steps == 2 + 60, "a pattern costs its parts"
    for more in ({"attributes.b": {"lt": 1}}, {"attributes.b": ["x", "*"]}):
        problem = refused([*bounds, *patterns, more])
        assert problem.pointer == f"/review_when/{len(bounds) + 5}/when/attributes.b"
        assert "over 500 bounds and patterns" in problem.problem


def test_limits_of_conditions_and_lists_do_not_multiply() -> None:
    """485 KB of patterns, which a decision took 25 ms for."""
    whens = [{"attributes.a": [f"*{n}x{k}*" for k in range(CHOICES)]} for n in range(200)]
    assert refused(whens).pointer == "/review_when/1/when/attributes.a"


def test_a_policy_with_too_much_is_not_gone_by_in_silence() -> None:
    """An SDK that met one would ask for a review of everything, as of all it can't read."""
    body = policy_of(LONG_PATTERNS).model_dump(mode="json", exclude_none=True)
    body["review_when"] += [{"id": "more", "when": {"cohort": "*"}}]
    key = b"k" * 32
    signed = {"policy": body, "signature": policy.sign(policy.canonical(body), key)}
    read = policy.read_document(policy.canonical(signed), key)
    assert any("review_when" in name for name in read.not_understood)


class Counted(str):
    """A text that counts what is done to it."""

    steps = 0
    read_as_number = 0

    def __hash__(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        self.steps += 1
        return super().__eq__(other)

    def startswith(self, *given: Any) -> bool:
        self.steps += 1
        return super().startswith(*given)

    def find(self, *given: Any) -> int:
        self.steps += 1
        return super().find(*given)

    def __float__(self) -> float:
        self.read_as_number += 1
        return float(str(self))


def asked(whens: Sequence[dict[str, Any]], text: str) -> list[Counted]:
    """Facts that a decision has asked of, none of whose conditions holds."""
    facts = {name: Counted(text) for name in ("cohort", *(f"attributes.a{n}" for n in range(10)))}
    assert gate._first_that_holds(policy_of(whens), facts) is None
    return list(facts.values())


def steps(whens: Sequence[dict[str, Any]], text: str) -> int:
    return sum(fact.steps for fact in asked(whens, text))


@pytest.mark.parametrize(
    ("whens", "text"),
    [
        ([{"cohort": [f"*{chr(98 + n)}*" for n in range(25)]}] * 20, "a" * 200),
        ([{"cohort": "*a" * 98 + "*b*"}] * 10, "a" * 200),
        ([{f"attributes.a{n}": "a" if n < 9 else "b" for n in range(10)}] * REVIEW_CONDITIONS, "a"),
    ],
)
def test_a_decision_takes_steps_within_a_bound_whatever_the_policy(
    whens: list[dict[str, Any]], text: str
) -> None:
    assert steps([{"cohort": "y"}], text) == 1
    assert len(whens) < steps(whens, text) <= VALUES + PATTERN_CHARACTERS


def test_plain_values_are_looked_up_however_many_they_are() -> None:
    assert steps(FULL_LISTS, "none of them") <= len(FULL_LISTS)
    when = {"confidence": [n / CHOICES for n in range(CHOICES)], "predicted.flag": [True]}
    policy_ = policy_of([when])
    for confidence, flag, expected in ((0.5, True, "c0"), (0.501, True, None), (1, 1, None)):
        facts = {"confidence": confidence, "predicted.flag": flag}
        assert gate._first_that_holds(policy_, facts) == expected


def test_a_text_is_read_as_a_number_once_for_all_bounds() -> None:
    bounds = {f"attributes.a{n}": {"ge": 5 if n < 9 else 500} for n in range(10)}
    facts = asked([bounds] * (SEARCHES // len(bounds)), "77.125")
    assert sum(fact.read_as_number for fact in facts) == 1
