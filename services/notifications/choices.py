"""How people want to be told."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.errors import invalid
from services.notifications import models, rules
from services.notifications.rules import Choice
from services.people.rules import Actor

_CLOCK = re.compile(r"([01]\d|2[0-3]):[0-5]\d")


def of_people(session: Session, people: Iterable[str]) -> dict[str, Choice]:
    """What each of these people chose, or what goes for whoever never did."""
    found = {person: Choice() for person in people}
    chosen = select(models.NotificationChoice).where(models.NotificationChoice.person.in_(found))
    for row in session.scalars(chosen):
        found[row.person] = Choice(
            not_mailed=frozenset(row.not_mailed),
            pushed=row.pushed,
            digest_minutes=row.digest_minutes,
            quiet_from=_time(row.quiet_from),
            quiet_until=_time(row.quiet_until),
            timezone=row.timezone,
        )
    return found


def _time(text: str | None) -> time | None:
    return time.fromisoformat(text) if text else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A choice as somebody typed it."""

    mailed: Sequence[str]
    digest_minutes: str
    quiet_from: str
    quiet_until: str
    timezone: str
    pushed: bool = True


def choose(session: Session, wanted: Wanted, *, actor: Actor, now: datetime) -> None:
    """Let the actor be told in this way from now on.

    Raises:
        InvalidInput: naming the field.
    """
    row = {**_checked(wanted), "changed_at": now}
    statement = insert(models.NotificationChoice).values(person=actor.email, **row)
    session.execute(statement.on_conflict_do_update(index_elements=["person"], set_=row))


def _checked(wanted: Wanted) -> Mapping[str, object]:
    if wanted.digest_minutes not in {str(minutes) for minutes in rules.DIGESTS}:
        raise invalid("digest_minutes", "there is no such pause between mails", "Pick one.")
    for field in ("quiet_from", "quiet_until"):
        given = getattr(wanted, field)
        if given and not _CLOCK.fullmatch(given):
            raise invalid(field, "it is no time of day", "Write 22:00, or leave it empty.")
    if bool(wanted.quiet_from) != bool(wanted.quiet_until):
        missing = "quiet_until" if wanted.quiet_from else "quiet_from"
        raise invalid(missing, "quiet hours need both ends", "Fill in both, or neither.")
    mailed = set(wanted.mailed)
    return {
        "not_mailed": [what.value for what in rules.CHOOSABLE if what.value not in mailed],
        "pushed": wanted.pushed,
        "digest_minutes": int(wanted.digest_minutes),
        "quiet_from": wanted.quiet_from or None,
        "quiet_until": wanted.quiet_until or None,
        "timezone": _zone(wanted.timezone),
    }


def _zone(name: str) -> str:
    try:
        return ZoneInfo(name).key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        hint = "Write one such as Europe/Berlin."
        raise invalid("timezone", f"there is no time zone '{name[:60]}'", hint) from None
