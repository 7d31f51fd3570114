"""Events in, facts and truth out: stored once, met in any order, nothing lost."""

import itertools
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from secondlook import events

from services.kit.consuming import dead_letters
from services.kit.database import Database
from tests.factories import (
    NOON,
    TOOL,
    Delivery,
    as_batches,
    correction,
    failure,
    one,
    output,
    rows,
    total,
    withdrawal,
)


@pytest.fixture
def database(populated: Database) -> Database:
    return populated


@pytest.fixture
def log(database: Database) -> Delivery:
    return Delivery(database)


def under_the_id_of(event: Any, other: Any) -> Any:
    """What `other` says, under the event id of another."""
    return event.model_copy(update={"data": other.data, "subject": other.subject})


def truth(database: Database, output_id: str = "o-1") -> tuple[object, ...]:
    found = rows(
        database,
        "SELECT decided_value, decided_by, overridden FROM output WHERE output_id = :o",
        o=output_id,
    )
    return tuple(found[0])


def test_store_output_once_whatever_comes_again(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), output("o-1"))
    log.take(output("o-1"))
    assert one(database, "SELECT count(*) FROM output") == 1
    assert total(database, "outputs", "proceed") == 1
    assert total(database, "stored") == 1
    assert total(database, "duplicate") == 2


def test_store_output_with_other_payload_is_a_conflict(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="billing"))
    log.take(output("o-1", value="refund"))
    log.take(output("o-2"), output("o-2", confidence=0.8))
    assert rows(database, "SELECT output_id, value FROM output ORDER BY 1") == [
        ("o-1", "billing"),
        ("o-2", "billing"),
    ]
    assert rows(database, "SELECT reason, parked FROM dead_letter") == [("conflict", False)] * 2
    assert total(database, "dead_lettered") == 2


def test_store_output_under_a_known_event_id_is_a_conflict(
    log: Delivery, database: Database
) -> None:
    first = output("o-1")
    log.take(first)
    log.take(output("o-2").model_copy(update={"id": first.id}))
    assert one(database, "SELECT count(*) FROM output") == 1
    assert one(database, "SELECT reason FROM dead_letter") == "conflict"


def test_store_failure_counts_as_output_to_review(log: Delivery, database: Database) -> None:
    log.take(failure("o-1"))
    assert one(database, "SELECT failure->>'kind' FROM output") == "timeout"
    assert total(database, "outputs", "review") == 1
    assert one(database, 'SELECT trigger FROM "case"') == "tool_failure"


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_truth_is_the_same_in_every_order(
    order: tuple[int, ...], log: Delivery, database: Database
) -> None:
    given = [
        output("o-1"),
        correction("o-1", value="refund", minutes=1),
        correction("o-1", value="tax", minutes=2),
    ]
    for index in order:
        log.take(given[index])
    assert truth(database) == ("tax", "correction", True)
    assert total(database, "overridden") - total(database, "overrides_withdrawn") == 1
    assert total(database, "corrections", "correction") == 2


