"""The verbs on tools. Each takes a session, who does it and the time; none commits."""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from secondlook import events
from secondlook._values import Strict
from secondlook.policy import LEAST_STALE_SECONDS, ReviewConditions
from secondlook.text import CATEGORIES, ID_BYTES, identifier, storable
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from services.kit.audit import note
from services.kit.consuming import outbox
from services.kit.database import add_new
from services.kit.errors import ChangedMeanwhile, NotAllowed, NotFound, Problem, invalid
from services.kit.eventlog.port import NewRecord
from services.people import queries as people_queries
from services.people.fields import name as checked_name
from services.people.fields import require_slug
from services.people.rules import Actor, Verb
from services.tools import contracts, models, queries
from services.tools.rules import OutputKind, ToolState


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
    review_when: Sequence[Any] = (),
    maturity_seconds: int,
    sampling_key: str | None = None,
    actor: Actor,
    now: datetime,
) -> None:
    """Register a tool, live, with its first gate policy and taxonomy.

    Raises:
        NotAllowed: the actor does not manage tools.
        InvalidInput: a field cannot be used; it says which and why.
        AlreadyThere: the slug is taken.
    """
    actor.require(Verb.MANAGE_TOOLS)
    require_slug("slug", slug)
    if not people_queries.team_exists(session, team):
        raise invalid("team", f"there is no team '{team}'", "Add it with `teams add` first.")
    row = models.Tool(
        slug=slug,
        name=checked_name("name", name or slug),
        kind=kind.value,
        team=team,
        maturity_seconds=maturity_seconds,
        created_at=now,
    )
    add_new(session, row, slug, f"tool '{slug}'")
    taxonomy = _taxonomy(session, slug, list(categories), actor=actor.id, now=now)
    policy = models.GatePolicy(
        tool=slug,
        revision=1,
        state=ToolState.LIVE.value,
        threshold=_share("threshold", threshold),
        category_thresholds={},
        audit_rate=_share("audit_rate", audit_rate),
        holdout_rate=_share("holdout_rate", holdout_rate),
        review_when=review_conditions(list(review_when)),
        taxonomy=taxonomy,
        sampling_key=sampling_key or secrets.token_hex(32),
        effective_at=now,
        actor=actor.id,
    )
    session.add(policy)
    session.flush()
    note(session, now, actor.id, "add", "tool", slug, team=team, returns=kind.value)
    _announce(session, slug, actor=actor.id, now=now)


_ON_TOOL = ("name", "team", "maturity_seconds")


_ON_POLICY = (
    *("state", "threshold", "category_thresholds", "audit_rate", "holdout_rate"),
    *("review_when", "max_stale_seconds"),
)
CHANGEABLE = frozenset({*_ON_TOOL, *_ON_POLICY, "categories"})


def change_tool(
    session: Session,
    slug: str,
    changes: Mapping[str, Any],
    *,
    actor: Actor,
    now: datetime,
    if_revision: int | None = None,
) -> None:
    """Change the fields given, and no others; the names are in `CHANGEABLE`.

    A change of anything that the gate goes by is a new revision of the gate policy and
    reaches the tool's SDK within seconds.

    Raises:
        NotFound: there is no such tool in the actor's sight.
        NotAllowed: the actor may not change what they want to change.
        InvalidInput: a field is unknown or cannot be used.
        ChangedMeanwhile: the tool's revision is no longer `if_revision`.
    """
    tool = session.get(models.Tool, slug, with_for_update=True)
    if tool is None or not actor.sees(tool.team):
        raise NotFound(f"There is no tool '{slug}'.")
    _require_may_change(actor, changes)
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
    policy_changes = {f: _checked(session, f, changes[f]) for f in _ON_POLICY if f in changes}
    if "categories" in changes:
        policy_changes["taxonomy"] = _taxonomy(
            session, slug, changes["categories"], actor=actor.id, now=now
        )
    _require_thresholds_of_categories(session, tool, policy_changes.get("category_thresholds", {}))
    if policy_changes:
        _next_policy(session, slug, policy_changes, actor=actor.id, now=now)
    tool.revision = session.execute(models.tool_revision.next_value()).scalar_one()
    session.flush()
    note(session, now, actor.id, "change", "tool", slug, **dict(changes))
    _announce(session, slug, actor=actor.id, now=now)


def _require_may_change(actor: Actor, changes: Mapping[str, Any]) -> None:
    """Refuse what only admins change: everything but the state."""
    actor.require(Verb.SWITCH_TOOL)
    others = sorted(changes.keys() - {"state"})
    if others and not actor.may(Verb.MANAGE_TOOLS):
        problem, hint = "only admins change it", "Send `state` alone."
        problems = tuple(Problem(f"/{field}", problem, hint) for field in others)
        raise NotAllowed("You may switch the tool's state and nothing else.", problems=problems)


def _checked(session: Session, field: str, value: Any) -> Any:
    """The value as it is stored, or `InvalidInput` naming the field."""
    if field == "team":
        return _team(session, value)
    check = _CHECKS.get(field)
    return check(value) if check is not None else _share(field, value)


