"""Reads of what was sent, what came back, and how it stands."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.notifications.choices import of_people
from services.notifications.destinations import shown
from services.notifications.errors import NoDelivery
from services.notifications.inbox import entries, unread
from services.notifications.models import TO_DO
from services.notifications.push import devices_of
from services.notifications.rules import Choice, DeliveryState
from services.notifications.webhooks import listed

__all__ = [
    "Backlog",
    "DeliveryRow",
    "Failing",
    "Ungathered",
    "backlog",
    "choice",
    "deliveries",
    "delivery",
    "devices_of",
    "entries",
    "failing",
    "listed",
    "ungathered",
    "unread",
]


class DeliveryRow(NamedTuple):
    """One delivery, as `deliveries list` shows it: `to` is without what is secret of an address."""

    id: int
    channel: str
    to: str
    state: str
    attempts: int
    message_id: str
    answer: str | None
    created_at: datetime
    next_attempt_at: datetime | None
    sent_at: datetime | None


_COLUMNS = f"""id, channel, destination, state, attempts, message_id, answer, created_at,
    CASE WHEN {TO_DO} THEN next_attempt_at END, sent_at"""
_LIST = text(f"""
SELECT {_COLUMNS} FROM delivery
WHERE CAST(:state AS text) IS NULL OR state = :state ORDER BY id DESC LIMIT :limit
""")
_ONE = text(f"SELECT {_COLUMNS} FROM delivery WHERE id = :id")


def deliveries(
    session: Session, *, state: DeliveryState | None = None, limit: int
) -> list[DeliveryRow]:
    """What was to be sent, the newest first."""
    given = {"state": state.value if state is not None else None, "limit": limit}
    return [_shown(DeliveryRow(*row)) for row in session.execute(_LIST, given)]


def delivery(session: Session, number: int) -> DeliveryRow:
    """One delivery.

    Raises:
        NoDelivery: there is none of that number.
    """
    row = session.execute(_ONE, {"id": number}).first()
    if row is None:
        raise NoDelivery(f"There is no delivery {number}.")
    return _shown(DeliveryRow(*row))


def _shown(row: DeliveryRow) -> DeliveryRow:
    return row._replace(to=shown(row.to))


def choice(session: Session, person: str) -> Choice:
    """How somebody wants to be told."""
    return of_people(session, [person])[person]


class Backlog(NamedTuple):
    """What waits to be sent. `due_since` is when the one that is due longest became so."""

    waiting: Mapping[str, int]
    due_since: datetime | None


_WAITING = text(f"""
SELECT channel, count(*) AS n, min(next_attempt_at) AS due FROM delivery
WHERE {TO_DO} GROUP BY channel
""")


def backlog(session: Session, *, now: datetime) -> Backlog:
    """What waits to be sent, by channel. What waits for its next try is not due."""
    found = session.execute(_WAITING).all()
    due = [row.due for row in found if row.due <= now]
    return Backlog({row.channel: row.n for row in found}, min(due, default=None))


class Ungathered(NamedTuple):
    """Whose mails are due and not made yet. `since` is when the first became so."""

    people: int
    since: datetime | None


_UNGATHERED = text("""
SELECT count(DISTINCT person), min(mail_at) FROM notification WHERE mail_at <= :now
""")


def ungathered(session: Session, *, now: datetime) -> Ungathered:
    """What is due to be mailed and is no delivery yet."""
    return Ungathered(*session.execute(_UNGATHERED, {"now": now}).one())


class Failing(NamedTuple):
    """A destination that does not take what is sent; `to` is without what is secret of it."""

    to: str
    state: str
    n: int
    answer: str | None


_FAILING = text("""
SELECT destination, state, count(*), max(answer) FROM delivery
WHERE (state IN ('waiting', 'unknown') AND attempts >= :attempts)
   OR (state = 'failed' AND created_at > :since)
GROUP BY destination, state ORDER BY count(*) DESC, destination LIMIT :limit
""")


def failing(session: Session, *, attempts: int, since: datetime, limit: int) -> list[Failing]:
    """Whom so many attempts did not reach, or what was given up since then."""
    given = {"attempts": attempts, "since": since, "limit": limit}
    found = session.execute(_FAILING, given)
    return [Failing(shown(to), *more) for to, *more in found]
