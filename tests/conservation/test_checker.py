"""The checker finds what is wrong: each test plants one bug and reads the bug's name."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import timedelta
from typing import Any

import pytest
from secondlook import events
from secondlook.testing import POISON
from sqlalchemy import text

from services.escalation import claims, firing, ladder, queries, service, verdicts
from services.escalation.clocks import _COLUMNS, Timer
from services.feedback import corrections, reviews, waiting
from services.kit import counts
from services.kit.consuming import dead_letters
from services.kit.consuming.outbox import Relay
from services.kit.consuming.runner import Consumer
from services.kit.eventlog.port import Batch
from tests.conservation.ledger import Ledger
from tests.factories import (
    LEAD,
    OWNER,
    TEAMMATE,
    actor_of,
    cloned,
    correction,
    failure,
    output,
)
from tests.factories.pipeline import Pipeline, open_pipeline

FENCE = (
    "AND claimant = :me AND claim_seq = :token"
    " AND lease_expires_at > greatest(:now, clock_timestamp())"
)
UNFENCED = "AND coalesce(:token, :token) IS NOT NULL AND coalesce(:me, :me) IS NOT NULL"
EXPECTED = {"invalid": "refused", "unknown_type": "parked"}


@pytest.fixture(scope="module")
def told(postgres_url: str) -> Iterator[tuple[str, Ledger]]:
    """The database in which a story was told once, and the story's ledger."""
    with cloned(postgres_url) as url:
        with open_pipeline(url, relayed=True) as opened:
            tell_the_story(opened)
        yield url.rpartition("/")[2], opened.ledger


@pytest.fixture
def pipeline(postgres_url: str, told: tuple[str, Ledger]) -> Iterator[Pipeline]:
    """A copy of the pipeline after the story, to plant a bug in."""
    template, ledger = told
    with (
        cloned(postgres_url, template) as url,
        open_pipeline(url, deepcopy(ledger), relayed=True) as opened,
    ):
        yield opened


def tell_the_story(pipeline: Pipeline) -> None:
    """A day with everything in it that the checker looks at."""
    early = correction("late", value="refund", note="n-1")
    pipeline.send(early, output("sure"), output("unsure", confidence=0.2), output("late"))
    pipeline.send(output("doubted"), failure("broken"), output("overdue", confidence=0.1))
    pipeline.send(correction("doubted", kind="dispute", note="n-2"))
    pipeline.send(output("sure"), output("unsure", confidence=0.2), early)
    pipeline.send(correction("sure", kind="confirmation", note="n-3"))
    for number, poison in enumerate(p for p in POISON[-60:] if p.expected in EXPECTED):
        if not poison.headers:
            pipeline.send_raw(f"poison-{number}", poison.raw, fate=EXPECTED[poison.expected])
    pipeline.settle()
    pipeline.give_verdict(OWNER, pipeline.case("unsure"))
    pipeline.claim(OWNER, pipeline.case("broken"), lease=timedelta(seconds=0))
    pipeline.give_verdict(TEAMMATE, pipeline.case("broken"), token=None)
    pipeline.pass_time(hours=0.6)
    pipeline.settle()
    pipeline.send(correction("unsure", kind="appeal", note="n-4"))
    pipeline.settle()
    pipeline.pass_time(hours=5)
    pipeline.settle()


def found(pipeline: Pipeline) -> set[str]:
    return {violation.check for violation in pipeline.check()}


def run(pipeline: Pipeline, statement: str, **given: Any) -> None:
    with pipeline.database.transaction() as session:
        assert session.execute(text(statement), given).rowcount > 0  # type: ignore[attr-defined]


def test_sound_installation_has_no_violations(pipeline: Pipeline) -> None:
    assert pipeline.check() == []


# --- in the consumer ----------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here."""


class OffsetFirst(Consumer):
    """Commits the offset, then dies before the rows."""

    def _commit(self, batches: Sequence[Batch], *, careful: bool) -> None:
        with self._database.transaction() as session:
            self._advance(session, batches, careful=careful)
        if any(batch.records for batch in batches):
            raise Crash


def die_after_the_offset(pipeline: Pipeline, consumer: str) -> None:
    member = pipeline.consumer(consumer, OffsetFirst)
    with suppress(Crash):
        while pipeline.behind(consumer):
            member._turn()
    member._member.close()
    pipeline.settle()


def test_offset_committed_first_is_found(pipeline: Pipeline) -> None:
    pipeline.send(output("gone"))
    die_after_the_offset(pipeline, "feedback")
    assert found(pipeline) >= {"lost", "explained"}


def test_offset_committed_first_by_escalation_is_found(pipeline: Pipeline) -> None:
    member = pipeline.consumer("feedback")
    pipeline.send(output("gone", confidence=0.1))
    while pipeline.behind("feedback"):
        member._turn()
    member._member.close()
    Relay(pipeline.database, pipeline.log).step()
    die_after_the_offset(pipeline, "escalation")
    assert found(pipeline) == {"cases"}


def test_no_unique_key_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ddl(pipeline, "ALTER TABLE correction DROP CONSTRAINT pk_correction")
    insert = str(corrections._INSERT_CORRECTIONS).replace("ON CONFLICT DO NOTHING", "")
    assert insert != str(corrections._INSERT_CORRECTIONS)
    monkeypatch.setattr(corrections, "_INSERT_CORRECTIONS", text(insert))
    said = correction("sure", value="tax", note="n-9", minutes=9)
    for _ in range(2):
        pipeline.send(said)
        pipeline.settle()
    assert "once" in found(pipeline)


