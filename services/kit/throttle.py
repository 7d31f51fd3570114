"""Delays that grow: whoever tries too often waits longer each time, and nobody for good."""

from datetime import datetime, timedelta
from math import ceil
from typing import NamedTuple

from sqlalchemy import delete, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.database import affected
from services.kit.errors import TooMany
from services.kit.models import RateBucket

_FORGOTTEN_A_MINUTE = 1.0
# However long somebody goes on, this many minutes later it is as if there had been nothing.
_MOST_OVER = 15


class Throttle(NamedTuple):
    """How many tries are free, and how the delays grow from there.

    Attributes:
        free: so many tries at once wait for nothing; each minute gives one back.
        first: the delay of the next one, in seconds; each further one doubles it.
        longest: no delay is longer.
        patience: tries wait for one another, and one that would wait longer than so many
            seconds is refused. None: each waits for itself alone, and none is refused.
    """

    free: int
    first: float
    longest: float
    patience: float | None = None

    def delay(self, left: float) -> float:
        """The delay of a try while so many are left."""
        if left >= 1:
            return 0.0
        return min(self.longest, self.first * 2.0 ** max(0, ceil(-left)))


def seconds_to_wait(session: Session, name: str, throttle: Throttle, *, now: datetime) -> float:
    """Count a try under `name`, in all processes; answers how long it has to wait.

    Raises:
        TooMany: others wait already; nothing was counted.
    """
    bucket = _locked(session, name, throttle, now)
    idle = max(0.0, (now - bucket.refilled_at).total_seconds())
    left = min(float(throttle.free), bucket.tokens + idle / 60 * _FORGOTTEN_A_MINUTE)
    wait = throttle.delay(left)
    if throttle.patience is not None:
        wait += max(0.0, (bucket.refilled_at - now).total_seconds())
        if wait > throttle.patience:
            raise TooMany("Too many tries at once. Wait a little.", retry_after=ceil(wait))
    bucket.tokens = max(left - 1, -float(_MOST_OVER))
    bucket.refilled_at = now + timedelta(seconds=wait if throttle.patience is not None else 0)
    session.flush()
    return wait


def _locked(session: Session, name: str, throttle: Throttle, now: datetime) -> RateBucket:
    fresh = {"name": name, "tokens": throttle.free, "refilled_at": now}
    session.execute(insert(RateBucket).values(fresh).on_conflict_do_nothing())
    return session.get_one(RateBucket, name, with_for_update=True)


def give_back(session: Session, name: str, throttle: Throttle) -> None:
    """Undo the count of one try."""
    more = text("least(:free, tokens + 1)").bindparams(free=throttle.free)
    session.execute(update(RateBucket).where(RateBucket.name == name).values(tokens=more))


def forgive(session: Session, name: str) -> None:
    """Forget all tries under `name`."""
    session.execute(delete(RateBucket).where(RateBucket.name == name))


# A bucket that nobody has taken from for a day is full again, and no bucket says the same.
_FORGET = text("""
DELETE FROM rate_bucket WHERE name IN (
    SELECT name FROM rate_bucket WHERE refilled_at < :now - interval '1 day' LIMIT :limit)
""")


def forget_full_buckets(session: Session, *, now: datetime, limit: int) -> int:
    """Remove up to `limit` buckets that are surely full; answers how many."""
    return affected(session.execute(_FORGET, {"now": now, "limit": limit}))
