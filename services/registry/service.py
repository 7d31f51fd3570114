"""The registry's verbs. Each takes a session, who does it and the time; none commits."""

import re
import secrets
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import psycopg
from secondlook import events
from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.kit import outbox
from services.kit.errors import NotFound, Problem
from services.kit.eventlog.port import NewRecord
from services.registry import access, models, queries
from services.registry.errors import AlreadyThere, ChangedMeanwhile, StillOwns
from services.registry.notes import invalid, note
from services.registry.rules import OutputKind, Role, ToolState

_SLUG = re.compile(models.SLUG)
_EMAIL = re.compile(r"[^@\s\x00]{1,64}@[^@\s\x00]{1,190}")
_NAME_LENGTH = 200


# --- teams and people -------------------------------------------------------------------


def add_team(session: Session, slug: str, *, name: str | None, actor: str, now: datetime) -> None:
    """Add a team.

    Raises:
        InvalidInput: the slug is not one.
        AlreadyThere: there is a team of that name.
    """
    _require_slug("slug", slug)
    name = _name("name", name or slug)
    _insert(session, models.Team(slug=slug, name=name, created_at=now), f"team '{slug}'")
    note(session, now, actor, "add", "team", slug, name=name)


def add_person(
    session: Session,
    email: str,
    *,
    name: str,
    role: Role,
    teams: Iterable[str],
    actor: str,
    now: datetime,
) -> None:
    """Add a person, without a password: a sign-in link is the first way in.

    Raises:
        InvalidInput: the address, or a team, is not one.
        AlreadyThere: the address is taken.
    """
    email = email.strip().lower()
    if not _EMAIL.fullmatch(email):
        raise invalid("email", f"'{email[:60]}' is no e-mail address", "Write name@domain.")
    name = _name("name", name)
    row = models.Person(email=email, name=name, role=role.value, created_at=now)
    _insert(session, row, f"person '{email}'")
    _set_teams(session, email, teams)
    note(session, now, actor, "add", "person", email, role=role.value, teams=sorted(teams))


def change_person(
    session: Session,
    email: str,
    *,
    role: Role | None = None,
    teams: Iterable[str] | None = None,
    active: bool | None = None,
    actor: str,
    now: datetime,
) -> None:
    """Change a role, teams, or whether the person may sign in.

    Deactivating ends the person's sign-ins and tokens at once. The database refuses what
    would leave an open case to nobody: the person answers for one, or a team with tools or
    open cases would have nobody who judges. It keeps the last admin, too.

    Raises:
        NotFound: nobody has that address.
        StillOwns: the person is needed; it names the field, and what to do first.
    """
    hold_person(session, email)
    before = queries.person(session, email)
    changes: dict[str, Any] = {}
    if role is not None and role != before.role:
        changes["role"] = role.value
    if active is not None and active != before.active:
        changes["active"] = active
    if changes:
        statement = update(models.Person).where(models.Person.email == before.email)
        with _keeping_judges(before.email, "role" if "role" in changes else "active"):
            session.execute(statement.values(**changes))
    if active is False:
        access.end_every_sign_in(session, before.email, now=now)
    if teams is not None:
        wanted = sorted(teams)
        with _keeping_judges(before.email, "team"):
            _set_teams(session, before.email, wanted)
        changes["teams"] = wanted
    note(session, now, actor, "change", "person", before.email, **changes)


def require_person_is(session: Session, email: str, *either: tuple[str, Collection[str]]) -> None:
    """Hold a person whose role and teams have to be one of these: as seen before, or as wanted.

    Raises:
        NotFound: nobody has that address.
        ChangedMeanwhile: they are others by now.
    """
    hold_person(session, email)
    present = queries.person(session, email)
    if (present.role.value, set(present.teams)) not in [
        (role, set(teams)) for role, teams in either
    ]:
        raise ChangedMeanwhile(f"{present.email} was changed; look at them again first.")


