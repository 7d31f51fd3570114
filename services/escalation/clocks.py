"""Clocks of cases: deadlines and rungs as timers in the database, decided by its own clock.

Which clocks run follows from a case's state (`rules.RUNNING`); each time one stands or goes on
is a mark that stays, and what is due when is counted from the marks. A timer fires in one
transaction with all that follows from it. `UPDATE … WHERE fired_at IS NULL` makes it fire once;
SKIP LOCKED merely keeps engines out of each other's way.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Protocol

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import deadlines
from services.escalation.deadlines import Mark, Spans
from services.escalation.rules import (
    CLOCK_OF,
    PAUSED,
    RUNNING,
    CaseState,
    Clock,
    LadderRung,
    TimerKind,
)
from services.kit.database import selecting
from services.kit.working_time import WorkingCalendar, weekdays
from services.people import queries as people
from services.people.queries import Calendars, KnownCalendar


def _listed(states: Iterable[CaseState]) -> str:
    return ", ".join(f"'{state.value}'" for state in states)


def _in_which(clock: Clock) -> str:
    return f"c.state IN ({_listed(state for state, on in RUNNING.items() if clock in on)})"


def _kinds(clock: Clock) -> str:
    return ", ".join(f"'{kind.value}'" for kind, by in CLOCK_OF.items() if by is clock)


_CLOCKS = ", ".join(f"('{clock.value}', {_in_which(clock)})" for clock in Clock)
_IS_RUNNING = " ".join(
    [
        "CASE",
        *(f"WHEN t.kind IN ({_kinds(clock)}) THEN {_in_which(clock)}" for clock in Clock),
        f"ELSE c.state IN ({_listed(PAUSED)}) END",
    ]
)
"""Whether a timer `t` runs in the state of its case `c`; one that wakes does in a pause."""

_FOLLOW = text(f"""
WITH turned AS (
    SELECT c.id, c.cycle, k.clock, k.runs
    FROM "case" c CROSS JOIN LATERAL (VALUES {_CLOCKS}) AS k(clock, runs)
    WHERE c.id = ANY(:cases) AND k.runs <> coalesce((
        SELECT m.runs FROM clock_mark m
        WHERE m.case_id = c.id AND m.cycle = c.cycle AND m.clock = k.clock
        ORDER BY m.id DESC LIMIT 1), true)
), marked AS (
    INSERT INTO clock_mark (case_id, cycle, clock, at, runs)
    SELECT id, cycle, clock, :at, runs FROM turned ORDER BY id, clock
), stopped AS (
    UPDATE timer t SET stopped_at = :now FROM "case" c
    WHERE c.id = ANY(:cases) AND t.case_id = c.id AND t.cycle = c.cycle
        AND t.fired_at IS NULL AND t.stopped_at IS NULL AND NOT ({_IS_RUNNING})
)
SELECT DISTINCT id FROM turned WHERE runs
""")


def follow(
    session: Session, cases: Sequence[int], *, now: datetime, as_of: datetime | None = None
) -> None:
    """The clocks of cases follow the states that these are in now.

    A clock that goes on has what was left of it; where it is to be as if it had never stood,
    `as_of` is the moment at which it was stopped.
    """
    given = {"cases": list(cases), "now": now, "at": as_of or now}
    going_on = [row.id for row in session.execute(_FOLLOW, given)]
    count_anew(session, going_on)


_START = text("""
INSERT INTO timer (case_id, cycle, kind, rung, due_at)
SELECT id, cycle, 'claim', 0, claim_due_at FROM "case" WHERE id = ANY(:cases)
UNION ALL SELECT id, cycle, 'resolve', 0, resolve_due_at FROM "case" WHERE id = ANY(:cases)
UNION ALL SELECT id, cycle, 'rung', g.rung, g.at
FROM json_to_recordset(CAST(:rungs AS json)) AS g(case_id bigint, rung bigint, at timestamptz)
JOIN "case" ON id = g.case_id
""")


class FirstRung(NamedTuple):
    """The first rung of a case's ladder that has a time, and when that is."""

    case_id: int
    rung: int
    at: datetime


def start(session: Session, cases: Sequence[int], rungs: Sequence[FirstRung]) -> None:
    """Start the clocks of a new cycle of cases."""
    written = to_json([rung._asdict() for rung in rungs]).decode()
    session.execute(_START, {"cases": list(cases), "rungs": written})


_WAKE = text("""
INSERT INTO timer (case_id, cycle, kind, rung, due_at)
SELECT id, cycle, 'wake', pauses, wakes_at FROM "case" WHERE id = :case
""")


