"""The verbs on schedules. Each takes a session, who does it and the time; none commits."""

from collections.abc import Collection, Sequence
from datetime import datetime

from secondlook.text import actor_id
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.errors import InvalidInput, NotFound, Problem, invalid
from services.people import models, queries
from services.people.duties import Duty, PresenceChange, keeping
from services.people.fields import require_slug
from services.people.rotations import ScheduleDocument
from services.people.rules import REVIEWERS, Actor, Role, Verb


def put_schedule(
    session: Session,
    slug: str,
    document: ScheduleDocument,
    *,
    team: str,
    actor: Actor,
    duties: Sequence[Duty] = (),
    now: datetime,
) -> None:
    """Add a schedule, or say anew what the one of that name is; overrides stay.

    What it owns goes to whoever is on duty by it from now on.

    Raises:
        NotAllowed: the actor does not manage schedules.
        NotFound: it is another team's, or is to be.
        InvalidInput: the slug, the team or one of the people is none, or one of them, or whoever
            has an override, may not see the team's cases.
    """
    actor.require(Verb.MANAGE_SCHEDULES)
    require_slug("slug", slug)
    with keeping(session, duties, _said_anew(slug, now)):
        _put(session, slug, document, team=team, actor=actor, now=now)


def _said_anew(slug: str, now: datetime) -> PresenceChange:
    return PresenceChange(now, schedules=frozenset({slug}))


def _put(
    session: Session,
    slug: str,
    document: ScheduleDocument,
    *,
    team: str,
    actor: Actor,
    now: datetime,
) -> None:
    known = _held(session, slug)
    if known is not None:
        _require_sight(actor, known.team, slug)
    _require_team(session, actor, team)
    _require_people(session, document)
    _require_sights(session, document, team)
    _require_overrides(session, slug, team, now)
    written = document.model_dump(mode="json")
    row = {"team": team, "document": written, "changed_at": now}
    revised = {**row, "revision": models.Schedule.revision + 1}
    statement = insert(models.Schedule).values(slug=slug, created_at=now, **row)
    session.execute(statement.on_conflict_do_update(index_elements=["slug"], set_=revised))
    if known is not None:
        session.expire(known)
    note(session, now, actor.id, "put", "schedule", slug, team=team, **written)


def _require_sight(actor: Actor, team: str, slug: str) -> None:
    if not actor.sees(team):
        raise NotFound(f"There is no schedule '{slug[:70]}'.")


def _require_team(session: Session, actor: Actor, team: str) -> None:
    if not queries.team_exists(session, team):
        raise invalid("team", f"there is no team '{team[:70]}'", "Add it with `teams add` first.")
    if not actor.sees(team):
        raise NotFound(f"There is no team '{team[:70]}' of yours.")


def _require_people(session: Session, document: ScheduleDocument) -> None:
    """Refuse addresses that nobody has: a misspelt one would be a hole."""
    person = models.Person.email
    named = {email for layer in document.layers for email in layer.people}
    known = set(session.scalars(select(person).where(person.in_(named))))
    hint = "Correct the address, or add them with `people add` first."
    _refuse(document, named - known, "nobody has the address '{}'", hint)


def _require_sights(session: Session, document: ScheduleDocument, team: str) -> None:
    """Refuse people who would be told of cases that they may not see."""
    named = {email for layer in document.layers for email in layer.people}
    _refuse(document, named - _seeing(session, team), _BLIND_TO.format("{}", team), _JOIN)


_BLIND_TO = "{} is not of team '{}' and may not see its cases"
_JOIN = "Make them a member of the team first, or name somebody else."


def _seeing(session: Session, team: str) -> set[str]:
    """Everybody who sees a team's cases: its members, and admins."""
    member, person = models.Membership, models.Person
    found = set(session.scalars(select(member.person).where(member.team == team)))
    return found | set(session.scalars(select(person.email).where(person.role == Role.ADMIN.value)))


def _require_overrides(session: Session, slug: str, team: str, now: datetime) -> None:
    """Refuse a team whose cases those could not see who have an override that is not over."""
    row = models.ScheduleOverride
    asked = select(row.person).where(row.schedule == slug, row.ends_at > now)
    for person in sorted(set(session.scalars(asked)) - _seeing(session, team)):
        problem = f"{person} has an override, and is not of team '{team}'"
        raise invalid("team", problem, "End the override first, or make them a member of the team.")


