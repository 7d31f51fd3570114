"""Open cases routed anew by the policy in force: what changes, what stays, and what is left."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from services.escalation import reapply as reapplying
from services.escalation import service
from services.escalation.errors import StaleToken
from services.escalation.policy import revisions
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.reapply import Reapplied
from services.escalation.routing import Router
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import NotAllowed
from services.people import service as people_service
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    POLICY,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    one,
    output,
    rows,
    total,
)
from tests.factories.people import OPERATOR

TO_OTHERS = POLICY.replace(
    "{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, queue: elsewhere, priority: P2,"
)
SOONER = POLICY.replace("{claim: 30m, resolve: 2h}", "{claim: 10m, resolve: 1h}")
LATER = POLICY.replace("{claim: 30m, resolve: 2h}", "{claim: 3h, resolve: 9h}")
LADDER = POLICY.replace("at: 1h, own: user:lea", "at: 40m, own: user:tim")


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    put(database, POLICY)
    delivery = Delivery(database)
    delivery.escalation._router = Router(PolicyInForce())
    return delivery


def put(database: Database, content: str) -> int:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        return revisions.put(session, content, actor=actor_of(session, LEAD), now=now)


def reapply(database: Database, who: str = LEAD, **given: Any) -> Reapplied:
    with database.transaction() as session:
        actor = actor_of(session, who)
    return reapplying.reapply(database, DatabaseClock(), PolicyInForce(), actor=actor, **given)


def stored(database: Database, case: int) -> Any:
    (row,) = rows(database, 'SELECT * FROM "case" WHERE id = :id', id=case)
    return row


def story(database: Database, case: int) -> list[str]:
    query = "SELECT event FROM timeline_entry WHERE case_id = :id ORDER BY id"
    return [row.event for row in rows(database, query, id=case)]


def age(database: Database, case: int, span: str) -> None:
    """Let a case have been opened so much earlier, and all that is due of it."""
    shift = """
    WITH older AS (UPDATE "case" SET opened_at = opened_at - CAST(:span AS interval),
        cycle_opened_at = cycle_opened_at - CAST(:span AS interval),
        claim_due_at = claim_due_at - CAST(:span AS interval),
        resolve_due_at = resolve_due_at - CAST(:span AS interval),
        due_at = due_at - CAST(:span AS interval) WHERE id = :id)
    UPDATE timer SET due_at = due_at - CAST(:span AS interval) WHERE case_id = :id RETURNING 1"""
    rows(database, shift, id=case, span=span)


# --- what changes ---------------------------------------------------------------------------


def test_case_gets_what_the_policy_in_force_would_give_it(
    log: Delivery, case: int, database: Database
) -> None:
    before = stored(database, case)
    second = put(database, TO_OTHERS)
    found = reapply(database)
    after = stored(database, case)
    assert (found.cases, found.changed, found.moved, found.first) == (1, 1, 1, [case])
    assert (after.team, after.owner_team, after.queue, after.priority) == (
        OTHER_TEAM, OTHER_TEAM, "elsewhere", "P2",
    )  # fmt: skip
    assert (after.routing_revision, after.calendar_team) == (str(second), OTHER_TEAM)
    assert (after.due_at, after.state, after.version) == (before.due_at, "open", before.version + 1)
    assert after.owner_since > before.owner_since
    detail = one(database, "SELECT detail FROM timeline_entry WHERE event = 'rerouted'")
    told = {"rule": "catch-all", "team": TEAM, "queue": TEAM, "owner": f"team:{TEAM}"}
    assert detail["from"] == told | {"priority": "P3", "revision": str(second - 1)}
    assert detail["to"]["owner"] == f"team:{OTHER_TEAM}"
    assert detail["to"]["revision"] == str(second)


def test_event_says_rule_revision_and_owner_before_and_after(
    log: Delivery, case: int, database: Database
) -> None:
    first = int(stored(database, case).routing_revision)
    put(database, TO_OTHERS)
    reapply(database)
    data = one(
        database,
        "SELECT convert_from(value, 'UTF8')::jsonb FROM outbox"
        " WHERE convert_from(value, 'UTF8') LIKE '%case.rerouted.v1%'",
    )["data"]
    assert data["actor"] == {"id": LEAD}
    assert data["owner"] == {"kind": "team", "id": OTHER_TEAM}
    assert data["rerouting"] == {
        "before": {
            "rule": "catch-all", "revision": str(first), "owner": {"kind": "team", "id": TEAM},
        },
        "after": {
            "rule": "catch-all", "revision": str(first + 1),
            "owner": {"kind": "team", "id": OTHER_TEAM},
        },
    }  # fmt: skip


def test_new_owner_is_told_and_an_old_one_is_not(
    log: Delivery, case: int, database: Database
) -> None:
    log.relay()
    told = "SELECT person FROM notification WHERE what = 'reassigned' ORDER BY person"
    put(database, SOONER)
    assert reapply(database).changed == 1
    log.relay()
    assert rows(database, told) == []
    put(database, TO_OTHERS)
    reapply(database)
    log.relay()
    assert [row.person for row in rows(database, told)] == [OUTSIDER]


def test_dry_run_says_what_acting_does_and_does_nothing(log: Delivery, database: Database) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(5)))
    log.take(output("o-tax", value="tax", confidence=0.1))
    whole = 'SELECT c, t FROM "case" c, timer t ORDER BY c.id, t.id'
    before, entries = rows(database, whole), one(database, "SELECT count(*) FROM timeline_entry")
    put(database, TO_OTHERS)
    said = reapply(database, dry_run=True)
    assert rows(database, whole) == before
    assert one(database, "SELECT count(*) FROM timeline_entry") == entries
    done = reapply(database)
    assert done.as_answer() == said.as_answer() | {"dry_run": False}
    assert (said.cases, said.changed, said.moved) == (6, 5, 5)
    load = {name: (one.before, one.after) for name, one in said.teams.of.items()}
    assert load == {TEAM: (6, 1), OTHER_TEAM: (0, 5)}
    load = {name: (one.before, one.after) for name, one in said.owners.of.items()}
    assert load == {f"team:{TEAM}": (5, 0), f"team:{OTHER_TEAM}": (0, 5), f"user:{LEAD}": (1, 1)}
    assert reapply(database).changed == 0, "what is as it should be is left alone"


def test_batches_end_by_themselves(
    log: Delivery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reapplying, "BATCH", 2)
    monkeypatch.setattr(reapplying, "SHOWN", 3)
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(5)))
    put(database, TO_OTHERS)
    found = reapply(database)
    assert (found.cases, found.changed, len(found.first)) == (5, 5, 3)
    assert one(database, "SELECT count(*) FROM timeline_entry WHERE event = 'rerouted'") == 5
    assert one(database, "SELECT count(*) FROM audit_entry WHERE verb = 'reapplied'") == 1


def test_another_revision_that_says_the_same_changes_nothing(
    log: Delivery, case: int, database: Database
) -> None:
    before = stored(database, case)
    put(database, POLICY + "# reviewed\n")
    assert reapply(database).changed == 0
    assert stored(database, case) == before
    assert story(database, case) == ["opened"]


def test_without_a_policy_the_tool_s_team_gets_its_cases_back(
    database: Database, case: int, log: Delivery
) -> None:
    put(database, TO_OTHERS)
    reapply(database)
    rows(database, "DELETE FROM routing_policy RETURNING 1")
    found = reapply(database)
    assert (found.revision, found.moved) == ("default", 1)
    assert stored(database, case).owner_team == TEAM


def test_owner_who_cannot_is_passed_over(log: Delivery, case: int, database: Database) -> None:
    put(database, POLICY.replace("{team: support, p", "{user: tim@example.org, p"))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        gone: Any = {"active": False, "actor": OPERATOR, "duties": (), "now": now}
        people_service.change_person(session, TEAMMATE, **gone)
    reapply(database)
    assert stored(database, case).owner_person == LEAD, "the next of the ladder"
    assert story(database, case) == ["opened", "rerouted", "rung skipped"]


# --- clocks ---------------------------------------------------------------------------------


def test_deadlines_count_from_the_cycle_s_beginning(
    log: Delivery, case: int, database: Database
) -> None:
    put(database, SOONER)
    found = reapply(database)
    row = stored(database, case)
    assert (found.earlier, found.later) == (1, 0)
    assert row.claim_due_at == row.cycle_opened_at + timedelta(minutes=10)
    assert row.resolve_due_at == row.cycle_opened_at + timedelta(hours=1)
    assert row.due_at == row.claim_due_at
    timers = rows(database, "SELECT kind, due_at FROM timer WHERE kind <> 'rung' ORDER BY kind")
    assert [tuple(timer) for timer in timers] == [
        ("claim", row.claim_due_at),
        ("resolve", row.resolve_due_at),
    ]
    put(database, LATER)
    found = reapply(database)
    assert (found.earlier, found.later) == (0, 1)
    assert stored(database, case).due_at == row.cycle_opened_at + timedelta(hours=3)


def test_a_deadline_that_was_missed_stays_missed(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    age(database, case, "31 minutes")
    assert casework.fire() == 1
    overdue = stored(database, case)
    assert (overdue.level, overdue.overdue_since is not None) == (1, True)
    put(database, LATER)
    found = reapply(database)
    row = stored(database, case)
    assert (found.later, row.overdue_since, row.level) == (1, overdue.overdue_since, 1)
    assert row.owner_person == LEAD, "and the case its level"
    assert row.due_at == row.resolve_due_at == row.cycle_opened_at + timedelta(hours=9)
    assert casework.fire() == 0


def test_time_that_a_clock_stood_still_does_not_count(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    age(database, case, "20 minutes")
    casework.claim(OWNER, case)
    claimed = stored(database, case)
    put(database, LATER)
    assert reapply(database).changed == 1
    row = stored(database, case)
    assert (row.claimant, row.claim_seq, row.state) == (OWNER, claimed.claim_seq, "claimed")
    assert row.due_at == row.resolve_due_at == row.cycle_opened_at + timedelta(hours=9)
    casework.do("release", OWNER, case, token=str(row.claim_seq))
    back = stored(database, case)
    stood = one(
        database,
        "SELECT max(at) - min(at) FROM clock_mark WHERE clock = 'claim'",
    )
    assert back.claim_due_at == back.cycle_opened_at + timedelta(hours=3) + stood


def test_a_pause_goes_on(log: Delivery, case: int, casework: Casework, database: Database) -> None:
    token = casework.claim(OWNER, case)
    with database.transaction() as session:
        until = DatabaseClock().now(session) + timedelta(hours=5)
    limit = timedelta(days=7)
    casework.do("wait", OWNER, case, token=token, until=until, reason="customer", limit=limit)
    put(database, LADDER.replace("{claim: 30m, resolve: 2h}", "{claim: 3h, resolve: 9h}"))
    said = reapply(database, dry_run=True)
    assert reapply(database).as_answer() == said.as_answer() | {"dry_run": False}
    assert (said.changed, said.later) == (1, 1)
    row = stored(database, case)
    assert (row.state, row.wakes_at) == ("waiting", until)
    running = "SELECT kind FROM timer WHERE fired_at IS NULL AND stopped_at IS NULL"
    assert [timer.kind for timer in rows(database, running)] == ["wake"]
    casework.fire(timedelta(hours=5, minutes=1))
    assert stored(database, case).state == "open"
    assert {timer.kind for timer in rows(database, running)} == {"claim", "resolve", "rung"}


# --- ladders --------------------------------------------------------------------------------


def test_a_case_climbs_its_new_ladder(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    put(database, LADDER.replace("{claim: 30m, resolve: 2h}", "{claim: 5h, resolve: 9h}"))
    reapply(database)
    rung = """SELECT t.rung, t.due_at - c.cycle_opened_at AS at
        FROM timer t JOIN "case" c ON c.id = t.case_id WHERE t.kind = 'rung'"""
    (timer,) = rows(database, rung)
    assert (timer.rung, timer.at) == (1, timedelta(minutes=40))
    casework.fire(timedelta(minutes=41))
    row = stored(database, case)
    assert (row.level, row.owner_person) == (1, TEAMMATE)


def test_rungs_whose_time_has_come_are_reached_at_once(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    patient = POLICY.replace("{claim: 30m, resolve: 2h}", "{claim: 1d, resolve: 2d}")
    put(database, patient.replace("at: 1h", "at: 20h").replace("at: 3h", "at: 21h"))
    reapply(database)
    age(database, case, "4 hours")
    assert casework.fire() == 0
    put(database, patient)
    reapply(database)
    assert casework.fire() == 1
    row = stored(database, case)
    assert (row.level, row.owner_person) == (2, ADMIN)
    assert story(database, case).count("escalated") == 1
    due = "SELECT rung, due_at FROM timer WHERE kind = 'rung' AND fired_at IS NULL"
    (reminder,) = rows(database, due)
    assert reminder.rung == 3
    assert reminder.due_at == row.cycle_opened_at + timedelta(hours=5), "one reminder, no flood"


def test_a_case_keeps_its_level_as_far_as_the_new_ladder_goes(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    for level in (0, 1):
        casework.do("escalate", LEAD, case, level=level)
    short = POLICY.replace("    - {at: 3h, own: user:ada@example.org, repeat: 1h}\n", "")
    put(database, short)
    reapply(database)
    row = stored(database, case)
    assert (row.level, row.owner_person, row.team) == (1, LEAD, TEAM)
    put(database, POLICY)
    reapply(database)
    assert stored(database, case).level == 1


# --- what is left as it is ------------------------------------------------------------------


def test_owner_chosen_by_hand_stays_unless_that_is_asked_for(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", TEAMMATE))
    put(database, TO_OTHERS)
    found = reapply(database)
    why = f"user:{TEAMMATE} was made its owner by hand"
    assert (found.changed, [tuple(left) for left in found.left]) == (0, [(case, why)])
    assert found.owners.of[f"user:{TEAMMATE}"].after == 1
    assert reapply(database, also_reassigned=True).changed == 1
    assert stored(database, case).owner_team == OTHER_TEAM
    put(database, POLICY)
    assert reapply(database).left == [], "the policy chose last"


def test_owner_by_ladder_or_by_leaving_is_none_chosen_by_hand(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", TEAMMATE))
    casework.do("escalate", LEAD, case, level=0)
    put(database, TO_OTHERS)
    assert reapply(database).left == []


def test_claim_goes_on_where_its_holder_sees_the_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    put(database, POLICY.replace("{team: support, p", "{user: lea@example.org, queue: q2, p"))
    assert reapply(database).changed == 1
    row = stored(database, case)
    assert (row.claimant, row.owner_person, row.queue) == (OWNER, LEAD, "q2")
    assert casework.give_verdict(OWNER, case, token=token) == "upheld"


def test_claim_of_somebody_who_would_not_see_it_any_more_keeps_the_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    put(database, TO_OTHERS)
    found = reapply(database)
    why = f"{OWNER} holds it, and does not see team '{OTHER_TEAM}'"
    assert [tuple(left) for left in found.left] == [(case, why)]
    assert stored(database, case).team == TEAM
    casework.do("release", OWNER, case, token=token)
    casework.claim(ADMIN, case)
    assert reapply(database).changed == 1, "an admin sees all teams"


def test_parts_and_decided_cases_are_left_alone(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    part, whole, decided = [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]
    casework.do("merge", LEAD, part, into=whole)
    casework.give_verdict(OWNER, decided)
    before = [stored(database, number) for number in (part, decided)]
    put(database, SOONER)
    found = reapply(database)
    assert (found.cases, found.first) == (1, [whole])
    assert [stored(database, number) for number in (part, decided)] == before


def test_whole_case_answers_for_its_parts_by_their_earliest_deadline(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(2)))
    part, whole = [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]
    casework.do("merge", LEAD, part, into=whole)
    put(database, LATER)
    said = reapply(database, dry_run=True)
    assert reapply(database).as_answer() == said.as_answer() | {"dry_run": False}
    assert stored(database, whole).due_at == stored(database, part).due_at


def test_owners_do_not_route(log: Delivery, case: int, database: Database) -> None:
    put(database, TO_OTHERS)
    for dry_run in (True, False):
        with pytest.raises(NotAllowed):
            reapply(database, OWNER, dry_run=dry_run)
    assert stored(database, case).team == TEAM


def test_rerouting_counts_no_case_twice(log: Delivery, case: int, database: Database) -> None:
    put(database, TO_OTHERS)
    reapply(database)
    assert total(database, "cases") == total(database, "routed") == 1


# --- races ----------------------------------------------------------------------------------


def test_a_claim_that_is_first_keeps_its_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    put(database, TO_OTHERS)
    claimed, routing = Event(), Event()

    def claim() -> str:
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            held = service.claim(
                session, actor_of(session, OWNER), case, lease=timedelta(minutes=5), now=now
            )
            claimed.set()
            routing.wait(5)
            # The other one waits for the case by now, or comes to it later.
            return held.token

    def route() -> Reapplied:
        claimed.wait(5)
        routing.set()
        return reapply(database)

    with ThreadPoolExecutor(2) as people:
        first, second = people.submit(claim), people.submit(route)
        token, found = first.result(), second.result()
    assert [left.id for left in found.left] == [case]
    assert casework.give_verdict(OWNER, case, token=token) == "upheld"


def test_claims_and_routing_side_by_side_end_with_one_truth(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(20)))
    cases = [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]
    put(database, TO_OTHERS)
    tokens: dict[int, str] = {}

    def claim_all() -> None:
        for number in reversed(cases):
            tokens[number] = casework.claim(ADMIN, number)

    with ThreadPoolExecutor(2) as people:
        first, second = people.submit(claim_all), people.submit(reapply, database)
        first.result()
        assert second.result().changed == len(cases)
    for number, token in tokens.items():
        row = stored(database, number)
        assert (row.team, row.claimant, str(row.claim_seq)) == (OTHER_TEAM, ADMIN, token)
        assert story(database, number).count("rerouted") == 1
    casework.do("release", ADMIN, cases[0], token=tokens[cases[0]])
    with pytest.raises(StaleToken):
        casework.do("release", ADMIN, cases[0], token=tokens[cases[0]])
