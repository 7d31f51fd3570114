"""Much that is said of outputs, before or after they come: sent on by pieces, each word once."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy.orm import Session

from services.feedback import reviews, sending, service
from services.feedback.consumer import FeedbackConsumer
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
    monkeypatch.setattr(sending, "_PIECE", PIECE)
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


def miss(database: Database, outputs: int = 1) -> None:
    """So many outputs are found missing."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        assert service.report_unmatched(session, now=now, before=now) == outputs


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
    assert requested(database, "dispute") == [*DISPUTES, "late"]
    assert one(database, _BACKLOG) == 0


def test_word_that_is_taken_back_before_its_turn_is_not_sent_on(
    log: Delivery, database: Database
) -> None:
    miss(database)
    feed(log, withdrawal(DISPUTES[-1], "o-1"))
    while send_on(database):
        pass
    assert requested(database, "unmatched") == DISPUTES[:-1]


def test_dispute_that_is_taken_back_before_its_output_comes_makes_no_exception(
    database: Database,
) -> None:
    log = Delivery(database)
    feed(log, correction("o-1", kind="dispute", event_id="d"), withdrawal("d", "o-1"))
    feed(log, output("o-1", confidence=0.99))
    assert total(database, "corrections", "dispute") == 1
    assert total(database, "exceptions", "dispute") == 0
    assert requested(database, "dispute") == []


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


# --- outputs that have come ---------------------------------------------------------------

_WITH_FACTS = """
SELECT count(*) FROM outbox
WHERE convert_from(value, 'utf8')::jsonb #> '{data,output}' IS NOT NULL"""


def sent_on(database: Database) -> int:
    """Send everything on; answers in how many turns."""
    turns = 0
    while send_on(database):
        turns += 1
    assert one(database, _BACKLOG) == 0
    return turns


