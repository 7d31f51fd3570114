"""Reads of people and teams."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from secondlook.text import actor_id
from sqlalchemy import Select, func, select, text
from sqlalchemy.orm import Session

from services.kit.errors import NotFound
from services.kit.working_time import WorkingCalendar
from services.people import models
from services.people.calendars import working_calendar
from services.people.rules import Actor, Role


@dataclass(frozen=True, slots=True)
class PersonInfo:
    """A person, with the teams that they belong to."""

    email: str
    name: str
    role: Role
    active: bool
    teams: tuple[str, ...]
    has_password: bool
    calendar: str | None
    manager: str | None
    skills: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TeamInfo:
    """A team and its active people."""

    slug: str
    name: str
    active: bool
    people: tuple[str, ...]


def _people_query() -> Select[tuple[models.Person, list[str], list[str]]]:
    person, membership, skill = models.Person, models.Membership, models.PersonSkill
    teams = (
        select(func.coalesce(func.array_agg(membership.team), []))
        .where(membership.person == person.email)
        .scalar_subquery()
    )
    skills = (
        select(func.coalesce(func.array_agg(skill.skill), []))
        .where(skill.person == person.email)
        .scalar_subquery()
    )
    return select(person, teams.label("teams"), skills.label("skills")).order_by(person.email)


def _person_info(person: models.Person, teams: list[str], skills: list[str]) -> PersonInfo:
    return PersonInfo(
        email=person.email,
        name=person.name,
        role=Role(person.role),
        active=person.active,
        teams=tuple(sorted(teams)),
        has_password=person.password_hash is not None,
        calendar=person.calendar,
        manager=person.manager,
        skills=tuple(sorted(skills)),
    )


def people(session: Session) -> list[PersonInfo]:
    """Everybody, by e-mail address."""
    return [
        _person_info(row.Person, row.teams, row.skills) for row in session.execute(_people_query())
    ]


def person(session: Session, email: str) -> PersonInfo:
    """One person.

    Raises:
        NotFound: nobody has that address.
    """
    row = session.execute(_people_query().where(models.Person.email == actor_id(email))).first()
    if row is None:
        raise NotFound(f"Nobody has the address '{email}'.")
    return _person_info(row.Person, row.teams, row.skills)


def actor(session: Session, email: str) -> Actor | None:
    """The actor that an active person is, or None."""
    row = session.execute(_BY_EMAIL, {"email": actor_id(email)}).first()
    return _actor(row.email, row.name, row.role, row.teams) if row is not None else None


def actors(session: Session, emails: Iterable[str]) -> dict[str, Actor]:
    """The actors that those of these people are who are active, by address."""
    wanted = [actor_id(email) for email in emails]
    if not wanted:
        return {}
    found = session.execute(_BY_EMAILS, {"emails": wanted})
    return {row.email: _actor(row.email, row.name, row.role, row.teams) for row in found}


def names(session: Session, emails: Iterable[str]) -> dict[str, str]:
    """What those of these people are called who are active, by the addresses given."""
    by_id = {actor_id(email): email for email in emails}
    person = models.Person
    called = select(person.email, person.name).where(person.active, person.email.in_(by_id))
    return {by_id[row.email]: row.name for row in session.execute(called)}


def addresses(session: Session, emails: Iterable[str]) -> set[str]:
    """Those of these addresses that somebody has, active or not."""
    email = models.Person.email
    return set(session.scalars(select(email).where(email.in_(list(emails)))))


def actor_of_token(session: Session, hashed: bytes) -> Actor | None:
    """Whose live personal token has this hash, or None."""
    row = session.execute(_LIVE_TOKEN, {"hash": hashed}).first()
    return _actor(row.email, row.name, row.role, row.teams) if row is not None else None


def actor_of_session(session: Session, hashed: bytes) -> tuple[Actor, str, bool] | None:
    """Whose live browser session has this hash, its CSRF token, and whether it began by link."""
    row = session.execute(_LIVE_SESSION, {"hash": hashed}).first()
    if row is None:
        return None
    return _actor(row.email, row.name, row.role, row.teams), row.csrf_token, row.by_link


_ACTOR = """
SELECT p.email, p.name, p.role, {more} ARRAY(
    SELECT m.team FROM membership m WHERE m.person = p.email) AS teams
