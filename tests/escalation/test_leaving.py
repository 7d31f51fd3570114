"""Whoever leaves hands over all their cases at once, and keeps nobody waiting."""

from typing import Any

from sqlalchemy import text

from services.escalation.leaving import CaseDuty
from services.kit.database import Database
from services.people import service as people_service
from services.people.rules import Role
from tests.factories import (
    LEAD,
    TEAMMATE,
    Casework,
    Delivery,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.storage import counted


def leave(database: Database, email: str, **change: Any) -> int:
    """Deactivate somebody, or take their role; answers how many cases moved."""
    with database.transaction() as session:
        return people_service.change_person(
            session,
            email,
            **(change or {"active": False}),
            actor=OPERATOR,
            duties=(CaseDuty(lambda _: None),),
            now=Casework(database).clock.now(session),
        )


def opened(log: Delivery, casework: Casework, database: Database, number: int) -> dict[int, str]:
    """So many cases of the lead's: some held by them, some by others, and teams take turns.

    Answers the others' claims, by case.
    """
    log.take(*(output(f"o-{n}", value="tax", confidence=0.1) for n in range(number)))
    with database.transaction() as session:
        session.execute(text("""UPDATE "case" SET team = 'other' WHERE id % 2 = 0"""))
    for case in range(1, number + 1, 5):
        casework.claim(LEAD, case)
    return {case: casework.claim(TEAMMATE, case) for case in range(3, number + 1, 10)}


def test_leaving_takes_as_many_statements_however_many_cases_there_are(
    log: Delivery, casework: Casework, database: Database
) -> None:
    opened(log, casework, database, 55)
    with database.transaction() as session:
        of_few = text('UPDATE "case" SET owner_person = :who WHERE id <= 5')
        session.execute(of_few, {"who": TEAMMATE})
    with counted(database) as of_five:
        assert leave(database, TEAMMATE) == 5
    with counted(database) as of_fifty:
        assert leave(database, LEAD) == 50
    assert len(of_fifty) <= len(of_five)


def test_leaving_tells_of_each_case_once(
    log: Delivery, casework: Casework, database: Database
) -> None:
    claims = opened(log, casework, database, 20)
    leave(database, LEAD)
    query = """SELECT count(*) FROM "case"
        WHERE owner_team = team AND state = 'open' AND due_at = least(claim_due_at, resolve_due_at)
            AND claimant IS NULL AND owner_since > opened_at"""
    assert one(database, query) == 18
    stopped = "SELECT case_id FROM timer WHERE stopped_at IS NOT NULL ORDER BY case_id"
    assert rows(database, stopped) == [(3,), (13,)]
    said = rows(
        database,
        """SELECT case_id, actor, note, detail->'owner'->>'id' AS owner FROM timeline_entry
        WHERE event = 'reassigned' ORDER BY case_id""",
    )
    teams = ["support", "other"] * 10
    note = f"{LEAD} left"
    assert said == [(n, OPERATOR.id, note, team) for n, team in enumerate(teams, 1)]
    query = "SELECT count(*) FROM outbox WHERE convert_from(value, 'UTF8') LIKE :type"
    assert one(database, query, type="%secondlook.case.reassigned.v1%") == 20
    released = "SELECT case_id FROM timeline_entry WHERE event = 'released' ORDER BY case_id"
    assert rows(database, released) == [(1,), (6,), (11,), (16,)]
    for case, token in claims.items():
        assert casework.give_verdict(TEAMMATE, case, token=token) == "upheld"


def test_whoever_may_review_no_more_keeps_nobody_waiting(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", value="tax", confidence=0.1) for n in (1, 2)))
    casework.claim(TEAMMATE, 1)
    token = casework.claim(LEAD, 2)
    assert leave(database, TEAMMATE, role=Role.REP) == 0
    assert casework.claim(LEAD, 1)
    assert casework.give_verdict(LEAD, 2, token=token) == "upheld"
