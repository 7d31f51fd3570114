"""What is to be sent: written once, taken by senders, and what came back."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit import counts
from services.kit.counts import Count, hour_of
from services.kit.database import affected
from services.notifications import rules
from services.notifications.channels.outcome import Outcome, Result
from services.notifications.models import TO_DO
from services.notifications.rules import Channel, DeliveryState
from services.people import push_devices
from services.people.push_devices import Device

WAKE_CHANNEL = "secondlook_deliveries"
"""Where a sender hears that something waits to be sent."""
MAIL_LANE = "mail"


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """Something to send to one destination. The same `about` to the same one is sent once."""

    channel: Channel
    destination: str
    payload: str
    about: str
    webhook_id: int | None = None
    device: Device | None = None
    """Of a push the browser that it goes to."""

    @property
    def message_id(self) -> str:
        """What a receiver knows it by, on every attempt."""
        number = self.device.id if self.device is not None else self.webhook_id
        named = f"{self.channel}/{number}/{self.destination}/{self.about}"
        return f"msg_{blake2b(named.encode(), digest_size=16).hexdigest()}"

    def as_row(self) -> dict[str, Any]:
        """Its columns."""
        return {
            "channel": self.channel.value,
            "destination": self.destination,
            "webhook_id": self.webhook_id,
            "device_id": self.device.id if self.device is not None else None,
            "lane": self._lane(),
            "message_id": self.message_id,
            "payload": self.payload,
        }

    def _lane(self) -> str:
        if self.device is not None:
            return f"push {urlsplit(self.device.endpoint).hostname}"
        return MAIL_LANE if self.webhook_id is None else f"webhook {self.webhook_id}"


_WRITE = text("""
WITH written AS (
    INSERT INTO delivery (channel, destination, webhook_id, device_id, lane, message_id,
        payload, created_at, next_attempt_at)
    SELECT channel, destination, webhook_id, device_id, lane, message_id, payload, :now, :now
    FROM json_to_recordset(CAST(:rows AS json)) AS g(channel text, destination text,
        webhook_id bigint, device_id bigint, lane text, message_id text, payload text)
    ORDER BY message_id ON CONFLICT (message_id) DO NOTHING RETURNING id)
SELECT count(*), pg_notify(:channel, '') FROM written
""")


def write(session: Session, wanted: Sequence[NewDelivery], *, now: datetime) -> int:
    """Write what is to be sent, and wake a sender once it is there; answers how much was new."""
    if not wanted:
        return 0
    rows = to_json([one.as_row() for one in wanted]).decode()
    given = {"rows": rows, "now": now, "channel": WAKE_CHANNEL}
    return int(session.execute(_WRITE, given).one()[0])


_MAILED = text("""
SELECT destination, max(created_at) AS at FROM delivery
WHERE created_at > :since AND channel = 'email' AND destination = ANY(:people)
GROUP BY destination
""")


def mailed_since(session: Session, people: Collection[str], since: datetime) -> dict[str, datetime]:
    """Whom of these a mail was written for since then, and when the last one was."""
    found = session.execute(_MAILED, {"people": list(people), "since": since})
    return {row.destination: row.at for row in found}


class Due(NamedTuple):
    """A delivery that is ours to send until the lease ends."""

    id: int
    channel: str
    destination: str
    lane: str
    message_id: str
    payload: str
    attempts: int
    created_at: datetime
    secret: str | None
    """What signs it: the webhook's, or of a push the installation's own key."""
    device_id: int | None
    device: Device | None = None
    """Where a push goes; None where the device was removed since."""


# Of each lane no more than it has room for: whoever is slow keeps nobody else's place. It is
# `unknown` from here on, before anything is sent: who dies now leaves it to be sent again.
_CLAIM = text(f"""
WITH RECURSIVE known AS (
    (SELECT lane FROM delivery WHERE {TO_DO} ORDER BY lane LIMIT 1)
    UNION ALL SELECT (SELECT d.lane FROM delivery d WHERE d.{TO_DO} AND d.lane > k.lane
        ORDER BY d.lane LIMIT 1) FROM known k WHERE k.lane IS NOT NULL
), due AS (
    SELECT d.id, d.next_attempt_at,
        row_number() OVER (PARTITION BY k.lane ORDER BY d.next_attempt_at, d.id) AS place
    FROM known k CROSS JOIN LATERAL (
        SELECT id, next_attempt_at FROM delivery
        WHERE lane = k.lane AND {TO_DO} AND next_attempt_at <= :now
        ORDER BY next_attempt_at, id
        LIMIT greatest(:each - coalesce(CAST(CAST(:busy AS jsonb)->>k.lane AS bigint), 0), 0)) d
), chosen AS (
    SELECT d.id
    FROM unnest(ARRAY(SELECT id FROM due ORDER BY place, next_attempt_at)) WITH ORDINALITY
        AS g(id, place)
    JOIN delivery d ON d.id = g.id
    WHERE d.{TO_DO} AND d.next_attempt_at <= :now
    ORDER BY g.place LIMIT :limit FOR UPDATE OF d SKIP LOCKED
), claimed AS (
    UPDATE delivery d SET state = 'unknown', attempts = attempts + 1,
        next_attempt_at = :now + :lease
    FROM chosen WHERE d.id = chosen.id RETURNING d.*
)
SELECT c.id, c.channel, c.destination, c.lane, c.message_id, c.payload, c.attempts, c.created_at,
    coalesce(w.secret, k.private), c.device_id
