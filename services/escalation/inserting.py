"""Cases as rows: what is written when they open, one statement for any number of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.clocks import counted_by
from services.escalation.routing import Routed
from services.escalation.rules import SubjectKind
from services.escalation.timeline import Entry, Happening, instead, passed_over

Request = events.ReviewRequest

_CASE_COLUMNS = {
    "subject_kind": "text",
    "subject_key": "text",
    "cause": "text",
    "tool": "text",
    "trigger": "text",
    "blind": "boolean",
    "reviewers": "bigint",
    "dispute": "jsonb",
    "disputed_by": "text",
    "queue": "text",
    "team": "text",
    "owner_team": "text",
    "owner_person": "text",
    "owner_schedule": "text",
    "priority": "text",
    "rule": "text",
    "routing_revision": "text",
    "ladder": "jsonb",
    "monitored": "jsonb",
    "timezone": "text",
    "calendar": "text",
    "calendar_team": "text",
    "counted_calendar": "text",
    "counted_revision": "bigint",
    "claim_within": "text",
    "resolve_within": "text",
    "claim_due_at": "timestamptz",
    "resolve_due_at": "timestamptz",
    "due_at": "timestamptz",
}
OUTPUT_COLUMNS = {
    "model": "text",
    "prompt": "text",
    "kind": "text",
    "value": "jsonb",
    "confidence": "float8",
    "alternatives": "jsonb",
    "input": "jsonb",
    "words": "text",
    "attributes": "jsonb",
    "subject": "text",
    "cohort": "text",
    "failure": "jsonb",
    "condition": "text",
}
WORDS = 200
"""So many characters of an input's text similar cases are found by."""
_names = ", ".join(_CASE_COLUMNS)
_facts = ", ".join(OUTPUT_COLUMNS)
_given = ", ".join(
    f"{name} {kind}"
    for name, kind in {
        **_CASE_COLUMNS,
        **OUTPUT_COLUMNS,
        "output_id": "text",
        "correction_id": "text",
        "first_rung": "bigint",
        "first_rung_at": "timestamptz",
    }.items()
)

