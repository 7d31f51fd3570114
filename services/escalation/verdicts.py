"""Verdicts: given under a claim, closed after the reopen window."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks
from services.escalation.cases import Case, Listed
from services.escalation.claims import (
    fenced,
    require_no_objection,
    require_reviewer,
    take,
)
from services.escalation.errors import MovedOn
from services.escalation.notes import checked_note
from services.escalation.rules import CaseState, CaseVerb
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.kit import counts
from services.kit.consuming import outbox
from services.kit.counts import Count, Counts, hour_of
from services.kit.errors import InvalidInput, invalid
from services.kit.eventlog.port import NewRecord
from services.people.rules import Actor
from services.tools import queries as tool_queries
from services.tools.contracts import refused
from services.tools.queries import ToolInfo
from services.tools.rules import VerdictKind, normal_value, same_value, value_problem
from services.tools.versions import ToolVersion, VersionCache

_HAS_PARTS = """EXISTS (
    SELECT FROM "case" part WHERE part.incident = "case".id AND part.state = 'merged')"""
RESOLVE = move(
    CaseVerb.RESOLVE,
    sets="""resolved_at = :now, verdict = :verdict, verdict_value = CAST(:value AS jsonb),
        verdict_by = :me, verdict_note = :note, verdict_id = :verdict_id""",
    where=f"NOT {_HAS_PARTS}",
    returning="id",
)


class Verdict(NamedTuple):
    """A verdict as it was recorded."""

    id: str
    kind: VerdictKind
    value: Any


def give_verdict(
    session: Session,
    actor: Actor,
    case: Case,
    *,
    token: str | None,
    verdict: VerdictKind,
    value: Any = None,
    note: str | None = None,
    lease: timedelta,
    now: datetime,
) -> Verdict:
    """Review a case that was read in this transaction.

    Without the `token` of a claim the case is claimed first. `value` goes with `corrected` and
    no other verdict. On a case shown blind, a value equal to the tool's is recorded as `upheld`.

    Raises:
        NotFound: the case is out of the actor's sight.
        NotAllowed: the actor's role may not review.
        StaleToken: the claim is over.
        HeldBySomebody, MovedOn: it cannot be claimed.
        OwnDispute: the actor disputed this output.
        InvalidInput: the value does not suit the tool or is missing; it or the note breaks
            a limit of the contract.
    """
    require_reviewer(actor, case)
    require_no_objection(session, actor, case.id)
    _require_no_parts(session, case)
    tool = tool_queries.tool(session, case.tool)
    verdict, value = suited(tool, case, verdict, value)
    note = checked_note(note)
    event = given_event(case, verdict, value, note, actor=actor, now=now)
    given = {
        "verdict": verdict.value,
        "value": None if value is None else to_json(value).decode(),
        "note": note,
        "verdict_id": event.event_id,
    }
    entries = []
    if token is None:
        taken = take(session, actor, case.id, lease=lease, now=now)
        token = taken.claim.token
        if taken.begun:
            began = Entry(case.id, Happening.CLAIMED, actor.id, state=CaseState.CLAIMED)
            entries.append(began)
    fenced(session, actor, case.id, RESOLVE, token=token, now=now, **given)
    clocks.follow(session, [case.id], now=now)
    detail = {"verdict": verdict.value}
    entries.append(Entry(case.id, Happening.RESOLVED, actor.id, note, detail))
    tell(session, entries, now=now)
    outbox.enqueue(session, [event.record])
    count(session, [(case, verdict)], now=now)
    return Verdict(event.event_id, verdict, value)


_PARTS_LEFT = text(f'SELECT {_HAS_PARTS} FROM "case" WHERE id = :id')


def has_parts(session: Session, case_id: int) -> bool:
    """Whether others wait for a case that they are merged into."""
    return bool(session.execute(_PARTS_LEFT, {"id": case_id}).scalar_one())


def _require_no_parts(session: Session, case: Case) -> None:
    """Refuse a verdict on a case that others wait for: nobody would look at them again.

    Raises:
        MovedOn: there are some.
    """
    if case.children and has_parts(session, case.id):
        raise MovedOn(
            f"Cases are merged into this one: decide those (GET /v1/cases?incident={case.id},"
            " POST /v1/cases/bulk), or take them out of it first."
        )


def suited(
    tool: ToolInfo, case: Listed, verdict: VerdictKind, value: Any
) -> tuple[VerdictKind, Any]:
    """A verdict and value that suit a case of this tool, as they are recorded.

    Raises:
        InvalidInput: they do not.
    """
    if verdict is not VerdictKind.CORRECTED:
        if value is not None:
            raise invalid("value", "a value goes with `corrected` only", "Leave it out.")
        if verdict is VerdictKind.UPHELD and case.value is None:
            raise invalid("verdict", "the tool gave no value to uphold", "Give the right value.")
        return verdict, None
    if value is None:
        raise invalid("value", "`corrected` needs the right value", "Send it as `value`.")
    value = normal_value(value)
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/value")
    if problem is not None:
        raise InvalidInput(f"value: {problem.problem}.", problems=(problem,))
    if same_value(value, case.value):
        if case.blind:
            return VerdictKind.UPHELD, None
        raise invalid("value", "that is what the tool said", "Send `upheld` instead.")
    return verdict, value


class Told:
    """A verdict's event, ready for the log."""

    def __init__(self, event: events.VerdictRecorded | events.VerdictTakenBack) -> None:
        self.event_id = event.id
        self.record = NewRecord(event.topic, event.key, events.encode(event))


def given_event(
    case: Listed,
    verdict: VerdictKind,
    value: Any,
    note: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> Told:
    """`secondlook.verdict.given.v1`; made before anything is written, so that nothing is
    recorded that could not be told.

    Raises:
        InvalidInput: the value or the note is not what the contract takes.
    """
    try:
        return Told(
            events.verdict_given(
                event_id=f"verdict-{uuid4()}",
                case_id=str(case.id),
                tool=case.tool,
                team=case.team,
                output_id=case.output_id,
                verdict=verdict.value,
                value=value,
                upheld_value=case.value if verdict is VerdictKind.UPHELD else None,
                actor=actor.id,
                blind=case.blind,
                trigger=case.trigger,
                note=note,
                at=now,
            )
        )
    except events.InvalidEvent as error:
        raise refused(error) from None


_versions = VersionCache()


def count(session: Session, given: Sequence[tuple[Listed, VerdictKind]], *, now: datetime) -> None:
    """Count verdicts, by what produced the outputs."""
    of_case = [(ToolVersion(case.tool, case.output_version), verdict) for case, verdict in given]
    numbers = _versions.ids(session, [version for version, _ in of_case])
    tally: Counts = Counter(
        Count("verdicts", version.tool, hour_of(now), numbers[version], verdict.value)
        for version, verdict in of_case
    )
    counts.add(session, tally, shard=0)


# --- closing ------------------------------------------------------------------------------

_CLOSE = move(
    CaseVerb.CLOSE,
    sets="closed_at = :now",
    which="""id IN (
        SELECT id FROM "case" WHERE state = 'resolved' AND resolved_at <= :before
        ORDER BY resolved_at LIMIT :limit FOR UPDATE SKIP LOCKED)""",
    returning="id",
)


def close_resolved(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Close the cases resolved before `before`; answers how many."""
    given = {"now": now, "before": before, "limit": limit}
    closed = [row.id for row in session.execute(_CLOSE, given)]
    tell(session, [Entry(id_, Happening.CLOSED) for id_ in closed], now=now)
    return len(closed)
