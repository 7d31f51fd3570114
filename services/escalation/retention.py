"""Old closed cases go, with all that belongs to them."""

from collections import Counter
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import merging
from services.escalation.queries import PURGED_CASES
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of

# Whoever writes to a case locks it: under the same lock, nothing can be added to it any more
# that the next statement does not see.
_LOCK = text("""
SELECT id, incident FROM "case" WHERE state = 'closed' AND closed_at < :before
ORDER BY closed_at LIMIT :limit FOR UPDATE SKIP LOCKED
""")
_LOCK_WHOLES = text('SELECT id FROM "case" WHERE id = ANY(:ids) FOR UPDATE SKIP LOCKED')

# A timeline lets go of entries only where the transaction says that it purges.
_ALLOW = text("SELECT set_config('secondlook.purging', :allowed, true)")

_REMOVE = text("""
WITH entries AS (
    DELETE FROM timeline_entry WHERE case_id = ANY(:ids)
), marks AS (
    DELETE FROM clock_mark WHERE case_id = ANY(:ids)
), timers AS (
    DELETE FROM timer WHERE case_id = ANY(:ids)
), opinions AS (
    DELETE FROM opinion WHERE case_id = ANY(:ids)
), deciders AS (
    DELETE FROM decider WHERE case_id = ANY(:ids)
), objections AS (
    DELETE FROM objection WHERE case_id = ANY(:ids)
), outputs AS (
    DELETE FROM case_output WHERE case_id = ANY(:ids) RETURNING case_id, output_id
), cases AS (
    DELETE FROM "case" WHERE id = ANY(:ids) RETURNING id, tool
)
SELECT cases.tool, outputs.output_id FROM cases LEFT JOIN outputs ON outputs.case_id = cases.id
""")


# What was corrected and never had a case.
_FORGET = text("""
DELETE FROM own_correction w WHERE w.heard_at < :before AND NOT EXISTS (
    SELECT FROM case_output o WHERE o.tool = w.tool AND o.output_id = w.output_id)
""")


class Freed(NamedTuple):
    """The output of a case that is gone; the case may have been about something else."""

    tool: str
    output_id: str | None


def _lock(session: Session, before: datetime, limit: int) -> tuple[list[int], list[int]]:
    """The cases that may go, and what they were part of that stays; all locked, waiting for none.

    A part of what somebody else has just now goes the next time.
    """
    found = {
        row.id: row.incident for row in session.execute(_LOCK, {"before": before, "limit": limit})
    }
    staying = {whole for whole in found.values() if whole is not None and whole not in found}
    locked = set(session.scalars(_LOCK_WHOLES, {"ids": sorted(staying)})) if staying else set()
    ids = [id_ for id_, whole in found.items() if whole not in staying - locked]
    return ids, sorted(locked)


def purge_cases(session: Session, *, before: datetime, now: datetime, limit: int) -> list[Freed]:
    """Remove up to `limit` cases that were closed before `before`; answers what they were about.

    Timeline, timers, objections, opinions and the output's facts go with the case. Only closed
    ones go; reconciliation goes on counting them.
    """
    session.execute(_FORGET, {"before": before})
    ids, wholes = _lock(session, before, limit)
    if not ids:
        return []
    session.execute(_ALLOW, {"allowed": "on"})
    freed = [Freed(*row) for row in session.execute(_REMOVE, {"ids": ids})]
    session.execute(_ALLOW, {"allowed": "off"})
    merging.count_children(session, wholes)
    tally: Counts = Counter(Count(PURGED_CASES, one.tool, hour_of(now)) for one in freed)
    counts.add(session, tally, shard=0)
    return freed
