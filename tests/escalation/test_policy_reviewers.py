"""How many people review a case: as the policy says, kept from its opening on."""

from typing import Any

import pytest

from services.escalation.policy.check import run_tests, telling_rules
from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from services.kit.errors import InvalidInput
from tests.factories import Delivery, output, rows

POLICY = """
version: 1
catch_all: {{team: support, sla: {{claim: 30m, resolve: 2h}}}}
rules:
  - {{id: two-eyes, when: {{{when}}}, owner: {{team: support}}, reviewers: {reviewers}}}
tests:
  - case: {{tool: t, confidence: 0.1, attributes.vip: "yes"}}
    expect: {{rule: two-eyes, reviewers: {reviewers}}}
  - case: {{tool: t}}
    expect: {{rule: catch-all, reviewers: 1}}
"""


def policy(reviewers: Any = 2, when: str = 'attributes.vip: "yes"') -> str:
    return POLICY.format(reviewers=reviewers, when=when)


@pytest.mark.parametrize("reviewers", [1, 2, 3])
def test_case_keeps_how_many_review_it(reviewers: int, database: Database) -> None:
    log = Delivery(database, read_policy(policy(reviewers)))
    log.take(output("vip", confidence=0.1, attributes={"vip": "yes"}), output("o", confidence=0.1))
    later = Delivery(database, read_policy(policy(3)))
    later.relay()
    kept = rows(database, 'SELECT reviewers, blind FROM "case" ORDER BY subject_key DESC')
    assert kept == [(reviewers, reviewers > 1), (1, False)]


@pytest.mark.parametrize("reviewers", [0, 4, "two", "2.5", "true", '"2"'])
def test_other_numbers_are_refused_with_their_place(reviewers: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_policy(policy(reviewers))
    assert any("reviewers" in problem.pointer for problem in refused.value.problems)


def test_inline_tests_see_it() -> None:
    assert run_tests(read_policy(policy(3))) == []
    wrong = policy(2).replace("reviewers: 1}", "reviewers: 2}")
    assert [str(one) for one in run_tests(read_policy(wrong))] == [
        "line 9: test 2: reviewers is 1, expected 2"
    ]


@pytest.mark.parametrize(
    ("when", "reviewers", "fact"),
    [
        ("confidence: {lt: 0.5}", 2, "confidence"),
        ('predicted.category: "billing"', 3, "predicted.category"),
        ('predicted.category: "billing"', 1, None),
        ('attributes.vip: "yes"', 2, None),
    ],
)
def test_rule_that_tells_its_reviewers_the_answer_is_warned_of(
    when: str, reviewers: int, fact: str | None
) -> None:
    found = telling_rules(read_policy(policy(reviewers, when)))
    assert [one.line for one in found] == ([5] if fact else [])
    assert all(f"goes by {fact}" in one.problem for one in found)
