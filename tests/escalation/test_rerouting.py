"""Open cases routed anew by the policy in force: what changes, what stays, and what is left."""

from datetime import timedelta
from typing import Any

import pytest

from services.escalation import reapply as reapplying
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.people import service as people_service
from tests.escalation.reroutes import (
    LADDER,
    LATER,
    SOONER,
    TO_OTHERS,
    age,
    delivery_by_policy,
    open_some,
    put,
    reapply,
    stored,
    story,
)
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
    correction,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    return delivery_by_policy(database)


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
    assert detail["from"] == told | {"priority": "P3", "reviewers": 1, "revision": str(second - 1)}
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
    open_some(log, database, 5)
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
    open_some(log, database, 5)
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
    found = reapply(database, ADMIN)
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


def test_case_does_not_go_to_who_corrected_its_output(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1, value="tax"))
    assert rows(database, 'SELECT owner_person FROM "case"') == [(LEAD,)]
    log.take(correction("o-2", value="billing", who=LEAD))
    log.take(output("o-2", confidence=0.1, value="tax"))
    assert reapply(database).moved == 0
    owners = 'SELECT owner_person FROM "case" ORDER BY id'
    assert rows(database, owners) == [(LEAD,), (ADMIN,)]


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
