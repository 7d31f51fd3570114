"""The ladder that a case climbs, and what its timers set off."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks, owners, queries
from services.escalation.cases import Case
from services.escalation.clocks import Timer
from services.escalation.models import OPEN
from services.escalation.rules import Owner, TimerKind
from services.escalation.timeline import Happening, tell_one
from services.kit import counts
from services.kit.counts import Count, hour_of
from services.kit.database import is_infrastructure
from services.kit.durations import parse_duration
from services.people.rules import SYSTEM

_log = structlog.get_logger()


def fire_due(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Fire the timers that are due, the oldest first; answers how many were looked at.

    One that fails is parked with its error, and neither stops nor holds up the others. Call it
    again, in a new transaction, while it answers `limit`.
    """
    found = clocks.due(session, now=now, limit=limit)
    _hold_owners(session, [timer.case_id for timer in found])
    for timer in found:
        try:
            with session.begin_nested():
                _fire(session, timer, now=now)
        except Exception as error:
            # Where the database is away nothing is wrong with this timer.
            if is_infrastructure(error):
                raise
            _log.error("timer parked", case=timer.case_id, kind=timer.kind, exc_info=error)
            clocks.park(session, timer, error, now=now)
    return len(found)


_ON_LADDERS = text("""
SELECT DISTINCT rung->>'kind' AS kind, rung->>'id' AS id
FROM "case" CROSS JOIN LATERAL jsonb_array_elements(ladder) AS listed (rung)
WHERE id = ANY(:cases)
""")


def _hold_owners(session: Session, cases: Sequence[int]) -> None:
    """Lock at once all whom these cases may climb to: one case after the other, teams and people
    would not be locked in the order in which everybody locks them."""
    if cases:
        found = session.execute(_ON_LADDERS, {"cases": list(cases)})
        owners.able(session, {Owner(row.kind, row.id) for row in found})


def _fire(session: Session, timer: Timer, *, now: datetime) -> None:
    if not clocks.mark_fired(session, timer, now=now):
        return
    kind = TimerKind(timer.kind)
    case = queries.case(session, timer.case_id)
    if kind is TimerKind.RUNG:
        _reach_rung(session, case, timer, now=now)
    else:
        _miss_deadline(session, case, timer, now=now)


_OVERDUE = text("""
UPDATE "case" SET overdue_since = coalesce(overdue_since, :due),
    due_at = CASE WHEN :kind = 'claim' THEN resolve_due_at ELSE due_at END,
    version = version + 1
WHERE id = :case
""")


def _miss_deadline(session: Session, case: Case, timer: Timer, *, now: datetime) -> None:
    """A deadline has passed: the case is overdue and goes to the next rung, if there is one."""
    session.execute(_OVERDUE, {"case": case.id, "due": timer.due_at, "kind": timer.kind})
    detail = {"clock": timer.kind}
    tell_one(session, case.id, Happening.OVERDUE, SYSTEM, now=now, detail=detail)
    place = Count("overdue", case.tool, hour_of(now), 0, f"{case.queue}/{timer.kind}")
    counts.add(session, Counter({place: 1}), shard=0)
    if climb(session, case, now=now):
        _tell_escalated(session, case.id, timer.kind, now)


def _reach_rung(session: Session, case: Case, timer: Timer, *, now: datetime) -> None:
    """A rung's time has come: climb to it, unless a missed deadline was there before."""
    last = len(case.ladder) - 1
    target = min(timer.rung, last)
    if timer.rung > last:
        # The last rung repeats: the same owner is told again.
        tell_one(session, case.id, Happening.REMINDED, SYSTEM, now=now)
    elif case.level < target and climb(session, case, to=target, now=now):
        _tell_escalated(session, case.id, timer.kind, now)
    following = _following(case, timer, now)
    if following is not None:
        rung, due = following
        session.execute(
            _NEXT_RUNG, {"case": case.id, "cycle": timer.cycle, "rung": rung, "due": due}
        )


_NEXT_RUNG = text("""
INSERT INTO timer (case_id, cycle, kind, rung, due_at) VALUES (:case, :cycle, 'rung', :rung, :due)
ON CONFLICT (case_id, cycle, kind, rung) DO NOTHING
""")


def _following(case: Case, timer: Timer, now: datetime) -> tuple[int, datetime] | None:
    """The timed rung after this one and when it is due, or None where the ladder ends."""
    for rung in range(timer.rung + 1, len(case.ladder)):
        at = case.ladder[rung]["at"]
        if at is not None:
            return rung, datetime.fromisoformat(at)
    last = case.ladder[-1]
    if not last["repeat"] or timer.rung < len(case.ladder) - 1:
        return None
    due = timer.due_at.astimezone(ZoneInfo(case.timezone))
    return timer.rung + 1, next_reminder(due, last["repeat"], now)


def next_reminder(due_at: datetime, repeat: str, now: datetime) -> datetime:
    """When a rung that repeats is due again: after now, however long nobody looked.

    `due_at` is in the time zone of the case, in which a reminder every working day at nine stays
    at nine.
    """
    every = parse_duration(repeat)
    following = every.after(due_at)
    if not every.business_days:
        # Elapsed time: two times of one zone would be subtracted as if no clock ever changed.
        begun = due_at.astimezone(UTC)
        step = following.astimezone(UTC) - begun
        missed = (now - begun) // step if step > timedelta(0) else 0
        return max(following, begun + step * (missed + 1))
    while following <= now:
        following = every.after(following)
    return following


def _tell_escalated(session: Session, case_id: int, by: str, now: datetime) -> None:
    case = queries.case(session, case_id)
    detail = {"by": by, "level": case.level, "owner": case.owner.as_answer()}
    tell_one(session, case_id, Happening.ESCALATED, SYSTEM, now=now, detail=detail)


_CLIMB = text(f"""
UPDATE "case" SET level = :level, owner_team = :owner_team, owner_person = :owner_person,
    team = coalesce(:team, team), owner_since = :now, version = version + 1
WHERE id = :case AND level = :from_level AND {OPEN} RETURNING tool
""")


def climb(session: Session, case: Case, *, to: int | None = None, now: datetime) -> bool:
    """Make the owner of rung `to`, else of the next one, accountable; False at the ladder's end.

    The case is locked. A rung whose owner is no longer there, or may not review, is passed
    over at once.
    """
    lowest = to or case.level + 1
    above = owners.of_ladder(case.ladder[lowest:])
    able = owners.able(session, above)
    for level, owner in enumerate(above, lowest):
        if owner not in able:
            skipped = {"owner": owner.id}
            tell_one(session, case.id, Happening.RUNG_SKIPPED, SYSTEM, now=now, detail=skipped)
            continue
        given = {"case": case.id, "from_level": case.level, "level": level, "now": now}
        climbed = session.execute(
            _CLIMB, {**given, **owners.columns(owner), "team": owners.seen_by(owner)}
        ).first()
        if climbed is not None:
            place = Count("escalations", case.tool, hour_of(now), 0, str(level))
            counts.add(session, Counter({place: 1}), shard=0)
        return climbed is not None
    return False
