"""Who is accountable for a case, and who is where the one that was wanted cannot be."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy.orm import Session

from services.escalation.cases import Case
from services.escalation.rules import LAST_RESORT, LadderRung, Owner
from services.kit.errors import invalid
from services.people import ownership
from services.people import queries as people
from services.people.rules import REVIEWERS


def columns(owner: Owner) -> dict[str, Any]:
    """An owner as the two columns of which exactly one is filled."""
    return {
        "owner_team": owner.id if owner.kind == "team" else None,
        "owner_person": owner.id if owner.kind == "person" else None,
    }


def seen_by(owner: Owner) -> str | None:
    """The team that comes to see a case with this owner; None where that stays as it was."""
    return owner.id if owner.kind == "team" and owner != LAST_RESORT else None


def of_ladder(rungs: Iterable[LadderRung]) -> list[Owner]:
    """Who is accountable on each of these rungs."""
    return [Owner(rung["kind"], rung["id"]) for rung in rungs]


def first_able(
    session: Session, chains: Sequence[Sequence[Owner]], *, beside: Iterable[Owner] = ()
) -> list[Owner]:
    """Of each chain the first who can be accountable, and stays so until the transaction ends.

    Where nobody of a chain can, an admin stands in, else a lead, else whoever may review, and
    where nobody does anywhere the last resort. Whoever else the transaction will ask about is
    named `beside` them: asked about at once they are locked in the order that all keep to.
    """
    there = able(session, {*(owner for chain in chains for owner in chain), *beside})
    found = [next((owner for owner in chain if owner in there), None) for chain in chains]
    spare = _spare(session) if None in found else LAST_RESORT
    return [owner or spare for owner in found]


def of_reopened(session: Session, cases: Sequence[Case], *, level: int) -> list[Owner]:
    """Who is accountable for each of these decided cases, locked, that are open again: the first
    who can be of those wanted, or a stand-in."""
    return first_able(session, [wanted_again(case, level=level) for case in cases])


def wanted_again(case: Case, *, level: int) -> list[Owner]:
    """Who is wanted for a decided case that is open again.

    Its owner, or where that one cannot be any more the first of its ladder who can, from a level
    on, or its team.
    """
    return [case.owner, *of_ladder(case.ladder[level:]), Owner("team", case.team)]


def _spare(session: Session) -> Owner:
    email = ownership.stand_in(session)
    return Owner("person", email) if email is not None else LAST_RESORT


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


def require_able(session: Session, owner: Owner) -> None:
    """Refuse somebody who cannot be accountable.

    Raises:
        InvalidInput: why not.
    """
    if owner not in able(session, {owner}):
        raise invalid("owner", why_not(session, owner), "Name another.")


def why_not(session: Session, owner: Owner) -> str:
    """Why somebody cannot be accountable, in words."""
    if owner.kind == "team":
        return f"team '{owner.id}' has nobody active who may review"
    who = people.actor(session, owner.id)
    if who is None:
        return f"nobody active has the address '{owner.id}'"
    assert who.role not in REVIEWERS
    return f"{owner.id} is a {who.role}, who may not review"
