"""Verdicts that came back from escalation, and those that were taken back."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from services.feedback import truth
from services.feedback.corrections import await_outputs
from services.feedback.rows import Identified, StoreResult, UndoneVerdictRow, VerdictRow, key_of
from services.feedback.storing import (
    as_json,
    first_bearers,
    insert_of,
    known_events,
    store_events,
)
from services.kit.counts import Counts

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
_INSERT = insert_of("verdict", _COLUMNS, ("tool", "event_id"))
_KNOWN = known_events("verdict")
_UNDONE_COLUMNS = {
    "verdict_id": "text",
    "event_id": "text",
    "tool": "text",
    "output_id": "text",
}
_INSERT_UNDONE = insert_of("undone_verdict", _UNDONE_COLUMNS, ("verdict_id",))


def store(
    session: Session, rows: Sequence[VerdictRow], *, now: datetime
) -> StoreResult[VerdictRow]:
    """Store verdicts, and decide the truth of their outputs anew."""
    result = store_events(session, rows, _INSERT, _KNOWN, now=now)
    result.tally = _settle(session, result.stored, now=now)
    return result


def store_undone(
    session: Session, rows: Sequence[UndoneVerdictRow], *, now: datetime
) -> StoreResult[UndoneVerdictRow]:
    """Let verdicts count no longer, and decide the truth of their outputs without them.

    A verdict that comes after this does not count either.
    """
    result: StoreResult[UndoneVerdictRow] = StoreResult()
    fresh, result.duplicates = first_bearers(rows, ("verdict_id",))
    if fresh:
        answered = session.execute(_INSERT_UNDONE, {"rows": as_json(fresh), "now": now})
        new = {row.verdict_id for row in answered}
        for row in fresh:
            (result.stored if row["verdict_id"] in new else result.duplicates).append(row)
    result.tally = _settle(session, result.stored, now=now)
    return result


def _settle(session: Session, rows: Sequence[Identified], *, now: datetime) -> Counts:
    keys = {key_of(row) for row in rows}
    if not keys:
        return Counter()
    await_outputs(session, keys, now=now)
    return truth.settle(session, truth.lock(session, keys))
