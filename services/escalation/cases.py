"""Cases as they are read: the shapes, and what of them may be shown."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import TextualSelect

from services.escalation.rules import LadderRung, MonitoredRule, Owner
from services.kit.database import selecting
from services.tools.rules import Version

Json = Any
"""A JSON value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A case as lists show it, without the long parts of its output."""

    id: int
    subject_kind: str
    subject_key: str
    tool: str
    output_id: str | None
    trigger: str
    blind: bool
    reviewers: int
    divided: bool
    dispute: Mapping[str, Json] | None
    queue: str
    team: str
    owner_team: str | None
    owner_person: str | None
    owner_schedule: str | None
    claimant: str | None
    lease_expires_at: datetime | None
    state: str
    level: int
    priority: str
    opened_at: datetime
    due_at: datetime
    claim_due_at: datetime
    resolve_due_at: datetime
    overdue_since: datetime | None
    wakes_at: datetime | None
    pause_reason: str | None
    cause: str | None
    incident: int | None
    merged_at: datetime | None
    children: int
    verdict: str | None
    verdict_id: str | None
    verdict_value: Json
    verdict_by: str | None
    resolved_at: datetime | None
    version: int
    model: str | None
    prompt: str | None
    kind: str | None
    value: Json
    confidence: float | None
    subject: str | None
    failure: Mapping[str, Json] | None
    condition: str | None
    excerpt: str | None

    @property
    def owner(self) -> Owner:
        """Who is accountable."""
        return Owner.stored(self.owner_team, self.owner_person)

    @property
    def output_version(self) -> Version:
        """What produced the output."""
        return Version(self.model, self.prompt)

    @property
    def hidden(self) -> bool:
        """Whether the tool's answer must not be shown: a blind case before its verdict.

        Of one with several reviewers nothing that the others say either, for as long.
        """
        return (self.blind or self.reviewers > 1) and self.verdict is None

    @property
    def shown_reason(self) -> str | None:
        """Why it is paused, in the words of whoever paused it; they may tell what they think."""
        return None if self.hidden else self.pause_reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Case(Listed):
    """A case, whole."""

    disputed_by: str | None
    claim_seq: int
    claimed_at: datetime | None
    cycle: int
    rule: str
    routing_revision: str
    ladder: list[LadderRung]
    monitored: list[MonitoredRule]
    owner_since: datetime
    cycle_opened_at: datetime
    timezone: str
    calendar: str | None
    calendar_team: str | None
    claim_within: str
    resolve_within: str
    verdict_note: str | None
    closed_at: datetime | None
    paused_for: timedelta
    alternatives: list[Json] | None
    input: Mapping[str, Json] | None
    attributes: Mapping[str, str] | None
    cohort: str | None


def hides_answer(case: Listed | None, *, audit_pending: bool) -> bool:
    """Whether who reads cases must not be shown what the tool said: before a blind one's verdict.

    An output that waits for an audit's verdict is as blind before its case is opened. A case
    that is gone had its verdict, as only closed ones go.
    """
    return audit_pending if case is None else case.hidden


_OF_OUTPUT = frozenset(
    {
        *("output_id", "model", "prompt", "kind", "value", "confidence", "subject", "failure"),
        *("condition", "alternatives", "input", "attributes", "cohort"),
    }
)


def _select(shape: type[Listed]) -> str:
    columns = []
    for field in fields(shape):
        if field.name == "excerpt":
            columns.append("left(o.input->>'text', 240) AS excerpt")
        else:
            columns.append(f"{'o' if field.name in _OF_OUTPUT else 'c'}.{field.name}")
    return ", ".join(columns)


def _names(shape: type[Listed]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(shape))


_LISTED_NAMES, _WHOLE_NAMES = _names(Listed), _names(Case)


def listed(row: Iterable[Any]) -> Listed:
    """A row of `reading_listed`, whose order is that of the fields."""
    return Listed(**dict(zip(_LISTED_NAMES, row, strict=True)))


def whole(row: Iterable[Any]) -> Case:
    """A row of `reading`, whose order is that of the fields."""
    return Case(**dict(zip(_WHOLE_NAMES, row, strict=True)))


_LISTED = _select(Listed)
_WHOLE = _select(Case)
FROM = '"case" c LEFT JOIN case_output o ON o.case_id = c.id'


def reading(which: str) -> TextualSelect:
    """The select of whole cases that `which` holds for."""
    return selecting(f"SELECT {_WHOLE} FROM {FROM} WHERE {which}", _WHOLE_NAMES)


def reading_listed(source: str, order: str) -> TextualSelect:
    """The select of cases as lists show them, from a `source` that holds `FROM`."""
    return selecting(f"SELECT {_LISTED} FROM {source} ORDER BY {order}", _LISTED_NAMES)


def as_answer(case: Listed) -> dict[str, Any]:
    """A case as the API shows it (09). A blind one shows nothing that the tool said."""
    return {
        "id": case.id,
        "output_id": case.output_id,
        "subject": {"kind": case.subject_kind, "key": case.subject_key},
        "incident": case.incident,
        "children": case.children,
        "tool": case.tool,
        "trigger": case.trigger,
        "queue": case.queue,
        "owner": case.owner.as_answer(),
        "claimant": case.claimant,
        "state": case.state,
        "level": case.level,
        "priority": case.priority,
        "due_at": case.due_at,
        "overdue": case.overdue_since is not None,
        "wakes_at": case.wakes_at,
        "pause_reason": case.shown_reason,
        "opened_at": case.opened_at,
        "version": case.version,
        "blind": case.hidden,
        "reviewers": case.reviewers,
        "divided": case.divided,
        "dispute": None if case.hidden else case.dispute,
        "verdict": case.verdict,
        "verdict_id": case.verdict_id,
        "verdict_value": case.verdict_value,
        "verdict_by": case.verdict_by,
        "output": _shown_output(case),
    }


def _shown_output(case: Listed) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "output_id": case.output_id,
        "tool": case.tool,
        "kind": case.kind,
        "subject": case.subject,
        "version": case.output_version._asdict(),
        "condition": None if case.hidden else case.condition,
    }
    if isinstance(case, Case):
        shown |= {"input": case.input, "attributes": case.attributes}
    else:
        shown["excerpt"] = case.excerpt
    if not case.hidden:
        shown |= {"value": case.value, "confidence": case.confidence, "failure": case.failure}
        if isinstance(case, Case):
            shown["alternatives"] = case.alternatives or []
    return shown
