"""Verdicts taken back within the reopen window: of one case, or of many at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, impartial, merging, opinions, queries
from services.escalation.cases import Case, Listed
from services.escalation.claims import case_for_reviewer
from services.escalation.errors import MovedOn, OwnDispute
from services.escalation.judgement import Asks, Opinion
from services.escalation.models import OPEN
from services.escalation.owners import owned_by
from services.escalation.parts import ELSEWHERE
from services.escalation.rules import OPEN_STATES, CaseState, CaseVerb, SubjectKind
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.escalation.verdicts import Told
from services.kit.consuming import outbox
from services.kit.errors import NotAllowed, SecondlookError
from services.kit.locks import Lock, lock_each
from services.people.rules import Actor, Verb

OPINION = "opinion"
"""Named instead of a verdict by whoever takes their own opinion back."""
_NO_VERDICT = """verdict = NULL, verdict_value = NULL, verdict_by = NULL, verdict_note = NULL,
    verdict_id = NULL, resolved_at = NULL, blind = false"""
_TOO_LATE = "The time to undo this verdict is over; reopen the case instead."
_UNDO = move(
    CaseVerb.UNDO,
    sets=f"{_NO_VERDICT}, divided = :divided, {owned_by(':')}",
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
    One that was part of another case is so again; an incident gives back what was decided last.
    Where its owner is gone by now, the next of its ladder, its team or an admin is the owner.
    Whoever heard of the verdict hears that it counts no longer. What its reviewer saw of a
    blind case cannot be unseen, so it is not blind any more. A verdict that followed from
    several opinions leaves all but the last of them; while there is none yet, and none or
    `OPINION` is named, the actor's own opinion is taken back.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: somebody else gave the verdict, and the actor is no lead, or one who has a
            part in the case.
        MovedOn: the case has no verdict or another one, or the reopen window is over.
    """
    seen = case_for_reviewer(session, actor, case_id)
    if seen.subject_kind == SubjectKind.INCIDENT and seen.resolved_at is not None:
        _require_seen(seen, verdict_id)
        undo_together(session, actor, case_id, at=seen.resolved_at, window=window, now=now)
        return
    if seen.merged_at is not None and seen.incident is not None:
        _undo_part(session, actor, seen, verdict_id=verdict_id, window=window, now=now)
        return
    case = case_for_reviewer(session, actor, case_id, lock=True)
    if case.state in OPEN_STATES and case.reviewers > 1 and verdict_id in (None, OPINION):
        take_opinion_back(session, actor, case, now=now)
        return
    last = _last_opinion(session, case) if case.state == CaseState.RESOLVED else None
    _require_undoable(session, actor, case, verdict_id, last=last)
    if last is not None:
        opinions.take_back(session, case, last.reviewer, now=now)
    event = _event(case, case.verdict_id or "", actor=actor, now=now)
    _open_again(session, actor, case, since=now - window, now=now)
    outbox.enqueue(session, [event.record])


def _open_again(
    session: Session, actor: Actor, case: Case, *, since: datetime, now: datetime
) -> None:
    """Open a case, locked, as if it had never had its verdict.

    Raises:
        MovedOn: it is older than `since`.
    """
    (found,) = answering.of_reopened(session, [case], now=now)
    given = {
        "id": case.id,
        "verdict_id": case.verdict_id,
        "since": since,
        "now": now,
        "divided": opinions.standing(case, opinions.of(session, case)).asks is Asks.LEAD,
        **found.columns,
    }
    if session.execute(_UNDO, given).first() is None:
        raise MovedOn(_TOO_LATE)
    clocks.follow(session, [case.id], now=now, as_of=case.resolved_at)
    entries = [Entry(case.id, Happening.UNDONE, actor.id, detail={"verdict": case.verdict})]
    entries += answering.told_again(case, found)
    tell(session, entries, now=now)


def _require_undoable(
    session: Session,
    actor: Actor,
    case: Listed,
    verdict_id: str | None,
    *,
    last: Opinion | None = None,
) -> None:
    """Refuse to take back what is none of the actor's verdicts, or another than they saw.

    Raises:
        NotAllowed: somebody else gave the verdict, and the actor is no lead, or one who has a
            part in the case.
        MovedOn: the case has no verdict, or another one.
    """
    _require_theirs(actor, case, verdict_id, last=last)
    if actor.email not in (case.verdict_by, last.reviewer if last else None):
        impartial.require_none(session, actor, case)


