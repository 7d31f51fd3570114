"""The checker finds what is wrong with cases: claims, owners, timers, clocks and parts."""

from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import text

from services.escalation import claims, firing, ladder, queries, service, verdicts
from services.escalation.answering import ask
from services.escalation.clocks import _COLUMNS, Timer
from services.kit import counts
from tests.conservation.planting import found, run, run_ddl
from tests.factories import (
    LEAD,
    OWNER,
    TEAMMATE,
    actor_of,
    output,
)
from tests.factories.pipeline import Pipeline

FENCE = (
    "AND claimant = :me AND claim_seq = :token"
    " AND lease_expires_at > greatest(:now, clock_timestamp())"
)
UNFENCED = "AND coalesce(:token, :token) IS NOT NULL AND coalesce(:me, :me) IS NOT NULL"


# --- claims -------------------------------------------------------------------------------


def test_no_fencing_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    unfenced = str(verdicts.RESOLVE).replace(FENCE, UNFENCED)
    assert unfenced != str(verdicts.RESOLVE)
    monkeypatch.setattr(verdicts, "RESOLVE", text(unfenced))
    case = pipeline.case("overdue")
    token = pipeline.claim(OWNER, case, lease=timedelta(seconds=0))
    pipeline.claim(TEAMMATE, case)
    pipeline.give_verdict(OWNER, case, token=token)
    pipeline.settle()
    assert found(pipeline) == {"fencing"}


def test_write_past_the_lease_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    unleased = str(verdicts.RESOLVE).replace(FENCE, UNFENCED)
    unleased = unleased.replace("state IN ('claimed')", "true")
    monkeypatch.setattr(verdicts, "RESOLVE", text(unleased))
    run_ddl(pipeline, 'ALTER TABLE "case" DISABLE TRIGGER USER')
    case = pipeline.case("overdue")
    token = pipeline.claim(OWNER, case, lease=timedelta(seconds=0))
    with pipeline.database.transaction() as session:
        claims.expire_leases(session, now=pipeline.clock.now(session))
    pipeline.give_verdict(OWNER, case, token=token)
    pipeline.settle()
    assert found(pipeline) == {"fencing"}


def test_acknowledged_verdict_that_is_not_there_is_found(pipeline: Pipeline) -> None:
    pipeline.ledger.verdict(pipeline.case("overdue"), OWNER).times += 1
    assert found(pipeline) == {"verdicts"}


def test_owner_deactivated_behind_the_back_is_found(pipeline: Pipeline) -> None:
    run_ddl(pipeline, "ALTER TABLE person DISABLE TRIGGER USER")
    run(pipeline, "UPDATE person SET active = false WHERE role IN ('owner', 'lead', 'admin')")
    assert found(pipeline) == {"owned"}


def test_reviewers_demoted_behind_the_back_are_found(pipeline: Pipeline) -> None:
    pipeline.send(output("young", confidence=0.1))
    pipeline.settle()
    run_ddl(pipeline, "ALTER TABLE person DISABLE TRIGGER USER")
    run(pipeline, "UPDATE person SET role = 'rep' WHERE role IN ('owner', 'lead')")
    assert "owned" in found(pipeline)


def test_team_without_a_reviewer_is_found(pipeline: Pipeline) -> None:
    pipeline.send(output("young", confidence=0.1))
    pipeline.settle()
    run_ddl(pipeline, "ALTER TABLE membership DISABLE TRIGGER USER")
    run(pipeline, "DELETE FROM membership WHERE team = 'support'")
    assert found(pipeline) == {"owned"}


# --- timers -------------------------------------------------------------------------------


def a_timer(pipeline: Pipeline, clock: str) -> int:
    pipeline.send(output("young", confidence=0.1))
    pipeline.settle()
    query = text("SELECT id FROM timer WHERE case_id = :case AND kind = :clock")
    with pipeline.database.transaction() as session:
        return int(
            session.execute(query, {"case": pipeline.case("young"), "clock": clock}).scalar()
        )


@pytest.mark.parametrize(("clock", "check"), [("claim", "deadlines"), ("rung", "rungs")])
def test_timer_fired_outside_its_transaction_is_found(
    pipeline: Pipeline, clock: str, check: str
) -> None:
    timer = a_timer(pipeline, clock)
    run(pipeline, "UPDATE timer SET fired_at = clock_timestamp() WHERE id = :timer", timer=timer)
    assert check in found(pipeline)


