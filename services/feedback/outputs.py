"""Outputs on their way into the database: stored, counted, met by what was said of them."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Executable, text
from sqlalchemy.orm import Session

from services.feedback import reviews, truth, waiting
from services.feedback.rows import Key, OutputRow, StoreResult, key_of
from services.feedback.storing import (
    IDENTITY_COLUMNS,
    as_json,
    file_known,
    first_bearers,
    insert_of,
    picked,
    recordset,
    sift,
)
from services.kit.counts import Count, Counts, hour_of
from services.kit.database import affected

_COLUMNS = {
    "tool": "text",
    "output_id": "text",
    "event_id": "text",
    "digest": "text",
    "version": "bigint",
    "model": "text",
    "prompt": "text",
    "subject": "text",
    "kind": "text",
    "value": "jsonb",
    "confidence": "float8",
    "alternatives": "jsonb",
    "input": "jsonb",
    "attributes": "jsonb",
    "cohort": "text",
    "latency_ms": "float8",
    "cost": "jsonb",
    "failure": "jsonb",
    "disposition": "text",
    "gate_disposition": "text",
    "gate_reason": "text",
    "condition": "text",
    "policy_revision": "bigint",
    "audit": "boolean",
    "inclusion_probability": "float8",
    "exception": "text",
    "occurred_at": "timestamptz",
}

_INSERT = insert_of("output", _COLUMNS, ("tool", "output_id"))

# Rows that corrections made before their output came. The event's id may be another output's.
_filled = [name for name in _COLUMNS if name not in ("tool", "output_id")]
_FILL_AWAITED = text(f"""
UPDATE output o SET ({", ".join(_filled)}, recorded_at) = ({picked(_filled)}, :now)
FROM {recordset(_COLUMNS)}
WHERE o.tool = g.tool AND o.output_id = g.output_id AND o.recorded_at IS NULL
  AND NOT EXISTS (SELECT FROM output e WHERE e.tool = g.tool AND e.event_id = g.event_id)
RETURNING o.tool, o.output_id
""")

_KNOWN = text(f"""
SELECT g.position,
       coalesce(o.output_id, e.output_id) = g.output_id
       AND coalesce(o.digest, e.digest) = decode(g.digest, 'hex') AS same
FROM {recordset(IDENTITY_COLUMNS)}
LEFT JOIN output o
    ON o.tool = g.tool AND o.output_id = g.output_id AND o.recorded_at IS NOT NULL
LEFT JOIN output e ON e.tool = g.tool AND e.event_id = g.event_id
WHERE o.output_id IS NOT NULL OR e.output_id IS NOT NULL
""")


_IDENTITIES = ("output_id", "event_id")


def store(session: Session, rows: Sequence[OutputRow], *, now: datetime) -> StoreResult[OutputRow]:
    """Store outputs and output failures, and request a review of each that needs a person.

    Those that were awaited meet their corrections. A row whose output id or event id is
    known is a duplicate where the digest is the same and a conflict where it is not; in both
    cases what was there first stays. It is the same however the log was cut into batches.
    """
    result: StoreResult[OutputRow] = StoreResult()
    fresh, repeated = first_bearers(rows, _IDENTITIES)
    met = _put(session, fresh, result, now)
    # Where what they repeat was refused, they are judged as if it had never come.
    unknown = file_known(session, _KNOWN, repeated, result)
    met += _put(session, sift(unknown, _IDENTITIES, result), result, now)
    if not result.stored:
        return result
    reviews.request_for_outputs(session, result.stored, now=now)
    result.tally = _counted(result.stored, now=now)
    if met:
        result.tally.update(waiting.meet(session, map(key_of, met), now=now))
    return result


def _put(
    session: Session, rows: Sequence[OutputRow], result: StoreResult[OutputRow], now: datetime
) -> list[OutputRow]:
    """Write rows that share no ids, and file them; answers those that were awaited."""
    if not rows:
        return []
    inserted, rest = _write(session, _INSERT, rows, now)
    met, refused = _fill_awaited(session, rest, now) if rest else ([], [])
    result.stored += inserted + met
    result.conflicts += file_known(session, _KNOWN, refused, result)
    return met


def _fill_awaited(
    session: Session, rows: Sequence[OutputRow], now: datetime
) -> tuple[list[OutputRow], list[OutputRow]]:
    """Write rows that are there, awaited; answers those that were, and the others."""
    # An update takes its rows in any order, and others wait for them.
    truth.lock(session, map(key_of, rows))
    return _write(session, _FILL_AWAITED, rows, now)


def _write(
    session: Session, statement: Executable, rows: Sequence[OutputRow], now: datetime
) -> tuple[list[OutputRow], list[OutputRow]]:
    """Write rows; answers those that are written, and those that `statement` passed over."""
    answered = session.execute(statement, {"rows": as_json(rows), "now": now})
    if affected(answered) == len(rows):  # as nearly always: then their names need not be read
        return list(rows), []
    written = {Key(row.tool, row.output_id) for row in answered}
    passed_over = [row for row in rows if key_of(row) not in written]
    return [row for row in rows if key_of(row) in written], passed_over


def _counted(stored: Sequence[OutputRow], *, now: datetime) -> Counts:
    hour = hour_of(now)
    tally: Counts = Counter()
    for row in stored:
        place = (row["tool"], hour, row["version"])
        tally[Count("outputs", *place, row["disposition"])] += 1
        if row["exception"] is not None:
            tally[Count("exceptions", *place, row["exception"])] += 1
        if row["disposition"] != row["gate_disposition"]:
            tally[Count("gate_disagreements", row["tool"], hour, 0, row["disposition"])] += 1
    return tally
