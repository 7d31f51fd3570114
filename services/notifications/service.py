"""Everything that can be done with notifications, in one place."""

from datetime import datetime
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.database import affected
from services.notifications import deliveries, mailing, telling
from services.notifications.channels.message import Line, message_of
from services.notifications.choices import Wanted, choose
from services.notifications.deliveries import NewDelivery
from services.notifications.errors import NoDelivery
from services.notifications.inbox import mark_all_read, mark_read
from services.notifications.push import allow as allow_push
from services.notifications.rules import Channel, What
from services.notifications.telling import News
from services.notifications.webhooks import NewWebhook
from services.notifications.webhooks import add as add_webhook
from services.notifications.webhooks import remove as remove_webhook
from services.people.push_devices import remove as remove_push
from services.people.rules import Actor, Verb

__all__ = [
    "NewWebhook",
    "Wanted",
    "add_webhook",
    "allow_push",
    "choose",
    "mark_all_read",
    "mark_read",
    "remove_push",
    "remove_webhook",
    "retry",
    "send_test",
    "tell_oneself",
]

_TEST_LINE = "This is a test: whoever reads it hears from Secondlook."


def tell_oneself(session: Session, *, actor: Actor, now: datetime) -> None:
    """Tell the actor something, at once and by every way on which they are told."""
    key = f"test {uuid4()}"
    news = News(key=key, what=What.TEST, line=_TEST_LINE, at=now, people=(actor.email,))
    telling.tell(session, [news], now=now)
    mailing.gather(session, now=now)


def send_test(session: Session, address: str, *, actor: Actor, now: datetime) -> int:
    """Mail a test to any address; answers the number of the delivery.

    Raises:
        NotAllowed: the actor does not manage people.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    message = message_of((Line(text=_TEST_LINE, path="/account"),)).model_dump_json()
    wanted = NewDelivery(Channel.EMAIL, address, message, f"test {uuid4()}")
    deliveries.write(session, [wanted], now=now)
    found: int = session.execute(
        text("SELECT id FROM delivery WHERE message_id = :id"), {"id": wanted.message_id}
    ).scalar_one()
    return found


_RETRY = text("""
UPDATE delivery SET state = 'waiting', next_attempt_at = :now, created_at = :now
WHERE id = :id AND state = 'failed'
    AND NOT EXISTS (SELECT FROM webhook w
        WHERE w.id = delivery.webhook_id AND w.removed_at IS NOT NULL)
    AND (channel <> 'push' OR device_id IS NOT NULL)
""")


def retry(session: Session, number: int, *, actor: Actor, now: datetime) -> None:
    """Try again to send what was given up, under the same id.

    Raises:
        NotAllowed: the actor does not manage tools.
        NoDelivery: there is none of that number that was given up.
    """
    actor.require(Verb.MANAGE_TOOLS)
    if not affected(session.execute(_RETRY, {"id": number, "now": now})):
        raise NoDelivery(
            f"There is no delivery {number} that was given up, or what it went to is gone."
        )
    note(session, now, actor.id, "retry", "delivery", str(number))
