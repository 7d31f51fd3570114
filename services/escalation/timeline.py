"""What happened to cases: written down and published in one step, in the same transaction."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import impartial
from services.escalation.rules import CaseState, Owner, Wanted
from services.kit.consuming import outbox
from services.kit.database import selecting
from services.kit.eventlog.port import NewRecord
from services.people.rules import SYSTEM, Actor


class Happening(StrEnum):
    """What can happen to a case, as its timeline calls it."""

    OPENED = "opened"
    CLAIMED = "claimed"
    RELEASED = "released"
    ESCALATED = "escalated"
    REASSIGNED = "reassigned"
    REROUTED = "rerouted"
    WAITING = "waiting"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    MERGED = "merged"
    UNMERGED = "unmerged"
    JOINED = "joined"
    LEFT = "left"
    REVIEWED = "reviewed"
    DIVIDED = "divided"
    OPINION_TAKEN_BACK = "opinion taken back"
    RESOLVED = "resolved"
    UNDONE = "undone"
    CLOSED = "closed"
    REOPENED = "reopened"
    COMMENTED = "commented"
    MENTIONED = "mentioned"
    DISPUTED = "disputed"
    OVERDUE = "overdue"
    REMINDED = "reminded"
    RUNG_SKIPPED = "rung skipped"
    UNASSIGNED = "unassigned"
    DISPUTE_WITHDRAWN = "dispute withdrawn"
    OUTPUT_ARRIVED = "output arrived"


SAYING = (
    Happening.DISPUTED.value,
    Happening.DISPUTE_WITHDRAWN.value,
    Happening.REVIEWED.value,
    Happening.OPINION_TAKEN_BACK.value,
    Happening.RESOLVED.value,
    Happening.UNDONE.value,
)
"""What would tell a blind reviewer what others think."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a case's timeline. Where Secondlook itself acted, nobody is named."""

    case_id: int
    happening: Happening
    actor: str = SYSTEM
    note: str | None = None
    detail: Mapping[str, Any] | None = None
    state: CaseState | None = None
    """The state it led to, where more has happened to the case since."""
    rerouting: events.Rerouting | None = None
    """Of a case that is routed anew: how it was routed, and how it is."""


def passed_over(case_id: int, wanted: Owner | Wanted, owner: Owner, why: str = "") -> Entry:
    """That `owner` owns the case instead of `wanted`, who cannot, or for the reason given."""
    note = instead(wanted, owner, why)
    return Entry(case_id, Happening.RUNG_SKIPPED, note=note, detail={"owner": str(wanted)})


def instead(wanted: Owner | Wanted, owner: Owner, why: str) -> str:
    """That `owner` owns a case, and why it is not `wanted`, in words; they cannot where nothing
    is said."""
    return f"{why}; {owner} owns it" if why else f"{wanted} cannot own it; {owner} does"


_WRITE = text("""
INSERT INTO timeline_entry (case_id, at, event, actor, note, detail)
SELECT case_id, :now, event, actor, note, detail
FROM json_to_recordset(CAST(:rows AS json))
    AS g(position bigint, case_id bigint, event text, actor text, note text, detail jsonb)
ORDER BY position
""")


def tell(session: Session, entries: Sequence[Entry], *, now: datetime) -> None:
    """Write entries, and publish `secondlook.case.<happening>.v1` for those that have such a type.

    The events say where the cases stand when this is called, but for what an entry says itself.
    """
    if not entries:
        return
    rows = [
        {
            "position": position,
            "case_id": entry.case_id,
            "event": entry.happening.value,
            "actor": entry.actor,
            "note": entry.note,
            "detail": entry.detail,
        }
        for position, entry in enumerate(entries)
    ]
    session.execute(_WRITE, {"rows": to_json(rows).decode(), "now": now})
    outbox.enqueue(session, _records(session, entries, now))


def tell_one(
    session: Session,
    case_id: int,
    happening: Happening,
    actor: Actor | str,
    *,
    now: datetime,
    note: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write and publish one entry."""
    who = actor if isinstance(actor, str) else actor.id
    tell(session, [Entry(case_id, happening, who, note, detail)], now=now)


class _Facts(NamedTuple):
    """Where a case stands, as its events say it."""

    id: int
    tool: str
    output_id: str | None
    trigger: str
    queue: str
    owner_team: str | None
    owner_person: str | None
    due_at: datetime
    state: str
    level: int
    priority: str
    team: str
    subject_kind: str
    incident: int | None
    children: int
    waits_for: Literal["reviewer", "lead"] | None

    @property
    def owner(self) -> events.Owner:
        """Who is accountable."""
        owner = Owner.stored(self.owner_team, self.owner_person)
        return events.Owner(kind=owner.kind, id=owner.id)


_FACTS = selecting(
    """
SELECT c.id, c.tool, o.output_id, c.trigger, c.queue, c.owner_team, c.owner_person, c.due_at,
       c.state, c.level, c.priority, c.team, c.subject_kind, c.incident, c.children,
       CASE WHEN c.reviewers > 1 AND c.verdict IS NULL THEN
           CASE WHEN c.divided THEN 'lead' ELSE 'reviewer' END END AS waits_for
FROM "case" c LEFT JOIN case_output o ON o.case_id = c.id WHERE c.id = ANY(:ids)
""",
    _Facts._fields,
)


def _records(session: Session, entries: Iterable[Entry], now: datetime) -> list[NewRecord]:
    told = [(entry, f"secondlook.case.{entry.happening.value}.v1") for entry in entries]
    public = [entry for entry, type_ in told if type_ in events.CASE_EVENT_TYPES]
    if not public:
        return []
    given = {"ids": [entry.case_id for entry in public]}
    facts = {row.id: _Facts(*row) for row in session.execute(_FACTS, given)}
    reviewed = [entry.case_id for entry in public if entry.happening is Happening.REVIEWED]
    apart = impartial.apart(session, reviewed, opinions=True) if reviewed else {}
    return [
        _record(entry, facts[entry.case_id], now, apart=sorted(apart.get(entry.case_id, ())))
        for entry in public
    ]


def _record(entry: Entry, case: _Facts, now: datetime, *, apart: Sequence[str] = ()) -> NewRecord:
    event = events.case_event(
        entry.happening.value,
        case_id=str(case.id),
        output_id=case.output_id,
        tool=case.tool,
        trigger=case.trigger,
        queue=case.queue,
        owner=case.owner,
        due_at=case.due_at,
        state=entry.state or case.state,
        level=case.level,
        priority=case.priority,
        team=case.team,
        subject_kind=case.subject_kind,
        incident=None if case.incident is None else str(case.incident),
        children=case.children,
        waits_for=case.waits_for,
        apart=apart if entry.happening is Happening.REVIEWED else (),
        mentioned=(entry.detail or {}).get("people", ()),
        actor=None if entry.actor == SYSTEM else entry.actor,
        rerouting=entry.rerouting,
        at=now,
    )
    return NewRecord(event.topic, event.key, events.encode(event))
