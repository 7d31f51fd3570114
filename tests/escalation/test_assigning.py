"""Cases that rules give to people of their team."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from secondlook import events
from sqlalchemy import text

from services.escalation.assigning import LOADS
from services.escalation.policy.read import read as read_policy
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.people import service as people_service
from services.people import skills
from services.people.calendars import read as read_calendar
from tests.factories import (
    LEAD,
    OTHER_TEAM,
    OWNER,
    TEAM,
    TEAMMATE,
    TOOL,
    Casework,
    Delivery,
    as_batches,
    correction,
    fill,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.rota import Rota
from tests.factories.storage import counted

POLICY = """
version: 1
catch_all: {team: other, sla: {claim: 30m, resolve: 8h}, escalate: long}
rules:
  - id: refunds
    when: {predicted.category: "billing*"}
    owner: {team: support, skills: [refunds]}
    assign: {by: least_loaded, max_open: 3}
  - id: round
    when: {predicted.category: "tax*"}
    owner: {team: support}
    assign: {by: round_robin}
ladders:
  long:
    - {at: 4h, own: user:ada@example.org}
"""


@pytest.fixture
def log(database: Database) -> Delivery:
    """Two of the team can do refunds."""
    for email in (OWNER, TEAMMATE):
        change_skills(database, email, "refunds", "more")
    return Delivery(database, read_policy(POLICY))


def change_skills(database: Database, email: str, *wanted: str) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        skills.change_skills(session, email, skills=wanted, actor=OPERATOR, now=now)


def refunds(first: int, number: int) -> list[Any]:
    return [output(f"o-{n}", value="billing", confidence=0.1) for n in range(first, first + number)]


def owned(database: Database) -> list[str]:
    query = 'SELECT coalesce(owner_team, owner_person) FROM "case" ORDER BY subject_key'
    return [row[0] for row in rows(database, query)]


def why(database: Database) -> list[str]:
    query = "SELECT note FROM timeline_entry WHERE event = 'unassigned' ORDER BY id"
    return [row.note for row in rows(database, query)]


def test_case_is_given_to_whoever_has_the_fewest(log: Delivery, database: Database) -> None:
    log.take(*refunds(0, 3))
    assert owned(database) == [OWNER, TEAMMATE, OWNER]
    seen = rows(database, 'SELECT DISTINCT team, queue, owner_schedule FROM "case"')
    assert seen == [(TEAM, TEAM, None)]
    Casework(database).give_verdict(LEAD, 1)
    log.take(*refunds(3, 2))
    assert owned(database)[3:] == [OWNER, TEAMMATE], "what is decided does not count"
    how = "SELECT DISTINCT detail->>'assigned_by' FROM timeline_entry WHERE event = 'opened'"
    assert rows(database, how) == [("least_loaded",)]


def test_batch_counts_against_the_limit_itself(log: Delivery, database: Database) -> None:
    log.take(*refunds(0, 8))
    assert sorted(owned(database)) == [OWNER] * 3 + [TEAM] * 2 + [TEAMMATE] * 3
    words = "all 2 who have the skill refunds are at 3 open cases; team:support owns it"
    assert why(database) == [words] * 2


def test_nobody_who_is_away_or_off_work_is_given_one(log: Delivery, database: Database) -> None:
    Rota(database).away(OWNER)
    with database.transaction() as session:
        never = read_calendar('timezone: UTC\nhours: {mon: ["09:00-09:01"]}')
        now = DatabaseClock().now(session)
        given: dict[str, Any] = {"actor": OPERATOR, "now": now}
        people_service.put_calendar(session, "never", never, **given)
        people_service.change_calendar(session, TEAMMATE, calendar="never", **given)
    log.take(*refunds(0, 1))
    assert owned(database) == [TEAM]
    assert why(database) == [
        "all 2 who have the skill refunds are not there now; team:support owns it"
    ]


def test_nobody_is_given_what_they_dispute(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="billing", confidence=0.99))
    log.take(correction("o-1", kind="dispute", note="no refund", who=OWNER))
    assert owned(database) == [TEAMMATE]


def test_team_that_nobody_can_review_in_passes_it_on_along_the_ladder(
    log: Delivery, database: Database
) -> None:
    policy = POLICY.replace("owner: {team: support, skills", "owner: {team: empty, skills")
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.add_team(session, "empty", name=None, actor=OPERATOR, now=now)
    Delivery(database, read_policy(policy)).take(*refunds(0, 1))
    assert owned(database) == ["ada@example.org"]
    assert why(database) == [
        "nobody in team 'empty' who has the skill refunds may review; user:ada@example.org owns it"
    ]


def test_round_goes_on_from_batch_to_batch(log: Delivery, database: Database) -> None:
    for n in range(5):
        log.take(output(f"o-{n}", value="tax", confidence=0.1))
    assert owned(database) == [LEAD, OWNER, TEAMMATE, LEAD, OWNER]
    log.take(*(output(f"p-{n}", value="tax", confidence=0.1) for n in range(2)))
    assert owned(database)[5:] == [TEAMMATE, LEAD]
    assert [tuple(row) for row in rows(database, "SELECT rule, person FROM assignment_turn")] == [
        ("round", LEAD)
    ]


def test_request_for_a_case_that_is_there_takes_nobodys_turn(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    log.take(correction("o-1", kind="dispute", note="look"))
    log.take(output("o-2", value="tax", confidence=0.1))
    assert owned(database) == [LEAD, OWNER]


def test_assigning_takes_as_many_statements_however_many_cases_there_are(
    log: Delivery, database: Database
) -> None:
    with counted(database) as of_one:
        log.take(*refunds(0, 1))
    with counted(database) as of_many:
        log.take(*refunds(1, 100))
    assert len(of_many) <= len(of_one)


def test_engines_at_once_keep_the_limit(log: Delivery, database: Database) -> None:
    """Each has a batch that alone would fill everybody."""
    start, sent = threading.Barrier(4), "UPDATE outbox SET sent_at = now() WHERE sent_at IS NULL"
    batches = []
    for n in range(4):
        log.feed(log.feedback, as_batches(log.records(refunds(10 * n, 7))))
        reviews = rows(database, f"{sent} AND topic = :topic RETURNING value", topic=events.REVIEWS)
        batches.append(log.records([bytes(row.value) for row in reviews], events.REVIEWS))

    def take(n: int) -> None:
        engine = Delivery(database, read_policy(POLICY))
        start.wait(10)
        engine.feed(engine.escalation, as_batches(batches[n]))

    with ThreadPoolExecutor(4) as engines:
        list(engines.map(take, range(4)))
    assert sorted(owned(database)) == [OWNER] * 3 + [TEAM] * 22 + [TEAMMATE] * 3


def test_loads_are_counted_along_an_index(database: Database) -> None:
    with database.engine.connect() as connection:
        fill(
            connection.connection.driver_connection,  # type: ignore[arg-type]
            tool=TOOL,
            team=TEAM,
            outputs=5_000,
            cases=5_000,
            analysed=False,
        )
        owner = "owner_team = NULL, owner_person = 'olga@example.org'"
        connection.execute(text(f'UPDATE "case" SET {owner} WHERE id % 50 = 0'))
        connection.execute(text('ANALYZE "case"'))
        query = text(f"EXPLAIN {LOADS.text}")
        plan = "\n".join(row[0] for row in connection.execute(query, {"people": [OWNER]}))
        connection.rollback()
    assert "ix_case_owner_person" in plan
    assert "Seq Scan" not in plan


def test_other_team_is_left_alone(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="other", confidence=0.1))
    assert owned(database) == [OTHER_TEAM]
    assert why(database) == []
