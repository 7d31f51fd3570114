"""Verdicts taken back within the reopen window: of one case, or of many at once."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, impartial, opinions, queries
from services.escalation.cases import Case, Listed
from services.escalation.claims import case_for_reviewer
from services.escalation.errors import MovedOn
from services.escalation.judgement import Asks, Opinion
from services.escalation.rules import OPEN_STATES, CaseState, CaseVerb, SubjectKind
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.escalation.verdicts import Told
from services.kit.consuming import outbox
from services.kit.errors import NotAllowed
from services.people.rules import Actor, Verb

_WITHOUT_VERDICT = """verdict = NULL, verdict_value = NULL, verdict_by = NULL, verdict_note = NULL,
    verdict_id = NULL, resolved_at = NULL, blind = false, divided = :divided"""
_TOO_LATE = "The time to undo this verdict is over; reopen the case instead."
_UNDO = move(
    CaseVerb.UNDO,
    sets=f"""{_WITHOUT_VERDICT}, owner_team = :owner_team, owner_person = :owner_person,
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
    One that was part of another case is so again; an incident gives back what was decided last.
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
    seen = case_for_reviewer(session, actor, case_id)
    if seen.subject_kind == SubjectKind.INCIDENT and seen.resolved_at is not None:
        undo_together(session, actor, case_id, at=seen.resolved_at, window=window, now=now)
        return
    if seen.merged_at is not None and seen.incident is not None:
        _undo_part(session, actor, seen, verdict_id=verdict_id, window=window, now=now)
        return
    case = case_for_reviewer(session, actor, case_id, lock=True)
    if case.state in OPEN_STATES and case.reviewers > 1:
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
        "kept": found.owner == case.owner,
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
    if case.state != CaseState.RESOLVED:
        raise MovedOn(f"The case is {case.state}; only a verdict just given is undone.")
    if verdict_id is not None and case.verdict_id != verdict_id:
        raise MovedOn(f"{case.verdict_by} has given another verdict since; look at that one first.")
    if actor.email not in (case.verdict_by, last.reviewer if last else None):
        if not actor.may(Verb.TAKE_OVER):
            raise NotAllowed(f"{case.verdict_by} gave this verdict; they or a lead can undo it.")
        impartial.require_none(session, actor, case)


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
    whole, parts = _hold(session, seen.incident or 0, [seen.id])
    _require_undoable(session, actor, parts[0], verdict_id)
    _require_open_again(whole)
    if not _take_back(session, actor, whole, parts, window=window, now=now):
        raise MovedOn(_TOO_LATE)


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

    The cases are part of it again, each due when it was before; so is it, where it was decided
    with the last of them.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: somebody else gave the verdicts, and the actor is no lead.
        MovedOn: there are none, or the reopen window is over.
    """
    case_for_reviewer(session, actor, whole)
    ids = session.scalars(_TOGETHER, {"whole": whole, "at": at}).all()
    case, parts = _hold(session, whole, ids)
    still = [part for part in parts if part.state == CaseState.RESOLVED and part.resolved_at == at]
    if not still:
        raise MovedOn("None of these verdicts stands any more.")
    for part in still:
        _require_undoable(session, actor, part, None)
    _require_open_again(case)
    undone = _take_back(session, actor, case, still, window=window, now=now)
    if not undone:
        raise MovedOn(_TOO_LATE)
    return undone


def _hold(session: Session, whole: int, parts: Sequence[int]) -> tuple[Listed, list[Listed]]:
    """A case and some of its parts, locked in the order in which everybody locks them."""
    held = queries.lock_listed(session, [whole, *parts])
    return held.pop(whole), list(held.values())


def _require_open_again(whole: Listed) -> None:
    """Refuse to give something back to a case that got a verdict of its own."""
    if whole.subject_kind != SubjectKind.INCIDENT and whole.state not in OPEN_STATES:
        raise MovedOn(f"Case {whole.id}, which it is part of, is decided; undo that first.")


_UNDO_PARTS = move(
    CaseVerb.UNDO_PART,
    sets=_WITHOUT_VERDICT.replace(":divided", "false"),
    which="id = ANY(:cases)",
    where="resolved_at > :since",
    returning="id",
)


def _take_back(
    session: Session,
    actor: Actor,
    whole: Listed,
    parts: Sequence[Listed],
    *,
    window: timedelta,
    now: datetime,
) -> list[int]:
    """Take the verdicts of parts back, and open what was decided with them."""
    given = {"cases": [part.id for part in parts], "since": now - window, "now": now}
    undone = {row.id for row in session.execute(_UNDO_PARTS, given)}
    taken_back = [part for part in parts if part.id in undone]
    if whole.state == CaseState.RESOLVED and taken_back:
        _open_whole(session, actor, whole.id, now=now)
    else:
        clocks.count_anew(session, [whole.id])
    entries = [
        Entry(part.id, Happening.UNDONE, actor.id, detail={"verdict": part.verdict})
        for part in taken_back
    ]
    tell(session, entries, now=now)
    told = [_event(part, part.verdict_id or "", actor=actor, now=now) for part in taken_back]
    outbox.enqueue(session, [one.record for one in told])
    return [part.id for part in taken_back]


def _open_whole(session: Session, actor: Actor, whole: int, *, now: datetime) -> None:
    _open_again(session, actor, queries.case(session, whole), since=_EVER, now=now)


_EVER = datetime(1, 1, 1, tzinfo=UTC)
"""A part's verdict decides whether it is too late; what was decided with it is no older."""
