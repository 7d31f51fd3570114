"""Old dead letters go, once somebody has dealt with them; what is counted by them stays."""

from collections import Counter
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit import counts
from services.kit.consuming.dead_letters import PURGED, purged_label
from services.kit.counts import Count, Counts, hour_of
from services.kit.models import SETTLED

# What was settled lately may have been kept long ago; the index finds what was kept.
_REMOVE = text(f"""
WITH gone AS (
    DELETE FROM dead_letter WHERE id IN (
        SELECT id FROM dead_letter
        WHERE {SETTLED} AND kept_at < :before AND coalesce(retried_at, discarded_at) < :before
        ORDER BY kept_at LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING consumer, topic, reason, parked, coalesce(tool, '') AS tool,
        retried_at IS NOT NULL AS retried
)
SELECT consumer, topic, reason, parked, tool, retried, count(*) AS n
FROM gone GROUP BY consumer, topic, reason, parked, tool, retried
""")


def purge_dead_letters(session: Session, *, before: datetime, now: datetime, limit: int) -> int:
    """Remove dead letters that were retried or discarded before `before`; answers how many.

    Those that wait for somebody stay, however old. The reconciliation and the metrics go on
    counting what is removed.
    """
    tally: Counts = Counter()
    for row in session.execute(_REMOVE, {"before": before, "limit": limit}):
        label = purged_label(
            row.consumer, row.topic, row.reason, parked=row.parked, retried=row.retried
        )
        tally[Count(PURGED, row.tool, hour_of(now), 0, label)] += row.n
    counts.add(session, tally, shard=0)
    return tally.total()
