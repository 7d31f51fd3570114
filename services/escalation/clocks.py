"""Clocks of cases: deadlines and rungs as timers in the database, decided by its own clock.

A timer fires in one transaction with all that follows from it. `UPDATE … WHERE fired_at IS
NULL` makes it fire once; SKIP LOCKED merely keeps engines out of each other's way.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

FIRST_TIMED_RUNG = """LATERAL (
    SELECT place - 1 AS rung, CAST(rung->>'at' AS timestamptz) AS at
    FROM jsonb_array_elements(ladder) WITH ORDINALITY AS listed (rung, place)
    WHERE place > 1 AND rung->>'at' IS NOT NULL ORDER BY place LIMIT 1) AS first_timed"""
"""The first rung after the owner's that has a time, beside rows that have a `ladder`."""

_START = text(f"""
INSERT INTO timer (case_id, cycle, kind, rung, due_at)
SELECT id, cycle, 'claim', 0, claim_due_at FROM "case" WHERE id = ANY(:cases)
UNION ALL SELECT id, cycle, 'resolve', 0, resolve_due_at FROM "case" WHERE id = ANY(:cases)
UNION ALL SELECT id, cycle, 'rung', rung, at FROM "case", {FIRST_TIMED_RUNG} WHERE id = ANY(:cases)
""")

_STOP_CLAIM = text("""
UPDATE timer SET stopped_at = :now FROM "case" c
WHERE c.id = :case AND timer.case_id = c.id AND timer.cycle = c.cycle AND timer.kind = 'claim'
    AND timer.fired_at IS NULL AND timer.stopped_at IS NULL
""")

_RESUME_CLAIM = text("""
WITH resumed AS (
    UPDATE timer SET due_at = :now + (timer.due_at - timer.stopped_at), stopped_at = NULL
    FROM "case" c
    WHERE c.id = ANY(:cases) AND c.state = 'open' AND timer.case_id = c.id
        AND timer.cycle = c.cycle AND timer.kind = 'claim' AND timer.fired_at IS NULL
        AND timer.stopped_at IS NOT NULL
    RETURNING timer.case_id, timer.due_at
)
UPDATE "case" SET claim_due_at = resumed.due_at, due_at = least(resumed.due_at, resolve_due_at)
FROM resumed WHERE id = resumed.case_id
""")

_STOP_ALL = text("""
UPDATE timer SET stopped_at = :now
WHERE case_id = :case AND fired_at IS NULL AND stopped_at IS NULL
""")

# The clock of the claim, which stopped with the claim, goes on by `resume_claim_clocks`.
_RESTORE = text("""
UPDATE timer SET stopped_at = NULL
WHERE case_id = :case AND kind <> 'claim' AND fired_at IS NULL AND stopped_at = :resolved_at
""")


def start(session: Session, cases: Sequence[int]) -> None:
    """Start the clocks of the present cycle of cases."""
    session.execute(_START, {"cases": list(cases)})


def stop_claim_clock(session: Session, case_id: int, *, now: datetime) -> None:
    """Somebody has claimed the case; what was left of the deadline is kept."""
    session.execute(_STOP_CLAIM, {"case": case_id, "now": now})


def resume_claim_clocks(session: Session, cases: Sequence[int], *, now: datetime) -> None:
    """Cases are open again; their claim deadlines go on with the remainder."""
    session.execute(_RESUME_CLAIM, {"cases": list(cases), "now": now})


def stop_all(session: Session, case_id: int, *, now: datetime) -> None:
    """The case is resolved."""
    session.execute(_STOP_ALL, {"case": case_id, "now": now})


def restore(session: Session, case_id: int, *, resolved_at: datetime, now: datetime) -> None:
    """The case was resolved by a slip: what was stopped then is due when it was due before."""
    session.execute(_RESTORE, {"case": case_id, "resolved_at": resolved_at})
    resume_claim_clocks(session, [case_id], now=now)


# --- due timers -----------------------------------------------------------------------------


class Timer(NamedTuple):
    """A timer that is due, its case locked with it."""

    id: int
    case_id: int
    cycle: int
    kind: str
    rung: int
    due_at: datetime


_COLUMNS = "t.id, t.case_id, t.cycle, t.kind, t.rung, t.due_at"
# Two walks along indexes of their own: what is parked never stands before what is due.
_DUE = text(f"""
SELECT {_COLUMNS} FROM timer t JOIN "case" c ON c.id = t.case_id
WHERE t.fired_at IS NULL AND t.stopped_at IS NULL AND t.parked_until IS NULL AND t.due_at <= :now
ORDER BY t.due_at LIMIT :limit FOR UPDATE OF c, t SKIP LOCKED
""")
_PARKED = text(f"""
SELECT {_COLUMNS} FROM timer t JOIN "case" c ON c.id = t.case_id
WHERE t.parked_until <= :now AND t.fired_at IS NULL AND t.stopped_at IS NULL
ORDER BY t.parked_until LIMIT :limit FOR UPDATE OF c, t SKIP LOCKED
""")
_FIRE = text("""
UPDATE timer SET fired_at = :now, failures = 0, error = NULL, parked_until = NULL
WHERE id = :timer AND fired_at IS NULL AND stopped_at IS NULL RETURNING id
""")
_PARK = text("""
UPDATE timer SET failures = failures + 1, error = :error,
    parked_until = :now + least(:most, :least * 2 ^ least(failures, 20))
WHERE id = :timer
""")
_LEAST_PARKED, _LONGEST_PARKED = timedelta(seconds=30), timedelta(hours=1)
_ERROR_LENGTH = 500
RETRIED = 10
"""How many parked timers are tried again in a turn, at most: they must not crowd out others."""


def due(session: Session, *, now: datetime, limit: int) -> list[Timer]:
    """Timers that are due, those that never failed first, each locked with its case."""
    given = {"now": now, "limit": limit}
    found = [Timer(*row) for row in session.execute(_DUE, given)]
    parked = session.execute(_PARKED, {"now": now, "limit": RETRIED})
    return [*found, *(Timer(*row) for row in parked)]


def mark_fired(session: Session, timer: Timer, *, now: datetime) -> bool:
    """Fire a timer; False where it has been fired or stopped meanwhile."""
    return session.execute(_FIRE, {"timer": timer.id, "now": now}).first() is not None


def park(session: Session, timer: Timer, error: Exception, *, now: datetime) -> None:
    """Put off a timer whose step failed, longer each time, with what went wrong."""
    said = f"{type(error).__name__}: {error}".replace("\0", "")[:_ERROR_LENGTH]
    given = {"timer": timer.id, "now": now, "error": said}
    session.execute(_PARK, {**given, "least": _LEAST_PARKED, "most": _LONGEST_PARKED})
