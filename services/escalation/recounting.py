"""Deadlines counted anew where a calendar has changed: in small steps, so that nobody waits.

A timer of a case whose turn has not come is counted anew before it fires (`firing.fire_due`).
"""

from collections.abc import Sequence

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks
from services.escalation.models import OPEN
from services.people import queries as people

_COUNTED_OTHERWISE = text(f"""
WITH present AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:present AS json))
        AS g(team text, calendar text, revision bigint)
)
SELECT c.id FROM "case" c
LEFT JOIN LATERAL (
    SELECT p.calendar, p.revision FROM present p
    WHERE CASE WHEN c.calendar IS NULL THEN p.team = c.calendar_team
        ELSE p.calendar = c.calendar END LIMIT 1) p ON true
WHERE c.{OPEN} AND (p.calendar IS DISTINCT FROM c.counted_calendar
    OR coalesce(p.revision, 0) <> c.counted_revision)
LIMIT :limit
""")


def recount(session: Session, *, limit: int = 100) -> int:
    """Count up to `limit` cases anew whose calendar is another than the one they were counted by.

    Answers how many; call it again, in a new transaction, while it answers `limit`.
    """
    present = [one._asdict() for one in people.calendar_revisions(session)]
    if not present:
        return 0
    given = {"present": to_json(present).decode(), "limit": limit}
    found: Sequence[int] = session.scalars(_COUNTED_OTHERWISE, given).all()
    clocks.count_anew(session, found)
    return len(found)
