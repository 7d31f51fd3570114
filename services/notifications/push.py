"""Letting a browser show what is pushed, and the key by which push services know us."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.errors import InvalidInput, invalid
from services.notifications import destinations, models, rules
from services.notifications.channels import push as channel
from services.notifications.destinations import Network
from services.notifications.errors import ForbiddenDestination
from services.people import push_devices
from services.people.push_devices import Device, Subscription
from services.people.rules import Actor

_ASK_AGAIN = "Reload the page, and allow it again."


class Devices(NamedTuple):
    """What somebody's page shows of push."""

    key: str
    """The public key that a browser is asked with."""
    devices: list[Device]


def devices_of(session: Session, actor: Actor, *, now: datetime) -> Devices:
    """The actor's devices. The pair of keys is made by whoever first looks, once for all."""
    key = models.PushKey
    found = session.scalar(select(key.public))
    if found is None:
        made = channel.new_key_pair()._asdict()
        session.execute(insert(key).values(**made, made_at=now).on_conflict_do_nothing())
        found = session.execute(select(key.public)).scalar_one()
    mine = push_devices.of_people(session, [actor.email])
    return Devices(found, mine.get(actor.email, []))


def allow(
    session: Session,
    subscription: Subscription,
    *,
    user_agent: str,
    allowed: Sequence[Network],
    actor: Actor,
    now: datetime,
) -> None:
    """Push what the actor is told to this browser of theirs, too.

    Args:
        allowed: networks beside the public ones that may be pushed to.

    Raises:
        InvalidInput: the browser's answer is none, or the actor has as many as there can be.
    """
    _require_endpoint(subscription.endpoint, allowed)
    _require_keys(subscription)
    browser = rules.browser_in_words(user_agent)
    push_devices.add(session, subscription, browser=browser, actor=actor, now=now)


def _require_endpoint(endpoint: str, allowed: Sequence[Network]) -> None:
    """Where it leads is looked at whenever something is sent, since names change what they mean."""
    if len(endpoint) > push_devices.ENDPOINT_LENGTH:
        raise invalid("push", "the address of the push service is too long", _ASK_AGAIN)
    try:
        target = destinations.admit(endpoint, allowed)
    except ForbiddenDestination:
        raise invalid("push", "nothing may be sent to that push service", _ASK_AGAIN) from None
    except InvalidInput:
        raise invalid("push", "the browser named no address to push to", _ASK_AGAIN) from None
    if target.scheme != "https":
        raise invalid("push", "the push service is reached by https alone", _ASK_AGAIN)


def _require_keys(subscription: Subscription) -> None:
    try:
        channel.public_key(subscription.p256dh)
        usable = len(channel.decoded(subscription.auth)) == channel.AUTH_BYTES
    except ValueError:
        usable = False
    if not usable:
        raise invalid("push", "the browser's keys are none", _ASK_AGAIN)
