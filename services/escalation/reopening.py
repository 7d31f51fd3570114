"""Beginning anew with cases that were decided, set-based: any number of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, deadlines, impartial, opinions
from services.escalation.answering import Found
from services.escalation.cases import Case
from services.escalation.claims import case_for_reviewer
from services.escalation.errors import MovedOn
from services.escalation.notes import checked_note
from services.escalation.owners import ROW, owned_by
from services.escalation.rules import CaseVerb, SubjectKind
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.kit.durations import parse_duration
from services.kit.working_time import WorkingCalendar, after
from services.people.queries import KnownCalendar
from services.people.rules import Actor

_REOPEN = move(
    CaseVerb.REOPEN,
    sets=f"""cycle = cycle + 1, cycle_opened_at = :now, verdict = NULL, verdict_value = NULL,
        verdict_by = NULL, verdict_note = NULL, verdict_id = NULL, resolved_at = NULL,
        closed_at = NULL, overdue_since = NULL, level = 0, blind = false, divided = false,
        merged_at = NULL, {owned_by("g.")},
        claim_due_at = g.claim_due_at, resolve_due_at = g.resolve_due_at,
        due_at = least(g.claim_due_at, g.resolve_due_at),
        counted_calendar = g.counted_calendar, counted_revision = g.counted_revision""",
    given=f"""json_to_recordset(CAST(:rows AS json)) AS g(case_id bigint, {ROW},
        claim_due_at timestamptz, resolve_due_at timestamptz, counted_calendar text,
        counted_revision bigint)""",
    which="id = g.case_id",
    returning="id",
)


class Reopening(NamedTuple):
    """A case, locked, that is to be opened again, and on whose behalf."""

    case: Case
    who: str
    note: str | None = None


def reopen(
    session: Session, actor: Actor, case_id: int, *, note: str | None = None, now: datetime
) -> None:
    """Begin a new cycle on a case that was resolved or closed.

    Raises:
        MovedOn: the case is open anyway.
        OwnDispute, OwnVerdict: the actor has a part in it, and would throw out what others decided.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    impartial.require_none(session, actor, case)
    if case.subject_kind == SubjectKind.INCIDENT:
        raise MovedOn("An incident is its cases: open those again that need it.")
    if not begin_again(session, [Reopening(case, actor.id, checked_note(note))], now=now):
        raise MovedOn("The case is open already.")


def begin_again(session: Session, asked: Sequence[Reopening], *, now: datetime) -> set[int]:
    """Reopen cases, each named once; answers which were, as those that are open stay as they are.

    Where the owner of one is gone by now, or may not judge it, its team, the next of its ladder
    or an admin is the owner.
    """
    if not asked:
        return set()
    opinions.remember_deciders(session, [one.case.id for one in asked], now=now)
    found = answering.of_reopened(session, [one.case for one in asked], level=0, now=now)
    calendars = clocks.calendars_of(session, (one.case for one in asked))
    cycles = [
        _Cycle(one.case, calendars.of(one.case.calendar, one.case.calendar_team), now)
        for one in asked
    ]
    rows = [cycle.row(owning) for cycle, owning in zip(cycles, found, strict=True)]
    given = {"rows": to_json(rows).decode(), "now": now}
    reopened = {row.id for row in session.execute(_REOPEN, given)}
    begun = [cycle for cycle in cycles if cycle.case.id in reopened]
    clocks.start(session, sorted(reopened), [rung for one in begun if (rung := one.first_rung)])
    entries = [
        entry
        for one, owning in zip(asked, found, strict=True)
        if one.case.id in reopened
        for entry in _entries(one, owning)
    ]
    tell(session, entries, now=now)
    return reopened


@dataclass(frozen=True, slots=True)
class _Cycle:
    """A cycle of a case, begun now."""

    case: Case
    calendar: KnownCalendar | None
    now: datetime

    @property
    def working(self) -> WorkingCalendar:
        """How it counts working time."""
        return clocks.working(self.case, self.calendar)

    def row(self, found: Found) -> dict[str, Any]:
        """What it changes: the owner and the deadlines."""
        case = self.case
        return {
            "case_id": case.id,
            **found.columns,
            "claim_due_at": after(self.now, parse_duration(case.claim_within), self.working),
            "resolve_due_at": after(self.now, parse_duration(case.resolve_within), self.working),
            **clocks.counted_by(self.calendar),
        }

    @property
    def first_rung(self) -> clocks.FirstRung | None:
        """The first rung that has a time."""
        rung = deadlines.first_timed(self.case.ladder)
        if rung is None:
            return None
        at = deadlines.rung_due(self.case.ladder, rung, self.now, self.working)
        return clocks.FirstRung(self.case.id, rung, at)


def _entries(one: Reopening, found: Found) -> list[Entry]:
    opened = Entry(one.case.id, Happening.REOPENED, one.who, one.note)
    return [opened, *answering.told_again(one.case, found)]
