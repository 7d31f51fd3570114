"""Verdicts on cases that are part of another one: together, each with one of its own.

Whoever decides them holds the case that they are part of; that one is decided with the last.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks, impartial, pauses, queries
from services.escalation.cases import Listed
from services.escalation.claims import case_for_reviewer, lost, release, take
from services.escalation.errors import MovedOn
from services.escalation.judgement import Opinion
from services.escalation.notes import checked_note, require_note
from services.escalation.rules import PAUSED, CaseState, CaseVerb, SubjectKind
from services.escalation.timeline import Entry, Happening, tell, tell_one
from services.escalation.transitions import move
from services.escalation.verdicts import (
    THE_ONLY_ONE,
    Ending,
    Told,
    count,
    end_whole,
    given_event,
    has_parts,
    suited,
)
from services.kit.consuming import outbox
from services.kit.errors import SecondlookError
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.rules import VerdictKind

_AT_ONCE = 1_000
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict as somebody gives it to many cases; `value` goes with `corrected`."""

    verdict: VerdictKind
    value: Any = None
    note: str | None = None


@dataclass(slots=True)
class Decided:
    """What became of cases that were to be decided together."""

    done: list[int] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    """Why not, by case."""
    alone: set[int] = field(default_factory=set)
    """Those that an admin decides who has a part in them, as nobody else is left."""
    wholes: list[int] = field(default_factory=list)
    """Incidents of which the last was among them, and which are decided with it."""


class _Given(NamedTuple):
    """What a case is given."""

    case: Listed
    verdict: VerdictKind
    value: Any
    told: Told
    by: str | None
    """What it follows from, where that is not the one reviewer's word."""


class _Whole(NamedTuple):
    """A case whose parts are decided, in the hands of whoever decides them."""

    id: int
    is_incident: bool
    token: str
    begun: bool
    """The claim did just now, and so ends with the work."""


ELSEWHERE = "It is part of a case of another team; whoever answers for that one decides it."
_Suiting = tuple[Listed, VerdictKind, Any]
"""A case, and the verdict and value that it gets."""


@dataclass(frozen=True, slots=True)
class _Work:
    """A judgement in the hands of somebody, in a transaction."""

    session: Session
    actor: Actor
    judgement: Judgement
    note: str | None
    now: datetime


def decide(
    session: Session,
    actor: Actor,
    ids: Sequence[int],
    judgement: Judgement,
    *,
    lease: timedelta,
    now: datetime,
) -> Decided:
    """Give a verdict to each of these cases that is part of another one, and that it suits.

    Raises:
        NotAllowed: the actor's role may not review.
        InvalidInput: the note breaks a limit, or is missing where the verdict needs one.
    """
    actor.require(Verb.REVIEW)
    note = checked_note(judgement.note)
    require_note(judgement.verdict, note)
    work = _Work(session, actor, judgement, note, now)
    held = queries.lock_listed(session, {*queries.wholes(session, ids), *ids})
    decided = Decided(skipped={id_: str(queries.missing(id_)) for id_ in ids if id_ not in held})
    there = [held[id_] for id_ in dict.fromkeys(ids) if id_ in held]
    wholes = {id_: held[id_] for id_ in {one.incident for one in there} if id_ in held}
    refused = {id_: why for id_, one in wholes.items() if (why := _why_refused(actor, one, now))}
    suiting = [
        one
        for some in _in_parts(there)
        for one in _suiting(session, actor, judgement, some, decided, held=wholes, refused=refused)
    ]
    # Nothing happens to a case of which nothing is decided.
    claims = [_claim(work, wholes[id_], lease=lease) for id_ in _wholes_of(suiting)]
    last: dict[int, _Given] = {}
    for several in _in_parts(suiting):
        given = [_given(work, *one, alone=decided.alone) for one in several]
        decided.done += [one.case.id for one in given]
        _resolve(work, given)
        last |= {one.case.incident: one for one in given if one.case.incident is not None}
    decided.wholes = [one.id for one in claims if _end(work, one, last.get(one.id))]
    return decided


def _wholes_of(suiting: Sequence[_Suiting]) -> list[int]:
    """What these cases are part of, in the order in which everybody locks them."""
    return sorted({case.incident for case, _, _ in suiting if case.incident is not None})


def _why_refused(actor: Actor, whole: Listed, now: datetime) -> str | None:
    """Why the parts of a case are not for this actor to decide: they may not see it, or somebody
    else holds it."""
    if not queries.sees(actor, whole):
        return ELSEWHERE
    held = whole.lease_expires_at is not None and whole.lease_expires_at > now
    return lost(whole, now=now).detail if held and whole.claimant != actor.email else None


