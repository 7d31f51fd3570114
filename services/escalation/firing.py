"""What time does to cases: timers that are due, and what follows from each."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks, deadlines, pauses, queries
from services.escalation.answering import Answering, Chain, ask
from services.escalation.cases import Case
from services.escalation.clocks import Timer
from services.escalation.ladder import climb
from services.escalation.recounting import recount_parts
from services.escalation.rules import TimerKind, Wanted
from services.escalation.timeline import Happening, tell_one
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of
from services.kit.database import is_infrastructure
from services.people.rules import SYSTEM

_log = structlog.get_logger()


def fire_due(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Fire the timers that are due, the oldest first; answers how many were looked at.

    One that fails is parked with its error, and neither stops nor holds up the others. Call it
    again, in a new transaction, while it answers `limit`.
    """
    found = clocks.due(session, now=now, limit=limit)
    wholes = sorted({timer.case_id for timer in found if timer.children})
    stale = recount_parts(session, wholes) | set(clocks.counted_before(session, found))
    clocks.count_anew(session, sorted(stale))
    answers = _hold_owners(session, [timer.case_id for timer in found], now=now)
    tally: Counts = Counter()
    for timer in found:
        try:
            with session.begin_nested():
                done = _fire(session, timer, answers, now=now)
            tally.update(done)
        except Exception as error:
            # Where the database is away nothing is wrong with this timer.
            if is_infrastructure(error):
                raise
            _log.error("timer parked", case=timer.case_id, kind=timer.kind, exc_info=error)
            clocks.park(session, timer, error, now=now)
    counts.add(session, tally, shard=0)
    return len(found)


_ON_LADDERS = text("""
SELECT rung->>'kind' AS kind, rung->>'id' AS id,
    array_remove(array_agg(DISTINCT owner_person), NULL) AS owners
FROM "case" CROSS JOIN LATERAL jsonb_array_elements(ladder) AS listed (rung)
WHERE id = ANY(:cases) GROUP BY 1, 2
""")


def _hold_owners(session: Session, cases: Sequence[int], *, now: datetime) -> Answering:
    """Who answers for all to whom these cases may climb; they are locked at once: one case after
    the other, teams and people would not be locked in the order in which everybody locks them.
    """
    rows = session.execute(_ON_LADDERS, {"cases": list(cases)}).all() if cases else []
    wanted = tuple(Wanted(row.kind, row.id) for row in rows)
    return ask(session, _chains(wanted, {who for row in rows for who in row.owners}), now=now)


def _chains(wanted: tuple[Wanted, ...], accountable: set[str]) -> list[Chain]:
    """Where a rung names nobody's manager in particular, those of all who are accountable."""
    if Wanted("manager") not in wanted:
        return [Chain(wanted)]
    # Several timers of a case may be due at once: it may go from a manager to theirs.
    wanted += (Wanted("manager"),) * 2
    return [Chain(wanted), *(Chain(wanted, person) for person in sorted(accountable))]


def _fire(session: Session, timer: Timer, answers: Answering, *, now: datetime) -> list[Count]:
    """Fire a timer; answers what is to be counted of what followed."""
    if not clocks.mark_fired(session, timer, now=now):
        return []
    kind = TimerKind(timer.kind)
    case = queries.case(session, timer.case_id)
    if kind is TimerKind.WAKE:
        pauses.wake_up(session, [case.id], SYSTEM, now=now)
        return []
    if kind is TimerKind.RUNG:
        return _reach_rung(session, case, timer, answers, now=now)
    return _miss_deadline(session, case, timer, answers, now=now)


_OVERDUE = text("""
UPDATE "case" SET overdue_since = coalesce(overdue_since, :due),
    due_at = CASE WHEN :kind = 'claim' THEN resolve_due_at ELSE due_at END,
    version = version + 1
WHERE id = :case
""")


def _miss_deadline(
    session: Session, case: Case, timer: Timer, answers: Answering, *, now: datetime
) -> list[Count]:
    """A deadline has passed: the case is overdue and goes to the next rung, if there is one."""
    session.execute(_OVERDUE, {"case": case.id, "due": timer.due_at, "kind": timer.kind})
    # A case may come to another queue later.
    detail = {"clock": timer.kind, "queue": case.queue}
    tell_one(session, case.id, Happening.OVERDUE, SYSTEM, now=now, detail=detail)
    missed = Count("overdue", case.tool, hour_of(now), 0, f"{case.queue}/{timer.kind}")
    climbed = climb(session, case, answers, now=now)
    if climbed is None:
        return [missed]
    _tell_escalated(session, case.id, timer.kind, now)
    return [missed, climbed]


def _reach_rung(
    session: Session, case: Case, timer: Timer, answers: Answering, *, now: datetime
) -> list[Count]:
    """A rung's time has come: climb to it, unless a missed deadline was there before."""
    last = len(case.ladder) - 1
    target = min(timer.rung, last)
    climbed = climb(session, case, answers, to=target, now=now) if case.level < target else None
    if climbed is not None:
        _tell_escalated(session, case.id, timer.kind, now)
    if timer.rung > last:
        # The last rung repeats: whoever owns it is told again.
        tell_one(session, case.id, Happening.REMINDED, SYSTEM, now=now)
    _go_on(session, case, timer, now=now)
    return [climbed] if climbed is not None else []


_NEXT_RUNG = text("""
INSERT INTO timer (case_id, cycle, kind, rung, due_at, begun_at)
VALUES (:case, :cycle, 'rung', :rung, :now, :begun_at)
ON CONFLICT (case_id, cycle, kind, rung) DO NOTHING
""")


def _go_on(session: Session, case: Case, timer: Timer, *, now: datetime) -> None:
    """After a rung the next that has a time, or a reminder; nothing where the ladder ends."""
    rung, begun_at = deadlines.first_timed(case.ladder, above=timer.rung), None
    if rung is None:
        repeat = case.ladder[-1]["repeat"]
        if not repeat or timer.rung < len(case.ladder) - 1:
            return
        calendar = clocks.calendar_in_force(session, case)
        begun_at = deadlines.last_reminder(timer.due_at, repeat, now, calendar)
        rung = timer.rung + 1
    given = {"case": case.id, "cycle": timer.cycle, "rung": rung, "begun_at": begun_at}
    session.execute(_NEXT_RUNG, {**given, "now": now})
    clocks.count_anew(session, [case.id])


def _tell_escalated(session: Session, case_id: int, by: str, now: datetime) -> None:
    case = queries.case(session, case_id)
    detail = {"by": by, "level": case.level, "owner": case.owner.as_answer()}
    tell_one(session, case_id, Happening.ESCALATED, SYSTEM, now=now, detail=detail)