def wake_later(session: Session, case_id: int) -> None:
    """The case, which has just been put off, wakes by itself."""
    session.execute(_WAKE, {"case": case_id})
    count_anew(session, [case_id])


# --- what is due when -----------------------------------------------------------------------


class _Counted(NamedTuple):
    """All that the deadlines of a case are counted from."""

    id: int
    cycle_opened_at: datetime
    timezone: str
    calendar: str | None
    calendar_team: str | None
    claim_within: str
    resolve_within: str
    ladder: list[LadderRung]
    wakes_at: datetime | None
    merged_at: datetime | None
    parts: list[Any]
    """The earliest deadlines of the cases that are part of it."""
    marks: list[Any]
    timers: list[Any]


PARTS = """ARRAY(
    SELECT json_build_array(g.clock, one.merged_at, one.due_at)
    FROM (
        SELECT k.clock, min(ARRAY[k.due_at, p.merged_at]) AS soonest,
            min(ARRAY['epoch'::timestamptz + (k.due_at - p.merged_at), p.merged_at]) AS least
        FROM (
            SELECT p.merged_at, min(p.due_at) AS due_at, min(p.resolve_due_at) AS resolve_due_at
            FROM "case" p WHERE p.incident = c.id AND p.state = 'merged' GROUP BY p.merged_at
        ) p CROSS JOIN LATERAL (VALUES ('claim', p.due_at), ('resolve', p.resolve_due_at))
            AS k(clock, due_at)
        LEFT JOIN (SELECT clock, array_agg(at ORDER BY at) AS moments FROM clock_mark
            WHERE case_id = c.id AND cycle = c.cycle GROUP BY clock) m ON m.clock = k.clock
        GROUP BY k.clock, width_bucket(p.merged_at, m.moments)
    ) g CROSS JOIN LATERAL (VALUES
        (soonest[2], soonest[1]), (least[2], least[2] + (least[1] - 'epoch'::timestamptz))
    ) AS one(merged_at, due_at))"""
"""Of a case `c`: when a part of it came, and when that is due, by clock and by the times between
its marks. Those that came between the same two stand and go on alike: the one that is due first
counts where its clock ran then, the one that had the least time left where it stood."""
_COUNTED = selecting(
    f"""
SELECT c.id, c.cycle_opened_at, c.timezone, c.calendar, c.calendar_team, c.claim_within,
    c.resolve_within, c.ladder, c.wakes_at,
    CASE WHEN c.state = 'merged' THEN c.merged_at END AS merged_at,
    {PARTS} AS parts,
    ARRAY(SELECT json_build_array(m.clock, m.at, m.runs) FROM clock_mark m
        WHERE m.case_id = c.id AND m.cycle = c.cycle ORDER BY m.id) AS marks,
    ARRAY(SELECT json_build_array(t.id, t.kind, t.rung, t.begun_at) FROM timer t
        WHERE t.case_id = c.id AND t.cycle = c.cycle AND t.kind <> 'wake'
            AND t.fired_at IS NULL) AS timers
FROM "case" c WHERE c.id = ANY(:cases) ORDER BY c.id FOR UPDATE OF c
""",
    _Counted._fields,
)
_COUNT_TIMERS = text(f"""
UPDATE timer t SET due_at = g.due_at,
    stopped_at = CASE WHEN {_IS_RUNNING} THEN NULL ELSE t.stopped_at END
FROM json_to_recordset(CAST(:rows AS json)) AS g(id bigint, due_at timestamptz), "case" c
WHERE t.id = g.id AND c.id = t.case_id
""")
_COUNT_CASES = text("""
UPDATE "case" c SET claim_due_at = t.due_at, resolve_due_at = r.due_at,
    counted_calendar = g.counted_calendar, counted_revision = g.counted_revision,
    due_at = CASE WHEN c.state = 'claimed' OR t.fired_at IS NOT NULL THEN r.due_at
        ELSE least(t.due_at, r.due_at) END
FROM json_to_recordset(CAST(:rows AS json)) AS g(
    id bigint, counted_calendar text, counted_revision bigint), timer t, timer r
WHERE c.id = g.id AND t.case_id = c.id AND t.cycle = c.cycle AND t.kind = 'claim'
    AND r.case_id = c.id AND r.cycle = c.cycle AND r.kind = 'resolve'
""")


def count_anew(session: Session, cases: Sequence[int]) -> None:
    """Count what is due when from the marks of the clocks, and from the calendars as they are."""
    if not cases:
        return
    found = [_Counted(*row) for row in session.execute(_COUNTED, {"cases": list(cases)})]
    calendars = calendars_of(session, found)
    counted = [(case, calendars.of(case.calendar, case.calendar_team)) for case in found]
    timers = [
        {"id": timer, "due_at": at}
        for case, known in counted
        for timer, at in _due(case, working(case, known)).items()
    ]
    session.execute(_COUNT_TIMERS, {"rows": to_json(timers).decode()})
    rows = [{"id": case.id, **counted_by(known)} for case, known in counted]
    session.execute(_COUNT_CASES, {"rows": to_json(rows).decode()})


