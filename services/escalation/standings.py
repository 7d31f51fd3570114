"""Open cases as a routing policy finds them: what they are, and what their outputs say."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.clocks import PARTS
from services.escalation.models import OPEN
from services.escalation.policy.facts import COLUMNS, Said
from services.escalation.reroutes import Standing
from services.kit.database import selecting
from services.people.rules import Actor

# An incident keeps the route of the rule that formed it.
_IDS = text(f"""
SELECT id FROM "case" WHERE {OPEN} AND subject_kind = 'output'
    AND (:every OR team = ANY(:teams)) ORDER BY id
""")


def numbers(session: Session, actor: Actor) -> Sequence[int]:
    """The numbers of all that a policy routes, of the teams in the actor's sight."""
    given = {"every": actor.sees_all_teams, "teams": sorted(actor.teams)}
    return session.scalars(_IDS, given).all()


_OWNING = ("opened", "reassigned", "escalated", "rerouted")
"""What a timeline says when a case gets an owner."""
_OF_CASE = """c.id, c.tool, c.trigger, c.state, c.queue, c.team, c.owner_team, c.owner_person,
    c.owner_schedule, c.claimant, c.level, c.priority, c.rule, c.routing_revision, c.ladder,
    c.timezone, c.calendar, c.calendar_team, c.claim_within, c.resolve_within,
    c.cycle_opened_at, c.claim_due_at, c.resolve_due_at, c.due_at, c.wakes_at"""
_STANDING = f"""
SELECT {_OF_CASE},
    EXISTS (SELECT FROM timer t WHERE t.case_id = c.id AND t.cycle = c.cycle
        AND t.kind = 'claim' AND t.fired_at IS NOT NULL) AS claim_missed,
    EXISTS (SELECT FROM timer t WHERE t.case_id = c.id AND t.cycle = c.cycle
        AND t.kind = 'resolve' AND t.fired_at IS NOT NULL) AS resolve_missed,
    coalesce((SELECT e.event = 'reassigned' AND e.detail->>'by' = 'person'
        FROM timeline_entry e WHERE e.case_id = c.id AND e.event = ANY(:owning)
        ORDER BY e.id DESC LIMIT 1), false) AS by_hand,
    {PARTS} AS parts,
    ARRAY(SELECT json_build_array(m.clock, m.at, m.runs) FROM clock_mark m
        WHERE m.case_id = c.id AND m.cycle = c.cycle ORDER BY m.id) AS marks,
    c.reviewers, c.cause, o.condition,
    c.claimant IS NOT NULL OR EXISTS (SELECT FROM opinion p WHERE p.case_id = c.id) AS judged,
    c.incident IS NOT NULL OR c.children > 0 OR c.wakes_after IS NOT NULL OR EXISTS (
        SELECT FROM timeline_entry e
        WHERE e.case_id = c.id AND e.event = 'unmerged') AS joined,
    {COLUMNS}
FROM "case" c LEFT JOIN case_output o ON o.case_id = c.id
WHERE c.id = ANY(:cases) AND c.{OPEN} ORDER BY c.id
"""
_NAMES = (*Standing._fields, *Said._fields)
_SEE = selecting(_STANDING, _NAMES)
# A statement of its own: what is read after it is as it stands while nobody else changes it.
_LOCK = text(f'SELECT FROM "case" WHERE id = ANY(:cases) AND {OPEN} ORDER BY id FOR UPDATE')


def read(session: Session, cases: Sequence[int], *, lock: bool) -> list[tuple[Standing, Said]]:
    """Those of these cases that are open, with what their outputs say."""
    if lock:
        session.execute(_LOCK, {"cases": list(cases)})
    rows = session.execute(_SEE, {"cases": list(cases), "owning": list(_OWNING)})
    split = len(Standing._fields)
    return [(Standing(*row[:split]), Said(*row[split:])) for row in rows]
