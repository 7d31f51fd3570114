"""Cases that a schedule, or somebody's manager, is to own: at opening, climbing and again."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.people import absences
from services.people import service as people_service
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    add_schedule,
    correction,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.rota import Rota

POLICY = """
version: 1
catch_all: {schedule: primary, sla: {claim: 30m, resolve: 8h}, escalate: long}
rules:
  - {id: taxes, when: {predicted.category: "tax*"}, owner: {user: olga@example.org}}
ladders:
  long:
    - {at: 1h, own: schedule:secondary}
    - {at: 2h, own: manager}
    - {at: 3h, own: manager}
    - {at: 4h, own: user:ada@example.org, repeat: 1h}
"""


@pytest.fixture
def log(database: Database) -> Delivery:
    """Routes by duty; the second schedule is another team's."""
    with database.transaction() as session:
        add_schedule(session, "primary", OWNER)
        add_schedule(session, "secondary", OUTSIDER, team=OTHER_TEAM)
    return Delivery(database, read_policy(POLICY))


def manage(database: Database, **managers: str) -> None:
    """Say whose manager is who."""
    with database.transaction() as session:
        for email, manager in managers.items():
            given = {"manager": manager, "actor": OPERATOR, "now": DatabaseClock().now(session)}
            people_service.change_manager(session, f"{email}@example.org", **given)


def owned(database: Database) -> list[tuple[Any, ...]]:
    """Who owns each case, through which schedule, on which level, and who sees it."""
    query = """SELECT coalesce(owner_team, owner_person), owner_schedule, level, team
        FROM "case" ORDER BY id"""
    return [tuple(row) for row in rows(database, query)]


def said(database: Database, event: str) -> list[str]:
    query = "SELECT note FROM timeline_entry WHERE event = :e ORDER BY id"
    return [row.note for row in rows(database, query, e=event)]


