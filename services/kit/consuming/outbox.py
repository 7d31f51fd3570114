"""Events written with the state that they speak of, and sent to the log afterwards.

A relay claims rows, sends them outside of any transaction, and marks them. It goes by what
each row says of itself and never by "ids above the last one", because an id is given long
before its row becomes visible. What was sent but not marked is sent again: consumers count
an event's id once.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

import structlog
from pydantic_core import to_json
from sqlalchemy import event, text
from sqlalchemy.orm import Session, SessionTransaction

from services.kit.database import Database, affected
from services.kit.eventlog.headers import headers_from_json, headers_to_json
from services.kit.eventlog.port import EventLog, LogUnavailable, NewRecord
from services.kit.locks import Lock, try_lock

# Longer than an append takes unless the log is in trouble, and short, because what a killed
# relay had claimed waits for it. Two relays that send the same cost consumers a duplicate.
LEASE = timedelta(seconds=10)
_PURGE_ROWS = 5_000


_log = structlog.get_logger()

_INSERT = text("""
WITH written AS (
    INSERT INTO outbox (topic, key, value, headers)
    SELECT topic, decode(key, 'hex'), decode(value, 'hex'), headers
    FROM json_to_recordset(CAST(:rows AS json))
        AS g(position bigint, topic text, key text, value text, headers jsonb)
    ORDER BY position)
SELECT pg_notify(:channel, '')
""")
WAKE_CHANNEL = "secondlook_outbox"
"""Where a relay hears that something waits to be sent."""

Publisher = Callable[[Session, Sequence[NewRecord]], None]
"""What makes records durable in the session's own transaction."""

_PENDING, _PUBLISHER = "pending records", "publisher"


def publish_through(publisher: Publisher) -> dict[str, Any]:
    """What a `Database` tells its sessions, so that they publish through `publisher`."""
    return {_PUBLISHER: publisher}


def enqueue(session: Session, records: Iterable[NewRecord]) -> None:
    """Publish records with this transaction, in this order per key.

    They are written as its last act before it commits: into the outbox, from which a relay
    sends them, or, where the log is in the same database, onto the log itself. The locks that
    an append takes are so held for no longer than the commit lasts, and taken by everybody in
    one order.
    """
    pending = session.info.setdefault(_PENDING, [])
    nested = session.get_nested_transaction()
    pending += [(record, nested) for record in records]


@event.listens_for(Session, "before_commit")
def _publish_pending(session: Session) -> None:
    if session.in_nested_transaction() or not session.info.get(_PENDING):
        return
    records = [record for record, _ in session.info.pop(_PENDING)]
    publisher: Publisher = session.info.get(_PUBLISHER, _write)
    publisher(session, records)


@event.listens_for(Session, "after_soft_rollback")
def _forget_pending(session: Session, ended: SessionTransaction) -> None:
    """What was said within a transaction, or a savepoint, that is rolled back is not said."""
    if session.info.get(_PENDING):
        kept = [entry for entry in session.info[_PENDING] if not _lies_within(entry[1], ended)]
        session.info[_PENDING] = kept if ended.nested else []


def _lies_within(inner: SessionTransaction | None, outer: SessionTransaction) -> bool:
    while inner is not None and inner is not outer:
        inner = inner.parent
    return inner is outer


def _write(session: Session, records: Sequence[NewRecord]) -> None:
    """Write records into the outbox, and wake a relay once they are there."""
    rows = [
        {
            "position": position,
            "topic": record.topic,
            "key": record.key.hex(),
            "value": record.value.hex(),
            "headers": headers_to_json(record.headers),
        }
        for position, record in enumerate(records)
    ]
    given = {"rows": to_json(rows, exclude_none=True).decode(), "channel": WAKE_CHANNEL}
    session.execute(_INSERT, given)


class _Claimed(NamedTuple):
    """A row that is ours to send until the lease ends."""

    id: int
    record: NewRecord


# A key of which anything is being sent waits whole, so that its order is kept. The lock
# makes claims that are not committed yet impossible to miss.
_CLAIM = text("""
WITH busy AS MATERIALIZED (
    SELECT DISTINCT topic, key FROM outbox
     WHERE sent_at IS NULL AND claimed_until > statement_timestamp()
), chosen AS (
    SELECT id FROM outbox o
     WHERE sent_at IS NULL AND coalesce(claimed_until <= statement_timestamp(), true)
       AND NOT EXISTS (SELECT 1 FROM busy b WHERE b.topic = o.topic AND b.key = o.key)
     ORDER BY id LIMIT :rows FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE outbox o SET claimed_until = statement_timestamp() + :lease
      FROM chosen WHERE o.id = chosen.id
 RETURNING o.id, o.topic, o.key, o.value, o.headers
)
SELECT id, topic, key, value, headers FROM claimed ORDER BY id
""")

