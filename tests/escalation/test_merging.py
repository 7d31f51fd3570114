"""Cases that are part of another one, and verbs on many at once."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.escalation import bulk, clocks, lists, service
from services.escalation.errors import MovedOn
from services.escalation.lists import Filter
from services.escalation.retention import purge_cases
from services.escalation.rules import Owner
from services.escalation.verbs import Limits, Work
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound
from tests.factories import (
    ADMIN,
    LEAD,
    LEASE,
    OUTSIDER,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
    output,
    populate,
    rows,
)

LIMITS = Limits(lease=LEASE, reopen_window=timedelta(hours=1), pause=timedelta(days=3))
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def row(database: Database, case: int) -> Any:
    query = """SELECT state, incident, children, claimant, due_at, claim_due_at, resolve_due_at
        FROM "case" WHERE id = :case"""
    return rows(database, query, case=case)[0]


def dues(database: Database, case: int) -> list[tuple[str, datetime]]:
    query = """SELECT kind, due_at FROM timer WHERE case_id = :case AND fired_at IS NULL
        ORDER BY kind"""
    return [(found.kind, found.due_at) for found in rows(database, query, case=case)]


def running(database: Database, case: int) -> int:
    query = """SELECT count(*) FROM timer
        WHERE case_id = :case AND fired_at IS NULL AND stopped_at IS NULL"""
    return int(one(database, query, case=case))


def all_at_once(casework: Casework, who: str, verb: str, ids: list[int], **body: Any) -> Any:
    with casework.database.transaction() as session:
        now = casework.clock.now(session)
        work = Work(session, actor_of(session, who), ids[0], LIMITS, now)
        bulk.checked(verb, body)
        return bulk.do_to_all(work, verb, ids, body)


def test_a_merged_case_is_due_with_the_one_that_answers_for_it(
    cases: list[int], casework: Casework, database: Database
) -> None:
    first, second, _ = cases
    # The second one has more time.
    with database.transaction() as session:
        longer = """UPDATE "case" SET claim_within = '9h', resolve_within = '2d' WHERE id = :id"""
        session.execute(text(longer), {"id": second})
        clocks.count_anew(session, [second])
    before = dues(database, first)
    assert row(database, second).due_at > before[0][1] + HOUR
    casework.do("merge", LEAD, first, into=second)
    assert row(database, first)[:3] == ("merged", second, 0)
    assert row(database, second)[:3] == ("open", None, 1)
    assert row(database, second).due_at <= row(database, first).due_at
    assert running(database, first) == 0
    told = (
        "SELECT case_id, event FROM timeline_entry WHERE event IN ('merged', 'joined') ORDER BY id"
    )
    assert [tuple(r) for r in rows(database, told)] == [(first, "merged"), (second, "joined")]
    # Taken out again it is due as if nothing had been, and the other one as it was.
    casework.do("unmerge", LEAD, first)
    assert row(database, first)[:3] == ("open", None, 0)
    assert row(database, second).children == 0
    assert dues(database, first) == before
    assert row(database, second).due_at > before[0][1] + HOUR


def test_what_is_merged_is_overdue_with_its_parent_alone(
    cases: list[int], casework: Casework, database: Database
) -> None:
    casework.do("merge", LEAD, cases[0], into=cases[1])
    casework.fire(31 * MINUTE)
    overdue = "SELECT case_id FROM timeline_entry WHERE event = 'overdue' ORDER BY case_id"
    assert [r.case_id for r in rows(database, overdue)] == cases[1:]


def test_what_was_part_of_one_case_and_is_of_another_is_counted_once(
    cases: list[int], casework: Casework, database: Database
) -> None:
    first, second, third = cases
    casework.do("merge", LEAD, first, into=second)
    assert all_at_once(casework, OWNER, "verdict", [first], verdict="upheld").done == [first]
    casework.do("reopen", LEAD, first)
    casework.do("merge", LEAD, first, into=third)
    assert [row(database, case).children for case in cases] == [0, 0, 1]
    # It answers for another one itself, too, as nobody answers for it any more.
    assert all_at_once(casework, OWNER, "verdict", [first], verdict="upheld").done == [first]
    casework.do("reopen", LEAD, first)
    casework.do("merge", LEAD, second, into=first)
    assert [row(database, case).children for case in cases] == [1, 0, 0]


def test_nothing_is_merged_into_what_is_looked_at_blind(
    cases: list[int], casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        session.execute(text('UPDATE "case" SET reviewers = 2 WHERE id = :id'), {"id": cases[1]})
    with pytest.raises(InvalidInput, match=f"case {cases[1]} is looked at blind"):
        casework.do("merge", LEAD, cases[0], into=cases[1])
    assert row(database, cases[0]).incident is None


def test_merging_ends_a_claim(cases: list[int], casework: Casework, database: Database) -> None:
    token = casework.claim(OWNER, cases[0])
    casework.do("merge", LEAD, cases[0], into=cases[1])
    assert row(database, cases[0]).claimant is None
    with pytest.raises(MovedOn):
        casework.claim(OWNER, cases[0])
    casework.do("unmerge", LEAD, cases[0])
    assert int(casework.claim(OWNER, cases[0])) > int(token)


@pytest.mark.parametrize(
    ("case", "into", "problem"),
    [
        (0, 0, "is no part of itself"),
        (1, 0, "has 1 cases of its own"),
        (0, 2, "is part of case 2 itself"),
    ],
)
def test_a_case_is_part_of_one_other_alone(
    case: int, into: int, problem: str, cases: list[int], casework: Casework, database: Database
) -> None:
    if case != into:
        casework.do("merge", LEAD, cases[2], into=cases[1])
    before = rows(database, 'SELECT id, state, incident FROM "case" ORDER BY id')
    with pytest.raises(InvalidInput, match=problem) as refused:
        casework.do("merge", LEAD, cases[case], into=cases[into])
    assert refused.value.problems[0].pointer == "/into"
    assert rows(database, 'SELECT id, state, incident FROM "case" ORDER BY id') == before


def test_who_may_merge(cases: list[int], casework: Casework) -> None:
    with pytest.raises(NotAllowed, match="Leads and admins merge cases"):
        casework.do("merge", OWNER, cases[0], into=cases[1])
    with pytest.raises(NotFound):
        casework.do("merge", OUTSIDER, cases[0], into=cases[1])
    with pytest.raises(NotFound):
        casework.do("merge", LEAD, cases[0], into=10**9)


def test_a_case_that_others_wait_for_gets_no_verdict(cases: list[int], casework: Casework) -> None:
    casework.do("merge", LEAD, cases[0], into=cases[1])
    with pytest.raises(MovedOn, match="Cases are merged into this one"):
        casework.give_verdict(OWNER, cases[1])
    casework.do("unmerge", LEAD, cases[0])
    casework.give_verdict(OWNER, cases[1])


def test_the_parts_of_a_case_are_listed(
    cases: list[int], casework: Casework, database: Database
) -> None:
    for case in cases[1:]:
        casework.do("merge", LEAD, case, into=cases[0])
    with database.transaction() as session:
        for who, found in ((OWNER, cases[1:]), (OUTSIDER, [])):
            actor = actor_of(session, who)
            listed = lists.cases(session, actor, Filter(incident=cases[0]))
            assert [one.id for one in listed] == found


def test_a_verdict_on_many_says_what_it_did_not_do(
    log: Delivery, cases: list[int], casework: Casework, database: Database
) -> None:
    log.take(correction("o-1", kind="dispute", reason="no", who=TEAMMATE))
    casework.claim(OWNER, cases[2])
    asked = [*cases, 10**9]
    outcome = all_at_once(casework, TEAMMATE, "verdict", asked, verdict="upheld")
    assert outcome.done == [cases[0]]
    assert [(one.id, one.why.split()[0]) for one in outcome.skipped] == [
        (cases[1], "You"),
        (cases[2], OWNER),
        (10**9, "There"),
    ]
    states = [row(database, case).state for case in cases]
    assert states == ["resolved", "open", "claimed"]


def test_what_was_done_to_many_is_undone_by_one_step(
    cases: list[int], casework: Casework, database: Database
) -> None:
    before = rows(database, 'SELECT id, state, due_at FROM "case" ORDER BY id')
    done = all_at_once(casework, OWNER, "verdict", cases, verdict="undecidable", note="torn")
    assert done.done == cases
    undone = all_at_once(casework, OWNER, "undo", cases)
    assert (undone.done, undone.skipped) == (cases, [])
    assert rows(database, 'SELECT id, state, due_at FROM "case" ORDER BY id') == before


def test_every_verb_can_be_done_to_many(
    cases: list[int], casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        until = (casework.clock.now(session) + HOUR).isoformat()
    pause = {"until": until, "reason": "later"}
    owner = {"kind": "person", "id": OWNER}
    for verb, who, body in (
        ("claim", OWNER, {}),
        ("release", OWNER, {}),
        ("wait", OWNER, pause),
        ("wake", OWNER, {}),
        ("snooze", OWNER, pause),
        ("wake", OWNER, {"note": "now"}),
        ("comment", OWNER, {"note": "all the same"}),
        ("escalate", OWNER, {}),
        ("reassign", LEAD, {"owner": owner}),
        ("verdict", OWNER, {"verdict": "upheld"}),
        ("reopen", OWNER, {}),
    ):
        outcome = all_at_once(casework, who, verb, cases, **body)
        assert (outcome.done, outcome.skipped) == (cases, []), verb
    merged = all_at_once(casework, LEAD, "merge", cases, into=cases[0])
    assert merged.done == cases[1:]
    assert all_at_once(casework, LEAD, "unmerge", cases[1:]).done == cases[1:]
    assert {row(database, case).state for case in cases} == {"open"}


@pytest.mark.parametrize(
    ("verb", "body", "pointer"),
    [
        ("eat", {}, "/verb"),
        ("verdict", {}, "/body/verdict"),
        ("snooze", {"until": "soon", "reason": "r"}, "/body/until"),
        ("claim", {"surprise": 1}, "/body/surprise"),
    ],
)
def test_what_could_be_done_to_no_case_is_refused(
    verb: str, body: dict[str, Any], pointer: str, cases: list[int], casework: Casework
) -> None:
    with pytest.raises(InvalidInput) as refused:
        all_at_once(casework, OWNER, verb, cases, **body)
    assert refused.value.problems[0].pointer == pointer
    assert refused.value.problems[0].hint


def test_a_blind_case_is_looked_at_by_itself(
    cases: list[int], casework: Casework, database: Database
) -> None:
    rows(database, 'UPDATE "case" SET blind = true WHERE id = :c RETURNING 1', c=cases[1])
    outcome = all_at_once(casework, OWNER, "verdict", cases, verdict="upheld")
    assert outcome.done == [cases[0], cases[2]]
    assert "blind" in outcome.skipped[0].why


def test_a_merged_case_of_somebody_who_left_comes_back_to_somebody_else(
    cases: list[int], casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, cases[0], owner=Owner("person", TEAMMATE))
    casework.do("merge", LEAD, cases[0], into=cases[1])
    rows(database, "UPDATE person SET active = false WHERE email = :e RETURNING 1", e=TEAMMATE)
    casework.do("unmerge", LEAD, cases[0])
    assert one(database, 'SELECT owner_person FROM "case" WHERE id = :c', c=cases[0]) != TEAMMATE


def test_what_is_looked_at_blind_is_merged_into_none(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    log, casework = Delivery(empty), Casework(empty)
    log.take(output("o-1"), output("o-2", confidence=0.1))
    audit, other = (row.id for row in rows(empty, 'SELECT id FROM "case" ORDER BY trigger, id'))
    with pytest.raises(InvalidInput, match="blind"):
        casework.do("merge", LEAD, audit, into=other)


@pytest.mark.parametrize("step", ["close_resolved", "expire_leases"])
def test_no_more_than_the_limit_are_taken_on_at_once(
    step: str, log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(40)))
    for row in rows(database, 'SELECT id FROM "case"'):
        if step == "close_resolved":
            casework.give_verdict(OWNER, row.id)
        else:
            casework.claim(OWNER, row.id, lease=timedelta(0))
    with database.transaction() as session:
        now = casework.clock.now(session) + HOUR
        given = {"now": now, "limit": 3} | ({"before": now} if step == "close_resolved" else {})
        assert getattr(service, step)(session, **given) == 3


def test_what_is_merged_into_a_case_is_not_put_off_with_it(
    cases: list[int], casework: Casework, database: Database
) -> None:
    until = datetime.now(UTC) + timedelta(days=2)
    casework.do("snooze", LEAD, cases[0], until=until, reason="later", limit=LIMITS.pause)
    due = row(database, cases[1]).due_at
    casework.do("merge", LEAD, cases[1], into=cases[0])
    found = row(database, cases[0])
    assert (found.state, found.due_at) == ("open", due)
    assert casework.fire(due - datetime.now(UTC) + MINUTE) > 0


def test_both_a_case_and_its_part_are_decided_and_taken_back_at_once(
    cases: list[int], casework: Casework, database: Database
) -> None:
    whole, part, _ = cases
    casework.do("merge", LEAD, part, into=whole)
    assert sorted(
        all_at_once(casework, OWNER, "verdict", [part, whole], verdict="upheld").done
    ) == [
        whole,
        part,
    ]
    back = all_at_once(casework, OWNER, "undo", [part, whole])
    assert (sorted(back.done), back.skipped) == ([whole, part], [])
    assert [row(database, case).state for case in (whole, part)] == ["open", "merged"]


def test_nobody_touches_a_case_of_another_team_by_a_part_of_it(
    cases: list[int], casework: Casework, database: Database
) -> None:
    whole, part, _ = cases
    rows(database, "UPDATE \"case\" SET team = 'other' WHERE id = :id RETURNING id", id=part)
    casework.do("merge", ADMIN, part, into=whole)
    found = all_at_once(casework, OUTSIDER, "verdict", [part], verdict="upheld")
    assert "of another team" in found.skipped[0].why
    rows(database, "UPDATE person SET role = 'lead' WHERE email = :who RETURNING 1", who=OUTSIDER)
    with pytest.raises(NotAllowed, match="of another team"):
        casework.do("unmerge", OUTSIDER, part)
    all_at_once(casework, ADMIN, "verdict", [part], verdict="upheld")
    found = all_at_once(casework, OUTSIDER, "undo", [part])
    assert "of another team" in found.skipped[0].why
    who = "SELECT actor FROM timeline_entry WHERE case_id = :id"
    assert f"user:{OUTSIDER}" not in {one.actor for one in rows(database, who, id=whole)}


def test_a_part_that_is_gone_for_good_is_counted_no_longer(
    cases: list[int], casework: Casework, database: Database
) -> None:
    whole, part, _ = cases
    casework.do("merge", LEAD, part, into=whole)
    all_at_once(casework, OWNER, "verdict", [part], verdict="upheld")
    assert row(database, whole).children == 1
    far = datetime.now(UTC) + timedelta(days=30)
    with database.transaction() as session:
        service.close_resolved(session, now=far, before=far)
        assert len(purge_cases(session, before=far + HOUR, now=far, limit=10)) == 1
    assert row(database, whole).children == 0
