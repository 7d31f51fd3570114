"""What people can do, and who of a team is there to do it."""

from collections.abc import Collection, Iterable
from datetime import datetime

from secondlook.text import actor_id
from sqlalchemy import delete, select, text
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import ChangedMeanwhile, NotFound, invalid
from services.people import models, queries, schedule_queries
from services.people.fields import require_slug
from services.people.presence import Member
from services.people.queries import PersonInfo
from services.people.rules import REVIEWERS, Actor, Verb

MOST = 50
"""How many skills somebody has, at most."""
_REVIEWERS = sorted(role.value for role in REVIEWERS)


def skills_of(session: Session, email: str, *, actor: Actor) -> tuple[str, ...]:
    """What a person can do, for whoever looks after them.

    Raises:
        NotAllowed: the actor does not manage skills.
        NotFound: nobody whom the actor looks after has that address.
    """
    return _looked_after(session, email, actor).skills


def change_skills(
    session: Session,
    email: str,
    *,
    skills: Iterable[str],
    seen: Collection[str] | None = None,
    actor: Actor,
    now: datetime,
) -> None:
    """Say what a person can do, instead of what was said before. Leads say it of their teams'.

    Args:
        seen: what was said when the actor looked; what others said since is not lost.

    Raises:
        NotAllowed: the actor does not manage skills.
        NotFound: nobody whom the actor looks after has that address.
        InvalidInput: a skill is no slug, or there are too many.
        ChangedMeanwhile: it is neither what was seen nor what is wanted.
    """
    person, skill = models.Person, models.PersonSkill
    held = select(person.email).where(person.email == actor_id(email))
    session.execute(held.with_for_update(key_share=True))
    known, wanted = _looked_after(session, email, actor), _checked(skills)
    if seen is not None and set(known.skills) not in (set(seen), set(wanted)):
        raise ChangedMeanwhile(f"{known.email} was changed; look at them again first.")
    session.execute(delete(skill).where(skill.person == known.email))
    session.add_all(skill(person=known.email, skill=name) for name in wanted)
    session.flush()
    note(session, now, actor.id, "change", "person", known.email, skills=wanted)


def _checked(skills: Iterable[str]) -> list[str]:
    wanted = sorted(set(skills))
    for name in wanted:
        require_slug("skills", name, what="skill")
    if len(wanted) > MOST:
        raise invalid("skills", f"there are {len(wanted)}", f"Name {MOST} at most.")
    return wanted


def _looked_after(session: Session, email: str, actor: Actor) -> PersonInfo:
    actor.require(Verb.MANAGE_SKILLS)
    person = queries.person(session, email)
    if not actor.sees_some(person.teams):
        raise NotFound(f"Nobody has the address '{email}'.")
    return person


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
