"""Decided cases whose input is most like that of a case: how it was judged before."""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.cases import Case, Json
from services.people.rules import Actor

LOOKED_AT = 200
"""So many of a tool's newest decided cases are compared: the cost stays the same however many
there are. An index of trigrams takes 200 ms to find the nearest of 100,000 such texts."""
WALKED = 2_000
"""Among so many of the newest those are looked for that somebody sees."""
SHOWN = 3
_LEAST = 0.1
"""What shares fewer trigrams than this is like nothing."""

# Their texts are kept beside them in a short form, so that no long input is read for this.
_SIMILAR = text("""
WITH seen AS MATERIALIZED (
    SELECT c.id, c.verdict, c.verdict_value, c.resolved_at, o.value, o.words
    FROM (SELECT * FROM "case" WHERE tool = :tool AND verdict IS NOT NULL AND id <> :id
        ORDER BY resolved_at DESC LIMIT :walked) c
    JOIN case_output o ON o.case_id = c.id
    WHERE :everywhere OR c.team = ANY(:teams) OR c.owner_person = :me OR c.verdict_by = :me
    LIMIT :looked_at
), compared AS MATERIALIZED (
    SELECT s.*, similarity(s.words, :words) AS likeness FROM seen s WHERE s.words IS NOT NULL)
SELECT id, verdict, CASE verdict WHEN 'upheld' THEN value ELSE verdict_value END AS value,
    resolved_at, likeness
FROM compared WHERE likeness >= :least ORDER BY likeness DESC, resolved_at DESC LIMIT :shown
""")
_WORDS = text("SELECT words FROM case_output WHERE case_id = :id")


class Precedent(NamedTuple):
    """A decided case that is like another one."""

    id: int
    verdict: str
    value: Json
    """What was found right."""
    resolved_at: datetime
    likeness: float
    """Shared trigrams of both texts, from 0 to 1."""


def similar(session: Session, actor: Actor, case: Case) -> list[Precedent]:
    """The decided cases of the same tool, in the actor's sight, that are most like an open one.

    Only what others were judged to be is told: of this case's answer nothing.
    """
    words = session.execute(_WORDS, {"id": case.id}).scalar()
    if case.verdict is not None or not words:
        return []
    given: dict[str, Any] = {
        "id": case.id,
        "tool": case.tool,
        "words": words,
        "everywhere": actor.sees_all_teams,
        "teams": sorted(actor.teams),
        "me": actor.email,
        "looked_at": LOOKED_AT,
        "walked": WALKED,
        "least": _LEAST,
        "shown": SHOWN,
    }
    return [Precedent(*row) for row in session.execute(_SIMILAR, given)]


def as_answer(session: Session, actor: Actor, case: Case) -> list[dict[str, Json]]:
    """The same, as the API shows it."""
    return [one._asdict() for one in similar(session, actor, case)]
