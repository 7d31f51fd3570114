"""What people can do, and who of a team is there to do it."""

from collections.abc import Collection, Iterable
from datetime import datetime

from secondlook.text import actor_id
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import NotFound, invalid
from services.people import models, schedule_queries
from services.people.fields import require_slug
from services.people.presence import Member
from services.people.rules import REVIEWERS, Actor, Verb

MOST = 50
"""How many skills somebody has, at most."""
_REVIEWERS = sorted(role.value for role in REVIEWERS)


def change_skills(
    session: Session, email: str, *, skills: Iterable[str], actor: Actor, now: datetime
) -> None:
    """Say what a person can do, instead of what was said before.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: nobody has that address.
        InvalidInput: a skill is no slug, or there are too many.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    wanted = sorted(set(skills))
    for name in wanted:
        require_slug("skill", name)
    if len(wanted) > MOST:
        raise invalid("skill", f"there are {len(wanted)}", f"Name {MOST} at most.")
    person = session.get(models.Person, actor_id(email), with_for_update={"key_share": True})
    if person is None:
        raise NotFound(f"Nobody has the address '{email[:60]}'.")
    skill = models.PersonSkill
    session.execute(delete(skill).where(skill.person == person.email))
    session.add_all(skill(person=person.email, skill=name) for name in wanted)
    session.flush()
    note(session, now, actor.id, "change", "person", person.email, skills=wanted)


_MEMBERS = text("""
SELECT m.team, p.email,
    ARRAY(SELECT s.skill FROM person_skill s WHERE s.person = p.email) AS skills
FROM membership m JOIN person p ON p.email = m.person
WHERE m.team = ANY(:teams) AND p.active AND p.role = ANY(:reviewers)
""")


def members(session: Session, teams: Collection[str], now: datetime) -> dict[str, list[Member]]:
    """Those of each of these teams who may review, by address, and whether they are there now."""
    given = {"teams": sorted(teams), "reviewers": _REVIEWERS}
    rows = session.execute(_MEMBERS, given).all()
    presence = schedule_queries.presence(session, {row.email for row in rows}, now, now)
    found: dict[str, list[Member]] = {team: [] for team in teams}
    for row in sorted(rows, key=lambda row: row.email):
        here = presence.is_here(row.email, now)
        found[row.team].append(Member(row.email, frozenset(row.skills), here))
    return found


def known(session: Session, teams: Collection[str]) -> dict[str, set[str]]:
    """What somebody of each of these teams can do who may review."""
    given = {"teams": sorted(teams), "reviewers": _REVIEWERS}
    found: dict[str, set[str]] = {team: set() for team in teams}
    for row in session.execute(_MEMBERS, given):
        found[row.team].update(row.skills)
    return found


def sharing(session: Session, teams: Collection[str]) -> set[str]:
    """These teams, and all of which somebody is who is in one of them."""
    theirs, other = models.Membership, models.Membership.__table__.alias()
    query = select(other.c.team).join(theirs, theirs.person == other.c.person)
    return {*teams, *session.scalars(query.where(theirs.team.in_(sorted(teams))))}