def _team(session: Session, value: Any) -> str:
    if not isinstance(value, str) or not people_queries.team_exists(session, value):
        raise invalid("team", f"there is no team '{value}'", "Name a team that exists.")
    return value


def _maturity(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**31:
        problem = f"'{value}' is no length of time"
        raise invalid("maturity_seconds", problem, "Give whole seconds.")
    return value


def _category_thresholds(value: Any) -> dict[str, float]:
    field = "category_thresholds"
    if not isinstance(value, dict):
        raise invalid(field, "it is no object", 'Write {"refund": 0.9}.')
    found: dict[str, float] = {}
    for given, share in value.items():
        (name,) = _names(field, [given])
        if name in found:
            raise invalid(field, f"'{name[:40]}' stands there twice", "List each name once.")
        found[name] = _share(f"{field}/{given[:40]}", share)
    return found


class _Conditions(Strict):
    review_when: ReviewConditions


def review_conditions(value: Any) -> list[dict[str, Any]]:
    """Named conditions as the gate policy takes them.

    Raises:
        InvalidInput: each problem with its place, such as `/review_when/0/when/confidence`.
    """
    try:
        found = events.valid(_Conditions, review_when=value)
    except events.InvalidEvent as error:
        raise contracts.refused(error) from None
    return [one.model_dump(exclude_none=True) for one in found.review_when]


def _stale_seconds(value: Any) -> int | None:
    if value is not None and (type(value) is not int or not LEAST_STALE_SECONDS <= value < 2**31):
        hint = f"Give whole seconds, {LEAST_STALE_SECONDS} or more, or null for ever."
        raise invalid("max_stale_seconds", f"'{value}' is no length of time", hint)
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
    known = set(_newest_taxonomy(session, tool.slug)[1])
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


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "name": lambda value: checked_name("name", value),
    "maturity_seconds": _maturity,
    "state": _state,
    "category_thresholds": _category_thresholds,
    "review_when": review_conditions,
    "max_stale_seconds": _stale_seconds,
}
"""How each field is checked; those not named here are shares."""


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
    kept = (*_ON_POLICY, "taxonomy", "sampling_key")
    fields = {field: getattr(last, field) for field in kept}
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


def _taxonomy(
    session: Session, slug: str, categories: Any, *, actor: str, now: datetime
) -> int | None:
    """The number of the taxonomy that has these categories, the next one where they differ
    from those in force; None where there is none, and none is needed.
    """
    names = _category_names(categories)
    revision, in_force = _newest_taxonomy(session, slug)
    if names == in_force:
        return revision
    following = (revision or 0) + 1
    session.add(
        models.Taxonomy(tool=slug, revision=following, names=names, created_at=now, actor=actor)
    )
    session.flush()
    session.execute(_ADD_CATEGORIES, {"tool": slug, "names": names})
    return following


def _newest_taxonomy(session: Session, slug: str) -> tuple[int | None, list[str]]:
    """The newest taxonomy's number and names: the one that the newest policy names."""
    found = session.execute(
        select(models.Taxonomy.revision, models.Taxonomy.names)
        .where(models.Taxonomy.tool == slug)
        .order_by(models.Taxonomy.revision.desc())
        .limit(1)
    ).one_or_none()
    return (found.revision, found.names) if found is not None else (None, [])


_ADD_CATEGORIES = text("""
INSERT INTO category (tool, name) SELECT :tool, unnest(CAST(:names AS text[]))
ON CONFLICT (tool, name) DO NOTHING
""")


def _category_names(categories: Any) -> list[str]:
    """The names, as every contract has them, in order; `InvalidInput` for what is none."""
    if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories):
        raise invalid("categories", "it is no list of names", 'Write ["refund", "billing"].')
    if len(categories) > CATEGORIES:
        raise invalid("categories", f"there are over {CATEGORIES}", "Group them.")
    names = _names("categories", categories)
    for name, times in Counter(names).items():
        if times > 1:
            raise invalid("categories", f"'{name}' stands there twice", "List each name once.")
    return names


def _names(field: str, given: Iterable[str]) -> list[str]:
    """Names of categories, as every contract has them; `InvalidInput` for what is none."""
    names = [identifier(name) for name in given]
    for place, name in enumerate(names, start=1):
        if not name:
            raise invalid(field, f"number {place} has no name", "Name it, or leave it out.")
        if len(name.encode(errors="replace")) > ID_BYTES or not storable(name):
            problem = f"'{name[:40]}…' is too long or cannot be stored"
            raise invalid(field, problem, f"Use {ID_BYTES} bytes at most.")
    return names


def _announce(session: Session, slug: str, *, actor: str, now: datetime) -> None:
    """Tell the log what the tool's gate policy and state are now."""
    policy = queries.policy_in_force(session, slug)
    team = session.execute(select(models.Tool.team).where(models.Tool.slug == slug)).scalar_one()
    event = events.tool_changed(policy, actor=actor, team=team, time=now)
    outbox.enqueue(session, [NewRecord(event.topic, event.key, events.encode(event))])


def _share(field: str, value: Any) -> float:
    """A number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise invalid(field, f"'{value}' is not between 0 and 1", "Give a share, such as 0.7.")
    return float(value)
