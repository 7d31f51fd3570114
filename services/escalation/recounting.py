"""Deadlines counted anew where a calendar has changed: in small steps, so that nobody waits.

A timer of a case whose turn has not come is counted anew before it fires (`firing.fire_due`).
"""

from collections.abc import Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks, queries
from services.escalation.models import OPEN
from services.people import queries as people

_PRESENT = """
WITH present AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:present AS json))
        AS g(team text, calendar text, revision bigint)
)"""
_OTHERWISE = """LEFT JOIN LATERAL (
    SELECT p.calendar, p.revision FROM present p
    WHERE CASE WHEN c.calendar IS NULL THEN p.team = c.calendar_team
        ELSE p.calendar = c.calendar END LIMIT 1) p ON true
WHERE (p.calendar IS DISTINCT FROM c.counted_calendar
    OR coalesce(p.revision, 0) <> c.counted_revision)"""
_PARTS = """FROM "case" c JOIN "case" w ON w.id = c.incident AND c.state = 'merged'"""
_COUNTED_OTHERWISE = text(f"""{_PRESENT}
(SELECT c.id, CAST(NULL AS bigint) AS whole FROM "case" c {_OTHERWISE} AND c.{OPEN} LIMIT :limit)
UNION ALL
(SELECT c.id, w.id {_PARTS} {_OTHERWISE} AND w.{OPEN} AND w.children > 0 LIMIT :limit)
LIMIT :limit
""")
# Whoever else has one of them just now is not waited for: they may wait for what is locked here.
_PARTS_OTHERWISE = text(f"""{_PRESENT}
SELECT c.id {_PARTS} {_OTHERWISE} AND w.id = ANY(:wholes) ORDER BY c.id FOR UPDATE OF c SKIP LOCKED
""")


def recount(session: Session, *, limit: int = 100) -> int:
    """Count up to `limit` cases anew whose calendar is another than the one they were counted by,
    and those that answer for them.

    Answers how many; call it again, in a new transaction, while it answers `limit`.
    """
    present = _present(session)
    if present is None:
        return 0
    found = session.execute(_COUNTED_OTHERWISE, {"present": present, "limit": limit}).all()
    wholes = {row.whole for row in found if row.whole is not None}
    counted = {row.id for row in found}
    queries.hold(session, counted | wholes)
    clocks.count_anew(session, sorted(counted))
    # By what their parts are due by now.
    clocks.count_anew(session, sorted(wholes))
    return len(found)


def recount_parts(session: Session, wholes: Sequence[int]) -> set[int]:
    """Count the parts of cases, locked, anew that were counted by a calendar of before; answers
    of which that was so of any, as they are to be counted again themselves."""
    present = _present(session) if wholes else None
    if present is None:
        return set()
    given = {"present": present, "wholes": list(wholes)}
    found: Sequence[int] = session.scalars(_PARTS_OTHERWISE, given).all()
    clocks.count_anew(session, found)
    return set(queries.wholes(session, found)) if found else set()


def _present(session: Session) -> str | None:
    """The calendars of all teams as they are; None where there are none."""
    found = [one._asdict() for one in people.calendar_revisions(session)]
    return to_json(found).decode() if found else None
