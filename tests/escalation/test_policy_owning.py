"""Whom a policy may name as owners, and what is said of one that names nobody for sure."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.orm import Session

from services.escalation import service
from services.escalation.policy.findings import Findings
from services.escalation.policy.read import read
from services.escalation.rules import AssignBy, Wanted, parse_wanted
from services.kit.errors import InvalidInput
from services.people import absences, skills
from services.people import service as people_service
from tests.factories import LEAD, OTHER_TEAM, OWNER, TEAM, TEAMMATE, add_schedule
from tests.factories.people import OPERATOR

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
POLICY = """version: 1
catch_all: {team: support, sla: {claim: 30m, resolve: 2h}, escalate: standard}
rules:
  - id: refunds
    when: {predicted.category: "refund*"}
    owner: {schedule: primary}
    escalate: standard
  - id: taxes
    when: {predicted.category: "tax*"}
    owner: {team: support, skills: [taxes]}
    assign: {by: round_robin, max_open: 12}
ladders:
  standard:
    - {at: 1h, own: schedule:secondary}
    - {at: 2h, own: manager}
    - {at: 3h, own: "manager:Olga@example.org"}
    - {at: 4h, own: user:lea@example.org}
tests:
  - case: {predicted.category: refund}
    expect: {rule: refunds, schedule: primary}
"""


def test_schedules_managers_and_people_by_skill_are_named() -> None:
    policy = read(POLICY)
    refunds, taxes = policy.rules
    assert refunds.owner.owner == Wanted("schedule", "primary")
    assert [rung.own for rung in policy.ladders["standard"]] == [
        Wanted("schedule", "secondary"),
        Wanted("manager"),
        Wanted("manager", OWNER),
        Wanted("person", LEAD),
    ]
    assert policy.schedules == {"primary", "secondary"}
    assert policy.giving == {TEAM}
    terms = policy.route({"predicted.category": "tax"}).terms
    assert terms is not None
    assert (terms.by, terms.max_open, terms.skills) == (AssignBy.ROUND_ROBIN, 12, {"taxes"})
    assert policy.route({"predicted.category": "refund"}).terms is None
    assert taxes.assign is not None


def test_skills_alone_go_to_whoever_has_the_fewest() -> None:
    policy = read(POLICY.replace("    assign: {by: round_robin, max_open: 12}\n", ""))
    terms = policy.route({"predicted.category": "tax"}).terms
    assert terms is not None
    assert (terms.by, terms.max_open) == (AssignBy.LEAST_LOADED, None)


@pytest.mark.parametrize(
    ("old", "new", "line", "says", "hint"),
    [
        (
            "own: user:lea@example.org",
            "own: schedule:secondary",
            17,
            "ladder 'standard': schedule:secondary, its last rung, may be nobody at times",
            "End it with a team",
        ),
        ("own: user:lea@example.org", "own: manager", 17, "manager, its last rung", "End it with"),
        ("{team: support, sla", "{schedule: primary, sla", 2, "schedule:primary may have", "0m"),
        ("schedule: primary}", "schedule: primary, team: support}", 6, "exactly one of", ""),
        ("schedule: primary}", "schedule: primary, skills: [a]}", 6, "people of a team", "team"),
        ("schedule: primary}", "schedule: A B}", 6, "'A B' is no slug", ""),
        ("skills: [taxes]", "skills: []", 10, "no list of skills", "[refunds]"),
        ("skills: [taxes]", "skills: taxes", 10, "no list of skills", "[refunds]"),
        ("by: round_robin", "by: turns", 11, "'least_loaded' or 'round_robin'", ""),
        ("max_open: 12", "max_open: 0", 11, "greater than or equal to 1", ""),
        (
            "    escalate: standard\n  - id",
            "    assign: {by: round_robin}\n  - id",
            7,
            "of a team",
            "",
        ),
        ("own: manager}", "own: boss}", 15, "names nobody", ""),
    ],
)
def test_owner_that_cannot_be_is_refused_with_its_line(
    old: str, new: str, line: int, says: str, hint: str
) -> None:
    text = POLICY.replace(old, new, 1)
    if "{schedule: primary, sla" in new:
        text = text.replace("resolve: 2h}, escalate: standard}", "resolve: 2h}}")
    with pytest.raises(InvalidInput) as refused:
        read(text)
    (problem,) = refused.value.problems
    assert says in problem.problem
    assert f"line {line}: " in problem.problem
    assert hint in problem.hint
    assert problem.hint


@pytest.mark.parametrize("written", ["schedule:", "manager:", "manager:bob", "", "teams:a"])
def test_what_names_nobody_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="write"):
        parse_wanted(written)


# --- held against the people and schedules that there are -----------------------------------


@pytest.fixture
def session(populated: object, session: Session) -> Iterator[Session]:
    """Both schedules are there; who is asked for is one person's turn alone."""
    add_schedule(session, "primary", OWNER)
    add_schedule(session, "secondary", TEAMMATE, team=OTHER_TEAM)
    people_service.change_manager(session, OWNER, manager=LEAD, actor=OPERATOR, now=NOW)
    skills.change_skills(session, OWNER, skills=["taxes"], actor=OPERATOR, now=NOW)
    return session


@pytest.fixture
def database(populated: object) -> object:
    return populated


def found(session: Session, text: str = POLICY) -> Findings:
    return service.policy_findings(session, read(text), now=NOW)


def test_a_sound_policy_has_no_finding(session: Session) -> None:
    assert found(session) == ([], [])


def test_schedule_that_is_not_there_is_a_problem(session: Session) -> None:
    (problem,) = found(
        session, POLICY.replace("own: schedule:secondary", "own: schedule:x")
    ).problems
    words = "line 14: ladder 'standard', rung 1 names schedule:x: there is no schedule 'x'"
    assert str(problem) == words
    with pytest.raises(InvalidInput, match="there is no schedule 'x'"):
        service.check_owners(
            session, read(POLICY.replace("own: schedule:secondary", "own: schedule:x"))
        )


def test_holes_of_the_next_thirty_days_are_warnings(session: Session) -> None:
    def away(days: int) -> None:
        begin = NOW + timedelta(days=days)
        span = {"begin": begin, "end": begin + timedelta(days=1), "stand_in": None}
        absences.go_away(session, OWNER, **span, actor=OPERATOR, now=NOW)

    away(2)
    away(40)
    problems, warnings = found(session)
    assert problems == []
    assert [str(one) for one in warnings] == [
        (
            "line 4: rule 'refunds' names schedule:primary:"
            " nobody from Fri 27 Nov 13:00 to Sat 28 Nov 13:00"
        )
    ]


def test_person_without_a_manager_and_skill_that_nobody_has_are_warnings(session: Session) -> None:
    people_service.change_manager(session, OWNER, manager=None, actor=OPERATOR, now=NOW)
    skills.change_skills(session, OWNER, skills=[], actor=OPERATOR, now=NOW)
    problems, warnings = found(session)
    assert problems == []
    assert [one.problem for one in warnings] == [
        (
            f"ladder 'standard', rung 3 names manager:{OWNER}:"
            f" {OWNER} has no manager, so the rung is passed over"
        ),
        "rule 'taxes': nobody in team 'support' has skill 'taxes'",
    ]
    unknown = found(session, POLICY.replace("manager:Olga", "manager:nora")).problems
    assert "nobody has the address 'nora@example.org'" in str(unknown[0])