def hold_person(session: Session, email: str) -> None:
    """Wait for everything else that is done to this person, and to who judges in their teams.

    Teams come before people, and both in the order of their names, so that no two wait for
    each other. Whoever locks cases as well does so first.
    """
    email = email.lower()
    theirs = select(models.Membership.team).where(models.Membership.person == email)
    teams = select(models.Team.slug).where(models.Team.slug.in_(theirs)).order_by(models.Team.slug)
    session.execute(teams.with_for_update(key_share=True))
    person = select(models.Person.email).where(models.Person.email == email)
    session.execute(person.with_for_update())


@contextmanager
def _keeping_judges(email: str, field: str) -> Iterator[None]:
    """Say in words why the database would not let somebody go."""
    try:
        yield
    except IntegrityError as error:
        said = error.orig.diag if isinstance(error.orig, psycopg.Error) else None
        constraint = said.constraint_name if said is not None else None
        if constraint == "owner_stays":
            problem, mend = f"{email} owns open cases", "hand them over first"
        elif constraint == "admin_stays":
            problem = f"{email} is the last active admin"
            mend = "make somebody else an admin first"
        elif constraint == "judge_stays" and said is not None:
            team = said.message_detail
            problem = f"nobody else judges in team '{team}', which has tools or open cases"
            mend = f"make somebody else a judge of team '{team}' first"
        else:
            raise
        problems = (Problem(f"/{field}", problem, f"{mend.capitalize()}."),)
        raise StillOwns(f"{field}: {problem}; {mend}.", problems=problems) from None


def _set_teams(session: Session, email: str, teams: Iterable[str]) -> None:
    """Add what is missing before taking away what is too much."""
    wanted = set(teams)
    known = set(session.scalars(select(models.Team.slug).where(models.Team.active)))
    membership = models.Membership
    had = set(session.scalars(select(membership.team).where(membership.person == email)))
    for missing in sorted(wanted - had - known):
        raise invalid("team", f"there is no team '{missing}'", "Add it with `teams add` first.")
    session.add_all(membership(person=email, team=team) for team in sorted(wanted - had))
    session.flush()
    for team in sorted(had - wanted):
        session.execute(
            delete(membership).where(membership.person == email, membership.team == team)
        )


# --- tools ------------------------------------------------------------------------------


def add_tool(
    session: Session,
    slug: str,
    *,
    name: str | None = None,
    kind: OutputKind,
    team: str,
    categories: Iterable[str] = (),
    threshold: float = 0.7,
    audit_rate: float = 0.0,
    holdout_rate: float = 0.0,
    maturity_seconds: int,
    sampling_key: str | None = None,
    actor: str,
    now: datetime,
) -> None:
    """Register a tool, live, with its first gate policy and taxonomy.

    Raises:
        InvalidInput: a field cannot be used; it says which and why.
        AlreadyThere: the slug is taken.
    """
    _require_slug("slug", slug)
    if session.get(models.Team, team) is None:
        raise invalid("team", f"there is no team '{team}'", "Add it with `teams add` first.")
    row = models.Tool(
        slug=slug,
        name=_name("name", name or slug),
        kind=kind.value,
        team=team,
        maturity_seconds=maturity_seconds,
        created_at=now,
    )
    _insert(session, row, f"tool '{slug}'")
    policy = models.GatePolicy(
        tool=slug,
        revision=1,
        state=ToolState.LIVE.value,
        threshold=_share("threshold", threshold),
        category_thresholds={},
        audit_rate=_share("audit_rate", audit_rate),
        holdout_rate=_share("holdout_rate", holdout_rate),
        sampling_key=sampling_key or secrets.token_hex(32),
        effective_at=now,
        actor=actor,
    )
    session.add(policy)
    session.flush()
    listed = list(categories)
    if listed:
        _add_taxonomy(session, slug, listed, actor=actor, now=now)
    note(session, now, actor, "add", "tool", slug, team=team, returns=kind.value)
    _announce(session, slug, actor=actor, now=now)