def test_confirm_decides_without_override(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", kind="confirmation"))
    assert truth(database) == ("billing", "confirmation", False)
    assert total(database, "overridden") == 0


def test_withdraw_takes_an_override_back(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", value="refund", event_id="c-1"))
    log.take(withdrawal("c-1", "o-1"))
    assert truth(database) == (None, None, None)
    assert total(database, "overridden") == 1
    assert total(database, "overrides_withdrawn") == 1


def test_withdraw_before_its_correction(log: Delivery, database: Database) -> None:
    log.take(withdrawal("c-1", "o-1"))
    log.take(correction("o-1", value="refund", event_id="c-1"))
    log.take(output("o-1"))
    assert truth(database) == (None, None, None)


def test_withdraw_by_somebody_else_changes_nothing(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", value="refund", event_id="c-1"))
    log.take(withdrawal("c-1", "o-1", who="mallory@example.org"))
    assert truth(database) == ("refund", "correction", True)


def test_withdraw_under_another_output_changes_nothing(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), output("o-2"), correction("o-1", value="refund", event_id="c-1"))
    log.take(withdrawal("c-1", "o-2"))
    log.take(correction("o-1", kind="dispute"))
    assert truth(database) == ("refund", "correction", True)


def test_correct_to_an_unknown_category_is_refused_with_the_hint(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1"), correction("o-1", value="refunds"))
    reason, problems = rows(database, "SELECT reason, problems FROM dead_letter")[0]
    assert reason == "invalid"
    assert problems[0]["pointer"] == "/data/value"
    assert "refunds" in problems[0]["problem"]
    assert "categories" in problems[0]["hint"]


def test_unknown_version_is_parked_with_its_bytes(log: Delivery, database: Database) -> None:
    raw = events.encode(output("o-1")).replace(b"recorded.v1", b"recorded.v9")
    log.take(raw, topic=events.OUTPUTS)
    parked, value = rows(database, "SELECT parked, value FROM dead_letter")[0]
    assert parked
    assert bytes(value) == raw
    assert total(database, "parked") == 1


def test_unknown_tool_is_kept_for_later(log: Delivery, database: Database) -> None:
    raw = events.encode(output("o-1")).replace(b"/tools/categoriser", b"/tools/nobody")
    log.take(raw, topic=events.OUTPUTS)
    assert one(database, "SELECT reason FROM dead_letter") == "unknown_tool"


def test_verdict_beats_corrections_and_is_counted_once(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", value="refund"))
    given = events.verdict_given(
        case_id="1",
        output_id="o-1",
        tool=TOOL,
        verdict="upheld",
        actor="olga@example.org",
        blind=False,
        at=NOON,
    )
    log.take(given)
    log.take(given)
    assert truth(database) == ("billing", "verdict", False)
    assert total(database, "overridden") - total(database, "overrides_withdrawn") == 0


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_undone_verdict_counts_in_no_order(
    order: tuple[int, ...], log: Delivery, database: Database
) -> None:
    case = {"case_id": "1", "tool": TOOL, "output_id": "o-1", "actor": "olga@example.org"}
    verdict = events.verdict_given(
        **case, event_id="v-1", verdict="corrected", value="tax", blind=False, at=NOON
    )
    undone = events.verdict_undone(**case, verdict_id="v-1", at=NOON)
    given = [output("o-1"), verdict, undone]
    for index in order:
        log.take(given[index])
    assert truth(database) == (None, None, None)
    log.take(*given)
    assert truth(database) == (None, None, None)
    assert total(database, "overridden") == total(database, "overrides_withdrawn")
    assert rows(database, "SELECT event_id FROM verdict") == [("v-1",)]
    assert rows(database, "SELECT verdict_id, event_id FROM undone_verdict") == [("v-1", undone.id)]
    assert (total(database, "stored"), total(database, "duplicate")) == (3, 3)


def test_undone_verdict_leaves_one_that_is_given_later(log: Delivery, database: Database) -> None:
    case = {"case_id": "1", "tool": TOOL, "output_id": "o-1", "actor": "olga@example.org"}
    said = {"verdict": "corrected", "blind": False, "at": NOON}
    log.take(output("o-1"), events.verdict_undone(**case, verdict_id="v-1", at=NOON))
    log.take(events.verdict_given(**case, **said, event_id="v-2", value="refund"))
    log.take(events.verdict_given(**case, **said, event_id="v-1", value="tax"))
    assert truth(database) == ("refund", "verdict", True)


def test_pairs_meet_in_reversed_and_concurrent_order(log: Delivery, database: Database) -> None:
    pairs = 400
    outputs = [output(f"o-{n}") for n in range(pairs)]
    words = [correction(f"o-{n}", value="refund") for n in range(pairs)]
    halves = [
        as_batches(log.records(part))
        for n in range(0, pairs, 50)
        for part in (words[n : n + 50][::-1], outputs[n : n + 50])
    ]
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda batches: log.feed(log.feedback, batches), halves))
    assert one(database, "SELECT count(*) FROM output WHERE overridden") == pairs
    assert total(database, "overridden") == pairs
    assert total(database, "corrections") == pairs


def test_replayed_topic_counts_nothing_again(log: Delivery, database: Database) -> None:
    told = output("o-1", confidence=0.9, disposition="review", policy_revision=1)
    batches = as_batches(log.records([told, b"nonsense"], events.OUTPUTS))
    measures = ("stored", "dead_lettered", "gate_disagreements", "outputs")
    log.feed(log.feedback, batches)
    assert [total(database, measure) for measure in measures] == [1, 1, 1, 1]
    for consumer in (log.feedback, log.escalation, log.escalation):
        log.feed(consumer, batches)
    assert [total(database, measure) for measure in measures] == [1, 1, 1, 1]
    assert total(database, "duplicate") == 2


OUTCOMES = "SELECT reason, value FROM dead_letter ORDER BY id"


@pytest.mark.parametrize("together", [False, True])
def test_what_becomes_of_a_record_does_not_depend_on_its_batch(
    together: bool, log: Delivery, database: Database
) -> None:
    first = output("o-1")
    other = output("o-1", value="tax")
    # An event of the same id that is about a known output cannot be stored; this one can.
    free = output("o-2")
    taken = under_the_id_of(free, output("o-1", value="refund"))
    log.take(first)
    rest = [other, first, other, taken, free, free, taken]
    for batch in [rest] if together else [[said] for said in rest]:
        log.take(*batch)
    stored = rows(database, "SELECT output_id, value FROM output ORDER BY output_id")
    assert stored == [("o-1", "billing"), ("o-2", "billing")]
    assert total(database, "stored") == 2
    assert total(database, "duplicate") == 2
    refused = Counter(bytes(row.value) for row in rows(database, OUTCOMES))
    assert refused == Counter(map(events.encode, (other, other, taken, taken)))


@pytest.mark.parametrize("together", [False, True])
def test_record_waits_for_one_before_it_that_shares_an_id(
    together: bool, log: Delivery, database: Database
) -> None:
    known = output("o-known")
    log.take(known)
    refused = under_the_id_of(known, output("o-1", value="tax"))
    stored = output("o-1")
    late = under_the_id_of(stored, output("o-2"))
    rest = [refused, stored, late]
    for batch in [rest] if together else [[said] for said in rest]:
        log.take(*batch)
    assert rows(database, "SELECT output_id, value FROM output ORDER BY output_id") == [
        ("o-1", "billing"),
        ("o-known", "billing"),
    ]
    assert total(database, "dead_lettered") == 2


@pytest.mark.parametrize("together", [False, True])
def test_what_becomes_of_a_word_does_not_depend_on_its_batch(
    together: bool, log: Delivery, database: Database
) -> None:
    said = correction("o-1", value="tax", event_id="c-1")
    other = correction("o-1", value="refund", event_id="c-1")
    log.take(output("o-1"), said)
    rest = [other, said, other]
    for batch in [rest] if together else [[word] for word in rest]:
        log.take(*batch)
    assert truth(database) == ("tax", "correction", True)
    assert total(database, "duplicate") == 1
    assert len(rows(database, OUTCOMES)) == 2


def test_duplicate_is_known_for_one_behind_a_conflict(log: Delivery, database: Database) -> None:
    first = output("o-1")
    log.take(first)
    clash = under_the_id_of(first, output("o-2", value="tax"))
    log.take(clash, first, clash)
    assert total(database, "duplicate") == 1
    assert total(database, "dead_lettered") == 2


def test_fault_of_ours_is_kept_with_its_tool_and_counts_towards_a_pause(
    log: Delivery, database: Database
) -> None:
    for record in log.records([output(f"o-{n}") for n in range(4)]):
        with database.transaction() as session:
            log.feedback.reject(session, record, RuntimeError("ours"))
    kept = rows(database, "SELECT tool, reason FROM dead_letter")
    assert kept == [(TOOL, "cannot_be_stored")] * 4

    def at_fault(tools: int) -> bool:
        with database.transaction() as session:
            return dead_letters.too_many_faults(session, "feedback", limit=4, tools=lambda _: tools)

    assert at_fault(1)
    assert not at_fault(2)
