"""Verdicts: given under a claim, undone within the reopen window, closed after it."""

from collections import Counter
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.escalation import clocks, impartial, opinions, owners, queries
from services.escalation.cases import Case
from services.escalation.claims import case_for_reviewer, fenced, require_reviewer, take
from services.escalation.errors import AlreadyReviewed, MovedOn
from services.escalation.judgement import Asks, Opinion, judged
from services.escalation.notes import checked_note, require_note
from services.escalation.rules import OPEN_STATES, CaseState, CaseVerb
from services.escalation.timeline import Entry, Happening, passed_over, tell
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
        verdict_by = :by, verdict_note = :note, verdict_id = :verdict_id, divided = false""",
    where="children = 0",
    returning="id",
)
_OPINE = move(
    CaseVerb.OPINE,
    sets="divided = :divided",
    where="children = 0 AND reviewers > 1",
    returning="id",
)


class Verdict(NamedTuple):
    """A verdict as it was recorded."""

    id: str | None
    """None where it is one opinion of several, and the case is not decided yet."""
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
    alone: bool = False,
    lease: timedelta,
    now: datetime,
) -> Verdict:
    """Review a case that was read in this transaction.

    Without the `token` of a claim the case is claimed first. `value` goes with `corrected` and
    no other verdict. On a case shown blind, a value equal to the tool's is recorded as `upheld`.
    Where several people review the case it is the actor's opinion, until two agree; a lead
    settles what all differ on, or decides `alone` where the others do not come.

    Raises:
        NotFound: the case is out of the actor's sight.
        NotAllowed: the actor's role may not review, or not decide alone.
        StaleToken: the claim is over.
        HeldBySomebody, MovedOn: it cannot be claimed.
        OwnDispute, OwnVerdict, AlreadyReviewed, LeadNeeded: the actor may not judge it.
        InvalidInput: the value does not suit the tool or is missing; it or the note breaks
            a limit of the contract; a note is missing where the verdict needs one.
    """
    require_reviewer(actor, case)
    if alone:
        opinions.require_alone(actor, case)
    impartial.require(session, actor, case)
    _require_no_parts(case)
    said = _checked(session, case, verdict, value, actor=actor, note=note)
    require_note(said.verdict, said.note, alone=alone)
    _event(case, said, now=now)
    began = []
    if token is None:
        taken = take(session, actor, case.id, lease=lease, now=now)
        token = taken.claim.token
        if taken.begun:
            began.append(Entry(case.id, Happening.CLAIMED, actor.id, state=CaseState.CLAIMED))
    work = _Work(session, actor, token, began, now)
    if case.reviewers > 1:
        return _review(work, case.id, said, alone=alone)
    return _resolve(work, case, said)


class _Work(NamedTuple):
    """A case in the hands of its claimant, and what has happened to it in this transaction."""

    session: Session
    actor: Actor
    token: str
    entries: list[Entry]
    now: datetime

    def write(self, case_id: int, statement: TextClause, **given: Any) -> None:
        """Move the case, under the claim."""
        given["now"] = self.now
        fenced(self.session, self.actor, case_id, statement, token=self.token, **given)
        clocks.follow(self.session, [case_id], now=self.now)


def _review(work: _Work, case_id: int, said: Opinion, *, alone: bool) -> Verdict:
    """One opinion of several, or the word of a lead who settles what they leave open."""
    # Read anew, and locked: opinions may have come and gone before the claim.
    case = queries.case(work.session, case_id, lock=True)
    impartial.require(work.session, work.actor, case)
    given = opinions.of(work.session, case)
    if case.divided or alone:
        return _resolve(work, case, said, by="adjudication" if case.divided else "alone")
    if any(one.reviewer == said.reviewer for one in given):
        raise AlreadyReviewed("You gave your opinion on this case; somebody else is asked now.")
    found = opinions.standing(case, [*given, said])
    if found.decided is None:
        divided = found.asks is Asks.LEAD
        work.write(case_id, _OPINE, divided=divided)
        _keep(work, case, said)
        if divided:
            work.entries.append(Entry(case_id, Happening.DIVIDED))
        tell(work.session, work.entries, now=work.now)
        return Verdict(None, said.verdict, said.value)
    _keep(work, case, said)
    return _resolve(work, case, found.decided, by="opinions")


def _keep(work: _Work, case: Case, said: Opinion) -> None:
    number = opinions.add(work.session, case, said, now=work.now)
    detail = {"opinion": number}
    work.entries.append(Entry(case.id, Happening.REVIEWED, said.reviewer, detail=detail))


def _resolve(work: _Work, case: Case, said: Opinion, *, by: str | None = None) -> Verdict:
    """Give the case its verdict, and tell all. `by` says what it follows from, where that is not
    the one reviewer's word."""
    verdict, value = judged(said.verdict, said.value, case.value)
    event = _event(case, said, now=work.now)
    work.write(
        case.id,
        _RESOLVE,
        verdict=verdict.value,
        value=None if value is None else to_json(value).decode(),
        by=said.reviewer,
        note=said.note,
        verdict_id=event.event_id,
    )
    detail = {"verdict": verdict.value, **({"by": by} if by else {})}
    entry = Entry(case.id, Happening.RESOLVED, work.actor.id, said.note, detail)
    tell(work.session, [*work.entries, entry], now=work.now)
    outbox.enqueue(work.session, [event.record])
    _count(work.session, case, verdict, now=work.now)
    return Verdict(event.event_id, verdict, value)


