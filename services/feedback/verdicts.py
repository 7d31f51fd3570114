"""Verdicts that came back from escalation, and those that were taken back."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import truth
from services.feedback.corrections import await_outputs
from services.feedback.rows import Identified, StoreResult, UndoneVerdictRow, VerdictRow, key_of
from services.feedback.storing import (
    as_json,
    first_bearers,
    insert_of,
    known_events,
    recordset,
    store_events,
)

_COLUMNS = {
    "event_id": "text",
    "digest": "text",
    "tool": "text",
    "output_id": "text",
    "case_id": "bigint",
    "verdict": "text",
    "value": "jsonb",
    "actor": "text",
    "blind": "boolean",
    "at": "timestamptz",
}
_INSERT = insert_of("verdict", _COLUMNS, order="event_id", returning="tool, event_id")
_KNOWN = known_events("verdict")
_UNDO = text(f"""
UPDATE verdict v SET undone_at = :now
FROM {recordset({"event_id": "text", "verdict_id": "text"})}
WHERE v.event_id = g.verdict_id AND v.undone_at IS NULL
RETURNING g.event_id
""")


def store(
    session: Session, rows: Sequence[VerdictRow], *, now: datetime, shard: int
) -> StoreResult[VerdictRow]:
    """Store verdicts, and decide the truth of their outputs anew."""
    result = store_events(session, rows, _INSERT, _KNOWN, now=now)
    _settle(session, result.stored, now=now, shard=shard)
    return result


def store_undone(
    session: Session, rows: Sequence[UndoneVerdictRow], *, now: datetime, shard: int
) -> StoreResult[UndoneVerdictRow]:
    """Let verdicts count no longer, and decide the truth of their outputs without them."""
    result: StoreResult[UndoneVerdictRow] = StoreResult()
    fresh, result.duplicates = first_bearers(rows, ("event_id",))
    if fresh:
        answered = session.execute(_UNDO, {"rows": as_json(fresh), "now": now})
        new = {row.event_id for row in answered}
        for row in fresh:
            (result.stored if row["event_id"] in new else result.duplicates).append(row)
    _settle(session, result.stored, now=now, shard=shard)
    return result


def _settle(session: Session, rows: Sequence[Identified], *, now: datetime, shard: int) -> None:
    keys = {key_of(row) for row in rows}
    if keys:
        await_outputs(session, keys, now=now)
        outputs = truth.lock(session, keys)
        truth.settle(session, outputs, now=now, shard=shard)
