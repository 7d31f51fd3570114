"""Reads of schedules: who is on duty, when nobody is, who is away, who manages whom."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from secondlook.text import actor_id
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from services.kit.errors import NotFound
from services.people import models
from services.people.calendars import working_calendar
from services.people.presence import Absence, Presence
from services.people.rotations import Override, Rotation, Spell, layers
from services.people.rotations import holes as holes_of
from services.people.rules import REVIEWERS, Actor

_REVIEWERS = sorted(role.value for role in REVIEWERS)


@dataclass(frozen=True, slots=True)
class ScheduleInfo:
    """A schedule with the overrides that touch a span."""

    slug: str
    team: str
    revision: int
    document: str
    """As JSON."""
    rotation: Rotation


@dataclass(frozen=True, slots=True)
class Roster:
    """Schedules, and whether the people whom they name are there, during a span."""

    schedules: Mapping[str, ScheduleInfo]
    presence: Presence

    def on_duty(self, slug: str, at: datetime) -> str | None:
        """Who has the duty of one of the schedules at a moment of the span."""
        return self.schedules[slug].rotation.on_duty(at, self.presence)

    def duties(self, slug: str, begin: datetime, end: datetime) -> list[Spell]:
        """The duties of one of the schedules in a part of the span."""
        return self.schedules[slug].rotation.duties(begin, end, self.presence)

    def without(self, person: str) -> "Roster":
        """The same, as if somebody could not review any more."""
        able = {email: hours for email, hours in self.presence.able.items() if email != person}
        return Roster(self.schedules, Presence(able, self.presence.absences))


# What touches a span, its end included: a moment is a span of no length.
_SCHEDULES = text("""
SELECT s.slug, s.team, s.revision, CAST(s.document AS text) AS document,
    o.id, o.person, o.begins_at, o.ends_at
FROM schedule s LEFT JOIN schedule_override o
    ON o.schedule = s.slug AND o.ends_at > :begin AND o.begins_at <= :end
WHERE s.slug = ANY(:slugs) OR :every
ORDER BY s.slug, o.id DESC
""")

_PEOPLE = text("""
SELECT p.email, p.active AND p.role = ANY(:reviewers) AS able, CAST(k.document AS text) AS hours,
    a.id, a.begins_at, a.ends_at, a.stand_in
FROM person p
LEFT JOIN calendar k ON k.slug = p.calendar
LEFT JOIN absence a ON a.person = p.email AND a.ends_at > :begin AND a.begins_at <= :end
WHERE p.email = ANY(:people) OR p.email IN (
    SELECT s.stand_in FROM absence s WHERE s.ends_at > :begin AND s.begins_at <= :end)
ORDER BY p.email, a.id DESC
""")


def roster(session: Session, slugs: Iterable[str] | None, begin: datetime, end: datetime) -> Roster:
    """Those of these schedules that there are, or all; two statements, however many they are."""
    given = {"slugs": sorted(set(slugs or ())), "every": slugs is None, "begin": begin, "end": end}
    if not given["slugs"] and not given["every"]:
        return Roster({}, Presence({}))
    found: dict[str, list[ScheduleRow]] = {}
    for row in session.execute(_SCHEDULES, given):
        found.setdefault(row.slug, []).append(ScheduleRow(*row))
    schedules = {slug: _schedule(rows) for slug, rows in found.items()}
    named = {person for one in schedules.values() for person in one.rotation.people}
    return Roster(schedules, presence(session, named, begin, end))


class ScheduleRow(NamedTuple):
    """A schedule with one of its overrides, or none."""

    slug: str
    team: str
    revision: int
    document: str
    id: int | None
    person: str
    begins_at: datetime
    ends_at: datetime


def _schedule(rows: Sequence[ScheduleRow]) -> ScheduleInfo:
    zone, taking_turns = layers(rows[0].document)
    overrides = tuple(
        Override(row.id, row.person, row.begins_at, row.ends_at)
        for row in rows
        if row.id is not None
    )
    first = rows[0]
    rotation = Rotation(zone, taking_turns, overrides)
    return ScheduleInfo(first.slug, first.team, first.revision, first.document, rotation)


def presence(session: Session, people: Iterable[str], begin: datetime, end: datetime) -> Presence:
    """What is known of these people, and of everybody who stands in for somebody."""
    given = {"people": sorted(people), "reviewers": _REVIEWERS, "begin": begin, "end": end}
    able, absences = {}, dict[str, list[Absence]]()
    for row in session.execute(_PEOPLE, given):
        if row.able:
            able[row.email] = working_calendar(row.hours) if row.hours is not None else None
        if row.id is not None:
            away = Absence(row.id, row.email, row.begins_at, row.ends_at, row.stand_in)
            absences.setdefault(row.email, []).append(away)
    return Presence(able, absences)


def teams(session: Session) -> dict[str, str]:
    """The team of every schedule."""
    schedule = models.Schedule
    return {row.slug: row.team for row in session.execute(select(schedule.slug, schedule.team))}


_SERVED = text("""
SELECT s.slug, s.team FROM schedule s
WHERE s.document -> 'layers' @> jsonb_build_array(
        jsonb_build_object('people', jsonb_build_array(CAST(:person AS text))))
    OR EXISTS (SELECT FROM schedule_override o
        WHERE o.schedule = s.slug AND o.person = :person AND o.ends_at > :now)