CHANGEABLE = frozenset(
    {
        "name",
        "team",
        "maturity_seconds",
        "state",
        "threshold",
        "category_thresholds",
        "audit_rate",
        "holdout_rate",
        "categories",
    }
)
_ON_TOOL = ("name", "team", "maturity_seconds")
_ON_POLICY = ("state", "threshold", "category_thresholds", "audit_rate", "holdout_rate")


def change_tool(
    session: Session,
    slug: str,
    changes: Mapping[str, Any],
    *,
    actor: str,
    now: datetime,
    if_revision: int | None = None,
) -> None:
    """Change the fields given, and no others; the names are in `CHANGEABLE`.

    A change of the state, a threshold or a rate is a new revision of the gate policy and
    reaches the tool's SDK within seconds.

    Raises:
        NotFound: there is no such tool.
        InvalidInput: a field is unknown or cannot be used.
        ChangedMeanwhile: the tool's revision is no longer `if_revision`.
    """
    tool = session.get(models.Tool, slug, with_for_update=True)
    if tool is None:
        raise NotFound(f"There is no tool '{slug}'.")
    if if_revision is not None and tool.revision != if_revision:
        raise ChangedMeanwhile(f"The tool is at revision {tool.revision}; read it again first.")
    for field in sorted(changes.keys() - CHANGEABLE):
        raise invalid(field, "there is no such field", f"Use {', '.join(sorted(CHANGEABLE))}.")
    if not changes:
        return
    # Counters of matured outputs may only rise, so what is mature now stays so.
    matured = now - timedelta(seconds=tool.maturity_seconds)
    tool.matured_since = max(matured, tool.matured_since or matured)
    for field in changes.keys() & set(_ON_TOOL):
        setattr(tool, field, _checked(session, field, changes[field]))
    if "categories" in changes:
        _add_taxonomy(session, slug, changes["categories"], actor=actor, now=now)
    policy_changes = {f: _checked(session, f, changes[f]) for f in _ON_POLICY if f in changes}
    _require_thresholds_of_categories(session, tool, policy_changes.get("category_thresholds", {}))
    if policy_changes:
        _next_policy(session, slug, policy_changes, actor=actor, now=now)
    tool.revision = session.execute(models.tool_revision.next_value()).scalar_one()
    session.flush()
    note(session, now, actor, "change", "tool", slug, **dict(changes))
    _announce(session, slug, actor=actor, now=now)


def _checked(session: Session, field: str, value: Any) -> Any:
    """The value as it is stored, or `InvalidInput` naming the field."""
    if field == "team":
        if not isinstance(value, str) or session.get(models.Team, value) is None:
            raise invalid(field, f"there is no team '{value}'", "Name a team that exists.")
    elif field == "name":
        return _name(field, value)
    elif field == "maturity_seconds":
        if type(value) is not int or value < 0:
            raise invalid(field, f"'{value}' is no length of time", "Give whole seconds.")
    elif field == "state":
        return _state(value)
    elif field == "category_thresholds":
        if not isinstance(value, dict):
            raise invalid(field, "it is no object", 'Write {"refund": 0.9}.')
        return {
            _name(f"{field}/{name[:40]}", name): _share(f"{field}/{name[:40]}", share)
            for name, share in value.items()
        }
    else:
        return _share(field, value)
    return value


def _require_thresholds_of_categories(
    session: Session, tool: models.Tool, thresholds: Mapping[str, float]
) -> None:
    """A threshold for what the tool never returns would hold nothing back, in silence."""
    if not thresholds:
        return
    if tool.kind != OutputKind.CATEGORY:
        raise invalid(
            "category_thresholds",
            f"the tool returns {tool.kind}, not a category",
            "Set the threshold of the whole tool.",
        )
    known = queries.categories(session, tool.slug)
    for name in thresholds:
        if known and name not in known:
            raise invalid(
                f"category_thresholds/{name[:40]}",
                f"'{name[:40]}' is none of the tool's categories",
                "Use a name from its taxonomy.",
            )