FROM person p {joined} WHERE p.active AND {which}
"""


_BY_EMAILS = text(_ACTOR.format(more="", joined="", which="p.email = ANY(:emails)"))


_BY_EMAIL = text(_ACTOR.format(more="", joined="", which="p.email = :email"))


_LIVE_TOKEN = text(
    _ACTOR.format(
        more="",
        joined="JOIN personal_token t ON t.person = p.email",
        which="t.hash = :hash AND t.revoked_at IS NULL AND t.expires_at > clock_timestamp()",
    )
)


_LIVE_SESSION = text(
    _ACTOR.format(
        more="s.csrf_token, s.how IS NOT DISTINCT FROM 'link' AS by_link,",
        joined="JOIN sign_in s ON s.person = p.email",
        which="s.hash = :hash AND s.ended_at IS NULL AND s.expires_at > clock_timestamp()",
    )
)


def _actor(email: str, name: str, role: str, teams: Sequence[str]) -> Actor:
    return Actor(email, name, Role(role), frozenset(teams))


def teams(session: Session) -> list[TeamInfo]:
    """Every team with its active people, by name."""
    members: dict[str, list[str]] = {}
    for membership in session.execute(
        select(models.Membership.team, models.Membership.person)
        .join(models.Person, models.Person.email == models.Membership.person)
        .where(models.Person.active)
        .order_by(models.Membership.person)
    ):
        members.setdefault(membership.team, []).append(membership.person)
    rows = session.scalars(select(models.Team).order_by(models.Team.slug))
    return [TeamInfo(t.slug, t.name, t.active, tuple(members.get(t.slug, []))) for t in rows]


def team_exists(session: Session, slug: str) -> bool:
    """Whether there is a team of that name, which stays until the transaction ends."""
    team = session.get(models.Team, slug, with_for_update={"read": True})
    return team is not None and team.active


class KnownCalendar(NamedTuple):
    """A calendar, as time is counted by it at present."""

    slug: str
    revision: int
    working: WorkingCalendar


@dataclass(frozen=True, slots=True)
class Calendars:
    """Calendars by name, and which of them teams go by."""

    known: Mapping[str, KnownCalendar]
    of_teams: Mapping[str, str]

    def of(self, named: str | None, team: str | None) -> KnownCalendar | None:
        """The one that is named, else the team's; None where neither is there."""
        if named is not None and named in self.known:
            return self.known[named]
        return self.known.get(self.of_teams.get(team or "", ""))


_CALENDARS = text("""
SELECT k.slug, k.revision, CAST(k.document AS text) AS document, ARRAY(
    SELECT t.slug FROM team t WHERE t.calendar = k.slug AND t.slug = ANY(:teams)) AS teams
FROM calendar k WHERE k.slug = ANY(:slugs)
    OR k.slug IN (SELECT t.calendar FROM team t WHERE t.slug = ANY(:teams))
""")


def calendars(
    session: Session, *, named: Iterable[str | None] = (), teams: Iterable[str | None] = ()
) -> Calendars:
    """Those of these calendars that there are, and those of these teams."""
    given = {
        "slugs": sorted({slug for slug in named if slug}),
        "teams": sorted({team for team in teams if team}),
    }
    if not given["slugs"] and not given["teams"]:
        return Calendars({}, {})
    rows = session.execute(_CALENDARS, given).all()
    return Calendars(
        {
            row.slug: KnownCalendar(row.slug, row.revision, working_calendar(row.document))
            for row in rows
        },
        {team: row.slug for row in rows for team in row.teams},
    )


_REVISIONS = text("""
SELECT t.slug AS team, k.slug, k.revision FROM calendar k
LEFT JOIN team t ON t.calendar = k.slug ORDER BY k.slug, t.slug
""")


class CalendarRevision(NamedTuple):
    """A calendar's present revision, and a team that goes by it, if one does."""

    team: str | None
    calendar: str
    revision: int


def calendar_revisions(session: Session) -> list[CalendarRevision]:
    """The revisions of all calendars, each as often as teams go by it, once at least."""
    return [CalendarRevision(*row) for row in session.execute(_REVISIONS)]
