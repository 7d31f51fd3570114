"""Reads of tools: with their gate policies, taxonomies and keys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from weakref import WeakKeyDictionary

from secondlook.gate import GatePolicy
from sqlalchemy import Connection, Engine, Select, and_, func, select, text
from sqlalchemy.orm import Session

from services.kit.errors import NotFound
from services.people.rules import Actor
from services.tools import models
from services.tools.policies import NAMED_TAXONOMY, policy_of
from services.tools.rules import OutputKind, ToolState


@dataclass(frozen=True, slots=True)
class ToolInfo:
    """A tool as other packages use it: with its newest gate policy and taxonomy.

    `ever_categories` are all that any revision held, because a correction may speak of a
    category since retired; none where the newest has none, as then every category goes.
    """

    slug: str
    name: str
    kind: OutputKind
    team: str
    maturity_seconds: int
    policy: GatePolicy
    revision: int
    created_at: datetime
    ever_categories: frozenset[str]
    matured_since: datetime | None = None

    def cutoff(self, now: datetime) -> datetime:
        """The moment up to which recorded outputs are mature; it never goes back."""
        aged = now - timedelta(seconds=self.maturity_seconds)
        return max(aged, self.matured_since or aged)

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories in use, in the order in which people see them."""
        return self.policy.categories

    @property
    def state(self) -> ToolState:
        """What the tool may do just now."""
        return ToolState(self.policy.state)


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
    """All tools, kept in memory; of them those that have changed are read anew.

    One number tells whether any has, so a consumer can ask in every transaction.
    Safe to share between threads.
    """

    def __init__(self) -> None:
        self._revision: int | None = None
        self._epoch: str | None = None
        self._tools: dict[str, ToolInfo] = {}
        self._lock = Lock()

    def tools(self, session: Session) -> Mapping[str, ToolInfo]:
        """Every tool by its slug, in their order."""
        revision = session.execute(_REVISION).scalar_one()
        with self._lock:
            if revision != self._revision:
                self._read_changed(session)
                self._revision = revision
            return self._tools

    def _read_changed(self, session: Session) -> None:
        life = epoch(session)
        # After a restore a tool may be another one under the same number.
        known = self._tools if life == self._epoch else {}
        numbers = select(models.Tool.slug, models.Tool.revision).order_by(models.Tool.slug)
        now = {row.slug: row.revision for row in session.execute(numbers)}
        changed = [s for s, n in now.items() if s not in known or known[s].revision != n]
        merged = {**known, **_read(session, changed, life)}
        self._tools = {slug: merged[slug] for slug in now}
        self._epoch = life

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
    return list(cache(session).tools(session).values())


def _read(session: Session, slugs: Sequence[str], life: str) -> dict[str, ToolInfo]:
    """Tools with what is in force now, in two statements whatever their number."""
    if not slugs:
        return {}
    # First: what is changed in between is read again, because its revision is another then.
    rows = session.execute(_in_force(slugs)).all()
    ever: dict[str, list[str]] = {}
    known = select(models.Category.tool, models.Category.name)
    for slug, name in session.execute(known.where(models.Category.tool.in_(slugs))):
        ever.setdefault(slug, []).append(name)
    return {
        row.slug: ToolInfo(
            slug=row.slug,
            name=row.name,
            kind=OutputKind(row.kind),
            team=row.team,
            maturity_seconds=row.maturity_seconds,
            policy=policy_of(policy, names, kind=row.kind, epoch=life),
            revision=row.revision,
            created_at=row.created_at,
            ever_categories=frozenset(ever.get(row.slug, ()) if names else ()),
            matured_since=row.matured_since,
        )
        for row, policy, names in rows
    }


def _in_force(slugs: Sequence[str]) -> Select[models.Tool, models.GatePolicy, list[str]]:
    """These tools, each with its newest policy and the names of the taxonomy that this names."""
    newest = (
        select(func.max(models.GatePolicy.revision))
        .where(models.GatePolicy.tool == models.Tool.slug)
        .correlate(models.Tool)
        .scalar_subquery()
    )
    return (
        select(models.Tool, models.GatePolicy, models.Taxonomy.names)
        .join(
            models.GatePolicy,
            and_(models.GatePolicy.tool == models.Tool.slug, models.GatePolicy.revision == newest),
        )
        .outerjoin(models.Taxonomy, NAMED_TAXONOMY)
        .where(models.Tool.slug.in_(slugs))
    )


def policy_in_force(session: Session, slug: str) -> GatePolicy:
    """The policy of one tool as this transaction has left it."""
    row, policy, names = session.execute(_in_force([slug])).one()
    return policy_of(policy, names, kind=row.kind, epoch=epoch(session))


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
