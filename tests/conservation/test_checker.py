"""The checker finds what is wrong: each test plants one bug and reads the bug's name."""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from secondlook import events
from sqlalchemy import text

from services.feedback import corrections, reviews, waiting
from services.kit import counts
from services.kit.consuming import dead_letters
from services.kit.consuming.outbox import Relay
from services.kit.consuming.runner import Consumer
from services.kit.eventlog.port import Batch
from tests.conservation.planting import found, run, run_ddl
from tests.factories import (
    OWNER,
    correction,
    output,
)
from tests.factories.pipeline import Pipeline


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


def test_case_counted_for_no_rule_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "UPDATE total_count SET n = n + 1 WHERE measure = 'routed'")
    assert found(pipeline) == {"totals", "hours"}


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
