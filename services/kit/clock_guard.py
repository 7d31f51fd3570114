"""Whether the database's clock is believed: what goes by the clock stands still while it is not.

How each machine's steady clock stands to it is a row, so that every process there decides by
the same, one that is started anew too; `watch` alone writes it.
"""

import time
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.clock import Clock
from services.kit.clock_rules import Reading, Standing, judge
from services.kit.database import affected, selecting

_log = structlog.get_logger()

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_CLOCK_OF_CONTAINER = Path("/proc/self/ns/time")


class SteadyClock(Protocol):
    """Counts seconds, and is never set."""

    @property
    def boot(self) -> str:
        """From which start of which machine it counts."""
        ...

    def now(self) -> float:
        """Seconds since then."""
        ...


class MachineClock:
    """Counts since the machine was started, and while it is suspended, too."""

    def __init__(self) -> None:
        """Find out which machine this is; where nobody says, others' readings do not count."""
        try:
            self.boot = _BOOT.read_text(encoding="ascii").strip()
        except OSError:
            self.boot = str(uuid.uuid4())
        if _CLOCK_OF_CONTAINER.is_symlink():
            self.boot += f" {_CLOCK_OF_CONTAINER.readlink()}"

    def now(self) -> float:
        """Seconds since the start."""
        return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


_READ = selecting(
    """
SELECT wall, steady, make_interval(secs => divergence), even_since, confirmed
FROM clock_watch WHERE boot = :boot""",
    Standing._fields,
)
_HOLD = selecting(
    """
SELECT wall, steady, make_interval(secs => divergence), even_since, confirmed
FROM clock_watch WHERE boot = :boot FOR UPDATE""",
    Standing._fields,
)
_KEEP = text("""
INSERT INTO clock_watch (boot, wall, steady, divergence, even_since, confirmed, seen_at)
VALUES (:boot, :wall, :steady, :divergence, :even_since, :confirmed, :seen_at)
ON CONFLICT (boot) DO UPDATE SET wall = excluded.wall, steady = excluded.steady,
    divergence = excluded.divergence, even_since = excluded.even_since,
    confirmed = excluded.confirmed, seen_at = excluded.seen_at
""")


class ClockGuard:
    """Tells the time while it is believed."""

    def __init__(self, clock: Clock, steady: SteadyClock, *, confirm_after: float) -> None:
        """`confirm_after`: a clock that was moved is believed again after so many even seconds."""
        self._clock, self._steady, self._confirm_after = clock, steady, confirm_after

    def now(self, session: Session) -> datetime | None:
        """The present moment; None while the clock is not believed.

        The very reading is judged that is answered, so no jump comes between the two.
        """
        reading = self._read(session)
        kept = session.execute(_READ, {"boot": self._steady.boot}).first()
        standing = None if kept is None else Standing(*kept)
        judged = judge(standing, reading, confirm_after=self._confirm_after)
        return reading.wall if judged.believed else None

    def watch(self, session: Session) -> Standing | None:
        """Look at the clock, and keep how it stands; None where nothing could be told."""
        kept = session.execute(_HOLD, {"boot": self._steady.boot}).first()
        before = None if kept is None else Standing(*kept)
        # Read after the row is held, so that no newer reading is kept already.
        reading = self._read(session)
        if reading.vague:
            return None
        after = judge(before, reading, confirm_after=self._confirm_after)
        row = after._asdict() | {"divergence": after.divergence.total_seconds()}
        session.execute(_KEEP, row | {"boot": self._steady.boot, "seen_at": reading.wall})
        _tell(before, after)
        return after

    def _read(self, session: Session) -> Reading:
        before = self._steady.now()
        wall = self._clock.now(session)
        return Reading(wall, before, self._steady.now())


def _tell(before: Standing | None, after: Standing) -> None:
    """Say in the log what has changed."""
    was = before is None or before.believed
    if was and not after.believed:
        ahead = round(after.divergence.total_seconds())
        _log.error("the clock was moved, what goes by it stands still", seconds=ahead)
    elif before is not None and not was and after.believed:
        gap = abs(before.divergence) - abs(after.divergence)
        why = "somebody confirmed it" if before.confirmed else "it is back, or went on evenly"
        _log.warning("the clock is believed again", why=why, seconds=round(gap.total_seconds()))


# --- what others are told ---------------------------------------------------------------


class Watched(NamedTuple):
    """How the clock stands to a machine's that runs `tick`."""

    divergence: timedelta
    believed: bool


# Whoever has not looked for so long runs no more. The clock that tells so may be moved itself.
_WATCHED = selecting(
    """
SELECT make_interval(secs => divergence), even_since IS NULL FROM clock_watch
WHERE seen_at BETWEEN :now - interval '2 minutes' AND :now + interval '2 minutes'
ORDER BY abs(divergence) DESC""",
    Watched._fields,
)
_CONFIRM = text("UPDATE clock_watch SET confirmed = true WHERE even_since IS NOT NULL")
_FORGET = text("""
DELETE FROM clock_watch WHERE boot IN (
    SELECT boot FROM clock_watch WHERE seen_at < :now - interval '30 days' LIMIT :limit)
""")


def watched(session: Session, *, now: datetime) -> Sequence[Watched]:
    """How the clock stands, the worst first, by each machine that has looked lately."""
    return [Watched(*row) for row in session.execute(_WATCHED, {"now": now})]


def confirm(session: Session) -> int:
    """Let a clock that was moved be believed where it is; answers by how many machines."""
    return affected(session.execute(_CONFIRM))


def forget(session: Session, *, now: datetime, limit: int) -> int:
    """Remove up to `limit` machines, as they were started once, that look no more."""
    return affected(session.execute(_FORGET, {"now": now, "limit": limit}))
