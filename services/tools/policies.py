"""Gate policies as the SDK's gate takes them: those in force, and older ones when asked for."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from threading import Lock
from typing import NamedTuple, Protocol

from secondlook.gate import GatePolicy
from sqlalchemy import and_, select, text
from sqlalchemy.orm import Session

from services.tools import models

_KEPT = 100
"""So many older policies a process keeps; each may name thousands of categories."""


class PolicyFor(Protocol):
    """Finds the policy that the sender names, or else the one in force at `at`.

    A named revision that does not exist (from another installation, say) is treated as not
    named. `newest` is the policy in force now; it says of which tool.
    """

    def __call__(self, newest: GatePolicy, *, revision: int | None, at: datetime) -> GatePolicy: ...


class PolicyNotKept(Exception):
    """The policy is an older one that has yet to be read."""


class _Key(NamedTuple):
    """Which policy: after a restore a revision may be another one."""

    epoch: str
    tool: str
    revision: int


class PolicyHistory:
    """The policies that tools went by before, read when asked for.

    None ever changes, so what has been read is kept. Safe to share between threads.
    """

    def __init__(self) -> None:
        self._policies: dict[_Key, GatePolicy] = {}
        self._times: dict[str, tuple[_Key, Mapping[int, datetime]]] = {}
        """Since when each revision of a tool is in force, up to the revision of the key."""
        self._lock = Lock()

    def kept(self, newest: GatePolicy, *, revision: int | None, at: datetime) -> GatePolicy:
        """The policy as `PolicyFor` says it.

        Raises:
            PolicyNotKept: it is not in memory.
        """
        wanted = self._revision(newest, revision=revision, at=at)
        if wanted == newest.revision:
            return newest
        policy = self._policies.get(_Key(newest.epoch, newest.tool, wanted)) if wanted else None
        if policy is None:
            raise PolicyNotKept
        return policy

    def read(
        self, session: Session, newest: GatePolicy, *, revision: int | None, at: datetime
    ) -> GatePolicy:
        """The policy as `PolicyFor` says it, read where it is not in memory."""
        wanted = self._revision(newest, revision=revision, at=at)
        if wanted is None:
            wanted = _in_force(self._read_times(session, newest), at)
        if wanted == newest.revision:
            return newest
        key = _Key(newest.epoch, newest.tool, wanted)
        policy = self._policies.get(key) or _read(session, newest, wanted)
        with self._lock:
            while len(self._policies) >= _KEPT and key not in self._policies:
                del self._policies[next(iter(self._policies))]
            self._policies[key] = policy
        return policy

    def _revision(self, newest: GatePolicy, *, revision: int | None, at: datetime) -> int | None:
        """Which revision it is; None as long as that has not been read."""
        # Each follows the one before by one, and none is ever removed.
        if revision is not None and 0 < revision <= newest.revision:
            return revision
        if newest.effective_at <= at:
            return newest.revision
        upto, times = self._times.get(newest.tool, (None, {}))
        return _in_force(times, at) if upto == _key(newest) else None

    def _read_times(self, session: Session, newest: GatePolicy) -> Mapping[int, datetime]:
        found = changes(session, newest.tool)
        times = {revision: at for revision, at in found.items() if revision <= newest.revision}
        self._times[newest.tool] = (_key(newest), times)
        return times


def _key(policy: GatePolicy) -> _Key:
    return _Key(policy.epoch, policy.tool, policy.revision)


def _in_force(times: Mapping[int, datetime], at: datetime) -> int:
    """The newest revision in force at `at`; before all of them the first."""
    return max((revision for revision, since in times.items() if since <= at), default=min(times))


def _read(session: Session, newest: GatePolicy, revision: int) -> GatePolicy:
    row, names = session.execute(
        select(models.GatePolicy, models.Taxonomy.names)
        .outerjoin(models.Taxonomy, NAMED_TAXONOMY)
        .where(models.GatePolicy.tool == newest.tool, models.GatePolicy.revision == revision)
    ).one()
    return policy_of(row, names, kind=newest.kind, epoch=newest.epoch)


NAMED_TAXONOMY = and_(
    models.Taxonomy.tool == models.GatePolicy.tool,
    models.Taxonomy.revision == models.GatePolicy.taxonomy,
)
"""Joins the taxonomy that a policy names."""


def policy_of(
    row: models.GatePolicy, categories: Sequence[str] | None, *, kind: str, epoch: str
) -> GatePolicy:
    """A stored revision as the SDK's gate takes it."""
    in_use = {
        "review_when": row.review_when or None,
        "max_stale_seconds": row.max_stale_seconds,
        "categories": categories or None,
    }
    return GatePolicy.model_validate(
        {
            "tool": row.tool,
            "kind": kind,
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
