"""The verdicts of a tool in the order of its feed: what `GET /v1/verdicts` and the SDK read."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

UNDONE = "undone"

# The feed's row is held until the transaction ends, so places become visible in their order:
# whoever has read one has read all before it.
_HOLD = text("""
INSERT INTO verdict_feed (tool, last_place) SELECT tool, 0
FROM unnest(CAST(:tools AS text[])) AS g(tool) ORDER BY tool
ON CONFLICT (tool) DO UPDATE SET last_place = verdict_feed.last_place
RETURNING tool, last_place
""")
_KNOWN = text("""
SELECT h.tool, h.event_id FROM heard_verdict h
WHERE h.tool = ANY(:tools) AND h.event_id = ANY(:ids)
""")
_ADD = text("""
INSERT INTO heard_verdict
    (tool, place, event_id, output_id, case_id, verdict, value, actor, at, heard_at)
SELECT tool, place, event_id, output_id, case_id, verdict, value, actor, at, :now
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, place bigint, event_id text,
    output_id text, case_id text, verdict text, value jsonb, actor text, at timestamptz)
""")
_MOVE = text("""
UPDATE verdict_feed f SET last_place = g.last_place
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, last_place bigint)
WHERE f.tool = g.tool
""")

Given = events.VerdictRecorded | events.VerdictTakenBack


def add(session: Session, given: Sequence[Given], *, now: datetime) -> None:
    """Put verdicts, and word that one counts no longer, at the end of their tools' feeds, once."""
    if not given:
        return
    tools = sorted({event.data.tool for event in given})
    last = {row.tool: row.last_place for row in session.execute(_HOLD, {"tools": tools})}
    ids = [event.id for event in given]
    known = {tuple(row) for row in session.execute(_KNOWN, {"tools": tools, "ids": ids})}
    rows = []
    for event in given:
        if (event.data.tool, event.id) not in known:
            known.add((event.data.tool, event.id))
            last[event.data.tool] += 1
            rows.append(_row(event, last[event.data.tool]))
    if rows:
        session.execute(_ADD, {"rows": to_json(rows).decode(), "now": now})
        moved = [{"tool": tool, "last_place": place} for tool, place in last.items()]
        session.execute(_MOVE, {"rows": to_json(moved).decode()})


def _row(event: Given, place: int) -> dict[str, Any]:
    data = event.data
    verdict, value = UNDONE, None
    if isinstance(data, events.VerdictGiven):
        verdict = data.verdict
        value = data.value if data.value is not None else data.upheld_value
    return {
        "tool": data.tool,
        "place": place,
        "event_id": event.id,
        "output_id": data.output_id,
        "case_id": data.case_id,
        "verdict": verdict,
        "value": None if value is None else {"value": value},
        "actor": data.actor.id,
        "at": data.at,
    }


class Entry(NamedTuple):
    """A verdict at its place in a feed."""

    place: int
    output_id: str
    case_id: str
    verdict: str
    value: Mapping[str, Any] | None
    at: datetime

    def as_answer(self) -> dict[str, Any]:
        """It as the API shows it; `cursor` is where to go on after it."""
        value = self.value["value"] if self.value is not None else None
        return {
            "output_id": self.output_id,
            "case_id": self.case_id,
            "verdict": self.verdict,
            "value": value,
            "at": self.at,
            "cursor": str(self.place),
        }


_READ = text("""
SELECT place, output_id, case_id, verdict, value, at FROM heard_verdict
WHERE tool = :tool AND place > :after ORDER BY place LIMIT :limit
""")
_LAST = text("SELECT tool, last_place FROM verdict_feed")


def read(session: Session, tool: str, *, after: int, limit: int) -> list[Entry]:
    """The verdicts of a tool after a place of its feed.

    A place that the feed has not reached is one of another life of this database, before a
    restore: then all is told again, rather than something never.
    """
    given = {"tool": tool, "after": after, "limit": limit}
    found = [Entry(*row) for row in session.execute(_READ, given)]
    if not found and after > ends(session).get(tool, 0):
        found = [Entry(*row) for row in session.execute(_READ, {**given, "after": 0})]
    return found


def ends(session: Session) -> dict[str, int]:
    """The last place of every feed."""
    return {row.tool: row.last_place for row in session.execute(_LAST)}
