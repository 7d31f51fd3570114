"""What goes when it is old: what people and tools were told, what was sent, who spoke up."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.database import affected

_NOTIFICATIONS = text("""
DELETE FROM notification WHERE id IN (
    SELECT id FROM notification WHERE made_at < :before AND mail_at IS NULL
    ORDER BY made_at LIMIT :limit FOR UPDATE SKIP LOCKED)
""")
# What still waits to be sent stays, however old.
_DELIVERIES = text("""
DELETE FROM delivery WHERE id IN (
    SELECT id FROM delivery WHERE created_at < :before AND state IN ('sent', 'failed')
    ORDER BY created_at LIMIT :limit FOR UPDATE SKIP LOCKED)
""")
_VERDICTS = text("""
DELETE FROM heard_verdict WHERE (tool, place) IN (
    SELECT tool, place FROM heard_verdict WHERE heard_at < :before ORDER BY heard_at LIMIT :limit)
""")
_WORDS = text("""
DELETE FROM word_on_output WHERE (tool, event_id) IN (
    SELECT tool, event_id FROM word_on_output WHERE heard_at < :before
    ORDER BY heard_at LIMIT :limit)
""")


def purge_notifications(session: Session, *, before: datetime, limit: int) -> int:
    """Remove what people were told before `before`, but for what is still to be mailed."""
    return affected(session.execute(_NOTIFICATIONS, {"before": before, "limit": limit}))


def purge_deliveries(session: Session, *, before: datetime, limit: int) -> int:
    """Remove what was sent, or given up, of before `before`, and verdicts that tools heard then."""
    given = {"before": before, "limit": limit}
    return max(affected(session.execute(one, given)) for one in (_DELIVERIES, _VERDICTS))


def purge_words(session: Session, *, before: datetime, limit: int) -> int:
    """Forget who spoke up on outputs before `before`."""
    return affected(session.execute(_WORDS, {"before": before, "limit": limit}))
