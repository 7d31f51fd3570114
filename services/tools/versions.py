"""The versions under which tools are counted: each a number, and no more of them than is wise."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.tools.rules import Version

VERSIONS_COUNTED = 500
"""So many versions of a tool are told apart. What comes under a later one, from a tool that
names a new model each time, say, is counted under one number for all others."""


class ToolVersion(NamedTuple):
    """A version of a tool."""

    tool: str
    version: Version


_KNOWN = text("""
SELECT g.position, v.id
FROM json_to_recordset(CAST(:rows AS json))
    AS g(position bigint, tool text, model text, prompt text)
JOIN tool_version v ON v.tool = g.tool AND v.model IS NOT DISTINCT FROM g.model
    AND v.prompt IS NOT DISTINCT FROM g.prompt AND NOT v.other
""")

_ADD = text("""
INSERT INTO tool_version (tool, model, prompt, other)
SELECT g.tool, g.model, g.prompt, false
FROM (
    SELECT tool, model, prompt, row_number() OVER (PARTITION BY tool ORDER BY position) AS place
    FROM json_to_recordset(CAST(:rows AS json))
        AS r(position bigint, tool text, model text, prompt text)
) g
WHERE g.place <= :most
    - (SELECT count(*) FROM tool_version v WHERE v.tool = g.tool AND NOT v.other)
ORDER BY g.tool, g.model, g.prompt
ON CONFLICT DO NOTHING
""")

_ADD_OTHER = text("""
INSERT INTO tool_version (tool, other) SELECT unnest(CAST(:tools AS text[])), true
ON CONFLICT DO NOTHING
""")
_OTHER = text("SELECT tool, id FROM tool_version WHERE other AND tool = ANY(:tools)")


class VersionCache:
    """The numbers of versions, kept in memory once they are committed."""

    def __init__(self) -> None:
        self._ids: dict[ToolVersion, int] = {}

    def ids(self, session: Session, wanted: Iterable[ToolVersion]) -> dict[ToolVersion, int]:
        """The number of each of these versions; those seen for the first time get one."""
        asked = set(wanted)
        unknown = asked - self._ids.keys()
        if not unknown:
            return {one: self._ids[one] for one in asked}
        found = _known(session, unknown)
        # What this transaction adds may yet be rolled back, and so is not remembered.
        self._ids.update(found)
        added = _add(session, unknown - found.keys())
        return {one: self._ids.get(one) or added[one] for one in asked}


def _known(session: Session, wanted: Collection[ToolVersion]) -> dict[ToolVersion, int]:
    listed = list(wanted)
    rows = session.execute(_KNOWN, {"rows": _as_rows(listed)})
    return {listed[row.position]: row.id for row in rows}


def _add(session: Session, missing: Collection[ToolVersion]) -> dict[ToolVersion, int]:
    if not missing:
        return {}
    listed = sorted(missing, key=str)
    session.execute(_ADD, {"rows": _as_rows(listed), "most": VERSIONS_COUNTED})
    found = _known(session, listed)
    tools = sorted({one.tool for one in listed if one not in found})
    if tools:
        session.execute(_ADD_OTHER, {"tools": tools})
        other = {row.tool: row.id for row in session.execute(_OTHER, {"tools": tools})}
        found |= {one: other[one.tool] for one in listed if one not in found}
    return found


def _as_rows(versions: Iterable[ToolVersion]) -> str:
    """The versions as one document, each with its place in it."""
    rows = [
        {"position": position, "tool": tool, "model": version.model, "prompt": version.prompt}
        for position, (tool, version) in enumerate(versions)
    ]
    return to_json(rows).decode()


_ALL = text("SELECT id, tool, model, prompt, other FROM tool_version")
OTHERS = Version("(others)")
"""How what lies beyond `VERSIONS_COUNTED` is shown."""


def all_versions(session: Session) -> dict[int, ToolVersion]:
    """Every version that something is counted under, by its number."""
    return {
        row.id: ToolVersion(row.tool, OTHERS if row.other else Version(row.model, row.prompt))
        for row in session.execute(_ALL)
    }
