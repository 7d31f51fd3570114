"""Who can be accountable for a case, and who cannot."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from services.escalation.rules import LAST_RESORT, Owner
from services.kit.errors import invalid
from services.people import ownership, schedule_queries
from services.people import queries as people
from services.people.rules import REVIEWERS


def columns(owner: Owner) -> dict[str, Any]:
    """An owner as the two columns of which exactly one is filled."""
    return {
        "owner_team": owner.id if owner.kind == "team" else None,
        "owner_person": owner.id if owner.kind == "person" else None,
    }


ROW = "owner_team text, owner_person text, owner_schedule text, team text"
"""The columns of `answering.Found`, as a statement takes them from rows of JSON."""


def owned_by(given: str, case: str = '"case"') -> str:
    """What a statement sets for a case to have this owner: since now, where it was another's.

    Args:
        given: what the names of `ROW` are written after, such as `g.` or a parameter's colon.
        case: what the statement calls the case.
    """
    return f"""owner_team = {given}owner_team, owner_person = {given}owner_person,
        owner_schedule = {given}owner_schedule, team = coalesce({given}team, {case}.team),
        owner_since = CASE WHEN {case}.owner_team IS NOT DISTINCT FROM {given}owner_team
            AND {case}.owner_person IS NOT DISTINCT FROM {given}owner_person
            THEN {case}.owner_since ELSE :now END"""


def seen_by(owner: Owner) -> str | None:
    """The team that comes to see a case with this owner; None where that stays as it was."""
    return owner.id if owner.kind == "team" and owner != LAST_RESORT else None


def able(session: Session, wanted: Iterable[Owner]) -> set[Owner]:
    """Those of these owners who can be accountable, until the transaction ends."""
    listed = list(wanted)
    found = ownership.able(
        session,
        teams={owner.id for owner in listed if owner.kind == "team"},
        people={owner.id for owner in listed if owner.kind == "person"},
    )
    return {
        owner
        for owner in listed
        if owner.id in (found.teams if owner.kind == "team" else found.people)
    }


def able_now(session: Session) -> set[Owner]:
    """All who can be accountable just now, of whom any may leave the next moment."""
    found = ownership.everybody_able(session)
    teams = {Owner("team", slug) for slug in found.teams}
    return teams | {Owner("person", email) for email in found.people}


def require_able(session: Session, owner: Owner, now: datetime) -> None:
    """Refuse somebody who cannot be accountable, or is away just now.

    Raises:
        InvalidInput: why not.
    """
    if owner not in able(session, {owner}):
        raise invalid("owner", why_not(session, owner), "Name another.")
    if owner.kind == "person":
        away = schedule_queries.presence(session, {owner.id}, now, now).absence(owner.id, now)
        if away is not None:
            instead = away.stand_in
            hint = f"{instead} stands in." if instead is not None else "Name another."
            raise invalid("owner", f"{owner.id} is away until {away.end:%F %H:%M} UTC", hint)


def why_not(session: Session, owner: Owner) -> str:
    """Why somebody cannot be accountable, in words."""
    if owner.kind == "team":
        return f"team '{owner.id}' has nobody active who may review"
    who = people.actor(session, owner.id)
    if who is None:
        return f"nobody active has the address '{owner.id}'"
    assert who.role not in REVIEWERS
    return f"{owner.id} is a {who.role}, who may not review"
