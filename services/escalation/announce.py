"""What escalation tells the world, through the outbox and in the same transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from secondlook import events
from sqlalchemy.orm import Session

from services.kit.consuming import outbox
from services.kit.eventlog.port import NewRecord
from services.people.rules import SYSTEM
from services.tools.rules import VerdictKind


def owner_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """A case's owner as events and answers carry it."""
    if case["owner_team"] is not None:
        return {"kind": "team", "id": case["owner_team"]}
    return {"kind": "person", "id": case["owner_person"]}


def cases(
    session: Session, what: str, rows: Sequence[Mapping[str, Any]], *, actor: str, now: datetime
) -> None:
    """Publish `secondlook.case.<what>.v1` for each of these cases."""
    records = []
    for row in rows:
        event = events.case_event(
            what,
            case_id=str(row["id"]),
            output_id=row["output_id"],
            tool=row["tool"],
            trigger=row["trigger"],
            queue=row["queue"],
            owner=events.Owner(**owner_of(row)),
            due_at=row["due_at"],
            state=row["state"],
            level=row["level"],
            actor=None if actor == SYSTEM else actor,
            at=now,
        )
        records.append(NewRecord(event.topic, event.key, events.encode(event)))
    if records:
        outbox.enqueue(session, records)


def verdict_event(
    case: Mapping[str, Any],
    *,
    verdict: str,
    value: Any,
    note: str | None,
    actor: str,
    now: datetime,
) -> events.VerdictRecorded:
    """`secondlook.verdict.given.v1` of a case.

    Raises:
        InvalidEvent: the value or the note is not what the contract takes.
    """
    return events.verdict_given(
        case_id=str(case["id"]),
        tool=case["tool"],
        output_id=case["output_id"],
        verdict=verdict,
        value=value,
        judged=case["value"] if verdict == VerdictKind.UPHELD else None,
        actor=actor,
        blind=case["blind"],
        trigger=case["trigger"],
        note=note,
        at=now,
    )


def verdict(session: Session, case: Mapping[str, Any], *, actor: str, now: datetime) -> None:
    """Publish the verdict of a case that was just resolved."""
    event = verdict_event(
        case,
        verdict=case["verdict"],
        value=case["verdict_value"],
        note=case["verdict_note"],
        actor=actor,
        now=now,
    )
    outbox.enqueue(session, [NewRecord(event.topic, event.key, events.encode(event))])