def run_ddl(pipeline: Pipeline, statement: str) -> None:
    with pipeline.database.transaction() as session:
        session.execute(text(statement))


def test_counts_added_twice_are_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    add = counts.add

    def twice(*given: Any, **more: Any) -> None:
        add(*given, **more)
        add(*given, **more)

    monkeypatch.setattr(counts, "add", twice)
    pipeline.send(output("one-more"))
    pipeline.settle()
    assert found(pipeline) >= {"explained", "totals", "hours"}


def test_hour_counted_without_its_total_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE hourly_count SET n = n + 1 WHERE measure = 'outputs'")
    assert found(pipeline) == {"hours"}


def test_dropped_poison_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "keep", lambda _s, _c, refused, **_: [True] * len(refused))
    pipeline.send_raw("bad", b"{")
    pipeline.settle()
    assert found(pipeline) >= {"dead letters", "totals"}


def test_lost_dead_letter_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "DELETE FROM dead_letter WHERE id = (SELECT min(id) FROM dead_letter)")
    assert found(pipeline) == {"dead letters", "totals", "arrived"}


def test_unsure_output_that_nobody_is_asked_about_is_found(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "request_for_outputs", lambda *_given, **_more: None)
    pipeline.send(output("unasked", confidence=0.1))
    pipeline.settle()
    assert found(pipeline) >= {"requests"}


def test_exception_that_was_not_noted_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE output SET exception = NULL WHERE output_id = 'doubted'")
    assert "exceptions" in found(pipeline)


def test_halves_that_missed_each_other_are_found(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "meet", lambda *_given, **_more: Counter())
    pipeline.send(correction("later", value="refund", note="n-5"))
    pipeline.settle()
    pipeline.send(output("later"))
    pipeline.settle()
    assert found(pipeline) == {"totals", "truth"}


def test_objection_told_twice_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    once = reviews.request_for_words

    def twice(*given: Any, **more: Any) -> Any:
        once(*given, **more)
        return once(*given, **more)

    monkeypatch.setattr(reviews, "request_for_words", twice)
    pipeline.send(correction("doubted", kind="dispute", note="n-5"))
    pipeline.settle()
    assert found(pipeline) == {"arrived"}


def test_objection_told_to_nobody_is_found_though_it_was_withdrawn_later(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "request_for_words", lambda *_given, **_more: {})
    pipeline.send(correction("doubted", kind="dispute", note="n-5"))
    pipeline.settle()
    later = "withdrawn_at = now() + interval '1 day'"
    run(pipeline, f"UPDATE correction SET {later} WHERE note = 'n-5'")
    assert "arrived" in found(pipeline)


# --- claims -------------------------------------------------------------------------------


def test_no_fencing_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    unfenced = str(verdicts._RESOLVE).replace(FENCE, UNFENCED)
    assert unfenced != str(verdicts._RESOLVE)
    monkeypatch.setattr(verdicts, "_RESOLVE", text(unfenced))
    case = pipeline.case("overdue")
    token = pipeline.claim(OWNER, case, lease=timedelta(seconds=0))
    pipeline.claim(TEAMMATE, case)
    pipeline.give_verdict(OWNER, case, token=token)
    pipeline.settle()
    assert found(pipeline) == {"fencing"}


def test_write_past_the_lease_is_found(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    unleased = str(verdicts._RESOLVE).replace(FENCE, UNFENCED)
    unleased = unleased.replace("state IN ('claimed')", "true")
    monkeypatch.setattr(verdicts, "_RESOLVE", text(unleased))
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
            firing._miss_deadline(session, queries.case(session, row.case_id), row, now=now)
    pipeline.settle()
    assert "deadlines" in found(pipeline)


def test_escalated_twice_to_one_level_is_found(pipeline: Pipeline) -> None:
    a_timer(pipeline, "rung")
    case = pipeline.case("young")
    for _ in range(2):
        with pipeline.database.transaction() as session:
            ladder.climb(session, queries.case(session, case), now=pipeline.clock.now(session))
            firing._tell_escalated(session, case, "rung", pipeline.clock.now(session))
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


# --- the log and the outbox -----------------------------------------------------------------


def test_lost_outbox_row_is_found(pipeline: Pipeline) -> None:
    pipeline.claim(OWNER, pipeline.case("overdue"))
    run(pipeline, "DELETE FROM outbox WHERE sent_at IS NULL AND topic = 'secondlook.cases'")
    assert found(pipeline) == {"told"}


def test_outbox_that_stands_still_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE outbox SET sent_at = NULL WHERE topic = 'secondlook.cases'")
    assert found(pipeline) == {"outbox"}


def test_marked_before_it_was_sent_is_found(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "_send", lambda self, claimed: self._mark(claimed))
    pipeline.give_verdict(OWNER, pipeline.case("overdue"))
    pipeline.settle()
    assert found(pipeline) >= {"arrived", "outbox"}


def test_acknowledged_before_it_was_durable_is_found(pipeline: Pipeline) -> None:
    pipeline.note(output("never-there"))
    assert found(pipeline) == {"received", "lost"}


def test_hole_in_the_log_is_found(pipeline: Pipeline) -> None:
    run(pipeline, 'DELETE FROM log_record WHERE "offset" = 0')
    assert found(pipeline) == {"offsets"}


def test_offset_past_the_end_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE consumer_offset SET next_offset = next_offset + 1")
    assert found(pipeline) == {"offsets"}


def test_stored_without_being_sent_is_found(pipeline: Pipeline) -> None:
    del pipeline.ledger.sent[events.OUTPUTS, "sure"]
    assert found(pipeline) == {"received", "unknown"}
