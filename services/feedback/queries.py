"""Reads of outputs, what was said of them, and where every event is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.errors import NotFound

_OUTPUT = text("""
SELECT * FROM output WHERE tool = :tool AND output_id = :output_id AND recorded_at IS NOT NULL
""")

_CORRECTIONS = text("""
SELECT c.*, EXISTS (
    SELECT FROM withdrawal w
    WHERE w.tool = c.tool AND w.correction_id = c.event_id
      AND w.actor IS NOT DISTINCT FROM c.actor) AS withdrawn
FROM correction c WHERE c.tool = :tool AND c.output_id = :output_id
ORDER BY c.occurred_at, c.event_id
""")


def output(session: Session, tool: str, output_id: str) -> SqlRow[Any]:
    """One recorded output.

    Raises:
        NotFound: the tool has recorded none of that id.
    """
    found = session.execute(_OUTPUT, {"tool": tool, "output_id": output_id}).first()
    if found is None:
        raise NotFound(f"'{tool}' has recorded no output '{output_id[:80]}'.")
    return found


def corrections(session: Session, tool: str, output_id: str) -> list[SqlRow[Any]]:
    """What was said of an output, in the order in which it happened."""
    return list(session.execute(_CORRECTIONS, {"tool": tool, "output_id": output_id}))


_RECENT = """
SELECT tool, output_id, version, subject, kind, value, confidence, disposition, decided_value,
       decided_by, overridden, failure IS NOT NULL AS failed, recorded_at,
       left(input->>'text', 240) AS excerpt
FROM output
WHERE tool = :tool AND recorded_at IS NOT NULL {after}
ORDER BY recorded_at DESC, output_id DESC LIMIT :limit
"""
_RECENT_FIRST = text(_RECENT.format(after=""))
_RECENT_AFTER = text(_RECENT.format(after="AND (recorded_at, output_id) < (:before, :before_id)"))


def recent_outputs(
    session: Session, tool: str, *, before: tuple[datetime, str] | None = None, limit: int = 50
) -> list[SqlRow[Any]]:
    """A tool's outputs, the newest first; `before` (recorded_at, output_id) goes on from a page."""
    if before is None:
        return list(session.execute(_RECENT_FIRST, {"tool": tool, "limit": limit}))
    given = {"tool": tool, "limit": limit, "before": before[0], "before_id": before[1]}
    return list(session.execute(_RECENT_AFTER, given))


_CONFLICTING = text("""
WITH given AS MATERIALIZED (
    SELECT position, kind, tool, name, decode(digest, 'hex') AS digest
    FROM json_to_recordset(CAST(:rows AS json))
        AS g(position bigint, kind text, tool text, name text, digest text)
)
SELECT g.position FROM given g
JOIN output o ON g.kind = 'output' AND o.tool = g.tool AND o.output_id = g.name
WHERE o.recorded_at IS NOT NULL AND o.digest <> g.digest
UNION ALL
SELECT g.position FROM given g
JOIN output o ON g.kind = 'output event' AND o.tool = g.tool AND o.event_id = g.name
WHERE o.digest <> g.digest
UNION ALL
SELECT g.position FROM given g
JOIN correction c ON g.kind = 'correction' AND c.tool = g.tool AND c.event_id = g.name
WHERE c.digest <> g.digest
""")


def conflicting(session: Session, rows_json: str) -> list[int]:
    """Positions of the rows (position, kind, tool, name, digest) whose name is taken by another
    payload: an output's id, its event's, or a correction's event id."""
    return [row.position for row in session.execute(_CONFLICTING, {"rows": rows_json})]


# --- maturity ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """Outputs of one version and disposition in a part of an hour."""

    version: int
    disposition: str
    outputs: int
    overridden: int


_PART = text("""
SELECT version, disposition, count(*), count(*) FILTER (WHERE overridden)
FROM output WHERE tool = :tool AND recorded_at > :after AND recorded_at < :before
GROUP BY version, disposition
""")


def recorded_between(
    session: Session, tool: str, *, after: datetime, before: datetime
) -> list[Part]:
    """Outputs recorded after `after` and before `before`, for the part of an hour that hourly
    counts cannot divide."""
    given = {"tool": tool, "after": after, "before": before}
    return [Part(*row) for row in session.execute(_PART, given)]


_LAST_RECORDED = text("SELECT max(recorded_at) FROM output WHERE tool = :tool")


def last_recorded(session: Session, tool: str) -> datetime | None:
    """When the tool's newest output was recorded."""
    found: datetime | None = session.execute(_LAST_RECORDED, {"tool": tool}).scalar_one()
    return found


# --- export -----------------------------------------------------------------------------

_DECIDED = text("""
SELECT o.output_id, o.version, o.kind, o.input->>'text' AS text, o.value AS tool_value,
       o.confidence, o.decided_value, o.decided_by, o.decided_at, o.overridden, o.disposition,
       o.audit, o.inclusion_probability, o.recorded_at
FROM output o
WHERE o.tool = :tool AND o.decided_by IS NOT NULL
ORDER BY o.recorded_at, o.output_id
""")


def decided_outputs(session: Session, tool: str) -> Iterator[SqlRow[Any]]:
    """Every output whose truth is decided, for training: read as a stream."""
    streamed = session.execute(_DECIDED, {"tool": tool}, execution_options={"yield_per": 1000})
    yield from streamed
