"""Verdicts: given under a claim, closed after the reopen window."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.escalation import clocks, impartial, opinions
from services.escalation.cases import Case, Listed
from services.escalation.claims import fenced, require_reviewer, take
from services.escalation.errors import AlreadyReviewed, MovedOn
from services.escalation.judgement import Asks, Opinion, judged
from services.escalation.notes import checked_note, require_note
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
        verdict_by = :by, verdict_note = :note, verdict_id = :verdict_id, divided = false""",
    where=f"NOT {_HAS_PARTS}",
    returning="id",
)
_OPINE = move(
    CaseVerb.OPINE,
    sets="divided = :divided",
    where=f"NOT {_HAS_PARTS} AND reviewers > 1",
    returning="id",
)


THE_ONLY_ONE = "the only one left"
"""What the verdict of an admin follows from who has a part in the case, as nobody else is left."""


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
    """Review a case that was read, and locked, in this transaction: what it is refused for is what
    it is, whatever others do meanwhile.

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
    _require_no_parts(session, case)
    said = _checked(session, case, verdict, value, actor=actor, note=note)
    require_note(said.verdict, said.note, alone=alone)
    given_event(case, said, now=now)
    began = []
    if token is None:
        taken = take(session, actor, case.id, lease=lease, now=now)
        token = taken.claim.token
        if taken.begun:
            began.append(Entry(case.id, Happening.CLAIMED, actor.id, state=CaseState.CLAIMED))
    work = _Work(session, actor, token, began, now)
    if case.reviewers > 1:
        if began:
            # After one opinion of several the case is open again, and its clock goes on.
            clocks.follow(session, [case.id], now=now)
        return _review(work, case, said, alone=alone)
    return _resolve(work, case, said, by=_exception(work, case))


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


def _review(work: _Work, case: Case, said: Opinion, *, alone: bool) -> Verdict:
    """One opinion of several, or the word of a lead who settles what they leave open."""
    given = opinions.of(work.session, case)
    by = _exception(work, case) or ("adjudication" if case.divided else "alone" if alone else None)
    if by is not None:
        return _resolve(work, case, said, by=by)
    if any(one.reviewer == said.reviewer for one in given):
        raise AlreadyReviewed("You gave your opinion on this case; somebody else is asked now.")
    found = opinions.standing(case, [*given, said])
    if found.decided is None:
        divided = found.asks is Asks.LEAD
        work.write(case.id, _OPINE, divided=divided)
        _keep(work, case, said)
        if divided:
            work.entries.append(Entry(case.id, Happening.DIVIDED))
        tell(work.session, work.entries, now=work.now)
        return Verdict(None, said.verdict, said.value)
    _keep(work, case, said)
    return _resolve(work, case, found.decided, by="opinions")


def _exception(work: _Work, case: Case) -> str | None:
    """That an admin decides of their own affair, as nobody else is left."""
    return THE_ONLY_ONE if impartial.left_alone(work.session, work.actor, case) else None


def _keep(work: _Work, case: Case, said: Opinion) -> None:
    number = opinions.add(work.session, case, said, now=work.now)
    detail = {"opinion": number}
    work.entries.append(Entry(case.id, Happening.REVIEWED, said.reviewer, detail=detail))


def _resolve(work: _Work, case: Case, said: Opinion, *, by: str | None = None) -> Verdict:
    """Give the case its verdict, and tell all. `by` says what it follows from, where that is not
    the one reviewer's word."""
    verdict, value = judged(said.verdict, said.value, case.value)
    event = given_event(case, said, now=work.now)
    work.write(
        case.id,
        RESOLVE,
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
    count(work.session, [(case, verdict)], now=work.now)
    return Verdict(event.event_id, verdict, value)


class Ending(NamedTuple):
    """What a case is decided as with the last of its parts: what was said of that one."""

    verdict: str
    value: str | None
    """As JSON."""
    verdict_id: str
    note: str | None


def end_whole(
    session: Session, actor: Actor, whole: int, ending: Ending, *, token: str, now: datetime
) -> None:
    """Decide a case that none is part of any more, under the actor's claim on it.

    Raises:
        StaleToken: that claim is over.
    """
    given = {"by": actor.email, "now": now, **ending._asdict()}
    fenced(session, actor, whole, RESOLVE, token=token, **given)
    clocks.follow(session, [whole], now=now)
    detail = {"verdict": ending.verdict}
    tell(session, [Entry(whole, Happening.RESOLVED, actor.id, ending.note, detail)], now=now)


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
    said = suited(tool_queries.tool(session, case.tool), case, verdict, value)
    return Opinion(actor.email, verdict, said, written)


def suited(tool: ToolInfo, case: Listed, verdict: VerdictKind, value: Any) -> Any:
    """The value that goes with a verdict on a case of this tool, as it is kept.

    Raises:
        InvalidInput: the two suit neither each other nor the case.
    """
    if verdict is not VerdictKind.CORRECTED:
        if value is not None:
            raise invalid("value", "a value goes with `corrected` only", "Leave it out.")
        if verdict is VerdictKind.UPHELD and case.value is None:
            raise invalid("verdict", "the tool gave no value to uphold", "Give the right value.")
        return None
    if value is None:
        raise invalid("value", "`corrected` needs the right value", "Send it as `value`.")
    value = normal_value(value)
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/value")
    if problem is not None:
        raise InvalidInput(f"value: {problem.problem}.", problems=(problem,))
    if same_value(value, case.value) and not case.hidden:
        raise invalid("value", "that is what the tool said", "Send `upheld` instead.")
    return value


class Told:
    """A verdict's event, ready for the log."""

    def __init__(self, event: events.VerdictRecorded | events.VerdictTakenBack) -> None:
        self.event_id = event.id
        self.record = NewRecord(event.topic, event.key, events.encode(event))


def given_event(case: Listed, said: Opinion, *, now: datetime) -> Told:
    """`secondlook.verdict.given.v1`; made before anything is written, so that nothing is
    recorded that could not be told.

    Raises:
        InvalidInput: the value or the note is not what the contract takes.
    """
    verdict, value = judged(said.verdict, said.value, case.value)
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
    # As an array it is looked for once; joined, the limit would hold for each row anew.
    which="""id = ANY(ARRAY(
        SELECT id FROM "case" WHERE state = 'resolved' AND resolved_at <= :before
        ORDER BY resolved_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
    returning="id",
)


def close_resolved(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Close the cases resolved before `before`; answers how many."""
    given = {"now": now, "before": before, "limit": limit}
    closed = [row.id for row in session.execute(_CLOSE, given)]
    tell(session, [Entry(id_, Happening.CLOSED) for id_ in closed], now=now)
    return len(closed)
