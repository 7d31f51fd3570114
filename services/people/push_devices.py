"""The browsers that show people what is pushed to them. None commits."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.database import affected
from services.kit.errors import NotFound, invalid
from services.people import models
from services.people.models import ENDPOINT_LENGTH as ENDPOINT_LENGTH
from services.people.rules import Actor

MOST = 10
"""So many devices somebody can have."""


class Subscription(NamedTuple):
    """What a browser answers when it is asked to show what is pushed."""

    endpoint: str
    p256dh: str
    auth: str


class Device(NamedTuple):
    """A browser that shows its owner what is pushed to them."""

    id: int
    person: str
    endpoint: str
    p256dh: str
    auth: str
    browser: str
    created_at: datetime
    last_error: str | None


_TABLE = models.PushDevice
_COLUMNS = [getattr(_TABLE, name) for name in Device._fields]


def add(
    session: Session, subscription: Subscription, *, browser: str, actor: Actor, now: datetime
) -> None:
    """Let this browser show what is pushed to the actor; to whomever it did before, no more.

    Raises:
        InvalidInput: the actor has as many as there can be.
        NotFound: the actor is not active any more.
    """
    _hold(session, actor)
    others = (_TABLE.endpoint == subscription.endpoint, _TABLE.person != actor.email)
    session.execute(delete(_TABLE).where(*others))
    _require_room(session, actor.email, subscription.endpoint)
    row = {**subscription._asdict(), "person": actor.email, "browser": browser, "last_error": None}
    statement = insert(_TABLE).values(**row, created_at=now)
    session.execute(statement.on_conflict_do_update(index_elements=["endpoint"], set_=row))
    note(session, now, actor.id, "allow push", "person", actor.email, browser=browser)


def _hold(session: Session, actor: Actor) -> None:
    """Let whoever adds another at the same time wait, so that both are counted, and whoever was
    deactivated meanwhile add none."""
    person = models.Person
    mine = select(person.email).where(person.email == actor.email, person.active)
    if session.scalar(mine.with_for_update(key_share=True)) is None:
        raise NotFound(f"Nobody active has the address '{actor.email}'.")


def _require_room(session: Session, person: str, endpoint: str) -> None:
    others = select(func.count()).where(_TABLE.person == person, _TABLE.endpoint != endpoint)
    if session.execute(others).scalar_one() >= MOST:
        hint = "Remove one that you use no longer."
        raise invalid("push", f"you have {MOST} devices already", hint)


def remove(session: Session, number: int, *, actor: Actor, now: datetime) -> None:
    """Push nothing more to this device of the actor's.

    Raises:
        NotFound: they have none of that number.
    """
    if not _delete(session, number, person=actor.email):
        raise NotFound("There is no such device of yours.")
    note(session, now, actor.id, "remove push", "person", actor.email)


def _delete(session: Session, number: int, *, person: str) -> int:
    mine = (_TABLE.id == number, _TABLE.person == person)
    return affected(session.execute(delete(_TABLE).where(*mine)))


def forget(session: Session, person: str) -> None:
    """Push nothing more to any device of somebody's."""
    session.execute(delete(_TABLE).where(_TABLE.person == person))


def drop(session: Session, number: int) -> None:
    """Its push service says that this device is gone."""
    session.execute(delete(_TABLE).where(_TABLE.id == number))


def reached(session: Session, number: int, *, error: str | None) -> None:
    """Write down why a device was not reached, or that it was."""
    changed = (_TABLE.id == number, _TABLE.last_error.is_distinct_from(error))
    session.execute(update(_TABLE).where(*changed).values(last_error=error))


def of_people(session: Session, people: Iterable[str]) -> dict[str, list[Device]]:
    """The devices of these people, of whoever has any, in the order in which they came."""
    found: dict[str, list[Device]] = {}
    mine = select(*_COLUMNS).where(_TABLE.person.in_(list(people))).order_by(_TABLE.id)
    for row in session.execute(mine):
        found.setdefault(row.person, []).append(Device(*row))
    return found


def by_number(session: Session, numbers: Iterable[int]) -> dict[int, Device]:
    """These devices, those that are still there."""
    wanted = select(*_COLUMNS).where(_TABLE.id.in_(list(numbers)))
    return {row.id: Device(*row) for row in session.execute(wanted)}
