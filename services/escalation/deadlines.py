"""When a case's deadlines and rungs are due, by its clocks and its calendar. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from services.escalation.rules import CLOCK_OF, Clock, LadderRung, TimerKind
from services.kit.durations import Duration, parse_duration
from services.kit.working_time import Run, WorkingCalendar, after, due, put_off, spent


class Mark(NamedTuple):
    """That a clock stood from a moment on, or ran again."""

    clock: Clock
    at: datetime
    runs: bool


class PartDue(NamedTuple):
    """When a part came, and when it would be due had the whole's clock run on from then."""

    kind: TimerKind
    merged_at: datetime
    due_at: datetime


class Spans(NamedTuple):
    """What a case has time for, each as the policy wrote it."""

    claim: str
    resolve: str
    ladder: Sequence[LadderRung]


def runs(begun: datetime, marks: Iterable[Mark], clock: Clock) -> list[Run]:
    """When a clock ran that began with its cycle at `begun`; its marks are in order.

    A mark that time went back for counts as of the moment before it: no clock runs backwards.
    """
    found: list[Run] = []
    since: datetime | None = begun
    last = begun
    for mark in marks:
        if mark.clock is not clock:
            continue
        last = max(last, mark.at)
        if not mark.runs and since is not None:
            found.append((since, last))
            since = None
        elif mark.runs and since is None:
            since = last
    return found if since is None else [*found, (since, None)]


def since(begun: datetime, ran: Sequence[Run]) -> list[Run]:
    """What of these runs is not before a moment."""
    return [(max(begin, begun), end) for begin, end in ran if end is None or end > begun]


def due_at(
    kind: TimerKind,
    rung: int,
    begun_at: datetime | None,
    *,
    spans: Spans,
    cycle: datetime,
    marks: Sequence[Mark],
    calendar: WorkingCalendar,
    parts: Iterable[PartDue] = (),
) -> datetime | None:
    """When a timer of the cycle begun at `cycle` is due; None while its clock stands.

    A rung without a time of its own has no timer. A reminder counts from `begun_at`. What has
    parts is due with the first of them; their deadlines go by its clocks from when they came.
    """
    ran = runs(cycle, marks, CLOCK_OF[kind])
    if begun_at is not None:
        ran = since(begun_at, ran)
    span = _span(kind, rung, spans)
    own = due(span, ran, calendar)
    if own is None:
        return None
    of_parts = [
        put_off(part.due_at, part.merged_at, ran, span.unit, calendar)
        for part in parts
        if part.kind is kind
    ]
    return min([own, *(at for at in of_parts if at is not None)])


def parts_due(rows: Iterable[tuple[str, str, str]]) -> list[PartDue]:
    """The earliest deadlines of parts, as the database says them (`clocks.PARTS`)."""
    return [
        PartDue(TimerKind(kind), datetime.fromisoformat(merged), datetime.fromisoformat(at))
        for kind, merged, at in rows
    ]


def _span(kind: TimerKind, rung: int, spans: Spans) -> Duration:
    if kind is TimerKind.CLAIM:
        return parse_duration(spans.claim)
    if kind is TimerKind.RESOLVE:
        return parse_duration(spans.resolve)
    if rung < len(spans.ladder):
        written = spans.ladder[rung]["after"]
    else:
        written = spans.ladder[-1]["repeat"]
    assert written is not None
    return parse_duration(written)


def first_timed(ladder: Sequence[LadderRung], *, above: int = 0) -> int | None:
    """The first rung above one that has a time; None where there is none."""
    return next(
        (rung for rung in range(above + 1, len(ladder)) if ladder[rung]["after"] is not None), None
    )


def rung_due(
    ladder: Sequence[LadderRung], rung: int, cycle: datetime, calendar: WorkingCalendar
) -> datetime:
    """When a rung that has a time is due, of a cycle that begins at `cycle`."""
    written = ladder[rung]["after"]
    assert written is not None
    return after(cycle, parse_duration(written), calendar)


def last_reminder(
    due_at: datetime, repeat: str, now: datetime, calendar: WorkingCalendar
) -> datetime:
    """When a reminder was due last, of those that one due at `due_at` began: not after now.

    However long nobody looked, the next one counts from there, so that there is no flood.
    """
    every = parse_duration(repeat)
    missed = int(spent(due_at, now, every.unit, calendar) // every.amount)
    return after(due_at, Duration(missed * every.amount, every.unit), calendar)