FROM claimed c LEFT JOIN webhook w ON w.id = c.webhook_id
    LEFT JOIN push_key k ON c.channel = 'push'
""")


def claim(
    session: Session,
    *,
    limit: int,
    each: int,
    busy: Mapping[str, int],
    now: datetime,
    lease: timedelta = rules.LEASE,
) -> list[Due]:
    """Take what is due: `limit` at most, and of each lane `each` less what is `busy` there."""
    given = {"limit": limit, "each": each, "now": now, "lease": lease}
    found = session.execute(_CLAIM, {**given, "busy": to_json(dict(busy)).decode()})
    return _with_devices(session, [Due(*row) for row in found])


def _with_devices(session: Session, due: list[Due]) -> list[Due]:
    numbers = {one.device_id for one in due if one.device_id is not None}
    if not numbers:
        return due
    devices = push_devices.by_number(session, numbers)
    return [one._replace(device=devices.get(one.device_id or 0)) for one in due]


_RECORD = text("""
UPDATE delivery SET state = :state, answer = :answer, next_attempt_at = :next,
    sent_at = CASE WHEN :state = 'sent' THEN CAST(:now AS timestamptz) END
WHERE id = :id AND attempts = :attempts AND state = 'unknown'
""")
_STATES = {
    Result.SENT: DeliveryState.SENT,
    Result.AGAIN: DeliveryState.WAITING,
    Result.UNKNOWN: DeliveryState.UNKNOWN,
    Result.NEVER: DeliveryState.FAILED,
    Result.GONE: DeliveryState.FAILED,
}
_OVER = (Result.SENT, Result.NEVER, Result.GONE)


def record(
    session: Session,
    due: Due,
    came: Outcome,
    *,
    now: datetime,
    first_pause: timedelta = rules.FIRST_PAUSE,
) -> bool:
    """Write down what came of an attempt; False where somebody has tried again since."""
    state = _STATES[came.result]
    _record_device(session, due, came)
    if came.result not in _OVER and rules.given_up(due.created_at, now=now):
        state = DeliveryState.FAILED
    given = {
        "id": due.id,
        "attempts": due.attempts,
        "state": state.value,
        "answer": came.answer,
        "next": rules.next_attempt(due.attempts, now=now, first=first_pause),
        "now": now,
    }
    recorded = affected(session.execute(_RECORD, given)) == 1
    if recorded:
        word = state.value if state in (DeliveryState.SENT, DeliveryState.FAILED) else "retried"
        place = Count("deliveries", "", hour_of(now), 0, f"{due.channel}/{word}")
        counts.add(session, Counter({place: 1}), shard=0)
    return recorded


def _record_device(session: Session, due: Due, came: Outcome) -> None:
    """What an attempt says of the device that it went to. It is written before the delivery is:
    whoever removes a device locks it first, too, and its deliveries after it."""
    if due.device_id is None:
        return
    if came.result is Result.GONE:
        push_devices.drop(session, due.device_id)
    else:
        error = came.answer if came.result is not Result.SENT else None
        push_devices.reached(session, due.device_id, error=error)