def _require_no_parts(case: Case) -> None:
    """Refuse a verdict on a case that others wait for: nobody would look at them again.

    Raises:
        MovedOn: there are some.
    """
    if case.children:
        raise MovedOn(f"{case.children} cases are merged into this one; take them out of it first.")


def _checked(
    session: Session,
    case: Case,
    verdict: VerdictKind,
    value: Any,
    *,
    actor: Actor,
    note: str | None,
) -> Opinion:
    """What the actor says, as they say it, where the tool and the contract take it."""
    written = checked_note(note)
    if verdict is not VerdictKind.CORRECTED:
        if value is not None:
            raise invalid("value", "a value goes with `corrected` only", "Leave it out.")
        if verdict is VerdictKind.UPHELD and case.value is None:
            raise invalid("verdict", "the tool gave no value to uphold", "Give the right value.")
        return Opinion(actor.email, verdict, None, written)
    if value is None:
        raise invalid("value", "`corrected` needs the right value", "Send it as `value`.")
    value = normal_value(value)
    tool = tool_queries.tool(session, case.tool)
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/value")
    if problem is not None:
        raise InvalidInput(f"value: {problem.problem}.", problems=(problem,))
    if same_value(value, case.value) and not case.hidden:
        raise invalid("value", "that is what the tool said", "Send `upheld` instead.")
    return Opinion(actor.email, verdict, value, written)


class _Told:
    """A verdict's event, ready for the log."""

    def __init__(self, event: events.VerdictRecorded | events.VerdictTakenBack) -> None:
        self.event_id = event.id
        self.record = NewRecord(event.topic, event.key, events.encode(event))


def _event(case: Case, said: Opinion, *, now: datetime) -> _Told:
    """`secondlook.verdict.given.v1`; made before anything is written, so that nothing is
    recorded that could not be told.

    Raises:
        InvalidInput: the value or the note is not what the contract takes.
    """
    verdict, value = judged(said.verdict, said.value, case.value)
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
                actor=said.reviewer,
                blind=case.blind,
                trigger=case.trigger,
                note=said.note,
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
        verdict_id = NULL, resolved_at = NULL, blind = false, divided = :divided,
        owner_team = :owner_team, owner_person = :owner_person, team = coalesce(:team, team),
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
    blind case cannot be unseen, so it is not blind any more. A verdict that followed from
    several opinions leaves all but the last of them; while there is none yet, the actor's own
    opinion is taken back.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: somebody else gave the verdict, and the actor is no lead, or one who has a
            part in the case.
        MovedOn: the case has no verdict or another one, or the reopen window is over.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    if case.state in OPEN_STATES and case.reviewers > 1:
        take_opinion_back(session, actor, case, now=now)
        return
    if case.state != CaseState.RESOLVED or case.resolved_at is None:
        raise MovedOn(f"The case is {case.state}; only a verdict just given is undone.")
    if verdict_id is not None and case.verdict_id != verdict_id:
        raise MovedOn(f"{case.verdict_by} has given another verdict since; look at that one first.")
    last = _last_opinion(session, case)
    if actor.email not in (case.verdict_by, last.reviewer if last else None):
        if not actor.may(Verb.TAKE_OVER):
            raise NotAllowed(f"{case.verdict_by} gave this verdict; they or a lead can undo it.")
        impartial.require_none(session, actor, case)
    if last is not None:
        opinions.take_back(session, case, last.reviewer, now=now)
    given_id = case.verdict_id or ""
    event = _event_undone(case, given_id, actor=actor, now=now)
    (owner,) = owners.of_reopened(session, [case], level=case.level)
    given = {
        "id": case_id,
        "verdict_id": given_id,
        "since": now - window,
        "now": now,
        "kept": owner == case.owner,
        "divided": opinions.standing(case, opinions.of(session, case)).asks is Asks.LEAD,
        **owners.columns(owner),
        "team": owners.seen_by(owner),
    }
    if session.execute(_UNDO, given).first() is None:
        raise MovedOn("The time to undo this verdict is over; reopen the case instead.")
    clocks.follow(session, [case_id], now=now, as_of=case.resolved_at)
    entries = [Entry(case_id, Happening.UNDONE, actor.id, detail={"verdict": case.verdict})]
    if owner != case.owner:
        entries.append(passed_over(case_id, case.owner, owner))
    tell(session, entries, now=now)
    outbox.enqueue(session, [event.record])


def _last_opinion(session: Session, case: Case) -> Opinion | None:
    """The opinion that completed a verdict; None where a lead, or one person alone, gave it."""
    given = opinions.of(session, case) if case.reviewers > 1 else []
    decided = opinions.standing(case, given).decided if given else None
    return given[-1] if decided is not None else None


_TAKEN_BACK = text('UPDATE "case" SET divided = :divided, version = version + 1 WHERE id = :id')


def take_opinion_back(session: Session, actor: Actor, case: Case, *, now: datetime) -> None:
    """Let the actor's opinion on a case, locked and not decided, count no longer.

    Raises:
        MovedOn: they gave none.
    """
    if not opinions.take_back(session, case, actor.email, now=now):
        raise MovedOn("You have given no opinion on this case that could be taken back.")
    divided = opinions.standing(case, opinions.of(session, case)).asks is Asks.LEAD
    session.execute(_TAKEN_BACK, {"id": case.id, "divided": divided})
    tell(session, [Entry(case.id, Happening.OPINION_TAKEN_BACK, actor.id)], now=now)


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
