"""Pauses: a case waits for somebody else, or is put off; its clocks stand, and it wakes by itself.

No pause hides a miss for good: a case is paused for so long in all, and no longer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import clocks, queries
from services.escalation.cases import Case
from services.escalation.claims import answers_for, case_for_reviewer, fenced, lost, token_number
from services.escalation.errors import MovedOn
from services.escalation.notes import checked_note
from services.escalation.rules import CaseVerb
from services.escalation.timeline import Entry, Happening, tell, tell_one
from services.escalation.transitions import IS_LIVE, move
from services.kit.durations import Duration
from services.kit.errors import InvalidInput, NotAllowed, invalid
from services.people.rules import Actor
from services.tools.rules import Trigger

_PAUSE = "paused_since = :now, wakes_at = :until, pause_reason = :reason, pauses = pauses + 1"
_WAIT = move(CaseVerb.WAIT, sets=_PAUSE, returning="id")
_SNOOZE = move(
    CaseVerb.SNOOZE,
    sets=f"{_PAUSE}, wakes_after = :more",
    where=f"(state = 'open' OR ({IS_LIVE}))",
    returning="id",
)


def wait(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    token: str,
    until: datetime,
    reason: str,
    limit: timedelta,
    now: datetime,
) -> None:
    """Let the case wait for something, until a time; the claim on it ends.

    `limit` is how long a case may be paused in all.

    Raises:
        StaleToken: the claim is over.
        InvalidInput: `until` is past, or beyond the limit; there is no reason.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    reason = _checked(case, until, reason, limit=limit, now=now)
    given = {"until": until, "reason": reason, "now": now}
    fenced(session, actor, case_id, _WAIT, token=token, **given)
    _paused(session, actor, case_id, Happening.WAITING, until=until, reason=reason, now=now)


def snooze(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    token: str | None = None,
    until: datetime | None = None,
    more: int | None = None,
    reason: str,
    limit: timedelta,
    now: datetime,
) -> None:
    """Put the case off until a time, or until so many more of the same cause have come, whichever
    is first. Where somebody has claimed it, that is for them to do.

    Raises:
        NotAllowed: a policy asked for a person, or the actor neither owns nor leads.
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is neither open nor claimed.
        InvalidInput: `until` is past, or beyond the limit; there is no reason; nothing else can
            have its cause, or neither is said.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    _require_no_policy(session, case)
    if not may_put_off(actor, case):
        raise NotAllowed(f"{case.owner.id} owns this case; they or a lead can put it off.")
    if more is not None and more < 1:
        raise invalid("more", f"{more} is none that could come", "Write a number from 1 on.")
    if more is not None and case.cause is None:
        problem = "no other case can have the cause of this one"
        raise invalid("more", problem, "Put it off `until` a time.")
    if until is None:
        until = _latest(case, more, limit=limit, now=now)
    reason = _checked(case, until, reason, limit=limit, now=now)
    given = {"id": case_id, "me": actor.email, "token": token_number(token), "more": more}
    if not session.execute(
        _SNOOZE, {**given, "until": until, "reason": reason, "now": now}
    ).first():
        raise lost(queries.case(session, case_id), now=now)
    _paused(session, actor, case_id, Happening.SNOOZED, until=until, reason=reason, now=now)


_POLICY_PART = text("""
SELECT id FROM "case" WHERE incident = :id AND state = 'merged' AND trigger = 'policy' LIMIT 1
""")


def _require_no_policy(session: Session, case: Case) -> None:
    """Refuse to put off what a policy asks a person for, or what answers for such a case."""
    if case.trigger == Trigger.POLICY:
        raise NotAllowed("A policy asks for a person here; such a case cannot be put off.")
    part = session.scalar(_POLICY_PART, {"id": case.id}) if case.children else None
    if part is not None:
        raise NotAllowed(
            f"A policy asks for a person in case {part}, which is part of this one;"
            " such a case cannot be put off."
        )


def _latest(case: Case, more: int | None, *, limit: timedelta, now: datetime) -> datetime:
    """Until when a case is put off of which only is said how many more are to come."""
    if more is None:
        raise invalid("until", "it is not said", "Name a time, or how many `more` are to come.")
    left = limit - case.paused_for
    if left <= timedelta(0):
        raise _paused_enough("more", limit, left, now=now)
    return now + left


def may_put_off(actor: Actor, case: Case) -> bool:
    """Whether somebody who sees a case may put it off: its owner, its claimant or a lead may."""
    return case.trigger != Trigger.POLICY and answers_for(actor, case)


def _checked(case: Case, until: datetime, reason: str, *, limit: timedelta, now: datetime) -> str:
    """The reason of a pause that is possible.

    Raises:
        InvalidInput: it is not.
    """
    written = checked_note(reason)
    if written is None:
        raise invalid("reason", "it is empty", "Write what the case waits for.")
    if until <= now:
        raise invalid("until", "it is past", "Name a time that is still to come.")
    left = limit - case.paused_for
    if until - now > left:
        raise _paused_enough("until", limit, left, now=now)
    return written


def _paused_enough(field: str, limit: timedelta, left: timedelta, *, now: datetime) -> InvalidInput:
    longest = Duration(int(limit.total_seconds()))
    latest = (
        f"The latest is {now + left:%Y-%m-%dT%H:%MZ}."
        if left > timedelta(0)
        else "It cannot be paused any more; decide it, or hand it over."
    )
    return invalid(field, f"a case is paused for {longest} in all, no longer", latest)


def _paused(
    session: Session,
    actor: Actor,
    case_id: int,
    happening: Happening,
    *,
    until: datetime,
    reason: str,
    now: datetime,
) -> None:
    clocks.follow(session, [case_id], now=now)
    clocks.wake_later(session, case_id)
    detail = {"until": until}
    tell_one(session, case_id, happening, actor, now=now, note=reason, detail=detail)


_WAKE = move(CaseVerb.WAKE, which="id = ANY(:cases)", returning="id")


def wake(
    session: Session, actor: Actor, case_id: int, *, note: str | None = None, now: datetime
) -> None:
    """End a pause before its time: there is something new.

    Raises:
        MovedOn: the case is not paused.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    if not wake_up(session, [case_id], actor.id, note=checked_note(note), now=now):
        raise MovedOn(f"The case is {case.state}, not paused.", state=case.state)


def wake_up(
    session: Session,
    cases: Sequence[int],
    who: str,
    *,
    note: str | None = None,
    now: datetime,
) -> set[int]:
    """Open those of these cases that are paused, with what was left of their deadlines."""
    if not cases:
        return set()
    woken = {row.id for row in session.execute(_WAKE, {"cases": list(cases), "now": now})}
    clocks.follow(session, sorted(woken), now=now)
    tell(session, [Entry(id_, Happening.WOKEN, who, note) for id_ in sorted(woken)], now=now)
    return woken