def test_timer_fired_twice_is_found(pipeline: Pipeline) -> None:
    timer = a_timer(pipeline, "claim")
    for _ in range(2):
        with pipeline.database.transaction() as session:
            now = pipeline.clock.now(session)
            query = text(
                f'SELECT {_COLUMNS} FROM timer t JOIN "case" c ON c.id = case_id WHERE t.id = :t'
            )
            row = Timer(*session.execute(query, {"t": timer}).one())
            session.execute(
                text("UPDATE timer SET fired_at = :n WHERE id = :t"), {"n": now, "t": timer}
            )
            seen = queries.case(session, row.case_id)
            answers = ask(session, [ladder.above(seen)], now=now)
            done = firing._miss_deadline(session, seen, row, answers, now=now)
            counts.add(session, Counter(done), shard=0)
    pipeline.settle()
    assert "deadlines" in found(pipeline)


def test_escalated_twice_to_one_level_is_found(pipeline: Pipeline) -> None:
    a_timer(pipeline, "rung")
    case = pipeline.case("young")
    for _ in range(2):
        with pipeline.database.transaction() as session:
            seen, now = queries.case(session, case), pipeline.clock.now(session)
            answers = ask(session, [ladder.above(seen)], now=now)
            climbed = ladder.climb(session, seen, answers, now=now)
            assert climbed is not None
            counts.add(session, Counter({climbed: 1}), shard=0)
            firing._tell_escalated(session, case, "rung", now)
            session.execute(text('UPDATE "case" SET level = 0 WHERE id = :c'), {"c": case})
    run(pipeline, 'UPDATE "case" SET level = 1 WHERE id = :c', c=case)
    pipeline.settle()
    assert found(pipeline) == {"rungs"}


def test_clock_that_went_on_by_itself_is_found(pipeline: Pipeline) -> None:
    mark = (
        "INSERT INTO clock_mark (case_id, cycle, clock, at, runs) VALUES (:c, 1, :k, now(), false)"
    )
    run(pipeline, mark, c=pipeline.case("overdue"), k="resolve")
    assert found(pipeline) == {"marks"}


def test_case_that_never_wakes_is_found(pipeline: Pipeline) -> None:
    case = pipeline.case("overdue")
    with pipeline.database.transaction() as session:
        now = pipeline.clock.now(session)
        given = {"until": now + timedelta(hours=1), "reason": "later", "limit": timedelta(days=1)}
        service.snooze(session, actor_of(session, LEAD), case, now=now, **given)
    pipeline.settle()
    assert found(pipeline) == set()
    run(pipeline, "UPDATE timer SET stopped_at = now() WHERE kind = 'wake'")
    assert found(pipeline) == {"pauses"}


def test_part_that_nobody_counts_is_found(pipeline: Pipeline) -> None:
    with pipeline.database.transaction() as session:
        now = pipeline.clock.now(session)
        lead, into = actor_of(session, LEAD), pipeline.case("doubted")
        service.merge(session, lead, pipeline.case("overdue"), into=into, now=now)
    pipeline.settle()
    assert found(pipeline) == set()
    run(pipeline, 'UPDATE "case" SET children = 0 WHERE id = :c', c=into)
    assert found(pipeline) == {"parts"}


def test_timer_that_does_not_fire_is_found(pipeline: Pipeline) -> None:
    timer = a_timer(pipeline, "claim")
    run(pipeline, "UPDATE timer SET due_at = now() - interval '1 min' WHERE id = :t", t=timer)
    assert found(pipeline) == {"unfired"}


def test_case_without_its_clocks_is_found(pipeline: Pipeline) -> None:
    timer = a_timer(pipeline, "resolve")
    run(pipeline, "DELETE FROM timer WHERE id = :t", t=timer)
    assert found(pipeline) == {"clocks"}


def test_objection_that_its_case_never_learned_of_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "DELETE FROM objection WHERE said->>'note' = 'n-2'")
    assert found(pipeline) == {"objections"}


def test_objection_that_nobody_took_back_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE objection SET withdrawn_at = now() WHERE said->>'note' = 'n-2'")
    assert found(pipeline) == {"objections"}
