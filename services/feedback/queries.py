"""Reads of outputs, what was said of them, and where every event is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import psycopg
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback.rows import Word
from services.kit.database import selecting
from services.kit.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputListed:
    """An output as lists show it, without its long parts."""

    tool: str
    output_id: str
    model: str | None
    prompt: str | None
    subject: str | None
    kind: str
    value: Any
    confidence: float | None
    disposition: str
    decided_value: Any
    decided_by: str | None
    overridden: bool | None
    failure: Mapping[str, str] | None
    recorded_at: datetime
    audit_pending: bool
    """Whether it was drawn for an audit, and no verdict on it has come yet."""
    excerpt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputWhole(OutputListed):
    """An output, whole."""

    alternatives: list[Any] | None
    input: Mapping[str, str] | None
    attributes: Mapping[str, str] | None
    cohort: str | None
    latency_ms: float | None
    cost: Mapping[str, Any] | None
    gate_reason: str
    condition: str | None
    policy_revision: int | None
    audit: bool
    occurred_at: datetime
    decided_at: datetime | None

    @property
    def version(self) -> dict[str, str]:
        """What produced it, as it was sent."""
        parts = {"model": self.model, "prompt": self.prompt}
        return {name: part for name, part in parts.items() if part is not None}


_AUDIT_PENDING = """audit AND NOT EXISTS (
    SELECT FROM verdict v WHERE v.tool = output.tool AND v.output_id = output.output_id)"""
_MADE = {"audit_pending": _AUDIT_PENDING, "excerpt": "left(input->>'text', 240)"}
"""What is no column of the table."""


def _columns(shape: type[OutputListed]) -> str:
    names = [field.name for field in fields(shape)]
    return ", ".join(f"{_MADE[name]} AS {name}" if name in _MADE else name for name in names)


_OUTPUT = text(f"""
SELECT {_columns(OutputWhole)} FROM output
WHERE tool = :tool AND output_id = :output_id AND recorded_at IS NOT NULL
""")

_WORD = """
SELECT c.tool, c.output_id, c.event_id, c.kind, c.value, c.reason, c.note, c.actor, c.channel,
    c.occurred_at, c.withdrawn_at IS NOT NULL
FROM correction c WHERE c.tool = :tool AND c.output_id = :output_id
"""
_CORRECTIONS = selecting(
    f"{_WORD} ORDER BY c.recorded_at DESC, c.event_id DESC LIMIT :limit", Word._fields
)
_CORRECTION = selecting(f"{_WORD} AND c.event_id = :event_id", Word._fields)


def output(session: Session, tool: str, output_id: str) -> OutputWhole:
    """One recorded output.

    Raises:
        NotFound: the tool has recorded none of that id.
    """
    found = session.execute(_OUTPUT, {"tool": tool, "output_id": output_id}).mappings().first()
    if found is None:
        raise NotFound(f"'{tool}' has recorded no output '{output_id[:80]}'.")
    return OutputWhole(**found)


def corrections(session: Session, tool: str, output_id: str, *, limit: int = 200) -> list[Word]:
    """What was heard last of an output, in the order in which it happened."""
    given = {"tool": tool, "output_id": output_id, "limit": limit}
    found = [Word(*row) for row in session.execute(_CORRECTIONS, given)]
    return sorted(found, key=lambda word: (word.occurred_at, word.event_id))


def correction(session: Session, tool: str, output_id: str, event_id: str) -> Word | None:
    """One correction of an output, or None where it is not there."""
    given = {"tool": tool, "output_id": output_id, "event_id": event_id}
    found = session.execute(_CORRECTION, given).first()
    return None if found is None else Word(*found)


_RECENT = """
SELECT {columns} FROM output
WHERE tool = :tool AND recorded_at IS NOT NULL {after}
ORDER BY recorded_at DESC, output_id DESC LIMIT :limit
"""
_listed = _columns(OutputListed)
_RECENT_FIRST = text(_RECENT.format(columns=_listed, after=""))
_RECENT_AFTER = text(
    _RECENT.format(columns=_listed, after="AND (recorded_at, output_id) < (:before, :before_id)")
)


def recent_outputs(
    session: Session, tool: str, *, before: tuple[datetime, str] | None = None, limit: int = 50
) -> list[OutputListed]:
    """A tool's outputs, the newest first; `before` (recorded_at, output_id) goes on from a page."""
    if before is None:
        found = session.execute(_RECENT_FIRST, {"tool": tool, "limit": limit})
    else:
        given = {"tool": tool, "limit": limit, "before": before[0], "before_id": before[1]}
        found = session.execute(_RECENT_AFTER, given)
    return [OutputListed(**row) for row in found.mappings()]


_CONFLICTING = """
WITH given AS MATERIALIZED (
    SELECT position, kind, tool, name, decode(digest, 'hex') AS digest
    FROM json_to_recordset(CAST(%s AS json))
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
"""


def conflicting(connection: psycopg.Connection[Any], rows_json: str) -> list[int]:
    """Positions of the rows (position, kind, tool, name, digest) whose name is taken by another
    payload: an output's id, its event's, or a correction's event id."""
    # Planned each time: the connection is kept, and with it would be a plan that was good while
    # the tables were empty. Nobody is answered before this.
    found = connection.execute(_CONFLICTING, (rows_json,), prepare=False)
    return [position for (position,) in found]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """An output whose truth is decided, as training data."""

    output_id: str
    model: str | None
    prompt: str | None
    kind: str
    text: str | None
    tool_value: Any
    confidence: float | None
    decided_value: Any
    decided_by: str
    decided_at: datetime
    overridden: bool
    disposition: str
    audit: bool
    inclusion_probability: float | None
    recorded_at: datetime
    audit_pending: bool
    """Whether it was drawn for an audit, and no verdict on it has come yet."""


_DECIDED = text(f"""
SELECT output_id, model, prompt, kind, input->>'text' AS text, value AS tool_value, confidence,
       decided_value, decided_by, decided_at, overridden, disposition, audit,
       inclusion_probability, recorded_at, {_AUDIT_PENDING} AS audit_pending
FROM output
WHERE tool = :tool AND decided_by IS NOT NULL AND recorded_at <= :until
  AND (recorded_at, output_id) > (:after, :after_id)
ORDER BY recorded_at, output_id LIMIT :limit
""")
BEFORE_ALL = (datetime.min.replace(tzinfo=UTC), "")


def decided_outputs(
    session: Session,
    tool: str,
    *,
    until: datetime,
    after: tuple[datetime, str] = BEFORE_ALL,
    limit: int = 1000,
) -> list[Decided]:
    """A page of the outputs whose truth is decided, for training.

    In the order in which they were recorded, from `after` (recorded_at, output_id) on, those
    recorded up to `until`.
    """
    given = {"tool": tool, "until": until, "after": after[0], "after_id": after[1]}
    found = session.execute(_DECIDED, {**given, "limit": limit}).mappings()
    return [Decided(**row) for row in found]


_DECIDED_VALUES = text("""
SELECT o.tool, o.output_id, o.decided_value
FROM unnest(CAST(:tools AS text[]), CAST(:ids AS text[])) AS g(tool, output_id)
JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id WHERE o.decided_value IS NOT NULL
""")


def decided_values(
    session: Session, outputs: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Any]:
    """What people say is right, of those of these outputs (tool, id) of which somebody has."""
    given = {"tools": [tool for tool, _ in outputs], "ids": [id_ for _, id_ in outputs]}
    found = session.execute(_DECIDED_VALUES, given)
    return {(row.tool, row.output_id): row.decided_value for row in found}