def _state(value: Any) -> str:
    try:
        return ToolState(value).value
    except ValueError:
        listed = ", ".join(state.value for state in ToolState)
        raise invalid("state", f"'{value}' is no state", f"Use one of {listed}.") from None


def _next_policy(
    session: Session, slug: str, changes: Mapping[str, Any], *, actor: str, now: datetime
) -> None:
    """Follow the newest revision by one with `changes`."""
    last = session.scalars(
        select(models.GatePolicy)
        .where(models.GatePolicy.tool == slug)
        .order_by(models.GatePolicy.revision.desc())
        .limit(1)
    ).one()
    fields = {field: getattr(last, field) for field in (*_ON_POLICY, "sampling_key")}
    session.add(
        models.GatePolicy(
            tool=slug,
            revision=last.revision + 1,
            effective_at=now,
            actor=actor,
            **{**fields, **changes},
        )
    )
    session.flush()


def _add_taxonomy(
    session: Session, slug: str, categories: Any, *, actor: str, now: datetime
) -> None:
    """Add the next revision of the tool's taxonomy."""
    names = _category_names(categories)
    revision = session.execute(
        select(func.coalesce(func.max(models.Taxonomy.revision), 0) + 1).where(
            models.Taxonomy.tool == slug
        )
    ).scalar_one()
    session.add(models.Taxonomy(tool=slug, revision=revision, created_at=now, actor=actor))
    session.flush()
    session.add_all(
        models.Category(tool=slug, revision=revision, name=name, position=position)
        for position, name in enumerate(names, start=1)
    )
    session.flush()


def _category_names(categories: Any) -> list[str]:
    """The names, stripped, in order; `InvalidInput` for what is no list of distinct names."""
    if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories):
        raise invalid("categories", "it is no list of names", 'Write ["refund", "billing"].')
    names = [name.strip() for name in categories if name.strip()]
    for name in names:
        if len(name.encode()) > 200 or "\x00" in name:
            raise invalid("categories", f"'{name[:40]}…' is too long", "Use 200 bytes at most.")
        if names.count(name) > 1:
            raise invalid("categories", f"'{name}' stands there twice", "List each name once.")
    return names


def ensure_versions(session: Session, versions: Iterable[tuple[str, str]]) -> None:
    """Note each (tool, version) that has been seen at work."""
    rows = [{"tool": tool, "version": version} for tool, version in sorted(set(versions))]
    if rows:
        session.execute(insert(models.ToolVersion).values(rows).on_conflict_do_nothing())


def _announce(session: Session, slug: str, *, actor: str, now: datetime) -> None:
    """Tell the log what the tool's gate policy and state are now."""
    policy = next(tool.policy for tool in queries.tools(session) if tool.slug == slug)
    event = events.tool_changed(policy, actor=actor, time=now)
    outbox.enqueue(session, [NewRecord(event.topic, event.key, events.encode(event))])


# --- helpers ----------------------------------------------------------------------------


def _require_slug(field: str, slug: str) -> None:
    if not _SLUG.fullmatch(slug):
        raise invalid(
            field,
            f"'{slug[:70]}' is no slug",
            "Use 1 to 63 lower-case letters, digits and hyphens, a letter or digit first.",
        )


def _name(field: str, value: Any) -> str:
    """A name that people read, as it is stored."""
    name = value.strip() if isinstance(value, str) else ""
    if not name:
        raise invalid(field, "it is empty", "Write the name.")
    if len(name) > _NAME_LENGTH or "\x00" in name:
        raise invalid(field, "it is too long", f"Use {_NAME_LENGTH} characters at most.")
    return name


def _share(field: str, value: Any) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise invalid(field, f"'{value}' is not between 0 and 1", "Give a share, such as 0.7.")
    return float(value)


def _insert(session: Session, row: models.Team | models.Person | models.Tool, what: str) -> None:
    key = row.email if isinstance(row, models.Person) else row.slug
    if session.get(type(row), key) is not None:
        raise AlreadyThere(f"There is a {what} already.")
    session.add(row)
    session.flush()
