"""Claims: the work on a case, held by one person for as long as a lease runs.

Every write by a claimant is fenced: it names the claim (`token`) that it acts under, and
the database changes the row only while that very claim is live.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.escalation import clocks, impartial, queries
from services.escalation.cases import Case, Listed
from services.escalation.errors import HeldBySomebody, MovedOn, StaleToken
from services.escalation.rules import CaseState, CaseVerb, Owner
from services.escalation.timeline import Entry, Happening, tell, tell_one
from services.escalation.transitions import IS_LIVE, PRESENT, move
from services.people.rules import Actor, Verb


class Claim(NamedTuple):
    """A live claim."""

    token: str
    """Stands for it in every later write by the claimant."""
    expires_at: datetime


_MINE = f"claimant = :me AND lease_expires_at > {PRESENT}"
_CLAIM = move(
    CaseVerb.CLAIM,
    sets=f"""claim_seq = CASE WHEN {_MINE} THEN claim_seq ELSE claim_seq + 1 END,
        claimed_at = CASE WHEN {_MINE} THEN claimed_at ELSE :now END, due_at = resolve_due_at""",
    where=f"(state = 'open' OR claimant = :me OR lease_expires_at <= {PRESENT})",
    returning="claim_seq, lease_expires_at, claimed_at = :now AS begun",
)


def claim(
    session: Session, actor: Actor, case_id: int, *, lease: timedelta, now: datetime
) -> Claim:
    """Take the case for as long as the lease runs; a second claim by the holder renews it.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor's role may not review, or they may not judge this case: they
            disputed the output, decided what is appealed, or gave an opinion already.
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is no longer open.
    """
    case = case_for_reviewer(session, actor, case_id)
    impartial.require(session, actor, case)
    taken = take(session, actor, case_id, lease=lease, now=now)
    if taken.begun:
        clocks.follow(session, [case_id], now=now)
        tell_one(session, case_id, Happening.CLAIMED, actor, now=now)
    return taken.claim


class Taken(NamedTuple):
    """A claim, and whether it began just now or was the actor's already."""

    claim: Claim
    begun: bool


def take(session: Session, actor: Actor, case_id: int, *, lease: timedelta, now: datetime) -> Taken:
    """Take a case that the actor is known to be allowed to; its clock and timeline are not touched.

    Raises:
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is no longer open.
    """
    given = {"id": case_id, "me": actor.email, "now": now, "until": now + lease}
    won = session.execute(_CLAIM, given).first()
    if won is None:
        raise lost(queries.case(session, case_id), now=now)
    return Taken(Claim(str(won.claim_seq), won.lease_expires_at), won.begun)


_RELEASE = move(CaseVerb.RELEASE, returning="id")


def release(session: Session, actor: Actor, case_id: int, *, token: str, now: datetime) -> None:
    """Give the case back; its claim deadline goes on with what was left of it.

    Raises:
        StaleToken: the claim is over already.
    """
    case_for_reviewer(session, actor, case_id)
    fenced(session, actor, case_id, _RELEASE, token=token, now=now)
    clocks.follow(session, [case_id], now=now)
    tell_one(session, case_id, Happening.RELEASED, actor, now=now)


_RENEW = text(f"""
UPDATE "case" SET lease_expires_at = :until, version = version + 1
WHERE id = :id AND state = 'claimed' AND {IS_LIVE} RETURNING id
""")


def renew(
    session: Session, actor: Actor, case_id: int, *, token: str, lease: timedelta, now: datetime
) -> None:
    """Hold the case for another lease.

    Raises:
        StaleToken: the claim is over.
    """
    fenced(session, actor, case_id, _RENEW, token=token, now=now, until=now + lease)


# --- claims that end by themselves ----------------------------------------------------------

