"""Going away and coming back. Each verb takes a session, who does it and the time."""

from collections.abc import Sequence
from datetime import datetime

from secondlook.text import actor_id
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import NotFound, invalid
from services.people import models
from services.people.duties import Duty, PresenceChange, keeping
from services.people.errors import NotAway
from services.people.rules import Actor, Verb
from services.people.schedules import require_reviewer, require_span


def go_away(
    session: Session,
    email: str,
    *,
    begin: datetime,
    end: datetime,
    stand_in: str | None,
    actor: Actor,
    duties: Sequence[Duty] = (),
    now: datetime,
) -> int:
    """Say that somebody is away for a span; answers the absence's number.

    Where two overlap, the one that was said last names the stand-in. Where it has begun, what
    they answer for goes to whoever stands in.

    Raises:
        NotAllowed: it is somebody else, and the actor does not manage people.
        NotFound: nobody has that address.
        InvalidInput: the span or the stand-in cannot be used.
    """
    _require_may(actor, email)
    change = _presence(now, email, stand_in)
    with keeping(session, duties if begin <= now else (), change):
        person = _person(session, email, stand_in)
        require_span(begin, end, now)
        instead = _stand_in(session, person, stand_in, begin, end) if stand_in else None
        row = models.Absence(
            person=person, begins_at=begin, ends_at=end, stand_in=instead, created_at=now
        )
        session.add(row)
        session.flush()
    span = {"from": begin.isoformat(), "until": end.isoformat()}
    note(session, now, actor.id, "go away", "person", person, stand_in=instead, **span)
    return row.id


def come_back(
    session: Session,
    email: str,
    *,
    number: int | None = None,
    actor: Actor,
    duties: Sequence[Duty] = (),
    now: datetime,
) -> int:
    """End what somebody is away by now, or the one absence of that number; answers how many.

    One that has not begun is as if it had never been said. What schedules own whose turn is
    theirs comes back to them; what they owned themselves stays where it is.

    Raises:
        NotAllowed: it is somebody else, and the actor does not manage people.
        NotFound: nobody has that address.
        NotAway: there is nothing to end.
    """
    _require_may(actor, email)
    with keeping(session, duties, _presence(now, email)):
        person = _person(session, email)
        ended = _end(session, person, number, now)
    note(session, now, actor.id, "come back", "person", person, ended=ended)
    return ended


def _end(session: Session, person: str, number: int | None, now: datetime) -> int:
    absence = models.Absence
    which = absence.begins_at <= now if number is None else absence.id == number
    found = session.scalars(
        select(absence).where(absence.person == person, absence.ends_at > now, which)
    ).all()
    if not found:
        raise NotAway(f"{person} is not away.")
    for row in found:
        if row.begins_at < now:
            row.ends_at = now
        else:
            session.delete(row)
    session.flush()
    return len(found)


def _require_may(actor: Actor, email: str) -> None:
    """Everybody may speak for themselves."""
    if actor_id(email) != actor.email:
        actor.require(Verb.MANAGE_PEOPLE)


def _presence(now: datetime, email: str, stand_in: str | None = None) -> PresenceChange:
    return PresenceChange(now, people=frozenset({actor_id(email), actor_id(stand_in or email)}))


def _person(session: Session, email: str, stand_in: str | None = None) -> str:
    """Whoever is meant.

    They and their stand-in are held until the transaction ends, in one order: of two who name
    each other at the same moment the second sees what the first has said.
    """
    person = actor_id(email)
    address, named = models.Person.email, {person, actor_id(stand_in or person)}
    held = select(address).where(address.in_(named)).order_by(address)
    if person not in session.scalars(held.with_for_update(key_share=True)).all():
        raise NotFound(f"Nobody has the address '{email[:60]}'.")
    return person


def _stand_in(session: Session, person: str, named: str, begin: datetime, end: datetime) -> str:
    """Who stands in for a person, unless that person would be standing in for them meanwhile."""
    found = require_reviewer(session, "stand_in", named)
    if found == person:
        raise invalid("stand_in", "nobody stands in for themselves", "Choose somebody else.")
    asked, left = {found}, [found]
    while left:
        for following in _stand_ins(session, left.pop(), begin, end) - asked:
            if following == person:
                problem = f"{found} is away at that time, and {person} stands in"
                raise invalid("stand_in", problem, "Choose somebody else.")
            asked.add(following)
            left.append(following)
    return found


def _stand_ins(session: Session, person: str, begin: datetime, end: datetime) -> set[str]:
    """Who stands in for somebody at some time of a span."""
    absence = models.Absence
    query = select(absence.stand_in).where(
        absence.person == person,
        absence.stand_in.is_not(None),
        absence.begins_at < end,
        absence.ends_at > begin,
    )
    return {email for email in session.scalars(query) if email is not None}
