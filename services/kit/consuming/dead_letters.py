"""Keeping what could not be used: whole, with the reason, in the consumer's transaction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.consuming import outbox
from services.kit.errors import NotFound, Problem
from services.kit.eventlog.headers import headers_from_json, headers_to_json
from services.kit.eventlog.port import Headers, NewRecord, Partition, Record
from services.kit.models import DeadLetter

RETRY_HEADER = "secondlook-retry"
"""On a record that was sent again: the number of the dead letter that it was."""

_REASON_HEADER = "secondlook-reason"
_PLACE_HEADER = "secondlook-place"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record could not be used. `parked`: a later version of Secondlook may know it."""

    reason: str
    problems: tuple[Problem, ...] = ()
    tool: str | None = None
    parked: bool = False


def keep(
    session: Session, consumer: str, refused: Sequence[tuple[Record, Refusal]], *, topic: str | None
) -> list[bool]:
    """Keep records with their bytes, and send those bytes to the dead-letter topic.

    The same record refused twice by the same consumer is kept once. `topic` is where a
    copy of the bytes goes; None sends none.

    Returns:
        Of each record, whether it was kept now: False where it had been kept before.
    """
    if not refused:
        return []
    rows = [_row(consumer, record, refusal) for record, refusal in refused]
    statement = (
        insert(DeadLetter)
        .values(rows)
        .on_conflict_do_nothing()
        .returning(DeadLetter.topic, DeadLetter.partition, DeadLetter.offset)
    )
    kept = {(Partition(t, number), offset) for t, number, offset in session.execute(statement)}
    fresh = [(record.partition, record.offset) in kept for record, _ in refused]
    if topic is not None:
        copies = [
            NewRecord(topic, record.key or b"", record.value, _headers(record, refusal))
            for (record, refusal), new in zip(refused, fresh, strict=True)
            if new
        ]
        outbox.enqueue(session, copies)
    return fresh


def _row(consumer: str, record: Record, refusal: Refusal) -> dict[str, Any]:
    return {
        "consumer": consumer,
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "key": record.key,
        "value": record.value,
        "headers": headers_to_json(record.headers),
        "tool": refusal.tool,
        "parked": refusal.parked,
        "reason": refusal.reason,
        "problems": [asdict(problem) for problem in refusal.problems],
        "received_at": record.appended_at,
    }


def _headers(record: Record, refusal: Refusal) -> Headers:
    place = f"{record.partition.topic}/{record.partition.number}/{record.offset}"
    return (
        *record.headers,
        (_REASON_HEADER, refusal.reason.encode()),
        (_PLACE_HEADER, place.encode()),
    )


_KEPT_LATELY = text("""
SELECT EXISTS (
    SELECT FROM dead_letter
    WHERE consumer = :consumer AND kept_at > clock_timestamp() - interval '1 hour'
      AND retried_at IS NULL AND NOT parked
    OFFSET :limit LIMIT 1)
""")


def too_many(session: Session, consumer: str, *, limit: int) -> bool:
    """Whether this consumer kept more than `limit` dead letters within the last hour.

    Parked ones and those that were retried do not count.
    """
    given = {"consumer": consumer, "limit": limit}
    return bool(session.execute(_KEPT_LATELY, given).scalar_one())


def retry(session: Session, number: int, *, now: datetime) -> None:
    """Send a dead letter's bytes to their topic again, so that every consumer sees them.

    They leave through the outbox, written with the mark that they were retried.

    Raises:
        NotFound: there is no such letter, or it was retried already.
    """
    letter = session.execute(
        update(DeadLetter)
        .where(DeadLetter.id == number, DeadLetter.retried_at.is_(None))
        .values(retried_at=now)
        .returning(DeadLetter)
    ).scalar_one_or_none()
    if letter is None:
        raise NotFound(f"There is no dead letter {number} that waits to be retried.")
    kept = tuple(h for h in headers_from_json(letter.headers) if h[0] != RETRY_HEADER)
    again = (*kept, (RETRY_HEADER, str(letter.id).encode()))
    outbox.enqueue(session, [NewRecord(letter.topic, letter.key or b"", letter.value, again)])


# --- reads --------------------------------------------------------------------------------

_DEAD_LETTERS = text("""
SELECT id, consumer, topic, partition, "offset", key, value, headers, tool, parked, reason,
       problems, received_at, retried_at
FROM dead_letter
WHERE (CAST(:id AS bigint) IS NULL OR id = :id) AND (:all OR retried_at IS NULL) AND id > :after
ORDER BY id LIMIT :limit
""")


def waiting(
    session: Session, *, everything: bool = False, after: int = 0, limit: int = 1000
) -> Sequence[SqlRow[Any]]:
    """Dead letters that wait for somebody, the oldest first; `everything` adds the retried."""
    given = {"id": None, "all": everything, "after": after, "limit": limit}
    return session.execute(_DEAD_LETTERS, given).all()


def one(session: Session, number: int) -> SqlRow[Any]:
    """One dead letter, whole.

    Raises:
        NotFound: there is none of that number.
    """
    given = {"id": number, "all": True, "after": 0, "limit": 1}
    found = session.execute(_DEAD_LETTERS, given).first()
    if found is None:
        raise NotFound(f"There is no dead letter {number}.")
    return found


_DEAD_LETTER_COUNTS = text("""
SELECT topic, reason, parked, count(*) AS n, count(*) FILTER (WHERE retried_at IS NULL) AS waiting
FROM dead_letter GROUP BY topic, reason, parked
""")


def by_reason(session: Session) -> Sequence[SqlRow[Any]]:
    """How many dead letters and parked events there are, by topic and reason."""
    return session.execute(_DEAD_LETTER_COUNTS).all()


_RETRIED = text("""
SELECT coalesce(tool, '') AS tool, parked, count(*) AS n FROM dead_letter
WHERE retried_at IS NOT NULL AND consumer = 'feedback' GROUP BY 1, 2
""")


def retried(session: Session) -> Sequence[SqlRow[Any]]:
    """How many dead letters were sent again, by tool; a new record stands for each of them."""
    return session.execute(_RETRIED).all()
