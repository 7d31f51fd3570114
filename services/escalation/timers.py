"""Clocks and ladders of cases. A step fires in one transaction with all that follows from it.

Timers live in the database and are judged by its clock. `UPDATE … WHERE fired_at IS NULL`
makes a step fire once, SKIP LOCKED merely keeps engines out of each other's way.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import structlog
from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session

from services.escalation import announce, owners, queries
from services.escalation.routing import Owner
from services.escalation.rules import Clock
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of
from services.kit.durations import parse_duration
from services.kit.errors import SecondlookError
from services.people.rules import SYSTEM

_log = structlog.get_logger()

_NOTE = text("""
INSERT INTO timeline_entry (case_id, at, event, actor, note, detail)
VALUES (:case, :at, :event, :actor, :note, CAST(:detail AS jsonb))
""")


def note(
    session: Session,
    case_id: int,
    event: str,
    *,
    actor: str,
    at: datetime,
    note: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Add an entry to a case's timeline."""
    as_json = to_json(detail).decode() if detail else None
    session.execute(
        _NOTE,
        {
            "case": case_id,
            "at": at,
            "event": event,
            "actor": actor,
            "note": note,
            "detail": as_json,
        },
    )


# --- starting and stopping ----------------------------------------------------------------

FIRST_TIMED_RUNG = """LATERAL (
    SELECT place - 1 AS step, CAST(rung->>'at' AS timestamptz) AS at
    FROM jsonb_array_elements(ladder) WITH ORDINALITY AS listed (rung, place)
    WHERE place > 1 AND rung->>'at' IS NOT NULL ORDER BY place LIMIT 1) AS first_timed"""
"""The first rung after the owner's that has a time, beside rows that have a `ladder`."""

_START = text(f"""
INSERT INTO timer (case_id, cycle, clock, step, due_at)
SELECT id, cycle, 'claim', 0, claim_due_at FROM "case" WHERE id = :case
UNION ALL SELECT id, cycle, 'resolve', 0, resolve_due_at FROM "case" WHERE id = :case
UNION ALL SELECT id, cycle, 'rung', step, cycle_opened_at + (at - opened_at)
FROM "case", {FIRST_TIMED_RUNG} WHERE id = :case
""")

_STOP_CLAIM = text("""
UPDATE timer SET stopped_at = :now FROM "case" c
WHERE c.id = :case AND timer.case_id = c.id AND timer.cycle = c.cycle AND timer.clock = 'claim'
    AND timer.fired_at IS NULL AND timer.stopped_at IS NULL
""")

_RESUME_CLAIM = text("""
WITH resumed AS (
    UPDATE timer SET due_at = :now + (timer.due_at - timer.stopped_at), stopped_at = NULL
    FROM "case" c
    WHERE c.id = :case AND c.state = 'open' AND timer.case_id = c.id AND timer.cycle = c.cycle
        AND timer.clock = 'claim' AND timer.fired_at IS NULL AND timer.stopped_at IS NOT NULL
    RETURNING timer.due_at
)
UPDATE "case" SET claim_due_at = resumed.due_at, due_at = least(resumed.due_at, resolve_due_at)
FROM resumed WHERE id = :case
""")

_STOP_ALL = text("""
UPDATE timer SET stopped_at = :now
WHERE case_id = :case AND fired_at IS NULL AND stopped_at IS NULL
""")


def start(session: Session, case_id: int) -> None:
    """Start the clocks of a case's present cycle."""
    session.execute(_START, {"case": case_id})


def stop_claim_clock(session: Session, case_id: int, *, now: datetime) -> None:
    """Somebody has claimed the case; what was left of the deadline is kept."""
    session.execute(_STOP_CLAIM, {"case": case_id, "now": now})


def resume_claim_clock(session: Session, case_id: int, *, now: datetime) -> None:
    """The case is open again; the claim deadline goes on with its remainder."""
    session.execute(_RESUME_CLAIM, {"case": case_id, "now": now})


def stop_all(session: Session, case_id: int, *, now: datetime) -> None:
    """The case is resolved."""
    session.execute(_STOP_ALL, {"case": case_id, "now": now})


# --- firing -------------------------------------------------------------------------------