def _in_parts(listed: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many at once as hold little memory, however many there are."""
    for begin in range(0, len(listed), _AT_ONCE):
        yield listed[begin : begin + _AT_ONCE]


_MERGED = text("""
SELECT id FROM "case" WHERE incident = :whole AND state = 'merged'
    AND (CAST(:among AS bigint[]) IS NULL OR id = ANY(:among))
ORDER BY due_at, id
""")


def merged_into(
    session: Session, actor: Actor, whole: int, *, among: Sequence[int] | None = None
) -> list[Listed]:
    """The cases that are part of another one, of these or of all, the soonest due first.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor's role may not review.
    """
    case_for_reviewer(session, actor, whole)
    given = {"whole": whole, "among": list(among) if among is not None else None}
    ids = session.scalars(_MERGED, given).all()
    held = queries.listed_cases(session, ids)
    return [held[id_] for id_ in ids]


def preview(
    session: Session, actor: Actor, cases: Sequence[Listed], judgement: Judgement
) -> Decided:
    """What `decide` would do to these, but for what others do meanwhile; nothing is changed."""
    found = Decided()
    wholes = {case.incident for case in cases}
    for case, _, _ in _suiting(session, actor, judgement, cases, found, held=wholes):
        found.done.append(case.id)
    return found


def _claim(work: _Work, whole: Listed, *, lease: timedelta) -> _Whole:
    """Take a case, awake."""
    if whole.state in PAUSED:
        pauses.wake_up(work.session, [whole.id], work.actor.id, now=work.now)
    taken = take(work.session, work.actor, whole.id, lease=lease, now=work.now)
    if taken.begun:
        tell_one(work.session, whole.id, Happening.CLAIMED, work.actor, now=work.now)
    is_incident = whole.subject_kind == SubjectKind.INCIDENT
    return _Whole(whole.id, is_incident, taken.claim.token, taken.begun)


def _suiting(
    session: Session,
    actor: Actor,
    said: Judgement,
    cases: Sequence[Listed],
    decided: Decided,
    *,
    held: Container[int | None],
    refused: Mapping[int, str] = MappingProxyType({}),
) -> Iterator[_Suiting]:
    """The cases that a judgement suits, with what it is for them; of the others it is kept why
    not."""
    own = impartial.own_of(session, actor.email, [case.id for case in cases])
    alone = impartial.left_alone_with(session, actor, own)
    tools = {slug: tool_queries.tool(session, slug) for slug in {one.tool for one in cases}}
    for case in cases:
        why = _why_not(actor, case, held) or refused.get(case.incident or 0)
        why = why or (own.get(case.id) if case.id not in alone else None)
        try:
            if why is not None:
                raise MovedOn(why)
            value = suited(tools[case.tool], case, said.verdict, said.value)
        except SecondlookError as error:
            decided.skipped[case.id] = error.detail
        else:
            decided.alone |= {case.id} & alone
            yield case, said.verdict, value


def _why_not(actor: Actor, case: Listed, held: Container[int | None]) -> str | None:
    """Why a case cannot be decided with others, in words."""
    if not queries.sees(actor, case):
        return str(queries.missing(case.id))
    if case.state != CaseState.MERGED or case.incident not in held:
        return f"The case is {case.state}."
    if case.hidden:
        return "It is shown blind: look at it by itself."
    return None


def _given(
    work: _Work, case: Listed, verdict: VerdictKind, value: Any, *, alone: Container[int]
) -> _Given:
    said = Opinion(work.actor.email, verdict, value, work.note)
    told = given_event(case, said, now=work.now)
    return _Given(case, verdict, value, told, THE_ONLY_ONE if case.id in alone else None)


_RESOLVE_PARTS = move(
    CaseVerb.RESOLVE_PART,
    sets="""resolved_at = :now, verdict = g.verdict, verdict_value = g.value, verdict_by = :me,
        verdict_note = :note, verdict_id = g.verdict_id""",
    given="""json_to_recordset(CAST(:rows AS json))
        AS g(case_id bigint, verdict text, value jsonb, verdict_id text)""",
    which="id = g.case_id",
    returning="id",
)


def _resolve(work: _Work, given: Sequence[_Given]) -> None:
    """Write these verdicts, and tell of them."""
    if not given:
        return
    rows = [
        {
            "case_id": one.case.id,
            "verdict": one.verdict,
            "value": one.value,
            "verdict_id": one.told.event_id,
        }
        for one in given
    ]
    said = {"rows": to_json(rows).decode(), "me": work.actor.email, "note": work.note}
    work.session.execute(_RESOLVE_PARTS, {**said, "now": work.now})
    entries = [
        Entry(
            one.case.id,
            Happening.RESOLVED,
            work.actor.id,
            work.note,
            {
                "verdict": one.verdict,
                "incident": one.case.incident,
                **({"by": one.by} if one.by else {}),
            },
        )
        for one in given
    ]
    tell(work.session, entries, now=work.now)
    outbox.enqueue(work.session, [one.told.record for one in given])
    count(work.session, [(one.case, one.verdict) for one in given], now=work.now)


def _end(work: _Work, whole: _Whole, last: _Given | None) -> bool:
    """Decide an incident that nothing is left of, with the last; else let go of what was only
    taken for this."""
    decided = last is not None and whole.is_incident and not has_parts(work.session, whole.id)
    if decided and last is not None:
        _decide_whole(work, whole, last)
    elif whole.begun:
        release(work.session, work.actor, whole.id, token=whole.token, now=work.now)
    clocks.count_anew(work.session, [whole.id])
    return decided


def _decide_whole(work: _Work, whole: _Whole, last: _Given) -> None:
    value = None if last.value is None else to_json(last.value).decode()
    ending = Ending(last.verdict, value, last.told.event_id, work.note)
    end_whole(work.session, work.actor, whole.id, ending, token=whole.token, now=work.now)
