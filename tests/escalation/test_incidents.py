"""Cases of the same cause: one incident, one owner, one deadline, told of once."""

from datetime import timedelta
from typing import Any

import pytest
from secondlook import events

from services.escalation import bulk, service
from services.escalation.errors import HeldBySomebody, MovedOn
from services.escalation.policy.read import read as read_policy
from services.escalation.service import Judgement
from services.escalation.verbs import Limits, Work
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound, SecondlookError
from services.tools.rules import VerdictKind
from tests.factories import (
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
    failure,
    one,
    output,
    rows,
)

GROUPED = """
version: 1
catch_all: {team: support, sla: {claim: 4h, resolve: 1d}}
rules:
  - id: unsure
    when: {trigger: low_confidence}
    owner: {team: support}
    sla: {claim: 30m, resolve: 2h}
    group: {by: [tool, model_version, predicted.category], window: 2h, incident_at: 3}
"""
WINDOW = timedelta(hours=1)
LIMITS = Limits(lease=LEASE, reopen_window=WINDOW, pause=timedelta(days=3))
UPHELD, TAX = Judgement(VerdictKind.UPHELD), Judgement(VerdictKind.CORRECTED, "tax")
STANDING = 'SELECT subject_kind, state, incident, children FROM "case" ORDER BY id'


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers, by a policy that groups."""
    return Delivery(database, read_policy(GROUPED))


def unsure(first: int, count: int, **fields: Any) -> list[Any]:
    return [output(f"o-{n}", confidence=0.1, **fields) for n in range(first, first + count)]


def standing(database: Database) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in rows(database, STANDING)]


def incident(database: Database) -> int:
    return int(one(database, "SELECT id FROM \"case\" WHERE subject_kind = 'incident'"))


def parts(database: Database, whole: int) -> list[int]:
    query = 'SELECT id FROM "case" WHERE incident = :whole ORDER BY id'
    return [row.id for row in rows(database, query, whole=whole)]


def happened(database: Database, case: int) -> list[str]:
    query = "SELECT event FROM timeline_entry WHERE case_id = :case ORDER BY id"
    return [row.event for row in rows(database, query, case=case)]


def told(database: Database) -> list[tuple[str, int]]:
    query = "SELECT what, case_id FROM notification WHERE person = :who ORDER BY id"
    return [(row.what, row.case_id) for row in rows(database, query, who=OWNER)]


def decide(casework: Casework, who: str, whole: int, said: Judgement) -> service.Decided:
    """One verdict on all that is part of an incident now."""
    with casework.database.transaction() as session:
        now, actor = casework.clock.now(session), actor_of(session, who)
        found = service.merged_into(session, actor, whole, as_of=now)
        ids = [case.id for case in found]
        return service.decide(session, actor, ids, said, lease=LEASE, now=now)


def undo(casework: Casework, who: str, whole: int, at: Any) -> list[int]:
    """Take back what was decided together at a moment."""
    given = {"at": at, "window": WINDOW}
    return list(casework.do("undo_together", who, whole, **given))


def test_enough_cases_of_a_cause_are_an_incident(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2))
    assert {row[0] for row in standing(database)} == {"output"}
    log.take(*unsure(2, 1))
    whole = incident(database)
    assert standing(database) == [
        *[("output", "merged", whole, 0)] * 3,
        ("incident", "open", None, 3),
    ]
    assert happened(database, whole) == ["opened", "joined"]
    assert happened(database, parts(database, whole)[0]) == ["opened", "merged"]
    # It is due with the first of its cases, and these are not asked for by themselves any more.
    due = 'SELECT min(due_at) FROM "case" WHERE state = :state'
    assert one(database, due, state="open") == one(database, due, state="merged")
    running = """SELECT DISTINCT case_id FROM timer
        WHERE fired_at IS NULL AND stopped_at IS NULL"""
    assert [row.case_id for row in rows(database, running)] == [whole]


def test_a_surge_tells_its_owner_once(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 40))
    log.take(*unsure(40, 60))
    whole = incident(database)
    assert one(database, 'SELECT children FROM "case" WHERE id = :id', id=whole) == 100
    assert told(database) == [("opened", whole)]


def test_what_differs_is_another_cause(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2), *unsure(2, 2, value="tax"))
    log.take(
        *unsure(4, 2, version=events.Version(model="m-2")),
        *unsure(6, 1, version=events.Version(model="m-2")),
    )
    whole = incident(database)
    assert [row[0] for row in standing(database)].count("incident") == 1
    query = (
        'SELECT o.model FROM "case" c JOIN case_output o ON o.case_id = c.id WHERE incident = :i'
    )
    assert {row.model for row in rows(database, query, i=whole)} == {"m-2"}


def test_a_case_that_somebody_works_on_is_left_to_them(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 2))
    held = int(one(database, 'SELECT min(id) FROM "case"'))
    token = casework.claim(OWNER, held)
    log.take(*unsure(2, 1))
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=held) == "claimed"
    assert len(parts(database, incident(database))) == 2
    casework.give_verdict(OWNER, held, token=token)


def test_what_is_older_than_the_window_does_not_count(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2))
    rows(database, "UPDATE \"case\" SET opened_at = opened_at - interval '3 hours' RETURNING 1")
    log.take(*unsure(2, 2))
    assert {row[0] for row in standing(database)} == {"output"}


def test_failures_are_grouped_where_no_rule_says_so(database: Database) -> None:
    log = Delivery(database)
    log.take(*(failure(f"f-{n}") for n in range(10)))
    assert standing(database)[-1] == ("incident", "open", None, 10)


def test_audits_and_what_a_rule_leaves_alone_are_not_grouped(database: Database) -> None:
    log = Delivery(database, read_policy(GROUPED.replace("{by:", "none #{by:")))
    log.take(*unsure(0, 20))
    assert {row[0] for row in standing(database)} == {"output"}


def test_all_are_decided_together_each_with_its_own_verdict(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 4))
    whole = incident(database)
    with database.transaction() as session:
        now, actor = casework.clock.now(session), actor_of(session, OWNER)
        shown = service.merged_into(session, actor, whole, as_of=now)
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


def test_a_verdict_on_the_incident_itself_says_how(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    with pytest.raises(MovedOn, match="bulk"):
        casework.give_verdict(OWNER, incident(database))


def test_an_incident_that_everything_was_taken_out_of_ends(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    first, *others = parts(database, whole)
    for case in others:
        casework.do("unmerge", LEAD, case)
    token = casework.claim(OWNER, whole)
    with pytest.raises(HeldBySomebody):
        casework.do("unmerge", LEAD, first)
    casework.do("release", OWNER, whole, token=token)
    casework.do("unmerge", LEAD, first)
    assert standing(database) == [
        *[("output", "open", None, 0)] * 3,
        ("incident", "resolved", None, 0),
    ]
    # Taken out they are no part of the next one either.
    log.take(*unsure(3, 2))
    assert [row[0] for row in standing(database)].count("incident") == 1


def test_a_new_incident_of_the_same_cause_after_the_last(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    decide(casework, OWNER, incident(database), UPHELD)
    log.take(*unsure(3, 3))
    kinds = [row[0] for row in standing(database)]
    assert kinds.count("incident") == 2
    first = int(one(database, "SELECT min(id) FROM \"case\" WHERE subject_kind = 'incident'"))
    with pytest.raises(MovedOn, match="its cases"):
        casework.do("reopen", LEAD, first)


def test_put_off_until_so_many_more_have_come(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole, given = incident(database), {"reason": "known", "limit": timedelta(days=3)}
    casework.do("snooze", OWNER, whole, more=3, **given)
    log.take(*unsure(3, 2))
    query = 'SELECT state, wakes_after, children FROM "case" WHERE id = :id'
    assert tuple(rows(database, query, id=whole)[0]) == ("snoozed", 1, 5)
    log.take(*unsure(5, 1))
    assert tuple(rows(database, query, id=whole)[0]) == ("open", None, 6)
    with pytest.raises(InvalidInput, match="not said"):
        casework.do("snooze", OWNER, whole, **given)


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


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ("{by: [mood]}", "nothing that cases can have in common"),
        ("{by: []}", "at least 1"),
        ("{by: [tool], window: 2bd}", "is no window"),
        ("{by: [tool], incident_at: 1}", "greater than or equal to 2"),
        ("often", "says of nothing"),
        ("{when: 3}", "when"),
    ],
)
def test_a_group_that_cannot_be_used_is_refused(group: str, problem: str) -> None:
    text = GROUPED.replace(
        "{by: [tool, model_version, predicted.category], window: 2h, incident_at: 3}", group
    )
    with pytest.raises(InvalidInput, match="unsure") as refused:
        read_policy(text)
    assert problem in str(refused.value) or problem in str(refused.value.problems)
    assert "line 9" in str(refused.value) or "line 9" in str(refused.value.problems)


def test_a_case_that_others_are_merged_into_joins_none(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 2))
    first, second = (row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id'))
    casework.do("merge", LEAD, first, into=second)
    log.take(*unsure(2, 3))
    assert parts(database, incident(database)) == [second + 1, second + 2, second + 3]
    assert parts(database, second) == [first]
    assert one(database, "SELECT count(*) FROM dead_letter") == 0


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


def test_each_that_was_put_off_counts_all_that_comes(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 1), *unsure(1, 1))
    given = {"more": 10, "reason": "known", "limit": timedelta(days=3)}
    for row in rows(database, 'SELECT id FROM "case" ORDER BY id'):
        casework.do("snooze", OWNER, row.id, **given)
    log.take(*unsure(2, 1))
    casework.do("snooze", OWNER, int(one(database, 'SELECT max(id) FROM "case"')), **given)
    log.take(*unsure(3, 1))
    left = 'SELECT wakes_after FROM "case" WHERE wakes_after IS NOT NULL ORDER BY id'
    assert [row.wakes_after for row in rows(database, left)] == [8, 8, 9]
    # What was put off hides none of those that are enough for an incident.
    log.take(*unsure(4, 2))
    assert len(parts(database, incident(database))) == 3


def test_what_is_taken_out_again_is_told_to_its_owner(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 4))
    part = parts(database, incident(database))[-1]
    casework.do("unmerge", LEAD, part)
    log.relay()
    assert ("reopened", part) in told(database)


def test_a_dispute_of_a_part_is_in_its_story(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 3))
    log.take(correction("o-1", kind="dispute"))
    part = parts(database, incident(database))[1]
    assert happened(database, part)[-1] == "disputed"
