"""Reads of tools: with their gate policies, taxonomies and keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

from secondlook.gate import GatePolicy
from sqlalchemy import Connection, Engine, func, select, text
from sqlalchemy.orm import Session

from services.kit.errors import NotFound
from services.people.rules import Actor
from services.tools import models
from services.tools.rules import OutputKind, ToolState


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """A tool as other packages use it: with its newest gate policy and taxonomy.

    `categories` are in the order of the newest taxonomy; `ever_categories` are all that
    any revision held, because a correction may speak of a category since retired.
    """

    slug: str
    name: str
    kind: OutputKind
    team: str
    maturity_seconds: int
    policy: GatePolicy
    revision: int
    created_at: datetime
    categories: tuple[str, ...]
    ever_categories: frozenset[str]
    policies: Mapping[int, GatePolicy] = field(repr=False)
    matured_since: datetime | None = None

    @property
    def state_since(self) -> datetime:
        """When the tool was last switched to the state it is in."""
        since = self.policy.effective_at
        for revision in sorted(self.policies, reverse=True):
            if self.policies[revision].state != self.policy.state:
                break
            since = self.policies[revision].effective_at
        return since

    def cutoff(self, now: datetime) -> datetime:
        """The moment up to which recorded outputs are mature; it never goes back."""
        aged = now - timedelta(seconds=self.maturity_seconds)
        return max(aged, self.matured_since or aged)

    @property
    def state(self) -> ToolState:
        """What the tool may do just now."""
        return ToolState(self.policy.state)

    def policy_for(self, *, revision: int | None, at: datetime) -> GatePolicy:
        """The policy that the sender names, or else the one in force at `at`.

        A named revision that does not exist (from another installation, say) is treated
        as not named.
        """
        if revision is not None and revision in self.policies:
            return self.policies[revision]
        in_force = [p for p in self.policies.values() if p.effective_at <= at]
        return max(in_force, key=lambda p: p.revision, default=self.policies[min(self.policies)])


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """A tool's key as it may be shown: never the secret."""

    prefix: str
    tool: str
    created_at: datetime
    actor: str
    revoked_at: datetime | None


# The sum grows with every change. The highest revision would not: of two changes the one that
# took the lower number may be committed last.
_REVISION = text("SELECT coalesce(sum(revision), 0)::bigint FROM tool")


class ToolCache:
    """All tools, kept in memory and read anew when any of them has changed.

    One number tells whether that is so, so a consumer can ask in every transaction.
    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._revision: int | None = None
        self._tools: dict[str, ToolInfo] = {}
        self._lock = Lock()

    def tools(self, session: Session) -> Mapping[str, ToolInfo]:
        """Every tool by its slug."""
        revision = session.execute(_REVISION).scalar_one()
        with self._lock:
            if revision != self._revision:
                self._tools = {tool.slug: tool for tool in tools(session)}
                self._revision = revision
            return self._tools

    def get(self, session: Session, slug: str) -> ToolInfo:
        """One tool.

        Raises:
            NotFound: there is no tool of that name.
        """
        found = self.tools(session).get(slug)
        if found is None:
            raise NotFound(f"There is no tool '{slug}'.")
        return found


_caches: WeakKeyDictionary[Engine | Connection, ToolCache] = WeakKeyDictionary()


def cache(session: Session) -> ToolCache:
    """The tools of the database that this session speaks to, kept by this process."""
    return _caches.setdefault(session.get_bind(), ToolCache())


def _policy(
    tool: models.Tool, row: models.GatePolicy, categories: Sequence[str], epoch: str
) -> GatePolicy:
    """A stored revision as the SDK's gate takes it."""
    in_use = {
        "review_when": row.review_when or None,
        "max_stale_seconds": row.max_stale_seconds,
        "categories": categories or None,
    }
    return GatePolicy.model_validate(
        {
            "tool": tool.slug,
            "kind": tool.kind,
            "revision": row.revision,
            "epoch": epoch,
            "state": row.state,
            "threshold": row.threshold,
            "category_thresholds": row.category_thresholds,
            "audit_rate": row.audit_rate,
            "holdout_rate": row.holdout_rate,
            "sampling_key": row.sampling_key,
            "effective_at": row.effective_at,
            **{name: value for name, value in in_use.items() if value is not None},
            # To ignore one of these would be to let through what a person must see.
            "critical": [name for name, value in in_use.items() if value is not None],
        }
    )