_LEAVE = text("""
UPDATE outbox SET claimed_until = statement_timestamp() + :wait
 WHERE id = ANY(:ids) AND sent_at IS NULL
""")

_MARK = text("UPDATE outbox SET sent_at = clock_timestamp() WHERE id = ANY(:ids)")

_PARK = text("""
INSERT INTO dead_letter (consumer, topic, partition, "offset", key, value, headers, parked, reason,
    problems, received_at)
SELECT 'relay', topic, -1, id, key, value, headers, false, 'log_refuses',
    jsonb_build_array(jsonb_build_object('pointer', '', 'problem', CAST(:problem AS text),
        'hint', 'Retry it once the log takes it.')), created_at
FROM outbox WHERE id = :id ON CONFLICT DO NOTHING
""")

_PURGE = text("""
DELETE FROM outbox WHERE id IN (
    SELECT id FROM outbox WHERE sent_at < clock_timestamp() - :age ORDER BY id LIMIT :rows)
""")


_WAITING = text("SELECT count(*) FROM outbox WHERE sent_at IS NULL")


def waiting(session: Session) -> int:
    """How many records wait to be sent."""
    found: int = session.execute(_WAITING).scalar_one()
    return found


class Relay:
    """Sends what is in the outbox. Any number of relays may work on the same one."""

    def __init__(self, database: Database, log: EventLog, *, rows: int = 500) -> None:
        self._database, self._log, self._rows = database, log, rows

    def step(self) -> int:
        """Send up to `rows` records, each key's in the order in which they were written.

        Returns:
            How many were sent; 0 also when another relay is just choosing.

        Raises:
            LogUnavailable: nothing is lost, and all of it is free to be sent again.
        """
        claimed = self._claim()
        try:
            return self._send(claimed)
        except LogUnavailable:
            self._leave(claimed, timedelta(0))
            raise

    def purge(self, older_than: timedelta) -> int:
        """Remove what was sent longer ago than `older_than`, in small steps.

        Returns:
            How many records were removed.
        """
        removed = 0
        while True:
            with self._database.transaction() as session:
                given = {"age": older_than, "rows": _PURGE_ROWS}
                done = affected(session.execute(_PURGE, given))
            removed += done
            if done < _PURGE_ROWS:
                return removed

    def _claim(self) -> list[_Claimed]:
        with self._database.transaction() as session:
            if not try_lock(session, Lock.CLAIM_OUTBOX):
                return []
            found = session.execute(_CLAIM, {"rows": self._rows, "lease": LEASE}).all()
        return [
            _Claimed(
                row.id, NewRecord(row.topic, row.key, row.value, headers_from_json(row.headers))
            )
            for row in found
        ]

    def _send(self, claimed: Sequence[_Claimed]) -> int:
        if not claimed:
            return 0
        try:
            self._log.append([row.record for row in claimed])
        except ValueError:
            return self._send_singly(claimed)
        self._mark(claimed)
        return len(claimed)

    def _send_singly(self, claimed: Sequence[_Claimed]) -> int:
        """Send what the log takes; what it never will is parked, and those behind it go on."""
        for row in claimed:
            try:
                self._log.append([row.record])
            except ValueError as error:
                self._park(row, error)
            else:
                self._mark([row])
        return len(claimed)

    def _park(self, row: _Claimed, error: ValueError) -> None:
        """Keep a record that the log refuses as a dead letter, where a person finds it."""
        _log.error("the log refuses a record", outbox=row.id, error=str(error)[:300])
        with self._database.transaction() as session:
            session.execute(_PARK, {"id": row.id, "problem": str(error)[:300]})
            session.execute(_MARK, {"ids": [row.id]})

    def _mark(self, rows: Sequence[_Claimed]) -> None:
        with self._database.transaction() as session:
            session.execute(_MARK, {"ids": [row.id for row in rows]})

    def _leave(self, rows: Sequence[_Claimed], wait: timedelta) -> None:
        with self._database.transaction() as session:
            session.execute(_LEAVE, {"ids": [row.id for row in rows], "wait": wait})