def test_words_of_one_batch_on_an_output_are_counted_at_once_and_sent_on_piece_by_piece(
    database: Database,
) -> None:
    log = Delivery(database)
    feed(log, output("o-1"))
    feed(log, *(correction("o-1", kind="dispute", event_id=each) for each in DISPUTES))
    assert total(database, "corrections", "dispute") == SAID
    assert total(database, "exceptions", "dispute") == 1
    assert requested(database, "dispute") == DISPUTES[:PIECE]
    feed(log, withdrawal(DISPUTES[-1], "o-1"))
    assert sent_on(database) == -(-SAID // PIECE) - 1
    assert requested(database, "dispute") == DISPUTES[:-1]
    assert one(database, _WITH_FACTS) == -(-SAID // PIECE), "the facts come once a piece"


def test_words_on_many_outputs_are_sent_on_by_so_many_in_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_MOST", 7)
    log, names = Delivery(database), [f"o-{n}" for n in range(6)]
    said = [f"{name} {n}" for name in names for n in range(3)]
    feed(log, *(correction(each[:3], kind="dispute", event_id=each) for each in said))
    feed(log, *(output(name) for name in names))
    assert len(requested(database, "dispute")) == 7
    assert total(database, "exceptions", "dispute") == len(names)
    sent_on(database)
    assert sorted(requested(database, "dispute")) == said


def test_words_on_large_outputs_are_sent_on_by_so_many_bytes_in_all(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reviews, "_BYTES", 5_000)
    log, names = Delivery(database), [f"o-{n}" for n in range(6)]
    feed(log, *(output(name, input={"text": "x" * 3_000}) for name in names))
    said = [f"{name} {n}" for name in names for n in range(2)]
    feed(log, *(correction(each[:3], kind="dispute", event_id=each) for each in said))
    assert len(requested(database, "dispute")) == 4
    assert sent_on(database) == 2
    assert sorted(requested(database, "dispute")) == said


def test_words_on_all_outputs_get_their_turn(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_MOST", 2 * PIECE)
    log, names = Delivery(database), [f"o-{n}" for n in range(6)]
    feed(log, *(output(name, confidence=0.99) for name in names))

    def dispute(turn: int) -> None:
        said = [(name, f"{name} {turn} {n}") for name in names for n in range(2 * PIECE)]
        feed(log, *(correction(name, kind="dispute", event_id=word) for name, word in said))

    for turn in range(6):
        dispute(turn)
        send_on(database)
    sent = {word[:3] for word in requested(database, "dispute")}
    assert sent == set(names)


def test_missing_outputs_whose_turn_comes_later_are_sought_too(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_MOST", 4)
    log, names = Delivery(database), [f"o-{n}" for n in range(6)]
    feed(log, *(correction(name, value="tax", event_id=name) for name in names))
    miss(database, len(names))
    assert len(requested(database, "unmatched")) == 4
    sent_on(database)
    assert sorted(requested(database, "unmatched")) == names
    assert one(database, "SELECT count(*) FROM output WHERE sought") == len(names)


def test_outputs_that_come_before_their_turn_are_missed_no_more(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "_MOST", 4)
    log, names = Delivery(database), [f"o-{n}" for n in range(6)]
    feed(log, *(correction(name, value="tax", event_id=name) for name in names))
    miss(database, len(names))
    feed(log, *(output(name, confidence=0.99) for name in names))
    sent_on(database)
    sought = "SELECT output_id FROM output WHERE sought ORDER BY output_id"
    assert rows(database, sought) == [(name,) for name in sorted(requested(database, "unmatched"))]
    facts = """SELECT convert_from(value, 'utf8')::jsonb #>> '{data,output_id}' FROM outbox
        WHERE convert_from(value, 'utf8')::jsonb #> '{data,output}' IS NOT NULL ORDER BY 1"""
    assert rows(database, facts) == rows(database, sought), "who was sought is told of"


# --- several consumers --------------------------------------------------------------------


class EarlyClock(DatabaseClock):
    """Read early: before its transaction goes on, `meanwhile` others are through with theirs."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        self._meanwhile = meanwhile

    def now(self, session: Session) -> datetime:
        moment = super().now(session)
        self._meanwhile()
        return moment


def feed_meanwhile(database: Database, slow: Any, *others: Any) -> None:
    """One consumer takes `slow`; between its look at the clock and its work another takes all."""
    log, other = Delivery(database), Delivery(database)
    log.feedback = FeedbackConsumer(
        EarlyClock(lambda: [feed(other, *each) for each in others if each])
    )
    feed(log, slow)


def test_dispute_that_is_through_before_an_output_of_an_earlier_clock_is_sent_on(
    database: Database,
) -> None:
    feed_meanwhile(database, output("o-1"), [correction("o-1", kind="dispute", event_id="d")])
    assert requested(database, "dispute") == ["d"]
    assert total(database, "exceptions", "dispute") == 1


def test_dispute_of_an_earlier_clock_follows_what_is_on_its_way(database: Database) -> None:
    log = Delivery(database)
    feed(log, output("o-1"))
    many = [correction("o-1", kind="dispute", event_id=each) for each in DISPUTES]
    feed_meanwhile(database, correction("o-1", kind="dispute", event_id="early"), many)
    sent_on(database)
    assert sorted({*requested(database, "dispute")}) == [*DISPUTES, "early"]


def test_words_of_any_clock_are_sent_on_where_their_output_is_missing(database: Database) -> None:
    def say(name: str) -> list[Any]:
        return [correction("o-1", value="tax", event_id=name)]

    feed_meanwhile(database, *say("early"), say("late"))
    miss(database)
    feed_meanwhile(database, *say("early again"), say("late again"))
    miss(database)
    assert requested(database, "unmatched") == ["early", "late", "early again", "late again"]


def test_word_that_is_through_before_its_output_is_missed_at_an_earlier_moment_is_sent_on(
    database: Database,
) -> None:
    log = Delivery(database)
    feed(log, correction("o-1", value="tax", event_id="first"))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        feed(log, correction("o-1", value="tax", event_id="second"))
        assert service.report_unmatched(session, now=now, before=now) == 1
    assert requested(database, "unmatched") == ["first", "second"]