_DUE = text("""
SELECT t.id, t.case_id, t.cycle, t.clock, t.step, t.due_at FROM timer t
JOIN "case" c ON c.id = t.case_id
WHERE t.fired_at IS NULL AND t.stopped_at IS NULL AND t.due_at <= :now
ORDER BY t.due_at LIMIT :limit
FOR UPDATE OF c, t SKIP LOCKED
""")

_FIRE = text("""
UPDATE timer SET fired_at = :now WHERE id = :timer AND fired_at IS NULL AND stopped_at IS NULL
RETURNING id
""")

_OVERDUE = text("""
UPDATE "case" SET overdue_since = coalesce(overdue_since, :due),
    due_at = CASE WHEN :clock = 'claim' THEN resolve_due_at ELSE due_at END,
    version = version + 1
WHERE id = :case
""")

_NEXT_RUNG = text("""
INSERT INTO timer (case_id, cycle, clock, step, due_at) VALUES (:case, :cycle, 'rung', :step, :due)
ON CONFLICT (case_id, cycle, clock, step) DO NOTHING
""")


def fire_due(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Fire the steps that are due, the oldest first; answers how many.

    Call it again, in a new transaction, while it answers `limit`.
    """
    due = session.execute(_DUE, {"now": now, "limit": limit}).all()
    fired = 0
    for timer in due:
        try:
            with session.begin_nested():
                _fire(session, timer, now=now)
            fired += 1
        except (SecondlookError, IntegrityError, DataError) as error:
            # One case that cannot be moved must not hold up all others; it is tried again.
            _log.error("step cannot fire", case=timer.case_id, clock=timer.clock, exc_info=error)
    return fired


def _fire(session: Session, timer: Any, *, now: datetime) -> None:
    if session.execute(_FIRE, {"timer": timer.id, "now": now}).first() is None:
        return
    if timer.clock == Clock.RUNG:
        _reach_rung(session, timer, now=now)
    else:
        _miss_deadline(session, timer, now=now)


def _miss_deadline(session: Session, timer: Any, *, now: datetime) -> None:
    """A deadline has passed: the case is overdue and goes to the next rung, if there is one."""
    case = queries.row(session, timer.case_id)
    session.execute(_OVERDUE, {"case": case["id"], "due": timer.due_at, "clock": timer.clock})
    note(session, case["id"], "overdue", actor=SYSTEM, at=now, detail={"clock": timer.clock})
    announce.cases(session, "overdue", [case], actor=SYSTEM, now=now)
    tally = Counts()
    tally[Count("overdue", case["tool"], hour_of(now), case["queue"], timer.clock)] += 1
    counts.add(session, tally, shard=0)
    if climb(session, case["id"], from_level=case["level"], now=now):
        _tell_escalated(session, case["id"], timer.clock, now)


def _reach_rung(session: Session, timer: Any, *, now: datetime) -> None:
    """A rung's time has come: climb to it, unless a missed deadline was there before."""
    case = queries.row(session, timer.case_id)
    ladder = case["ladder"]
    last = len(ladder) - 1
    target = min(timer.step, last)
    if timer.step > last:
        # The last rung repeats: the same owner is told again.
        note(session, case["id"], "reminded", actor=SYSTEM, at=now)
        announce.cases(session, "reminded", [case], actor=SYSTEM, now=now)
    elif case["level"] < target and climb(
        session, case["id"], from_level=case["level"], to=target, now=now
    ):
        _tell_escalated(session, case["id"], timer.clock, now)
    following = _following(ladder, timer, case)
    if following is not None:
        step, due = following
        session.execute(
            _NEXT_RUNG, {"case": case["id"], "cycle": timer.cycle, "step": step, "due": due}
        )


def _following(
    ladder: list[Any], timer: Any, case: Mapping[str, Any]
) -> tuple[int, datetime] | None:
    """The timed step after this one and when it is due, or None where the ladder ends."""
    for step in range(timer.step + 1, len(ladder)):
        at = ladder[step]["at"]
        if at is not None:
            since_opening = datetime.fromisoformat(at) - case["opened_at"]
            return step, case["cycle_opened_at"] + since_opening
    repeat = ladder[-1]["repeat"]
    if not repeat or timer.step < len(ladder) - 1:
        return None
    return timer.step + 1, parse_duration(repeat).after(timer.due_at)


def _tell_escalated(session: Session, case_id: int, clock: str, now: datetime) -> None:
    case = queries.row(session, case_id)
    detail = {"by": clock, "level": case["level"], "owner": announce.owner_of(case)}
    note(session, case_id, "escalated", actor=SYSTEM, at=now, detail=detail)
    announce.cases(session, "escalated", [case], actor=SYSTEM, now=now)


_CLIMB = text("""
UPDATE "case" SET level = :level, owner_team = :owner_team, owner_person = :owner_person,
    team = coalesce(:owner_team, team), owner_since = :now, version = version + 1
WHERE id = :case AND level = :from_level AND state IN ('open', 'claimed', 'waiting', 'snoozed')
RETURNING tool
""")


def climb(
    session: Session, case_id: int, *, from_level: int, to: int | None = None, now: datetime
) -> bool:
    """Make the owner of rung `to`, else of the next one, accountable; False at the ladder's end.

    A rung whose owner is no longer there, or cannot judge, is passed over at once.
    """
    case = queries.row(session, case_id)
    for level in range(to or from_level + 1, len(case["ladder"])):
        rung = case["ladder"][level]
        if not owners.can_own(session, Owner(rung["kind"], rung["id"])):
            note(
                session, case_id, "rung skipped", actor=SYSTEM, at=now, detail={"owner": rung["id"]}
            )
            continue
        columns = {
            "owner_team": rung["id"] if rung["kind"] == "team" else None,
            "owner_person": rung["id"] if rung["kind"] == "person" else None,
        }
        climbed = session.execute(
            _CLIMB,
            {"case": case_id, "from_level": from_level, "level": level, "now": now, **columns},
        ).first()
        if climbed is None:
            return False
        tally = Counts({Count("escalations", climbed.tool, hour_of(now), "", str(level)): 1})
        counts.add(session, tally, shard=0)
        return True
    return False


# --- leases and reopen windows --------------------------------------------------------------

_EXPIRE = text("""
UPDATE "case" SET state = 'open', claimant = NULL, lease_expires_at = NULL,
    claim_seq = claim_seq + 1, version = version + 1
WHERE id IN (
    SELECT id FROM "case" WHERE state = 'claimed' AND lease_expires_at <= :now
    ORDER BY lease_expires_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING id
""")

_CLOSE = text("""
UPDATE "case" SET state = 'closed', closed_at = :now, version = version + 1
WHERE id IN (
    SELECT id FROM "case" WHERE state = 'resolved' AND resolved_at <= :before
    ORDER BY resolved_at LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING id
""")


def expire_leases(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Free the cases whose claim has run out; answers how many."""
    freed = [row.id for row in session.execute(_EXPIRE, {"now": now, "limit": limit})]
    _tell_released(session, freed, by="lease", now=now)
    return len(freed)


_DROP_CLAIMS = text("""
UPDATE "case" SET state = 'open', claimant = NULL, lease_expires_at = NULL,
    claim_seq = claim_seq + 1, version = version + 1
WHERE id IN (
    SELECT id FROM "case" WHERE state = 'claimed' AND claimant = :email ORDER BY id FOR UPDATE)
RETURNING id
""")


def drop_claims(session: Session, email: str, *, now: datetime) -> None:
    """Free the cases that somebody holds who is leaving."""
    freed = [row.id for row in session.execute(_DROP_CLAIMS, {"email": email.lower()})]
    _tell_released(session, freed, by="deactivation", now=now)


def _tell_released(session: Session, freed: list[int], *, by: str, now: datetime) -> None:
    for case_id in freed:
        resume_claim_clock(session, case_id, now=now)
        note(session, case_id, "released", actor=SYSTEM, at=now, detail={"by": by})
    _announce_all(session, "released", freed, now)


def close_resolved(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Close the cases resolved before `before`; answers how many."""
    closed = [
        row.id for row in session.execute(_CLOSE, {"now": now, "before": before, "limit": limit})
    ]
    for case_id in closed:
        note(session, case_id, "closed", actor=SYSTEM, at=now)
    _announce_all(session, "closed", closed, now)
    return len(closed)


def _announce_all(session: Session, what: str, ids: list[int], now: datetime) -> None:
    rows = [queries.row(session, case_id) for case_id in ids]
    announce.cases(session, what, rows, actor=SYSTEM, now=now)
