"""Gate policies as the SDK's gate takes them: those in force, and older ones when asked for."""

from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import accumulate
from threading import Lock
from typing import NamedTuple

from secondlook.gate import GatePolicy
from sqlalchemy import and_, select, text, tuple_
from sqlalchemy.orm import Session

from services.tools import models

NAMEABLE = 40
"""So many of its newest policies an output may name: those of one tool, however large they are, can
all be kept at once, so that it does not have them read again and again."""
_KEPT_MEMBERS = 1_000_000
"""So many categories, thresholds and values of conditions of older policies a process keeps, some
100 MB."""
_POLICY_MEMBERS = 100
"""What a policy without any weighs among them."""


class Asked(NamedTuple):
    """The policy that an output's sender names, or else the one in force at `at`.

    A revision that does not exist (from another installation, say), or that `NAMEABLE` others
    have followed, is treated as not named. `newest` is the policy in force now; it says of
    which tool.
    """

    newest: GatePolicy
    revision: int | None
    at: datetime


PoliciesFor = Callable[[Sequence[Asked]], Sequence[GatePolicy]]
"""Finds the policy of each, in their order."""


class PolicyNotKept(Exception):
    """One of the policies is an older one that has yet to be read."""


class _Key(NamedTuple):
    """Which policy: after a restore a revision may be another one."""

    epoch: str
    tool: str
    revision: int


class Times(NamedTuple):
    """Since when the revisions of a tool are in force."""

    revisions: Sequence[int]
    since: Sequence[datetime]
    """When it, or one after it, came into force: sorted whatever order changes committed in."""

    def in_force(self, at: datetime) -> int:
        """The newest revision in force at `at`; before all of them the first."""
        return self.revisions[max(bisect_right(self.since, at) - 1, 0)]