_EPOCH = text("""
SELECT s.system_identifier || '-' || c.timeline_id || '-' || d.oid
FROM pg_control_system() s, pg_control_checkpoint() c, pg_database d
WHERE d.datname = current_database()
""")


def epoch(session: Session) -> str:
    """Names the life of this database: another after a restore, whatever way it was made.

    A dump that is loaded has another database or cluster, a recovery another timeline.
    """
    return str(session.execute(_EPOCH).scalar_one())


def tool_maker(session: Session, slug: str) -> str | None:
    """Who added the tool, or None where there is no such tool."""
    first = (
        select(models.GatePolicy.actor)
        .where(models.GatePolicy.tool == slug)
        .order_by(models.GatePolicy.revision)
        .limit(1)
    )
    return session.scalar(first)


def tools(session: Session) -> list[ToolInfo]:
    """Every tool, by name."""
    # Tools first: one that is added meanwhile has no row here, and so needs no policy.
    rows = session.scalars(select(models.Tool).order_by(models.Tool.slug)).all()
    policies: dict[str, list[models.GatePolicy]] = {}
    for policy in session.scalars(select(models.GatePolicy)):
        policies.setdefault(policy.tool, []).append(policy)
    categories: dict[str, list[models.Category]] = {}
    for category in session.scalars(select(models.Category).order_by(models.Category.position)):
        categories.setdefault(category.tool, []).append(category)
    life = epoch(session)
    return [_tool_info(row, policies[row.slug], categories.get(row.slug, []), life) for row in rows]


def _tool_info(
    row: models.Tool,
    policies: list[models.GatePolicy],
    categories: list[models.Category],
    epoch: str,
) -> ToolInfo:
    taxonomies: dict[int | None, list[str]] = {}
    for category in categories:
        taxonomies.setdefault(category.revision, []).append(category.name)
    by_revision = {
        policy.revision: _policy(row, policy, taxonomies.get(policy.taxonomy, []), epoch)
        for policy in policies
    }
    newest = taxonomies[max(filter(None, taxonomies))] if taxonomies else []
    return ToolInfo(
        slug=row.slug,
        name=row.name,
        kind=OutputKind(row.kind),
        team=row.team,
        maturity_seconds=row.maturity_seconds,
        policy=by_revision[max(by_revision)],
        revision=row.revision,
        created_at=row.created_at,
        categories=tuple(newest),
        ever_categories=frozenset(c.name for c in categories),
        policies=by_revision,
        matured_since=row.matured_since,
    )


def visible_tools(session: Session, actor: Actor) -> list[ToolInfo]:
    """The tools of the actor's teams, or all for those who look after all."""
    return [tool for tool in cache(session).tools(session).values() if actor.sees(tool.team)]


def tool_for(session: Session, actor: Actor, slug: str) -> ToolInfo:
    """One tool that the actor may see.

    Raises:
        NotFound: there is none, or it is another team's.
    """
    found = tool(session, slug)
    if not actor.sees(found.team):
        raise NotFound(f"There is no tool '{slug}'.")
    return found


def tool(session: Session, slug: str) -> ToolInfo:
    """One tool, whoever asks.

    Raises:
        NotFound: there is none of that name.
    """
    return cache(session).get(session, slug)


def categories(session: Session, tool: str) -> list[str]:
    """A tool's categories as this transaction has left them, in their order."""
    newest = select(func.max(models.Category.revision)).where(models.Category.tool == tool)
    return list(
        session.scalars(
            select(models.Category.name)
            .where(models.Category.tool == tool)
            .where(models.Category.revision == newest.scalar_subquery())
            .order_by(models.Category.position)
        )
    )


def keys(session: Session, tool: str) -> list[KeyInfo]:
    """A tool's keys, the newest first."""
    rows = session.scalars(
        select(models.ApiKey)
        .where(models.ApiKey.tool == tool)
        .order_by(models.ApiKey.created_at.desc())
    )
    return [KeyInfo(k.prefix, k.tool, k.created_at, k.actor, k.revoked_at) for k in rows]


def version_count(session: Session, slug: str) -> int:
    """How many versions of a tool have been seen at work."""
    query = (
        select(func.count()).select_from(models.ToolVersion).where(models.ToolVersion.tool == slug)
    )
    return session.execute(query).scalar_one()
