"""Much that was said of one output before it came: sent on a piece at a time, each word once."""

from typing import Any

import pytest

from services.feedback import service, waiting
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from tests.factories import Delivery, as_batches, correction, one, output, rows, total, withdrawal

PIECE, SAID = 5, 23
DISPUTES = [f"d-{n:02}" for n in range(SAID)]
_REQUESTED = """
SELECT said #>> '{data,objection,correction_id}', said #>> '{data,trigger}'
FROM (SELECT id, convert_from(value, 'utf8')::jsonb AS said FROM outbox) sent
WHERE said #> '{data,objection}' IS NOT NULL ORDER BY id"""
_BACKLOG = "SELECT count(*) FROM correction_backlog"


@pytest.fixture
def database(populated: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(waiting, "_PIECE", PIECE)
    return populated


@pytest.fixture
def log(database: Database) -> Delivery:
    """Feedback, to which much was said of an output that has not come."""
    made = Delivery(database)
    feed(made, *(correction("o-1", kind="dispute", event_id=each) for each in DISPUTES))
    feed(made, *(correction("o-1", kind="confirmation", event_id=f"k-{n}") for n in range(SAID)))
    return made


def feed(log: Delivery, *given: Any) -> None:
    """Feedback alone takes these events; what it requests stays in the outbox."""
    log.feed(log.feedback, as_batches(log.records(given)))


def miss(database: Database) -> None:
    """The output is found missing."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        assert service.report_unmatched(session, now=now, before=now) == 1


def send_on(database: Database) -> int:
    with database.transaction() as session:
        return service.send_on(session, now=DatabaseClock().now(session))


def requested(database: Database, trigger: str) -> list[str]:
    """The words that reviews were requested for under this trigger, in that order."""
    return [word for word, why in rows(database, _REQUESTED) if why == trigger]


def test_words_on_a_missing_output_are_sent_on_piece_by_piece(
    log: Delivery, database: Database
) -> None:
    miss(database)
    assert requested(database, "unmatched") == DISPUTES[:PIECE]
    turns = 0
    while send_on(database):
        turns += 1
    assert turns == -(-SAID // PIECE) - 1
    assert requested(database, "unmatched") == DISPUTES
    assert one(database, _BACKLOG) == 0


def test_words_on_an_output_that_comes_are_counted_at_once_and_sent_on_piece_by_piece(
    log: Delivery, database: Database
) -> None:
    feed(log, output("o-1"))
    assert total(database, "corrections", "dispute") == SAID
    assert total(database, "corrections", "confirmation") == SAID
    assert total(database, "exceptions", "dispute") == 1
    assert requested(database, "dispute") == DISPUTES[:PIECE]
    feed(log, correction("o-1", kind="dispute", event_id="late"))
    while send_on(database):
        pass
    assert requested(database, "dispute") == [*DISPUTES[:PIECE], "late", *DISPUTES[PIECE:]]
    assert one(database, _BACKLOG) == 0


def test_word_that_is_taken_back_before_its_turn_is_not_sent_on(
    log: Delivery, database: Database
) -> None:
    miss(database)
    feed(log, withdrawal(DISPUTES[-1], "o-1"))
    while send_on(database):
        pass
    assert requested(database, "unmatched") == DISPUTES[:-1]


def test_output_that_comes_meanwhile_is_disputed_from_the_beginning(
    log: Delivery, database: Database
) -> None:
    miss(database)
    feed(log, output("o-1"))
    while send_on(database):
        pass
    assert requested(database, "unmatched") == DISPUTES[:PIECE]
    assert requested(database, "dispute") == DISPUTES


def test_nobody_seeks_an_output_any_more_that_has_come(database: Database) -> None:
    log = Delivery(database)
    feed(log, *(correction("o-1", value="tax", event_id=f"c-{n:02}") for n in range(SAID)))
    miss(database)
    feed(log, output("o-1"))
    assert one(database, _BACKLOG) == 0
    assert send_on(database) == 0
    assert len(requested(database, "unmatched")) == PIECE


def test_output_missed_anew_loses_nothing_of_what_was_on_its_way(
    log: Delivery, database: Database
) -> None:
    miss(database)
    again = [f"e-{n:02}" for n in range(SAID)]
    feed(log, *(correction("o-1", kind="dispute", event_id=each) for each in again))
    miss(database)
    while send_on(database):
        pass
    assert set(requested(database, "unmatched")) == {*DISPUTES, *again}
    assert one(database, _BACKLOG) == 0
