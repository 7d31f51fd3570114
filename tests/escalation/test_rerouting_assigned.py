"""Open cases routed anew by rules that give cases to people: as such cases are given that open."""

import pytest

from services.escalation import reapply as reapplying
from services.escalation.rules import Owner
from services.kit.database import Database
from tests.escalation.reroutes import delivery_by_policy, open_some, put, reapply
from tests.factories import (
    LEAD,
    OTHER_TEAM,
    OWNER,
    POLICY,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    rows,
)

GIVEN = POLICY.replace("sla: {claim", "assign: {by: least_loaded, max_open: 2}, sla: {claim", 1)
ROUND = POLICY.replace("sla: {claim", "assign: {by: round_robin}, sla: {claim", 1)
THREE = (LEAD, OWNER, TEAMMATE)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    return delivery_by_policy(database)


def owned(database: Database) -> list[str]:
    query = 'SELECT coalesce(owner_person, owner_team) FROM "case" ORDER BY id'
    return [row[0] for row in rows(database, query)]


def test_cases_are_given_as_those_are_that_open(log: Delivery, database: Database) -> None:
    open_some(log, database, 3)
    put(database, GIVEN)
    assert reapply(database).changed == 3
    assert owned(database) == [*THREE]
    open_some(log, database, 7)
    assert sorted(owned(database)[:6]) == sorted(THREE * 2), "what was given counts"
    assert reapply(database).changed == 0


def test_nobody_is_given_more_than_the_rule_allows(log: Delivery, database: Database) -> None:
    open_some(log, database, 8)
    put(database, GIVEN)
    said = reapply(database, dry_run=True)
    assert reapply(database).as_answer() == said.as_answer() | {"dry_run": False}
    assert owned(database) == [*THREE, *THREE, TEAM, TEAM]
    told = "SELECT case_id FROM timeline_entry WHERE event = 'unassigned'"
    assert rows(database, told) == [], "they were that team's before"


def test_trying_batches_says_what_acting_on_them_does(
    log: Delivery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reapplying, "BATCH", 2)
    open_some(log, database, 5)
    for policy in (GIVEN, ROUND.replace("P3", "P2")):
        put(database, policy)
        said = reapply(database, dry_run=True)
        assert reapply(database).as_answer() == said.as_answer() | {"dry_run": False}


def test_turns_go_on_after_cases_that_were_routed_anew(log: Delivery, database: Database) -> None:
    open_some(log, database, 2)
    put(database, ROUND)
    reapply(database)
    open_some(log, database, 3)
    assert owned(database) == [*THREE]


def test_owner_chosen_by_hand_takes_nobodys_turn(log: Delivery, database: Database) -> None:
    open_some(log, database, 3)
    Casework(database).do("reassign", LEAD, 1, owner=Owner("team", TEAM))
    put(database, ROUND)
    reapply(database)
    assert owned(database) == [TEAM, LEAD, OWNER]
    reapply(database, also_reassigned=True)
    assert owned(database) == [TEAMMATE, LEAD, OWNER]


def test_why_nobody_is_given_a_case_that_comes_to_a_team_is_told(
    log: Delivery, database: Database
) -> None:
    elsewhere = POLICY.replace("catch_all: {team: support", f"catch_all: {{team: {OTHER_TEAM}")
    put(database, elsewhere)
    open_some(log, database, 7)
    put(database, GIVEN)
    assert reapply(database, "ada@example.org").changed == 7
    assert owned(database) == [*THREE, *THREE, TEAM]
    (told,) = rows(database, "SELECT * FROM timeline_entry WHERE event = 'unassigned'")
    assert told.case_id == 7
    assert told.note == "all 3 of team 'support' are at 2 open cases; team:support owns it"
