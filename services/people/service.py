"""The verbs on people and teams. Each takes a session, who does it and the time; none commits."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from typing import Any

import psycopg
from secondlook.text import ID_BYTES, actor_id, is_address, storable
from sqlalchemy import delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.database import add_new
from services.kit.errors import ChangedMeanwhile, NotFound, Problem, invalid
from services.people import access, models, queries, schedule_queries
from services.people.calendars import CalendarDocument
from services.people.duties import Duty, PersonChange, TeamRemoval, keeping
from services.people.errors import StillOwns
from services.people.fields import name as checked_name
from services.people.fields import require_slug
from services.people.holding import Hold, hold_people
from services.people.queries import PersonInfo
from services.people.rules import REVIEWERS, Actor, Role, Verb

Seen = tuple[Role, Collection[str]]
"""A role and teams."""


def add_team(session: Session, slug: str, *, name: str | None, actor: Actor, now: datetime) -> None:
    """Add a team.

    Raises:
        NotAllowed: the actor does not manage people.
        InvalidInput: the slug is not one.
        AlreadyThere: there is a team of that name.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    require_slug("slug", slug)
    name = checked_name("name", name or slug)
    add_new(session, models.Team(slug=slug, name=name, created_at=now), slug, f"team '{slug}'")
    note(session, now, actor.id, "add", "team", slug, name=name)


def put_calendar(
    session: Session, slug: str, document: CalendarDocument, *, actor: Actor, now: datetime
) -> None:
    """Add a calendar, or say anew what the one of that name is.

    What was counted by it before is counted anew by whoever counts, as its revision is another.

    Raises:
        NotAllowed: the actor does not manage people.
        InvalidInput: the slug is not one.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    require_slug("slug", slug)
    written = document.model_dump(mode="json")
    row = {"document": written, "changed_at": now}
    revised = {**row, "revision": models.Calendar.revision + 1}
    statement = insert(models.Calendar).values(slug=slug, created_at=now, **row)
    session.execute(statement.on_conflict_do_update(index_elements=["slug"], set_=revised))
    note(session, now, actor.id, "put", "calendar", slug, **written)


def change_team(
    session: Session, slug: str, *, calendar: str | None, actor: Actor, now: datetime
) -> None:
    """Let a team go by a calendar, or by none.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: there is no such team.
        InvalidInput: there is no such calendar.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    team = session.get(models.Team, slug, with_for_update={"key_share": True})
    if team is None:
        raise NotFound(f"There is no team '{slug[:70]}'.")
    _require_calendar(session, calendar)
    team.calendar = calendar
    session.flush()
    note(session, now, actor.id, "change", "team", slug, calendar=calendar)


def remove_team(
    session: Session, slug: str, *, duties: Sequence[Duty] = (), actor: Actor, now: datetime
) -> int:
    """Remove a team: nobody is in it any more, and it can own nothing. Its name is not used again.

    What it owns goes to whoever is wanted next, in this transaction; answers how much that was.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: there is no such team.
        StillOwns: it has tools or schedules, or the routing policy names it.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    with keeping(session, duties, TeamRemoval(slug, actor, now)) as moved:
        team = session.get(models.Team, slug, with_for_update={"key_share": True})
        if team is None or not team.active:
            raise NotFound(f"There is no team '{slug[:70]}'.")
        _require_no_schedules(session, slug)
        team.active = False
        with _in_words("team", {"tools_stay": _HAS_TOOLS.format(slug)}):
            session.flush()
        session.execute(delete(models.Membership).where(models.Membership.team == slug))
        note(session, now, actor.id, "remove", "team", slug)
    return moved


def _require_no_schedules(session: Session, slug: str) -> None:
    kept = select(models.Schedule.slug).where(models.Schedule.team == slug)
    if (schedule := session.scalars(kept.order_by(models.Schedule.slug).limit(1)).first()) is None:
        return
    raise _still_owns("team", f"schedule '{schedule}' is team '{slug}'s; put it for another first")


def add_person(
    session: Session,
    email: str,
    *,
    name: str,
    role: Role,
    teams: Iterable[str],
    actor: Actor,
    now: datetime,
) -> None:
    """Add a person, without a password: a sign-in link is the first way in.

    Raises:
        NotAllowed: the actor does not manage people.
        InvalidInput: the address, or a team, is not one.
        AlreadyThere: the address is taken.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    email = actor_id(email)
    if not is_address(email) or not storable(email) or len(email.encode()) > ID_BYTES:
        hint = f"Write name@domain, {ID_BYTES} bytes at most."
        raise invalid("email", f"'{email[:60]}' is no e-mail address", hint)
    name = checked_name("name", name)
    row = models.Person(email=email, name=name, role=role.value, created_at=now)
    add_new(session, row, email, f"person '{email}'")
    _set_teams(session, email, teams)
    note(session, now, actor.id, "add", "person", email, role=role.value, teams=sorted(teams))