def _refuse(document: ScheduleDocument, whom: Collection[str], problem: str, hint: str) -> None:
    problems = tuple(
        Problem(f"/layers/{n}/people/{at}", problem.format(email), hint)
        for n, layer in enumerate(document.layers)
        for at, email in enumerate(layer.people)
        if email in whom
    )
    if problems:
        said = "; ".join(f"{p.pointer}: {p.problem}" for p in problems)
        raise InvalidInput(f"The schedule: {said}", problems=problems)


def override(
    session: Session,
    slug: str,
    email: str,
    *,
    begin: datetime,
    end: datetime,
    actor: Actor,
    duties: Sequence[Duty] = (),
    now: datetime,
) -> int:
    """Give somebody the duty for a span, whosever turn it is; answers the override's number.

    Where two overlap, the one that was said last holds. Where it has begun, what the schedule
    owns goes to them.

    Raises:
        NotAllowed: the actor does not manage schedules.
        NotFound: there is no such schedule of the actor's teams.
        InvalidInput: the span or the person cannot be used, or they may not see the cases of the
            schedule's team.
    """
    actor.require(Verb.MANAGE_SCHEDULES)
    with keeping(session, duties if begin <= now else (), _said_anew(slug, now)):
        team = _hold(session, slug, actor)
        person = require_reviewer(session, "person", email)
        if person not in _seeing(session, team):
            raise invalid("person", _BLIND_TO.format(person, team), _JOIN)
        require_span(begin, end, now)
        row = models.ScheduleOverride(
            schedule=slug, person=person, begins_at=begin, ends_at=end, created_at=now
        )
        session.add(row)
        session.flush()
    span = {"from": begin.isoformat(), "until": end.isoformat()}
    note(session, now, actor.id, "override", "schedule", slug, person=person, **span)
    return row.id


def end_override(
    session: Session,
    slug: str,
    number: int,
    *,
    actor: Actor,
    duties: Sequence[Duty] = (),
    now: datetime,
) -> None:
    """End an override now; one that has not begun is as if it had never been said.

    What the schedule owns goes to whoever is on duty without it.

    Raises:
        NotAllowed: the actor does not manage schedules.
        NotFound: there is no such override that is not over, or no such schedule in sight.
    """
    actor.require(Verb.MANAGE_SCHEDULES)
    with keeping(session, duties, _said_anew(slug, now)):
        _hold(session, slug, actor)
        person = _end(session, slug, number, now)
    note(session, now, actor.id, "end override", "schedule", slug, person=person, number=number)


def _end(session: Session, slug: str, number: int, now: datetime) -> str:
    row = session.get(models.ScheduleOverride, number, with_for_update=True)
    if row is None or row.schedule != slug or row.ends_at <= now:
        raise NotFound("There is no such override that is not over.")
    if row.begins_at < now:
        row.ends_at = now
    else:
        session.delete(row)
    session.flush()
    return row.person


def _held(session: Session, slug: str) -> models.Schedule | None:
    # Cases refer to it: whoever gives one of them an owner by it is not to wait.
    return session.get(models.Schedule, slug, with_for_update={"key_share": True})


def _hold(session: Session, slug: str, actor: Actor) -> str:
    """Hold a schedule of the actor's teams; answers whose it is."""
    found = _held(session, slug)
    if found is None:
        raise NotFound(f"There is no schedule '{slug[:70]}'.")
    _require_sight(actor, found.team, slug)
    return found.team


def require_reviewer(session: Session, field: str, email: str) -> str:
    """Somebody who may be given a duty, by the address as it is stored.

    Raises:
        InvalidInput: nobody active who may review has that address; it names the field.
    """
    found = session.get(models.Person, actor_id(email))
    if found is None or not found.active:
        problem = f"nobody active has the address '{email[:60]}'"
        raise invalid(field, problem, "Choose somebody who is here.")
    if found.role not in REVIEWERS:
        raise invalid(field, f"{found.email} may not review", "Choose an owner, lead or admin.")
    return found.email


def require_span(begin: datetime, end: datetime, now: datetime) -> None:
    """Refuse a span that has no length, or that is over.

    Raises:
        InvalidInput: naming the end of it.
    """
    if end <= begin:
        raise invalid("until", "it is not after the beginning", "Write a later one.")
    if end <= now:
        raise invalid("until", "it is over already", "Write one in the future.")
