"""What a routing policy makes of a case that is open already. Pure.

Its clocks go on: deadlines are counted from the beginning of the case's cycle by the new spans,
less what it stood still. A deadline that was missed stays missed, and a case keeps its level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from services.escalation import deadlines
from services.escalation.deadlines import Mark, Spans
from services.escalation.rules import Clock, LadderRung, Owner, TimerKind, Wanted
from services.kit.working_time import WorkingCalendar


class Standing(NamedTuple):
    """An open case, as far as another routing can change it."""

    id: int
    tool: str
    trigger: str
    state: str
    queue: str
    team: str
    owner_team: str | None
    owner_person: str | None
    owner_schedule: str | None
    claimant: str | None
    level: int
    priority: str
    rule: str
    routing_revision: str
    ladder: list[LadderRung]
    timezone: str
    calendar: str | None
    calendar_team: str | None
    claim_within: str
    resolve_within: str
    cycle_opened_at: datetime
    claim_due_at: datetime
    resolve_due_at: datetime
    due_at: datetime
    wakes_at: datetime | None
    claim_missed: bool
    resolve_missed: bool
    by_hand: bool
    """Whether a person chose its owner last."""
    parts: list[Any]
    """The earliest deadlines of the cases that are part of it."""
    marks: list[Any]
    reviewers: int
    cause: str | None
    condition: str | None
    judged: bool
    """Whether somebody judges it, or one of its reviewers has."""
    joined: bool
    """Whether it has to do with other cases: it is, or was, part of one, has parts, or is put off
    until more of its cause come."""

    @property
    def owner(self) -> Owner:
        """Who is accountable."""
        return Owner.stored(self.owner_team, self.owner_person)

    @property
    def was_given(self) -> bool:
        """Whether a rule gave it to a person of its team, who owns it still."""
        person = self.owner_person is not None and self.owner_schedule is None
        return person and self.level == 0 and self.ladder[0]["kind"] == "team"

    @property
    def routing(self) -> "Routing":
        """How it is routed."""
        return Routing(
            queue=self.queue,
            team=self.team,
            owner=self.owner,
            schedule=self.owner_schedule,
            level=self.level,
            priority=self.priority,
            ladder=self.ladder,
            calendar=self.calendar,
            calendar_team=self.calendar_team,
            claim_within=self.claim_within,
            resolve_within=self.resolve_within,
            reviewers=self.reviewers,
            cause=self.cause,
        )


@dataclass(frozen=True, slots=True)
class Routing:
    """What a policy decides of an open case. Two that are equal leave it as it is."""

    queue: str
    team: str
    """Whose people see it."""
    owner: Owner
    schedule: str | None
    """Through whose duty they own it."""
    level: int
    priority: str
    ladder: list[LadderRung]
    calendar: str | None
    calendar_team: str | None
    claim_within: str
    resolve_within: str
    reviewers: int
    cause: str | None
    """What makes it the same as others."""


@dataclass(frozen=True, slots=True)
class Change:
    """A case that is routed otherwise from now on."""

    case: Standing
    to: Routing
    rule: str
    revision: str
    wanted: Wanted
    """Who should own it; somebody else does where this one cannot."""
    why: str | None
    """Why it is not they, where it is not."""
    ungiven: str | None
    """Why nobody of the team was given it, where somebody should be."""
    due_at: datetime
    """When it is due then; as it was, of a pause that nobody ends before its time."""


def level_on(ladder: Sequence[LadderRung], level: int) -> int:
    """The level of a case on another ladder: as high as it was, as far as that goes."""
    return min(level, len(ladder) - 1)


def seen_on(ladder: Sequence[LadderRung], level: int) -> str | None:
    """Who comes to see a case that climbs a ladder to a level: the last team that owns it."""
    below = reversed(ladder[: level + 1])
    return next((rung["id"] for rung in below if rung["kind"] == "team"), None)


def due_at(case: Standing, to: Routing, calendar: WorkingCalendar) -> datetime:
    """When a case is due that is routed like this: its earlier deadline that is not missed."""
    resolve = case.resolve_due_at
    if not case.resolve_missed:
        resolve = _timer_due(TimerKind.RESOLVE, 0, case, to, calendar) or resolve
    if case.state == "claimed" or case.claim_missed:
        return resolve
    # A clock that stands shows what it showed when it was stopped.
    return min(resolve, _timer_due(TimerKind.CLAIM, 0, case, to, calendar) or case.claim_due_at)


def rung_to_reach(
    case: Standing, to: Routing, calendar: WorkingCalendar, now: datetime
) -> int | None:
    """The rung of its new ladder that time leads a case to next.

    The last of those whose time has come, so that it goes there at once and passes over those
    below; else the first that has a time. None where none has.
    """
    timed = [rung for rung, one in enumerate(to.ladder) if rung and one["after"] is not None]
    come = [
        rung
        for rung in timed
        if (at := _timer_due(TimerKind.RUNG, rung, case, to, calendar)) is not None and at <= now
    ]
    return next(reversed(come), next(iter(timed), None))


def _timer_due(
    kind: TimerKind, rung: int, case: Standing, to: Routing, calendar: WorkingCalendar
) -> datetime | None:
    marks = [Mark(Clock(clock), datetime.fromisoformat(at), on) for clock, at, on in case.marks]
    if case.wakes_at is not None:
        marks += [Mark(clock, case.wakes_at, runs=True) for clock in Clock]
    return deadlines.due_at(
        kind,
        rung,
        None,
        spans=Spans(to.claim_within, to.resolve_within, to.ladder),
        cycle=case.cycle_opened_at,
        marks=marks,
        calendar=calendar,
        parts=deadlines.parts_due(case.parts),
    )