def change_calendar(
    session: Session, email: str, *, calendar: str | None, actor: Actor, now: datetime
) -> None:
    """Let a person work by a calendar, or at any hour.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: nobody has that address.
        InvalidInput: there is no such calendar.
    """
    person = _held(session, email, actor)
    _require_calendar(session, calendar)
    person.calendar = calendar
    session.flush()
    note(session, now, actor.id, "change", "person", person.email, calendar=calendar)


def change_manager(
    session: Session, email: str, *, manager: str | None, actor: Actor, now: datetime
) -> None:
    """Say who a person's manager is, or that they have none.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: nobody has that address.
        InvalidInput: nobody active has the manager's, or it is the person's own.
    """
    person = _held(session, email, actor)
    wanted = actor_id(manager) if manager is not None else None
    if wanted == person.email:
        raise invalid("manager", "nobody is their own manager", "Name somebody else.")
    if wanted is not None and queries.actor(session, wanted) is None:
        problem = f"nobody active has the address '{wanted[:60]}'"
        raise invalid("manager", problem, "Correct it, or add them with `people add` first.")
    person.manager = wanted
    session.flush()
    note(session, now, actor.id, "change", "person", person.email, manager=wanted)


def _held(session: Session, email: str, actor: Actor) -> models.Person:
    actor.require(Verb.MANAGE_PEOPLE)
    person = session.get(models.Person, actor_id(email), with_for_update={"key_share": True})
    if person is None:
        raise NotFound(f"Nobody has the address '{email[:60]}'.")
    return person


def _require_calendar(session: Session, calendar: str | None) -> None:
    if calendar is not None and session.get(models.Calendar, calendar) is None:
        hint = "Add it with `calendars add` first."
        raise invalid("calendar", f"there is no calendar '{calendar[:70]}'", hint)


def change_person(
    session: Session,
    email: str,
    *,
    role: Role | None = None,
    teams: Iterable[str] | None = None,
    active: bool | None = None,
    seen: Seen | None = None,
    actor: Actor,
    duties: Sequence[Duty],
    now: datetime,
) -> int:
    """Change a role, teams, or whether the person may sign in: the one door out.

    Deactivating ends the person's sign-ins and tokens at once, and hands over what they
    answer for; answers how much that was. The database refuses what would leave an open case
    to nobody: the person owns one, or a team with tools or open cases would have nobody who
    may review. It keeps the last admin, too. Whoever serves a team's schedule stays in the team.

    Args:
        seen: the role and teams that the actor saw; what others changed since is not lost.
        duties: everything that people answer for.

    Raises:
        NotAllowed: the actor does not manage people.
        NotFound: nobody has that address.
        StillOwns: the person is needed; it names the field, and what to do first.
        ChangedMeanwhile: they are neither what was seen nor what is wanted.
    """
    actor.require(Verb.MANAGE_PEOPLE)
    named = actor_id(email)
    wanted = tuple(sorted(teams)) if teams is not None else None
    change = PersonChange(named, role, wanted, active, actor, now)
    with keeping(session, duties, change) as moved:
        _change(session, change, seen)
    return moved


def _change(session: Session, change: PersonChange, seen: Seen | None) -> None:
    hold_person(session, change.email)
    before = queries.person(session, change.email)
    if seen is not None:
        _require_unchanged(before, seen, (change.role or before.role, change.teams or ()))
    changes: dict[str, Any] = {}
    if change.role is not None and change.role != before.role:
        changes["role"] = change.role.value
    if change.active is not None and change.active != before.active:
        changes["active"] = change.active
    if changes:
        statement = update(models.Person).where(models.Person.email == before.email)
        with _keeping_reviewers(before.email, "role" if "role" in changes else "active"):
            session.execute(statement.values(**changes))
    if change.active is False:
        access.end_every_sign_in(session, before.email, now=change.now)
    if change.teams is not None:
        with _keeping_reviewers(before.email, "team"):
            _set_teams(session, before.email, change.teams)
        changes["teams"] = list(change.teams)
    if changes:
        _require_sight_of_duties(session, before.email, change.now)
    note(session, change.now, change.actor.id, "change", "person", before.email, **changes)


