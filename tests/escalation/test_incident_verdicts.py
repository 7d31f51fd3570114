"""Verdicts on incidents: all parts at once, each with its own, and all taken back."""

from datetime import timedelta

import pytest

from services.escalation import bulk, service
from services.escalation.errors import MovedOn
from services.escalation.policy.read import read as read_policy
from services.escalation.service import Judgement
from services.escalation.verbs import Work
from services.kit.database import Database
from services.kit.errors import NotAllowed, NotFound, SecondlookError
from services.tools.rules import VerdictKind
from tests.escalation.incidents import (
    GROUPED,
    LIMITS,
    TAX,
    UPHELD,
    WINDOW,
    decide,
    happened,
    incident,
    parts,
    standing,
    undo,
    unsure,
)
from tests.factories import (
    ADMIN,
    LEAD,
    LEASE,
    OUTSIDER,
    OWNER,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
    rows,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers, by a policy that groups."""
    return Delivery(database, read_policy(GROUPED))


def test_all_are_decided_together_each_with_its_own_verdict(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 4))
    whole = incident(database)
    with database.transaction() as session:
        actor = actor_of(session, OWNER)
        shown = service.merged_into(session, actor, whole)
        seen = service.preview(session, actor, shown, TAX)
    assert (len(seen.done), seen.skipped) == (4, {})
    assert standing(database)[0][1] == "merged"
    found = decide(casework, OWNER, whole, TAX)
    assert sorted(found.done) == parts(database, whole)
    assert found.wholes == [whole]
    log.relay()
    given = "SELECT verdict, value, actor FROM verdict ORDER BY event_id"
    assert [tuple(row) for row in rows(database, given)] == [("corrected", "tax", OWNER)] * 4
    assert {row[1] for row in standing(database)} == {"resolved"}
    assert happened(database, whole)[-2:] == ["claimed", "resolved"]


def test_admin_decides_with_the_others_what_nobody_else_is_left_for(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    log.take(*(correction("o-1", value="tax", who=who) for who in (OWNER, TEAMMATE, LEAD, ADMIN)))
    whole = incident(database)
    barred = parts(database, whole)[1]
    with database.transaction() as session:
        shown = service.merged_into(session, actor_of(session, ADMIN), whole)
        seen = {
            who: service.preview(session, actor_of(session, who), shown, UPHELD)
            for who in (LEAD, ADMIN)
        }
    assert (list(seen[LEAD].skipped), seen[LEAD].alone) == ([barred], set())
    assert (seen[ADMIN].skipped, seen[ADMIN].alone) == ({}, {barred})
    assert decide(casework, ADMIN, whole, UPHELD).wholes == [whole]
    by = """SELECT case_id, detail->>'by' FROM timeline_entry
        WHERE event = 'resolved' AND detail ? 'by'"""
    assert rows(database, by) == [(barred, "the only one left")]


def test_who_decided_together_takes_it_back_together(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    before = standing(database), rows(database, 'SELECT due_at FROM "case" ORDER BY id')
    decide(casework, OWNER, whole, UPHELD)
    at = one(database, 'SELECT resolved_at FROM "case" WHERE id = :id', id=whole)
    with pytest.raises(NotAllowed):
        undo(casework, TEAMMATE, whole, at)
    assert len(undo(casework, OWNER, whole, at)) == 3
    log.relay()
    assert (standing(database), rows(database, 'SELECT due_at FROM "case" ORDER BY id')) == before
    assert one(database, "SELECT count(*) FROM undone_verdict") == 3
    with pytest.raises(MovedOn):
        undo(casework, OWNER, whole, at)


def test_one_verdict_of_many_is_taken_back_alone(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    decide(casework, OWNER, whole, UPHELD)
    first, *others = parts(database, whole)
    casework.undo(OWNER, first)
    states = 'SELECT id, state FROM "case" ORDER BY id'
    assert [tuple(row) for row in rows(database, states)] == [
        (first, "merged"),
        *((other, "resolved") for other in others),
        (whole, "open"),
    ]
    found = decide(casework, LEAD, whole, TAX)
    assert (found.done, found.wholes) == ([first], [whole])


def test_who_disputes_one_of_them_leaves_that_one_to_others(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3), correction("o-1", kind="dispute", who=OWNER))
    whole = incident(database)
    first, second, third = parts(database, whole)
    found = decide(casework, OWNER, whole, TAX)
    assert sorted(found.done) == [first, third]
    assert "You disputed" in found.skipped[second]
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=whole) == "open"
    assert one(database, 'SELECT claimant FROM "case" WHERE id = :id', id=whole) is None


def test_nobody_decides_over_a_holder_or_out_of_sight(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    casework.claim(TEAMMATE, whole)
    found = decide(casework, OWNER, whole, UPHELD)
    assert (found.done, len(found.skipped)) == ([], 3)
    assert TEAMMATE in next(iter(found.skipped.values()))
    with pytest.raises(NotFound):
        decide(casework, OUTSIDER, whole, UPHELD)
    with pytest.raises(SecondlookError):
        decide(casework, REP, whole, UPHELD)


def test_bulk_takes_cases_of_an_incident(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3), *unsure(3, 1, value="tax"))
    whole = incident(database)
    alone = int(
        one(database, 'SELECT max(id) FROM "case" WHERE incident IS NULL AND id <> :w', w=whole)
    )
    ids = [*parts(database, whole), alone, whole]
    with database.transaction() as session:
        now = casework.clock.now(session)
        work = Work(session, actor_of(session, OWNER), ids[0], LIMITS, now)
        found = bulk.do_to_all(work, "verdict", ids, {"verdict": "upheld"})
    assert sorted(found.done) == sorted(ids)
    assert {row[1] for row in standing(database)} == {"resolved"}
    with database.transaction() as session:
        again = Work(session, work.actor, ids[0], LIMITS, casework.clock.now(session))
        back = bulk.do_to_all(again, "undo", ids, {})
    assert (sorted(back.done), back.skipped) == (sorted(ids), [])
    assert {row[1] for row in standing(database)} == {"open", "merged"}


def test_undo_of_an_incident_is_of_the_verdict_that_was_seen(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    decide(casework, OWNER, whole, UPHELD)
    with pytest.raises(MovedOn, match="another verdict since"):
        casework.do("undo", OWNER, whole, verdict_id="verdict-of-before", window=WINDOW)
    casework.undo(OWNER, whole)
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=whole) == "open"


def test_a_verdict_on_the_incident_itself_says_how(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    with pytest.raises(MovedOn, match="bulk"):
        casework.give_verdict(OWNER, incident(database))


def test_a_part_that_is_disputed_after_its_verdict_is_open_by_itself(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    decide(casework, OWNER, whole, UPHELD)
    log.relay()
    log.take(correction("o-1", kind="dispute"))
    again = parts(database, whole)[1]
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=again) == "open"
    assert casework.give_verdict(LEAD, again, "corrected", value="tax") == "corrected"
    casework.undo(LEAD, again)
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=again) == "open"


def test_undo_while_the_cause_has_another_incident_gives_the_cases_to_that(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    first = incident(database)
    decide(casework, OWNER, first, UPHELD)
    at = one(database, 'SELECT resolved_at FROM "case" WHERE id = :id', id=first)
    log.take(*unsure(3, 3))
    second = int(one(database, "SELECT max(id) FROM \"case\" WHERE subject_kind = 'incident'"))
    assert len(undo(casework, OWNER, first, at)) == 3
    query = 'SELECT state, children FROM "case" WHERE id = ANY(:ids) ORDER BY id'
    found = rows(database, query, ids=[first, second])
    assert [tuple(row) for row in found] == [("resolved", 0), ("open", 6)]
    assert {row[1] for row in standing(database) if row[0] == "output"} == {"merged"}


def test_nothing_goes_back_to_an_incident_that_is_closed(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    decide(casework, OWNER, whole, UPHELD)
    at = one(database, 'SELECT resolved_at FROM "case" WHERE id = :id', id=whole)
    close = "UPDATE \"case\" SET state = 'closed', closed_at = now() WHERE id = :id RETURNING id"
    rows(database, close, id=whole)
    with pytest.raises(MovedOn, match="is over"):
        undo(casework, OWNER, whole, at)
    assert {row[1] for row in standing(database)} == {"resolved", "closed"}


def test_a_verdict_that_decides_nothing_wakes_and_claims_nothing(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    given = {"more": 9, "reason": "known", "limit": timedelta(days=3)}
    casework.do("snooze", OWNER, whole, **given)
    before = happened(database, whole)
    ids = parts(database, whole)
    unknown = Judgement(VerdictKind.CORRECTED, "no such category")
    for who, said in ((OUTSIDER, UPHELD), (OWNER, unknown)):
        with database.transaction() as session:
            now, actor = casework.clock.now(session), actor_of(session, who)
            found = service.decide(session, actor, ids, said, lease=LEASE, now=now)
        assert found.done == []
        assert set(found.skipped) == set(ids)
        assert str(whole) not in "".join(found.skipped.values()) or who == OWNER
    assert happened(database, whole) == before
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=whole) == "snoozed"


def test_many_are_taken_back_at_once_by_bulk(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 4))
    whole = incident(database)
    decide(casework, OWNER, whole, UPHELD)
    ids = parts(database, whole)
    with database.transaction() as session:
        now = casework.clock.now(session)
        work = Work(session, actor_of(session, LEAD), ids[0], LIMITS, now)
        found = bulk.do_to_all(work, "undo", [*ids, 10**9], {})
    assert sorted(found.done) == ids
    assert [one.id for one in found.skipped] == [10**9]
    assert {row[1] for row in standing(database)} == {"merged", "open"}