_EXPIRE = move(
    CaseVerb.EXPIRE,
    # As an array it is looked for once; joined, the limit would hold for each row anew.
    which="""id = ANY(ARRAY(
        SELECT id FROM "case" WHERE state = 'claimed' AND lease_expires_at <= :now
        ORDER BY lease_expires_at LIMIT :limit FOR UPDATE SKIP LOCKED))""",
    returning="id",
)
_DROP = move(
    CaseVerb.DROP,
    which="id = ANY(:cases) AND claimant = :email",
    returning="id",
)


def expire_leases(session: Session, *, now: datetime, limit: int = 100) -> int:
    """Free the cases whose claim has run out; answers how many."""
    freed = [row.id for row in session.execute(_EXPIRE, {"now": now, "limit": limit})]
    _freed(session, freed, by="lease", now=now)
    return len(freed)


def drop_claims(
    session: Session, email: str, cases: Sequence[int], *, by: str, now: datetime
) -> None:
    """Free those of these cases, locked already, that somebody holds who can go on with them no
    more; `by` says through what."""
    freed = [row.id for row in session.execute(_DROP, {"cases": list(cases), "email": email})]
    _freed(session, freed, by=by, now=now)


def _freed(session: Session, cases: Sequence[int], *, by: str, now: datetime) -> None:
    if cases:
        clocks.follow(session, cases, now=now)
        detail = {"by": by}
        tell(session, [Entry(id_, Happening.RELEASED, detail=detail) for id_ in cases], now=now)


# --- what every verb on a case begins with --------------------------------------------------


def case_for_reviewer(session: Session, actor: Actor, case_id: int, *, lock: bool = False) -> Case:
    """A case in sight of an actor who may work on it.

    A verb that asks who can own the case has it locked first. Everybody locks cases before
    teams and people, so that no two wait for each other.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor's role may not review.
    """
    case = queries.case_for(session, actor, case_id, lock=lock)
    require_reviewer(actor, case)
    return case


def require_reviewer(actor: Actor, case: Case) -> None:
    """Refuse whoever may not work on a case.

    Raises:
        NotFound: the case is out of the actor's sight.
        NotAllowed: the actor's role may not review.
    """
    queries.require_sight(actor, case)
    actor.require(Verb.REVIEW, "Owners, leads and admins work on cases; your role reads them.")


def answers_for(actor: Actor, case: Listed) -> bool:
    """Whether a case is somebody's to put off or to hand on: its owner's, of whose team they may
    be, its claimant's, and a lead's."""
    if not actor.may(Verb.REVIEW):
        return False
    owns = case.owner == Owner("person", actor.email) or case.owner_team in actor.teams
    return owns or case.claimant == actor.email or actor.may(Verb.TAKE_OVER)


def fenced(
    session: Session,
    actor: Actor,
    case_id: int,
    statement: TextClause,
    *,
    token: str,
    **parameters: Any,
) -> None:
    """Run a write that holds only under the claim that `token` stands for.

    Raises:
        StaleToken: that claim is over.
    """
    given = {"id": case_id, "me": actor.email, "token": token_number(token), **parameters}
    if session.execute(statement, given).first() is None:
        case = queries.case(session, case_id)
        raise StaleToken(
            "Your claim on this case is over; nothing was changed. Claim it again to go on.",
            state=case.state,
            holder=case.claimant,
        )


def token_number(token: str | None) -> int:
    """The claim that a token stands for; a token that is none of ours stands for no claim."""
    return (
        int(token)
        if token is not None and token.isascii() and token.isdigit() and len(token) < 18
        else -1
    )


def lost(case: Listed, *, now: datetime) -> HeldBySomebody | MovedOn:
    """Why a write on an open case did not take place."""
    if case.state == CaseState.CLAIMED and case.lease_expires_at is not None:
        if case.lease_expires_at <= now:
            return MovedOn(f"The claim of {case.claimant} has just run out; try again in a moment.")
        return HeldBySomebody(
            f"{case.claimant} holds this case until {case.lease_expires_at:%H:%M} UTC.",
            holder=case.claimant,
            expires_at=case.lease_expires_at.isoformat(),
        )
    return MovedOn(f"The case is {case.state}.", state=case.state, verdict_by=case.verdict_by)