def test_whoever_is_on_duty_owns_a_case_that_opens(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    assert owned(database) == [(OWNER, "primary", 0, TEAM)]
    assert said(database, "rung skipped") == []
    ((detail,),) = rows(database, "SELECT detail FROM timeline_entry WHERE event = 'opened'")
    assert detail["schedule"] == "primary"


def test_hole_at_opening_goes_on_at_once(log: Delivery, database: Database) -> None:
    Rota(database).away(OWNER)
    log.take(output("o-1", confidence=0.1))
    assert owned(database) == [(OUTSIDER, "secondary", 0, OTHER_TEAM)]
    words = f"nobody is on duty by schedule:primary; user:{OUTSIDER} owns it"
    assert said(database, "rung skipped") == [words]


def test_holes_all_the_way_go_to_the_last_rung(log: Delivery, database: Database) -> None:
    for email in (OWNER, OUTSIDER):
        Rota(database).away(email)
    log.take(output("o-1", confidence=0.1))
    assert owned(database) == [(ADMIN, None, 0, TEAM)]


def test_nobody_there_at_all_leaves_it_to_the_last_resort(
    log: Delivery, database: Database
) -> None:
    for email in (OWNER, OUTSIDER, ADMIN):
        Rota(database).away(email)
    log.take(output("o-1", confidence=0.1))
    assert owned(database) == [("last-resort", None, 0, TEAM)]


def test_case_climbs_to_who_is_on_duty_and_to_managers(
    log: Delivery, database: Database, casework: Casework
) -> None:
    manage(database, otto=LEAD, lea=TEAMMATE)
    log.take(output("o-1", confidence=0.1))
    found = []
    for hours in range(1, 5):
        casework.fire(timedelta(hours=hours, minutes=1))
        found += owned(database)
    assert found == [
        (OUTSIDER, "secondary", 1, OTHER_TEAM),
        (LEAD, None, 2, OTHER_TEAM),
        (TEAMMATE, None, 3, OTHER_TEAM),
        (ADMIN, None, 4, OTHER_TEAM),
    ]


def test_whoever_has_no_manager_is_passed_over(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    casework.do("escalate", OWNER, 1, level=0)
    casework.do("escalate", OUTSIDER, 1, level=1)
    assert owned(database) == [(ADMIN, None, 4, OTHER_TEAM)]
    assert said(database, "rung skipped") == [f"{OUTSIDER} has no manager"] * 2


def test_manager_of_a_team_is_nobody(database: Database, casework: Casework) -> None:
    policy = POLICY.replace("schedule: primary", f"team: {TEAM}").replace(
        "    - {at: 1h, own: schedule:secondary}\n", ""
    )
    Delivery(database, read_policy(policy)).take(output("o-1", confidence=0.1))
    casework.do("escalate", OWNER, 1, level=0)
    assert owned(database) == [(ADMIN, None, 3, TEAM)]
    assert set(said(database, "rung skipped")) == {
        "no person is accountable whose manager it could be"
    }


def test_person_who_is_away_is_answered_for(log: Delivery, database: Database) -> None:
    Rota(database).away(OWNER, TEAMMATE)
    log.take(output("o-1", value="tax", confidence=0.1))
    assert owned(database) == [(TEAMMATE, None, 0, TEAM)]
    assert said(database, "rung skipped") == [f"user:{OWNER} is away; user:{TEAMMATE} owns it"]


def test_last_rung_that_was_away_is_tried_again_with_each_reminder(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    Rota(database).away(ADMIN)
    for hours in (1, 2, 3, 4, 5):
        casework.fire(timedelta(hours=hours, minutes=1))
    assert owned(database) == [(OUTSIDER, "secondary", 1, OTHER_TEAM)]
    Rota(database).do(absences.come_back, ADMIN)
    casework.fire(timedelta(hours=6, minutes=1))
    assert owned(database) == [(ADMIN, None, 4, OTHER_TEAM)]


@pytest.mark.parametrize("verb", ["reopen", "undo", "unmerge"])
def test_case_that_is_open_again_is_the_present_duty_s(
    verb: str, log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    if verb == "unmerge":
        casework.do("merge", LEAD, 1, into=2)
    else:
        casework.give_verdict(OWNER, 1)
    with database.transaction() as session:
        add_schedule(session, "primary", TEAMMATE)
    casework.undo(OWNER, 1) if verb == "undo" else casework.do(verb, LEAD, 1)
    assert owned(database)[0] == (TEAMMATE, "primary", 0, TEAM)
    assert said(database, "reassigned") == [f"user:{TEAMMATE} is on duty by schedule:primary"]


def test_case_that_is_open_again_is_the_present_duty_s_whatever_its_owner_thinks_of_it(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    assert owned(database)[0][:2] == (OWNER, "primary")
    casework.give_verdict(LEAD, 1)
    log.take(correction("o-1", value="tax", who=OWNER))
    Rota(database).override(TEAMMATE)
    casework.undo(LEAD, 1)
    assert owned(database)[0][:2] == (TEAMMATE, "primary")


def test_reassigned_case_is_no_schedule_s_any_more(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    casework.do("reassign", LEAD, 1, owner=Owner("person", OWNER))
    assert owned(database) == [(OWNER, None, 0, TEAM)]


def test_nobody_is_given_a_case_who_is_away(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    Rota(database).away(TEAMMATE, LEAD)
    with pytest.raises(InvalidInput, match=f"{TEAMMATE} is away until") as refused:
        casework.do("reassign", LEAD, 1, owner=Owner("person", TEAMMATE))
    assert refused.value.problems[0].hint == f"{LEAD} stands in."


@pytest.mark.parametrize(
    "broken",
    ["owner_team = 'support', owner_person = NULL", "owner_schedule = 'nowhere'"],
)
def test_database_keeps_the_schedule_with_the_person(
    broken: str, log: Delivery, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    with pytest.raises(IntegrityError), database.transaction() as session:
        session.execute(text(f'UPDATE "case" SET {broken}'))