def _require_sight_of_duties(session: Session, email: str, now: datetime) -> None:
    """Refuse to let somebody go on serving schedules whose cases they see no more.

    Who may not review is passed over by every schedule, and may stay in it.
    """
    actor = queries.actor(session, email)
    if actor is None or actor.role not in REVIEWERS:
        return
    for slug, team in schedule_queries.served(session, email, now):
        if not actor.sees(team):
            problem = f"{email} serves schedule '{slug}' of team '{team}'"
            problems = (Problem("/team", problem, "Take them out of its layers and overrides."),)
            raise StillOwns(
                f"team: {problem}; take them out of its layers and overrides first.",
                problems=problems,
            )


def _require_unchanged(present: PersonInfo, *either: Seen) -> None:
    if (present.role, set(present.teams)) not in [(role, set(teams)) for role, teams in either]:
        raise ChangedMeanwhile(f"{present.email} was changed; look at them again first.")


def hold_person(
    session: Session, email: str, *, teams: Collection[str] = (), beside: Collection[str] = ()
) -> None:
    """Wait for everything else that is done to this person, and to who may review in their teams.

    Teams come before people, and both in the order of their names, so that no two wait for
    each other. Whoever locks cases as well does so first, and names the `teams` that they need,
    and whoever `beside` this person is to stay as they are.
    """
    email = actor_id(email)
    slug, membership = models.Team.slug, models.Membership
    theirs = select(membership.team).where(membership.person == email)
    wanted = select(slug).where(or_(slug.in_(theirs), slug.in_(sorted(teams)))).order_by(slug)
    session.execute(wanted.with_for_update(key_share=True))
    hold_people(session, dict.fromkeys(beside, Hold.STAYS) | {email: Hold.LEAVES})


_HAS_TOOLS = "team '{}' has tools; give them to another team first"
_OWNS_CASES = "{} owns open cases; hand them over first"
_LAST_ADMIN = "{} is the last active admin; make somebody else an admin first"
_LAST_REVIEWER = (
    "nobody else may review in team '{team}', which has tools or open cases; make somebody else a"
    " reviewer of team '{team}' first"
)


def _keeping_reviewers(email: str, field: str) -> AbstractContextManager[None]:
    said = {"owner_stays": _OWNS_CASES.format(email), "admin_stays": _LAST_ADMIN.format(email)}
    return _in_words(field, {**said, "reviewer_stays": _LAST_REVIEWER})


@contextmanager
def _in_words(field: str, said: Mapping[str, str]) -> Iterator[None]:
    """Say why the database would not let somebody or something go, by the constraint that it names:
    the problem, and after a semicolon what to do first."""
    try:
        yield
    except IntegrityError as error:
        found = error.orig.diag if isinstance(error.orig, psycopg.Error) else None
        words = said.get(found.constraint_name or "") if found is not None else None
        if words is None or found is None:
            raise
        raise _still_owns(field, words.replace("{team}", found.message_detail or "")) from None


def _still_owns(field: str, words: str) -> StillOwns:
    problem, hint = words.split("; ")
    problems = (Problem(f"/{field}", problem, f"{hint.capitalize()}."),)
    return StillOwns(f"{field}: {words}.", problems=problems)


def _set_teams(session: Session, email: str, teams: Iterable[str]) -> None:
    """Add what is missing before taking away what is too much."""
    wanted = set(teams)
    membership = models.Membership
    had = set(session.scalars(select(membership.team).where(membership.person == email)))
    team = models.Team
    there = select(team.slug).where(team.active, team.slug.in_(wanted - had)).order_by(team.slug)
    known = set(session.scalars(there.with_for_update(read=True)))
    for missing in sorted(wanted - had - known):
        raise invalid("team", f"there is no team '{missing}'", "Add it with `teams add` first.")
    session.add_all(membership(person=email, team=team) for team in sorted(wanted - had))
    session.flush()
    for left in sorted(had - wanted):
        session.execute(
            delete(membership).where(membership.person == email, membership.team == left)
        )
