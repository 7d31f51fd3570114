"""Words that waited for their output: met when it comes, and missed when it never does."""

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import reviews, sending, truth
from services.feedback.corrections import note_met
from services.feedback.rows import Key
from services.feedback.sending import Backlog
from services.feedback.storing import KEY_COLUMNS, keys_json, recordset
from services.kit.counts import Counts
from services.tools.rules import Trigger

_EARLIEST = datetime.min.replace(tzinfo=UTC)

_MET = text(f"""
SELECT c.tool, o.version, c.kind, count(*)
FROM {recordset(KEY_COLUMNS)} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
JOIN correction c ON c.tool = g.tool AND c.output_id = g.output_id
GROUP BY c.tool, o.version, c.kind
""")


def meet(session: Session, keys: Iterable[Key], *, now: datetime) -> Counts:
    """Outputs have come that corrections were waiting for; answers what is to be counted."""
    outputs = truth.lock(session, keys)
    sought = [key for key, row in outputs.items() if row.sought]
    reviews.tell_of_arrival(session, sought, now=now)
    # Nobody looks for what has come, whether or not somebody had been asked to.
    sending.forget(session, outputs)
    waiting = [Backlog(*key, Trigger.DISPUTE, _EARLIEST, "") for key in outputs]
    sending.begin(session, waiting, now=now)
    met = session.execute(_MET, {"rows": keys_json(outputs)})
    by_kind = {(tool, version, kind): n for tool, version, kind, n in met}
    tally = note_met(session, by_kind, outputs, now=now)
    tally.update(truth.settle(session, outputs))
    return tally


_UNMATCHED = text("""
UPDATE output SET unmatched_at = :now
WHERE (tool, output_id) IN (
    SELECT tool, output_id FROM output
    WHERE recorded_at IS NULL AND unmatched_at IS NULL AND awaited_since <= :before
    ORDER BY awaited_since LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING tool, output_id, awaited_since
""")


def report_unmatched(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Request reviews for what has waited for its output since `before` in vain.

    A confirmation that nobody can hold against an output asks for nobody.

    Answers how many outputs were found missing; call again while it is `limit`.
    """
    missing = session.execute(_UNMATCHED, {"now": now, "before": before, "limit": limit}).all()
    waiting = [
        Backlog(row.tool, row.output_id, Trigger.UNMATCHED, row.awaited_since, "")
        for row in missing
    ]
    if waiting:
        sending.begin(session, waiting, now=now)
    return len(waiting)