ORDER BY s.slug
""")


def served(session: Session, person: str, now: datetime) -> list[tuple[str, str]]:
    """The schedules, with their teams, that have a person in a layer or an override to come."""
    given = {"person": person, "now": now}
    return [(row.slug, row.team) for row in session.execute(_SERVED, given)]


def on_duty(session: Session, slugs: Iterable[str], now: datetime) -> dict[str, str]:
    """Who has the duty now, by schedule; one that is not there, or in a hole, has no entry."""
    found = roster(session, slugs, now, now)
    at_work = ((slug, found.on_duty(slug, now)) for slug in found.schedules)
    return {slug: person for slug, person in at_work if person is not None}


def duties(session: Session, slug: str, begin: datetime, end: datetime) -> list[Spell]:
    """Who has the duty of a schedule in a span, without gaps: spells of nobody are its holes.

    Raises:
        NotFound: there is no such schedule.
    """
    found = roster(session, [slug], begin, end)
    if slug not in found.schedules:
        raise NotFound(f"There is no schedule '{slug[:70]}'.")
    return found.duties(slug, begin, end)


def holes(session: Session, begin: datetime, end: datetime) -> dict[str, list[Spell]]:
    """When nobody has the duty in a span, of every schedule; an empty list where it has no hole."""
    found = roster(session, None, begin, end)
    return {slug: holes_of(found.duties(slug, begin, end)) for slug in found.schedules}


def visible_roster(session: Session, actor: Actor, begin: datetime, end: datetime) -> Roster:
    """The schedules of the actor's teams."""
    schedule = models.Schedule
    query = select(schedule.slug)
    if not actor.sees_all_teams:
        query = query.where(schedule.team.in_(actor.teams))
    return roster(session, session.scalars(query).all(), begin, end)


def visible_schedule(
    session: Session, actor: Actor, slug: str, begin: datetime, end: datetime
) -> Roster:
    """One schedule of the actor's teams.

    Raises:
        NotFound: there is none of that name, or it is another team's.
    """
    found = roster(session, [slug], begin, end)
    known = found.schedules.get(slug)
    if known is None or not actor.sees(known.team):
        raise NotFound(f"There is no schedule '{slug[:70]}'.")
    return found


def away(session: Session, now: datetime) -> list[Absence]:
    """Who is away now, by address."""
    absence = models.Absence
    where = absence.begins_at <= now, absence.ends_at > now
    return _absences(session, *where)


def absences_of(session: Session, email: str, now: datetime) -> list[Absence]:
    """What is not over yet of somebody's absences."""
    absence = models.Absence
    return _absences(session, absence.person == actor_id(email), absence.ends_at > now)


def _absences(session: Session, *where: object) -> list[Absence]:
    absence = models.Absence
    columns = (absence.id, absence.person, absence.begins_at, absence.ends_at, absence.stand_in)
    query = select(*columns).where(*where).order_by(absence.person, absence.begins_at, absence.id)  # type: ignore[arg-type]
    return [Absence(*row) for row in session.execute(query)]


def managers(session: Session, emails: Iterable[str]) -> dict[str, str]:
    """Who manages those of these people who have a manager, by the addresses given."""
    by_id = {actor_id(email): email for email in emails}
    person = models.Person
    query = select(person.email, person.manager).where(
        person.email.in_(by_id), person.manager.is_not(None)
    )
    return {by_id[row.email]: row.manager for row in session.execute(query)}


def reviewers(session: Session, team: str) -> list[str]:
    """The addresses of a team's people who may be given a duty."""
    person, membership = models.Person, models.Membership
    query = (
        select(person.email)
        .join(membership, membership.person == person.email)
        .where(membership.team == team, person.active, person.role.in_(_REVIEWERS))
        .order_by(func.lower(person.name), person.email)
    )
    return list(session.scalars(query))