class HasCalendar(Protocol):
    """A case, as far as its calendar goes."""

    @property
    def timezone(self) -> str:
        """Where it was opened."""

    @property
    def calendar(self) -> str | None:
        """The calendar that its rule names, if it does."""

    @property
    def calendar_team(self) -> str | None:
        """Whose calendar counts else."""


def calendars_of(session: Session, cases: Iterable[HasCalendar]) -> Calendars:
    """The calendars by which these cases count working time just now."""
    listed = list(cases)
    return people.calendars(
        session,
        named=(case.calendar for case in listed),
        teams=(case.calendar_team for case in listed),
    )


def working(case: HasCalendar, known: KnownCalendar | None) -> WorkingCalendar:
    """How a case counts working time, with this calendar or without one."""
    return weekdays(case.timezone) if known is None else known.working


def calendar_in_force(session: Session, case: HasCalendar) -> WorkingCalendar:
    """How a case counts working time just now."""
    calendars = calendars_of(session, [case])
    return working(case, calendars.of(case.calendar, case.calendar_team))


def counted_by(known: KnownCalendar | None) -> dict[str, Any]:
    """The columns that say by which calendar a case's deadlines were counted."""
    return {
        "counted_calendar": known.slug if known else None,
        "counted_revision": known.revision if known else 0,
    }


def _due(case: _Counted, calendar: WorkingCalendar) -> dict[int, datetime]:
    """When each of a case's timers is due, by number, but for those whose clock stands."""
    marks = [Mark(Clock(clock), datetime.fromisoformat(at), on) for clock, at, on in case.marks]
    # Where all its clocks stand it is due as if they ran on: what is put off from when it wakes if
    # nobody wakes it before its time, a part of another case from when that began to answer for it.
    runs_from = case.wakes_at or case.merged_at
    if runs_from is not None:
        marks += [Mark(clock, runs_from, runs=True) for clock in Clock]
    spans = Spans(case.claim_within, case.resolve_within, case.ladder)
    parts = deadlines.parts_due(case.parts)
    found = {}
    for id_, kind, rung, begun_at in case.timers:
        at = deadlines.due_at(
            TimerKind(kind),
            rung,
            None if begun_at is None else datetime.fromisoformat(begun_at),
            spans=spans,
            cycle=case.cycle_opened_at,
            marks=marks,
            calendar=calendar,
            parts=parts,
        )
        if at is not None:
            found[id_] = at
    return found


# --- due timers -----------------------------------------------------------------------------


class Timer(NamedTuple):
    """A timer that is due, its case locked with it."""

    id: int
    case_id: int
    cycle: int
    kind: str
    rung: int
    due_at: datetime
    timezone: str
    calendar: str | None
    calendar_team: str | None
    counted_calendar: str | None
    counted_revision: int
    children: int


_COLUMNS = """t.id, t.case_id, t.cycle, t.kind, t.rung, t.due_at, c.timezone, c.calendar,
    c.calendar_team, c.counted_calendar, c.counted_revision, c.children"""
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
WHERE id = :timer AND fired_at IS NULL AND stopped_at IS NULL AND due_at <= :now RETURNING id
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


def counted_before(session: Session, timers: Sequence[Timer]) -> list[int]:
    """The cases of these timers that were counted by a calendar that is another by now."""
    calendars = calendars_of(session, timers)
    stale = set()
    for timer in timers:
        present = counted_by(calendars.of(timer.calendar, timer.calendar_team))
        if present != {
            "counted_calendar": timer.counted_calendar,
            "counted_revision": timer.counted_revision,
        }:
            stale.add(timer.case_id)
    return sorted(stale)


def mark_fired(session: Session, timer: Timer, *, now: datetime) -> bool:
    """Fire a timer; False where it has been fired or stopped, or is due later by now."""
    return session.execute(_FIRE, {"timer": timer.id, "now": now}).first() is not None


def park(session: Session, timer: Timer, error: Exception, *, now: datetime) -> None:
    """Put off a timer whose step failed, longer each time, with what went wrong."""
    said = f"{type(error).__name__}: {error}".replace("\0", "")[:_ERROR_LENGTH]
    given = {"timer": timer.id, "now": now, "error": said}
    session.execute(_PARK, {**given, "least": _LEAST_PARKED, "most": _LONGEST_PARKED})
