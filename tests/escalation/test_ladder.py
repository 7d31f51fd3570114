"""Deadlines and the ladder: what time does to cases."""

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from services.escalation import firing, queries
from services.escalation.cases import Case
from services.escalation.clocks import Timer
from services.escalation.errors import MovedOn
from services.escalation.policy.read import read as read_policy
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.durations import Duration, Unit
from services.kit.working_time import after, weekdays
from tests.factories import (
    ADMIN,
    LEAD,
    OWNER,
    POLICY,
    Casework,
    Delivery,
    one,
    output,
    rows,
    total,
)


def events_of(database: Database, case: int) -> list[str]:
    found = rows(
        database, "SELECT event FROM timeline_entry WHERE case_id = :c ORDER BY id", c=case
    )
    return [row.event for row in found]


def test_missed_claim_deadline_escalates_once(
    case: int, casework: Casework, database: Database
) -> None:
    for _ in range(3):
        casework.fire(timedelta(minutes=31))
    row = rows(database, 'SELECT level, owner_person, overdue_since FROM "case"')[0]
    assert (row.level, row.owner_person) == (1, LEAD)
    assert row.overdue_since is not None
    assert events_of(database, case).count("escalated") == 1
    assert total(database, "overdue", "support/claim") == 1


def test_rung_reached_after_a_missed_deadline_does_not_climb_again(
    case: int, casework: Casework, database: Database
) -> None:
    casework.fire(timedelta(minutes=31))
    casework.fire(timedelta(minutes=61))
    assert one(database, 'SELECT level FROM "case"') == 1
    casework.fire(timedelta(minutes=121))
    assert one(database, 'SELECT level FROM "case"') == 2
    assert events_of(database, case).count("escalated") == 2


def test_last_rung_repeats_for_ever(case: int, casework: Casework, database: Database) -> None:
    for hours in range(1, 8):
        casework.fire(timedelta(hours=hours, minutes=1))
    row = rows(database, 'SELECT level, owner_person FROM "case"')[0]
    assert tuple(row) == (2, ADMIN)
    assert events_of(database, case).count("reminded") == 4


def test_timers_fire_once_between_three_engines(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(60)))
    with ThreadPoolExecutor(3) as engines:
        list(engines.map(lambda _: casework.fire(timedelta(minutes=31)), range(9)))
    assert one(database, "SELECT count(*) FROM timeline_entry WHERE event = 'overdue'") == 60
    assert one(database, 'SELECT count(*) FROM "case" WHERE level = 1') == 60


def test_step_that_cannot_fire_holds_up_no_other(
    log: Delivery, casework: Casework, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    broken = one(database, 'SELECT min(id) FROM "case"')
    miss = firing._miss_deadline

    def fail(session: Session, case: Case, timer: Timer, *given: Any, now: datetime) -> None:
        miss(session, case, timer, *given, now=now)
        if case.id == broken:
            raise RuntimeError("nobody thought of this")

    monkeypatch.setattr(firing, "_miss_deadline", fail)
    # All three are looked at, and the one that fails is told apart with its error.
    assert casework.fire(timedelta(minutes=31)) == 3
    overdue = 'SELECT id FROM "case" WHERE overdue_since IS NOT NULL'
    assert len(rows(database, overdue)) == 2
    parked = "SELECT case_id, failures, error FROM timer WHERE parked_until IS NOT NULL"
    assert rows(database, parked) == [(broken, 1, "RuntimeError: nobody thought of this")]
    monkeypatch.undo()
    assert casework.fire(timedelta(minutes=31)) == 0
    assert casework.fire(timedelta(minutes=32)) == 1
    assert len(rows(database, overdue)) == 3
    assert rows(database, parked) == []


def test_failed_timer_of_a_case_is_told_of_until_the_case_is_decided(
    case: int, casework: Casework, database: Database
) -> None:
    failed = "failures = 2, error = 'no such rung', parked_until = now() + interval '1h'"
    rows(database, f"UPDATE timer SET {failed} WHERE kind = 'resolve' RETURNING 1")

    def told() -> tuple[list[str], int]:
        with database.transaction() as session:
            kinds = [timer.kind for timer in queries.parked_timers(session)]
            return kinds, queries.parked_timer_count(session)

    assert told() == (["resolve"], 1)
    casework.give_verdict(OWNER, case)
    assert told() == ([], 0)
    casework.undo(OWNER, case)
    assert told() == (["resolve"], 1)


def test_rung_whose_owner_left_is_passed_over(
    case: int, casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(
            queries.text("UPDATE person SET active = false WHERE email = :e"), {"e": LEAD}
        )
    casework.fire(timedelta(minutes=31))
    row = rows(database, 'SELECT level, owner_person FROM "case"')[0]
    assert tuple(row) == (2, ADMIN)


def test_escalate_by_a_person_needs_the_level_seen(
    case: int, casework: Casework, database: Database
) -> None:
    casework.do("escalate", OWNER, case, level=0, note="beyond me")
    with pytest.raises(MovedOn):
        casework.do("escalate", OWNER, case, level=0)
    assert events_of(database, case).count("escalated") == 1


def test_timed_rung_is_reached_past_one_that_has_no_time(database: Database) -> None:
    untimed = POLICY.replace("{at: 1h, own: user:lea", "{own: user:lea")
    Delivery(database, read_policy(untimed)).take(output("o-1", confidence=0.1))
    timed = "SELECT rung, due_at - now() FROM timer WHERE kind = 'rung' AND fired_at IS NULL"
    assert rows(database, timed)[0].rung == 2
    rows(database, "UPDATE timer SET fired_at = now() WHERE kind <> 'rung' RETURNING 1")
    assert Casework(database).fire(timedelta(hours=3, minutes=1)) == 1
    assert tuple(rows(database, 'SELECT level, owner_person FROM "case"')[0]) == (2, ADMIN)
    assert Casework(database).fire(timedelta(hours=4, minutes=1)) == 1
    assert one(database, "SELECT count(*) FROM timeline_entry WHERE event = 'reminded'") == 1


def test_case_is_reminded_in_the_zone_that_it_was_opened_in(database: Database) -> None:
    policy = read_policy(POLICY.replace("repeat: 1h", "repeat: 1bd"))
    Delivery(database, policy, timezone="Pacific/Auckland").take(output("o-1", confidence=0.1))
    casework = Casework(database)
    for _ in range(2):
        casework.fire(timedelta(hours=3, minutes=1))
    auckland = weekdays("Pacific/Auckland")
    (was_due,) = rows(database, "SELECT due_at FROM timer WHERE kind = 'rung' AND rung = 2")[0]
    query = "SELECT due_at FROM timer WHERE kind = 'rung' AND rung = :n"
    following = after(was_due, Duration(1, Unit.WORKING_DAYS), auckland)
    assert one(database, query, n=3) == following
    # Nobody looked for a fortnight: one reminder, and the next at the hour of before.
    casework.fire(timedelta(days=14))
    again = one(database, query, n=4).astimezone(auckland.zone)
    assert again.time() == following.astimezone(auckland.zone).time()
    with database.transaction() as session:
        assert again > DatabaseClock().now(session) + timedelta(days=14)