class PolicyHistory:
    """The policies that tools went by before, read when asked for.

    None ever changes, so what has been read is kept. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._policies: dict[_Key, GatePolicy] = {}
        self._members = 0
        self._times: dict[str, tuple[_Key, Times]] = {}
        """Up to the revision of the key."""
        self._lock = Lock()

    def kept(self, asked: Sequence[Asked]) -> list[GatePolicy]:
        """The policy of each, as `PoliciesFor` says it.

        Raises:
            PolicyNotKept: one is not in memory.
        """
        return [self._kept(one) for one in asked]

    def read(self, session: Session, asked: Sequence[Asked]) -> list[GatePolicy]:
        """The policy of each, as `PoliciesFor` says it; what is not in memory in one go."""
        with suppress(PolicyNotKept):
            return self.kept(asked)
        with self._lock:
            self._read_times(session, asked)
            keys = [_key(one.newest)._replace(revision=self._revision(one)) for one in asked]
            found = {_key(one.newest): one.newest for one in asked}
            found |= {key: kept for key in keys if (kept := self._policies.get(key))}
            older = _read(session, {key for key in keys if key not in found}, found.values())
            self._keep(older)
        return [older.get(key) or found[key] for key in keys]

    def _kept(self, one: Asked) -> GatePolicy:
        revision = self._revision(one)
        if revision == one.newest.revision:
            return one.newest
        policy = self._policies.get(_key(one.newest)._replace(revision=revision))
        if policy is None:
            raise PolicyNotKept
        return policy

    def _revision(self, one: Asked) -> int:
        """Which revision it is.

        Raises:
            PolicyNotKept: when each of the tool's came into force has yet to be read.
        """
        newest = one.newest
        # Each follows the one before by one, and none is ever removed.
        if one.revision and max(0, newest.revision - NAMEABLE) < one.revision <= newest.revision:
            return one.revision
        if newest.effective_at <= one.at:
            return newest.revision
        upto, times = self._times.get(newest.tool, (None, None))
        if times is None or upto != _key(newest):
            raise PolicyNotKept
        return times.in_force(one.at)

    def _read_times(self, session: Session, asked: Sequence[Asked]) -> None:
        for one in asked:
            try:
                self._revision(one)
            except PolicyNotKept:
                times = times_of(changes(session, one.newest.tool), one.newest.revision)
                self._times[one.newest.tool] = _key(one.newest), times

    def _keep(self, read: Mapping[_Key, GatePolicy]) -> None:
        self._policies |= read
        self._members += sum(map(_members, read.values()))
        while self._members > _KEPT_MEMBERS:
            self._members -= _members(self._policies.pop(next(iter(self._policies))))


def _key(policy: GatePolicy) -> _Key:
    return _Key(policy.epoch, policy.tool, policy.revision)


def _members(policy: GatePolicy) -> int:
    clauses = (clause for one in policy.review_when for clause in one.when.values())
    values = sum(len(clause) if isinstance(clause, list) else 1 for clause in clauses)
    return _POLICY_MEMBERS + len(policy.categories) + len(policy.category_thresholds) + values


def times_of(changes: Mapping[int, datetime], upto: int) -> Times:
    """When revisions came into force, of those up to one; `changes` are in their order."""
    found = [(revision, at) for revision, at in changes.items() if revision <= upto]
    earliest_after = list(accumulate((at for _, at in reversed(found)), min))
    return Times([revision for revision, _ in found], earliest_after[::-1])


def _read(
    session: Session, missing: Collection[_Key], newest: Iterable[GatePolicy]
) -> dict[_Key, GatePolicy]:
    """Older policies in two statements, whatever their number; taxonomies are shared."""
    if not missing:
        return {}
    kinds = {policy.tool: (policy.kind, policy.epoch) for policy in newest}
    tool, revision = models.GatePolicy.tool, models.GatePolicy.revision
    named = [(key.tool, key.revision) for key in missing]
    rows = session.scalars(select(models.GatePolicy).where(tuple_(tool, revision).in_(named))).all()
    names = _taxonomies(session, {(row.tool, row.taxonomy) for row in rows})
    found = {}
    for row in rows:
        kind, epoch = kinds[row.tool]
        policy = policy_of(row, names.get((row.tool, row.taxonomy)), kind=kind, epoch=epoch)
        found[_key(policy)] = policy
    return found


def _taxonomies(
    session: Session, named: Collection[tuple[str, int | None]]
) -> dict[tuple[str, int | None], tuple[str, ...]]:
    tool, revision = models.Taxonomy.tool, models.Taxonomy.revision
    wanted = select(tool, revision, models.Taxonomy.names)
    rows = session.execute(wanted.where(tuple_(tool, revision).in_(named)))
    return {(row.tool, row.revision): tuple(row.names) for row in rows}


NAMED_TAXONOMY = and_(
    models.Taxonomy.tool == models.GatePolicy.tool,
    models.Taxonomy.revision == models.GatePolicy.taxonomy,
)
"""Joins the taxonomy that a policy names."""


def policy_of(
    row: models.GatePolicy, categories: Sequence[str] | None, *, kind: str, epoch: str
) -> GatePolicy:
    """A stored revision as the SDK's gate takes it."""
    rules = {"review_when": row.review_when, "max_stale_seconds": row.max_stale_seconds}
    in_use = {name: value for name, value in rules.items() if value}
    # These two may hold thousands, all checked when they were written.
    large = {
        "categories": tuple(categories or ()),
        "category_thresholds": row.category_thresholds,
    }
    policy = GatePolicy.model_validate(
        {
            "tool": row.tool,
            "kind": kind,
            "revision": row.revision,
            "epoch": epoch,
            "state": row.state,
            "threshold": row.threshold,
            "audit_rate": row.audit_rate,
            "holdout_rate": row.holdout_rate,
            "sampling_key": row.sampling_key,
            "effective_at": row.effective_at,
            **in_use,
            # To ignore one of these would be to let through what a person must see.
            "critical": [*in_use, *(["categories"] if categories else [])],
        }
    )
    return policy.model_copy(update=large)


def changes(session: Session, tool: str) -> dict[int, datetime]:
    """When each revision of a tool's policy came into force, the first one first."""
    found = session.execute(
        select(models.GatePolicy.revision, models.GatePolicy.effective_at)
        .where(models.GatePolicy.tool == tool)
        .order_by(models.GatePolicy.revision)
    )
    return {row.revision: row.effective_at for row in found}


_STATE_SINCE = text("""
SELECT effective_at FROM gate_policy
WHERE tool = :tool AND revision > coalesce(
    (SELECT max(revision) FROM gate_policy WHERE tool = :tool AND state <> :state), 0)
ORDER BY revision LIMIT 1
""")


def state_since(session: Session, policy: GatePolicy) -> datetime:
    """When the tool of this newest policy was last switched to the state it is in."""
    asked = {"tool": policy.tool, "state": policy.state}
    return session.execute(_STATE_SINCE, asked).scalar() or policy.effective_at
