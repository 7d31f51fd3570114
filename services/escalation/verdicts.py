"""Verdicts: given under a claim, undone within the reopen window, closed after it."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic_core import to_json
from secondlook import events
from sqlalchemy.orm import Session

from services.escalation import answering, clocks
from services.escalation.cases import Case
from services.escalation.claims import (
    case_for_reviewer,
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
from services.kit.counts import Count, hour_of
from services.kit.errors import InvalidInput, NotAllowed, invalid
from services.kit.eventlog.port import NewRecord
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.contracts import refused
from services.tools.rules import VerdictKind, normal_value, same_value, value_problem
from services.tools.versions import ToolVersion, VersionCache

_RESOLVE = move(
    CaseVerb.RESOLVE,
    sets="""resolved_at = :now, verdict = :verdict, verdict_value = CAST(:value AS jsonb),
        verdict_by = :me, verdict_note = :note, verdict_id = :verdict_id""",
    where="children = 0",
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
    _require_no_parts(case)
    verdict, value = _checked(session, case, verdict, value)
    note = checked_note(note)
    event = _event(case, verdict, value, note, actor=actor, now=now)
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
    fenced(session, actor, case.id, _RESOLVE, token=token, now=now, **given)
    clocks.follow(session, [case.id], now=now)
    detail = {"verdict": verdict.value}
    entries.append(Entry(case.id, Happening.RESOLVED, actor.id, note, detail))
    tell(session, entries, now=now)
    outbox.enqueue(session, [event.record])
    _count(session, case, verdict, now=now)
    return Verdict(event.event_id, verdict, value)


def _require_no_parts(case: Case) -> None:
    """Refuse a verdict on a case that others wait for: nobody would look at them again.

    Raises:
        MovedOn: there are some.
    """
    if case.children:
        raise MovedOn(f"{case.children} cases are merged into this one; take them out of it first.")


def _checked(
    session: Session, case: Case, verdict: VerdictKind, value: Any
) -> tuple[VerdictKind, Any]:
    if verdict is not VerdictKind.CORRECTED:
        if value is not None:
            raise invalid("value", "a value goes with `corrected` only", "Leave it out.")
        if verdict is VerdictKind.UPHELD and case.value is None:
            raise invalid("verdict", "the tool gave no value to uphold", "Give the right value.")
        return verdict, None
    if value is None:
        raise invalid("value", "`corrected` needs the right value", "Send it as `value`.")
    value = normal_value(value)
    tool = tool_queries.tool(session, case.tool)
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/value")
    if problem is not None:
        raise InvalidInput(f"value: {problem.problem}.", problems=(problem,))
    if same_value(value, case.value):
        if case.blind:
            return VerdictKind.UPHELD, None
        raise invalid("value", "that is what the tool said", "Send `upheld` instead.")
    return verdict, value


class _Told:
    """A verdict's event, ready for the log."""

    def __init__(self, event: events.VerdictRecorded | events.VerdictTakenBack) -> None:
        self.event_id = event.id
        self.record = NewRecord(event.topic, event.key, events.encode(event))


def _event(
    case: Case,
    verdict: VerdictKind,
    value: Any,
    note: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> _Told:
    """`secondlook.verdict.given.v1`; made before anything is written, so that nothing is
    recorded that could not be told.

    Raises:
        InvalidInput: the value or the note is not what the contract takes.
    """
    try:
        return _Told(
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


def _count(session: Session, case: Case, verdict: VerdictKind, *, now: datetime) -> None:
    of_case = ToolVersion(case.tool, case.output_version)
    number = _versions.ids(session, [of_case])[of_case]
    place = Count("verdicts", case.tool, hour_of(now), number, verdict.value)
    counts.add(session, Counter({place: 1}), shard=0)


# --- undo ---------------------------------------------------------------------------------

_UNDO = move(
    CaseVerb.UNDO,
    sets="""verdict = NULL, verdict_value = NULL, verdict_by = NULL, verdict_note = NULL,
        verdict_id = NULL, resolved_at = NULL, blind = false,
        owner_team = :owner_team, owner_person = :owner_person,
        owner_schedule = :owner_schedule, team = coalesce(:team, team),
        owner_since = CASE WHEN :kept THEN owner_since ELSE :now END""",
    where="verdict_id = :verdict_id AND resolved_at > :since",
    returning="id",
)


def undo(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    verdict_id: str | None = None,
    window: timedelta,
    now: datetime,
) -> None:
    """Take a verdict back: the case is open again, due when it was due before, unclaimed.

    `verdict_id` is the verdict that the actor saw, if they say so: one that was given since stays.
    Where its owner is gone by now, the next of its ladder, its team or an admin is the owner.
    Whoever heard of the verdict hears that it counts no longer. What its reviewer saw of a
    blind case cannot be unseen, so it is not blind any more.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: somebody else gave the verdict, and the actor is no lead.
        MovedOn: the case has no verdict or another one, or the reopen window is over.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    if case.state != CaseState.RESOLVED or case.resolved_at is None:
        raise MovedOn(f"The case is {case.state}; only a verdict just given is undone.")
    if verdict_id is not None and case.verdict_id != verdict_id:
        raise MovedOn(f"{case.verdict_by} has given another verdict since; look at that one first.")
    if case.verdict_by != actor.email and not actor.may(Verb.TAKE_OVER):
        raise NotAllowed(f"{case.verdict_by} gave this verdict; they or a lead can undo it.")
    given_id = case.verdict_id or ""
    event = _event_undone(case, given_id, actor=actor, now=now)
    (found,) = answering.of_reopened(session, [case], now=now)
    given = {
        "id": case_id,
        "verdict_id": given_id,
        "since": now - window,
        "now": now,
        "kept": found.owner == case.owner,
        **found.columns,
    }
    if session.execute(_UNDO, given).first() is None:
        raise MovedOn("The time to undo this verdict is over; reopen the case instead.")
    clocks.follow(session, [case_id], now=now, as_of=case.resolved_at)
    entries = [Entry(case_id, Happening.UNDONE, actor.id, detail={"verdict": case.verdict})]
    entries += answering.told_again(case, found)
    tell(session, entries, now=now)
    outbox.enqueue(session, [event.record])


def _event_undone(case: Case, verdict_id: str, *, actor: Actor, now: datetime) -> _Told:
    """`secondlook.verdict.undone.v1`."""
    return _Told(
        events.verdict_undone(
            verdict_id=verdict_id,
            case_id=str(case.id),
            tool=case.tool,
            team=case.team,
            output_id=case.output_id,
            actor=actor.id,
            at=now,
        )
    )


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
