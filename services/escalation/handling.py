"""What people do with cases besides reviewing them: hand over, comment, escalate."""

from collections import Counter
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.escalation import clocks, impartial, ladder, mentions, owners, queries
from services.escalation.answering import Found, ask
from services.escalation.cases import Case
from services.escalation.claims import answers_for, case_for_reviewer, lost, renew, token_number
from services.escalation.errors import MovedOn
from services.escalation.impartial import Parts
from services.escalation.notes import checked_note
from services.escalation.rules import LAST_RESORT, OPEN_STATES, CaseVerb, Owner
from services.escalation.timeline import Entry, Happening, tell, tell_one
from services.escalation.transitions import IS_LIVE, PRESENT, move
from services.kit import counts
from services.kit.errors import NotAllowed, invalid
from services.people.rules import Actor, Verb

_REASSIGN = move(
    CaseVerb.REASSIGN,
    sets=owners.owned_by(":"),
    where=f"""(state <> 'claimed' OR lease_expires_at <= {PRESENT} OR ({IS_LIVE})
        OR :over_holder)""",
    returning="id",
)


def reassign(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    owner: Owner,
    token: str | None = None,
    note: str | None = None,
    now: datetime,
) -> None:
    """Make another person or team accountable. A claim on the case ends.

    Over somebody else's live claim only leads and admins reassign.

    Raises:
        NotAllowed: the actor neither owns the case nor holds it, and is no lead.
        InvalidInput: the new owner does not exist, is not active, is away or may not review, or is
            the last resort.
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is no longer open.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    note = checked_note(note)
    if not answers_for(actor, case):
        raise NotAllowed(f"{case.owner.id} owns this case; they or a lead can hand it on.")
    if owner == LAST_RESORT:
        hint = "Name a person or another team."
        raise invalid("owner", "cases go to the last resort by themselves alone", hint)
    owners.require_able(session, owner, now)
    if owner.kind == "person":
        _require_impartial(session, owner.id, case)
    given = {
        "id": case_id,
        **Found(owner, team=owners.seen_by(owner)).columns,
        "now": now,
        "me": actor.email,
        "token": token_number(token),
        "over_holder": actor.may(Verb.TAKE_OVER),
    }
    if session.execute(_REASSIGN, given).first() is None:
        raise lost(queries.case(session, case_id), now=now)
    clocks.follow(session, [case_id], now=now)
    detail = {"owner": owner.as_answer(), "by": "person"}
    tell_one(session, case_id, Happening.REASSIGNED, actor, now=now, note=note, detail=detail)


def _require_impartial(session: Session, email: str, case: Case) -> None:
    parts = impartial.parts_of(session, email, case.id)
    if parts.own or parts.decided:
        why = f"{email} {_part_in(case, parts)} and may not review it"
        raise invalid("owner", why, "Name another.")


def _part_in(case: Case, parts: Parts) -> str:
    """What somebody has to do with a case, in words; of a blind one not what they think of it."""
    if case.hidden:
        return "has a part in the case"
    if parts.objects:
        return "disputes this output"
    return "corrected this output" if parts.corrected else "gave the verdict that is appealed"


def comment(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    note: str,
    token: str | None = None,
    lease: timedelta,
    now: datetime,
) -> None:
    """Add to the timeline. With a claim's token it also renews the claim.

    Whoever is named with `@` is told, as far as they may see the case.

    Raises:
        StaleToken: the token's claim is over.
        InvalidInput: the note is empty or too long, or mentions somebody who cannot see the case.
    """
    case = case_for_reviewer(session, actor, case_id)
    written = checked_note(note)
    if written is None:
        raise invalid("note", "it is empty", "Write something.")
    if token is not None:
        renew(session, actor, case_id, token=token, lease=lease, now=now)
    people = mentions.mentioned(session, case, written)
    entries = [Entry(case_id, Happening.COMMENTED, actor.id, written)]
    if people:
        entries.append(Entry(case_id, Happening.MENTIONED, actor.id, detail={"people": people}))
    tell(session, entries, now=now)


def escalate(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    level: int,
    note: str | None = None,
    now: datetime,
) -> None:
    """Move the case to the next rung of its ladder, from the level that the actor saw.

    Raises:
        MovedOn: the case is on another level by now, no longer open, or on its last rung.
    """
    case = case_for_reviewer(session, actor, case_id, lock=True)
    note = checked_note(note)
    if case.level != level or case.state not in OPEN_STATES:
        raise MovedOn(f"The case is {case.state} on level {case.level} by now.")
    answers = ask(session, [ladder.above(case)], now=now)
    climbed = ladder.climb(session, case, answers, now=now)
    if climbed is None:
        raise MovedOn("The case is on the last rung of its ladder.")
    counts.add(session, Counter({climbed: 1}), shard=0)
    detail = {"by": "person"}
    tell_one(session, case_id, Happening.ESCALATED, actor, now=now, note=note, detail=detail)