_OPEN = text(f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS g({_given})
), opened AS (
    INSERT INTO "case" ({_names}, opened_at, cycle_opened_at, owner_since)
    SELECT {_names}, :now, :now, :now FROM given
    ORDER BY subject_kind, subject_key
    ON CONFLICT (subject_kind, subject_key) DO NOTHING
    RETURNING id, subject_key, cycle, claim_due_at, resolve_due_at
), facts AS (
    INSERT INTO case_output (case_id, tool, output_id, {_facts})
    SELECT o.id, tool, output_id, {_facts} FROM opened o JOIN given USING (subject_key)
    WHERE output_id IS NOT NULL
), timers AS (
    INSERT INTO timer (case_id, cycle, kind, rung, due_at)
    SELECT id, cycle, 'claim', 0, claim_due_at FROM opened
    UNION ALL SELECT id, cycle, 'resolve', 0, resolve_due_at FROM opened
    UNION ALL SELECT o.id, o.cycle, 'rung', first_rung, first_rung_at
    FROM opened o JOIN given USING (subject_key) WHERE first_rung IS NOT NULL
), objected AS (
    INSERT INTO objection (case_id, correction_id, actor, said, at)
    SELECT o.id, correction_id, disputed_by, dispute, :now
    FROM opened o JOIN given USING (subject_key) WHERE correction_id IS NOT NULL
)
SELECT id, subject_key FROM opened
""")


def insert(
    session: Session, routed: Mapping[str, Routed], kind: SubjectKind, *, now: datetime
) -> dict[str, int]:
    """Open the cases of subjects, by their keys, that have none; answers their numbers."""
    rows = [_row(key, one, kind) for key, one in routed.items()]
    given = {"rows": to_json(rows).decode(), "now": now}
    return {row.subject_key: row.id for row in session.execute(_OPEN, given)}


def subject_key(request: Request) -> str:
    """What names the output that a request is about, among all subjects of its kind."""
    return f"{request.tool}/{request.output_id}"


def _row(key: str, one: Routed, kind: SubjectKind) -> dict[str, Any]:
    about = _about_output(one.request) if kind is SubjectKind.OUTPUT else {}
    return {
        "subject_kind": kind,
        "subject_key": key,
        "cause": one.cause,
        "tool": one.request.tool,
        "trigger": one.request.trigger,
        "blind": one.request.trigger == "audit" or one.route.reviewers > 1,
        "reviewers": one.route.reviewers,
        "queue": one.route.queue,
        **one.found.columns,
        "team": one.team,
        "priority": one.route.priority,
        "rule": one.route.rule,
        "routing_revision": one.revision,
        "ladder": one.ladder,
        "monitored": one.monitored,
        "timezone": one.timezone,
        "calendar": one.named_calendar,
        "calendar_team": one.team,
        **counted_by(one.calendar),
        "claim_within": str(one.route.claim),
        "resolve_within": str(one.route.resolve),
        "claim_due_at": one.claim_due_at,
        "resolve_due_at": one.resolve_due_at,
        "due_at": min(one.claim_due_at, one.resolve_due_at),
        "first_rung": one.first_rung[0] if one.first_rung else None,
        "first_rung_at": one.first_rung[1] if one.first_rung else None,
        **about,
    }


def _about_output(request: Request) -> dict[str, Any]:
    said = request.objection
    return {
        "output_id": request.output_id,
        "dispute": as_said(said) if said else None,
        "disputed_by": said.correction.actor.id if said else None,
        "correction_id": said.correction_id if said else None,
        **output_columns(request),
    }


def output_columns(request: Request) -> dict[str, Any]:
    """The facts of a request's output as columns; none where it has not come."""
    output, gate = request.output, request.gate
    if output is None:
        return {}
    return {
        "model": output.version.model if output.version else None,
        "prompt": output.version.prompt if output.version else None,
        "kind": output.kind,
        "value": _plain(output.value),
        "confidence": output.confidence,
        "alternatives": [_plain(one) for one in output.alternatives] or None,
        "input": _plain(output.input),
        "words": output.input.text[:WORDS] if output.input and output.input.text else None,
        "attributes": output.attributes or None,
        "subject": output.subject,
        "cohort": output.cohort,
        "failure": _plain(output.error),
        "condition": gate.condition if gate else None,
    }


def _plain(value: Any) -> Any:
    """A contract's model, or a mapping of them, without absent fields."""
    if hasattr(value, "model_dump"):
        return value.model_dump(exclude_none=True)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return value


def as_said(objection: events.Objection) -> dict[str, Any]:
    """An objection as cases keep and show it."""
    said = objection.correction
    words = said.model_dump(
        mode="json", exclude_none=True, include={"kind", "value", "reason", "note", "channel"}
    )
    return {"id": objection.correction_id, **words, "actor": said.actor.id}


def opened_by(one: Routed) -> dict[str, Any]:
    """Why a case was opened and routed as it was, as its timeline says it."""
    condition = one.request.gate.condition if one.request.gate else None
    return {
        "trigger": one.request.trigger,
        "rule": one.route.rule,
        "routing_revision": one.revision,
        **({"condition": condition} if condition else {}),
        **_how(one),
    }


def _how(one: Routed) -> dict[str, str]:
    """Through what somebody owns a case who is not named."""
    if one.found.schedule is not None:
        return {"schedule": one.found.schedule}
    terms = one.route.terms
    return {"assigned_by": terms.by.value} if terms is not None and one.ungiven is None else {}


def owned_otherwise(case_id: int, one: Routed) -> list[Entry]:
    """Why a case was given to nobody, or to somebody else than was wanted, where it was."""
    owner, found = one.found.owner, []
    if one.ungiven is not None:
        note = instead(one.route.owner, owner, one.ungiven)
        found.append(Entry(case_id, Happening.UNASSIGNED, note=note))
    if one.found.why is not None:
        found.append(passed_over(case_id, one.route.owner, owner, one.found.why))
    return found