def _require_theirs(
    actor: Actor, case: Listed, verdict_id: str | None, *, last: Opinion | None = None
) -> None:
    if case.state != CaseState.RESOLVED:
        raise MovedOn(f"The case is {case.state}; only a verdict just given is undone.")
    _require_seen(case, verdict_id)
    theirs = actor.email in (case.verdict_by, last.reviewer if last else None)
    if not theirs and not actor.may(Verb.TAKE_OVER):
        raise NotAllowed(f"{case.verdict_by} gave this verdict; they or a lead can undo it.")


def _require_seen(case: Listed, verdict_id: str | None) -> None:
    if verdict_id is not None and case.verdict_id != verdict_id:
        raise MovedOn(f"{case.verdict_by} has given another verdict since; look at that one first.")


def _last_opinion(session: Session, case: Case) -> Opinion | None:
    """The opinion that completed a verdict; None where a lead, or one person alone, gave it."""
    given = opinions.of(session, case) if case.reviewers > 1 else []
    decided = opinions.standing(case, given).decided if given else None
    counted = [one for one in given if one.counts]
    return counted[-1] if decided is not None else None


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


def _event(case: Listed, verdict_id: str, *, actor: Actor, now: datetime) -> Told:
    """`secondlook.verdict.undone.v1`."""
    return Told(
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


# --- of cases that are part of another one --------------------------------------------------


def _undo_part(
    session: Session,
    actor: Actor,
    seen: Case,
    *,
    verdict_id: str | None,
    window: timedelta,
    now: datetime,
) -> None:
    found = undo_parts(session, actor, [seen.id], verdict_id=verdict_id, window=window, now=now)
    for refused in found.skipped.values():
        raise refused


_TOGETHER = text("""
SELECT id FROM "case"
WHERE incident = :whole AND state = 'resolved' AND resolved_at = :at AND merged_at IS NOT NULL
""")


def undo_together(
    session: Session,
    actor: Actor,
    whole: int,
    *,
    at: datetime,
    window: timedelta,
    now: datetime,
) -> list[int]:
    """Take back the verdicts that parts of a case got together, at a moment; answers whose.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: somebody else gave the verdicts, and the actor is no lead.
        MovedOn: there are none, or the reopen window is over.
    """
    case_for_reviewer(session, actor, whole)
    ids = session.scalars(_TOGETHER, {"whole": whole, "at": at}).all()
    found = undo_parts(session, actor, ids, at=at, window=window, now=now)
    if not found.done:
        gone = MovedOn("None of these verdicts stands any more.")
        raise next(iter(found.skipped.values()), gone)
    return found.done


class Undone(NamedTuple):
    """Whose verdicts were taken back, and why others were not."""

    done: list[int]
    skipped: dict[int, SecondlookError]
    wholes: list[int]
    """Incidents that were decided with them, and are open again, too."""


_CAUSES = text("""
SELECT DISTINCT w.cause FROM "case" p JOIN "case" w ON w.id IN (p.id, p.incident)
WHERE p.id = ANY(:ids) AND w.cause IS NOT NULL
""")
_OPEN_INCIDENTS = text(f"""
SELECT id, cause FROM "case" WHERE cause = ANY(:causes) AND subject_kind = 'incident' AND {OPEN}
""")


def hold_causes(session: Session, ids: Sequence[int]) -> list[str]:
    """Nobody opens an incident of the cause of these cases until the transaction ends; answers
    the causes. Call it before any case is locked."""
    causes = list(session.scalars(_CAUSES, {"ids": list(ids)}))
    lock_each(session, Lock.OPEN_BY_CAUSE, causes)
    return causes


_DECIDED_PARTS = text("""
SELECT id FROM "case" WHERE incident = ANY(:ids) AND state = 'resolved'
""")


def undone_with(session: Session, ids: Sequence[int]) -> list[int]:
    """What undoing these cases may change beside them: parts of incidents among them, and the
    incidents that take parts back. Call it before any case is locked."""
    parts = session.scalars(_DECIDED_PARTS, {"ids": list(ids)}).all()
    causes = hold_causes(session, [*ids, *parts])
    taking = session.execute(_OPEN_INCIDENTS, {"causes": causes})
    return [*parts, *(row.id for row in taking)]


def undo_parts(
    session: Session,
    actor: Actor,
    ids: Sequence[int],
    *,
    verdict_id: str | None = None,
    at: datetime | None = None,
    window: timedelta,
    now: datetime,
) -> Undone:
    """Take back the verdicts of cases that were part of another one, where they may be.

    They are part of it again, each due when it was before; an incident that was decided with them
    is open again, too. Where there is another one of its cause by now, they are part of that.

    Args:
        session: the transaction.
        actor: who gave the verdicts, or a lead.
        ids: which cases.
        verdict_id: the verdict that the actor saw, if they say so.
        at: when the verdicts were given, if they say so.
        window: how long a verdict can be taken back.
        now: the time.
    """
    causes = hold_causes(session, ids)
    open_now = {row.cause: row.id for row in session.execute(_OPEN_INCIDENTS, {"causes": causes})}
    wholes = queries.wholes(session, ids)
    held = queries.lock_listed(session, {*ids, *wholes, *open_now.values()})
    own = impartial.own_of(session, actor.email, ids)
    found, into = Undone([], {}, []), dict[tuple[int, int], list[Listed]]()
    for id_ in ids:
        try:
            part = held[id_]
            _require_part_undoable(actor, part, verdict_id, at, barred=own.get(id_))
            whole = held[part.incident or 0]
            if not queries.sees(actor, whole):
                raise NotAllowed(ELSEWHERE)
            target = _taken_by(whole, open_now.get(whole.cause or ""))
            into.setdefault((whole.id, target), []).append(part)
        except SecondlookError as refused:
            found.skipped[id_] = refused
    for (whole_id, target), parts in into.items():
        done = _take_back(session, actor, held[whole_id], target, parts, now - window, now=now)
        found.done.extend(done)
        if done and target == whole_id and held[whole_id].state == CaseState.RESOLVED:
            found.wholes.append(whole_id)
        late = (part.id for part in parts if part.id not in done)
        found.skipped.update((id_, MovedOn(_TOO_LATE)) for id_ in late)
    return found


def _require_part_undoable(
    actor: Actor, part: Listed, verdict_id: str | None, at: datetime | None, *, barred: str | None
) -> None:
    """Refuse what is no verdict on a part, or none of those that the actor means or may undo."""
    queries.require_sight(actor, part)
    gone = part.merged_at is None or part.incident is None
    if gone or (at is not None and part.resolved_at != at):
        raise MovedOn("The verdict does not stand any more.")
    _require_theirs(actor, part, verdict_id)
    if part.verdict_by != actor.email and barred is not None:
        raise OwnDispute(barred)


def _taken_by(whole: Listed, open_now: int | None) -> int:
    """The case that takes parts of a whole back: it or the incident of its cause that is open.

    Raises:
        MovedOn: it got a verdict of its own, or is closed.
    """
    if whole.state in OPEN_STATES:
        return whole.id
    if whole.subject_kind != SubjectKind.INCIDENT:
        raise MovedOn(f"Case {whole.id}, which it is part of, is decided; undo that first.")
    if open_now is not None:
        return open_now
    if whole.state != CaseState.RESOLVED:
        raise MovedOn(_TOO_LATE)
    return whole.id


_UNDO_PARTS = move(
    CaseVerb.UNDO_PART,
    sets=f"{_NO_VERDICT}, divided = false, incident = :into",
    which="id = ANY(:cases)",
    where="resolved_at > :since",
    returning="id",
)


def _take_back(
    session: Session,
    actor: Actor,
    whole: Listed,
    into: int,
    parts: Sequence[Listed],
    since: datetime,
    *,
    now: datetime,
) -> list[int]:
    """Take the verdicts of parts back, and open what was decided with them."""
    given = {"cases": [part.id for part in parts], "since": since, "into": into, "now": now}
    undone = {row.id for row in session.execute(_UNDO_PARTS, given)}
    taken_back = [part for part in parts if part.id in undone]
    entries = [
        Entry(part.id, Happening.UNDONE, actor.id, detail={"verdict": part.verdict})
        for part in taken_back
    ]
    if taken_back and into != whole.id:
        merging.count_children(session, [whole.id, into])
        entries.append(Entry(into, Happening.JOINED, actor.id, detail={"cases": len(undone)}))
    if taken_back and into == whole.id and whole.state == CaseState.RESOLVED:
        # A part's verdict decides whether it is too late; what was decided with it is no older.
        _open_again(session, actor, queries.case(session, whole.id), since=_EVER, now=now)
    else:
        clocks.count_anew(session, [into])
    tell(session, entries, now=now)
    told = [_event(part, part.verdict_id or "", actor=actor, now=now) for part in taken_back]
    outbox.enqueue(session, [one.record for one in told])
    return [part.id for part in taken_back]


_EVER = datetime(1, 1, 1, tzinfo=UTC)
