"""The verbs of people on cases. Each takes a session, the actor and the time; none commits.

Every write by a claimant is fenced: it names the claim (`token`) that it acts under, and
the database changes the row only while that very claim is live.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import announce, owners, queries, timers
from services.escalation.errors import HeldBySomebody, MovedOn, OwnDispute, StaleToken
from services.escalation.opening import Wanted, owner_columns
from services.escalation.routing import Owner, RoutingPolicy
from services.escalation.rules import NO_EXCEPTION, OPEN_STATES, CaseState, Trigger
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of
from services.kit.errors import InvalidInput, NotAllowed, Problem
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.errors import StillOwns
from services.people.rules import JUDGES, SYSTEM, Actor, Role, Verb
from services.tools import queries as tool_queries
from services.tools.contracts import refused
from services.tools.rules import VerdictKind, same_value, value_problem

_NOTE_BYTES = 8_192
# The database's clock at the statement decides whether a claim is live: a writer that was
# frozen between reading the clock and writing must not act on the time before its sleep.
_PRESENT = "greatest(:now, clock_timestamp())"

_CLAIM = text(f"""
UPDATE "case" SET
    claim_seq = CASE WHEN claimant = :me AND lease_expires_at > {_PRESENT}
                     THEN claim_seq ELSE claim_seq + 1 END,
    claimed_at = CASE WHEN claimant = :me AND lease_expires_at > {_PRESENT}
                      THEN claimed_at ELSE :now END,
    state = 'claimed', claimant = :me, lease_expires_at = :until, due_at = resolve_due_at,
    version = version + 1
WHERE id = :id AND (state = 'open' OR (state = 'claimed'
    AND (claimant = :me OR lease_expires_at <= {_PRESENT})))
RETURNING claim_seq, lease_expires_at, claimed_at = :now AS begun
""")


def claim(
    session: Session, actor: Actor, case_id: int, *, lease: timedelta, now: datetime
) -> dict[str, Any]:
    """Take the case for as long as the lease runs; a second claim by the holder renews it.

    Answers `token`, which every later write must carry, and `expires_at`.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor's role does not judge, or disputed this output.
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is no longer open.
    """
    _for_judge(session, actor, case_id)
    _require_no_objection(session, actor, case_id)
    won = session.execute(
        _CLAIM, {"id": case_id, "me": actor.email, "now": now, "until": now + lease}
    ).first()
    if won is None:
        raise _lost(queries.case(session, case_id))
    if won.begun:
        timers.stop_claim_clock(session, case_id, now=now)
        _tell(session, case_id, "claimed", actor, now)
    return {"token": str(won.claim_seq), "expires_at": won.lease_expires_at}


_RELEASE = text(f"""
UPDATE "case" SET state = 'open', claimant = NULL, lease_expires_at = NULL,
    claim_seq = claim_seq + 1, version = version + 1
WHERE id = :id AND state = 'claimed' AND claimant = :me AND claim_seq = :token
    AND lease_expires_at > {_PRESENT}
RETURNING id
""")


def release(session: Session, actor: Actor, case_id: int, *, token: str, now: datetime) -> None:
    """Give the case back; its claim deadline goes on with what was left of it.

    Raises:
        StaleToken: the claim is over already.
    """
    _for_judge(session, actor, case_id)
    _fenced(session, actor, case_id, _RELEASE, token=token, now=now)
    timers.resume_claim_clock(session, case_id, now=now)
    _tell(session, case_id, "released", actor, now)


_RESOLVE = text(f"""
UPDATE "case" SET state = 'resolved', claimant = NULL, lease_expires_at = NULL,
    claim_seq = claim_seq + 1, version = version + 1, resolved_at = :now,
    verdict = :verdict, verdict_value = CAST(:value AS jsonb), verdict_by = :me,
    verdict_note = :note
WHERE id = :id AND state = 'claimed' AND claimant = :me AND claim_seq = :token
    AND lease_expires_at > {_PRESENT}
RETURNING id
""")


def give_verdict(
    session: Session,
    actor: Actor,
    case_id: int,
    *,
    token: str,
    verdict: VerdictKind,
    value: Any = None,
    note: str | None = None,
    now: datetime,
) -> VerdictKind:
    """Judge the case. Answers the verdict as it was recorded.

    `value` goes with `corrected` and no other verdict. On a case shown blind, a value
    equal to the tool's is recorded as `upheld`.

    Raises:
        StaleToken: the claim is over.
        OwnDispute: the actor disputed this output.
        InvalidInput: the value does not suit the tool or is missing; it or the note breaks
            a limit of the contract.
    """
    case = _for_judge(session, actor, case_id)
    _require_no_objection(session, actor, case_id)
    verdict, value = _checked_verdict(session, case, verdict, value)
    note = _checked_note(note)
    _require_contract(case, verdict, value, note, actor=actor, now=now)
    parameters = {"verdict": verdict.value, "value": _as_json(value), "note": note}
    _fenced(session, actor, case_id, _RESOLVE, token=token, now=now, **parameters)
    timers.stop_all(session, case_id, now=now)
    _tell(session, case_id, "resolved", actor, now, note=note, detail={"verdict": verdict.value})
    announce.verdict(session, queries.row(session, case_id), actor=actor.id, now=now)
    tally = Counts()
    tally[Count("verdicts", case.tool, hour_of(now), case.tool_version, verdict.value)] += 1
    counts.add(session, tally, shard=0)
    return verdict


def _checked_verdict(
    session: Session, case: SqlRow[Any], verdict: VerdictKind, value: Any
) -> tuple[VerdictKind, Any]:
    if verdict is not VerdictKind.CORRECTED:
        if value is not None:
            raise _invalid("value", "a value goes with `corrected` only", "Leave it out.")
        if verdict is VerdictKind.UPHELD and case.value is None:
            raise _invalid("verdict", "the tool gave no value to uphold", "Give the right value.")
        return verdict, None
    if value is None:
        raise _invalid("value", "`corrected` needs the right value", "Send it as `value`.")
    tool = tool_queries.tool(session, case.tool)
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/value")
    if problem is not None:
        raise InvalidInput(f"value: {problem.problem}.", problems=(problem,))
    if same_value(value, case.value):
        if case.blind:
            return VerdictKind.UPHELD, None
        raise _invalid("value", "that is what the tool said", "Send `upheld` instead.")
    return verdict, value


def _require_contract(
    case: SqlRow[Any],
    verdict: VerdictKind,
    value: Any,
    note: str | None,
    *,
    actor: Actor,
    now: datetime,
) -> None:
    """Refuse, before anything is written, a verdict that could not be announced."""
    facts = dict(case._mapping)  # noqa: SLF001 - SQLAlchemy's public name
    try:
        event = announce.verdict_event(
            facts, verdict=verdict.value, value=value, note=note, actor=actor.id, now=now
        )
        events.encode(event)
    except events.InvalidEvent as error:
        raise refused(error) from None


_REASSIGN = text(f"""
UPDATE "case" SET owner_team = :owner_team, owner_person = :owner_person,
    team = coalesce(:owner_team, team), owner_since = :now, version = version + 1,
    state = 'open', claimant = NULL, lease_expires_at = NULL, claim_seq = claim_seq + 1
WHERE id = :id AND state = ANY(:open)
    AND (state <> 'claimed' OR lease_expires_at <= {_PRESENT}
         OR (claimant = :me AND claim_seq = :token) OR :over_holder)
RETURNING id
""")


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
        InvalidInput: the new owner does not exist, is not active or does not judge.
        HeldBySomebody: another person's claim is live.
        MovedOn: the case is no longer open.
    """
    _for_judge(session, actor, case_id)
    check_owner(session, owner)
    if owner.kind == "person" and queries.objects(session, owner.id, case_id):
        problem = f"{owner.id} disputes this output and may not judge it"
        raise _invalid("owner", problem, "Name another.")
    moved = session.execute(
        _REASSIGN,
        {
            "id": case_id,
            **owner_columns(owner),
            "now": now,
            "me": actor.email,
            "token": _token_number(token),
            "open": [state.value for state in OPEN_STATES],
            "over_holder": actor.may(Verb.TAKE_OVER),
        },
    ).first()
    if moved is None:
        raise _lost(queries.case(session, case_id))
    timers.resume_claim_clock(session, case_id, now=now)
    detail = {"owner": str(owner)}
    _tell(session, case_id, "reassigned", actor, now, note=_checked_note(note), detail=detail)


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

    Raises:
        StaleToken: the token's claim is over.
        InvalidInput: the note is empty or too long.
    """
    queries.case_for(session, actor, case_id)
    if not actor.may(Verb.JUDGE):
        raise NotAllowed("Owners, leads and admins comment on cases.")
    if not note.strip():
        raise _invalid("note", "it is empty", "Write something.")
    if token is not None:
        _fenced(session, actor, case_id, _RENEW, token=token, now=now, until=now + lease)
    _tell(session, case_id, "commented", actor, now, note=_checked_note(note))


_RENEW = text(f"""
UPDATE "case" SET lease_expires_at = :until, version = version + 1
WHERE id = :id AND state = 'claimed' AND claimant = :me AND claim_seq = :token
    AND lease_expires_at > {_PRESENT}
RETURNING id
""")


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
    case = _for_judge(session, actor, case_id)
    if case.level != level or case.state not in OPEN_STATES:
        raise MovedOn(f"The case is {case.state} on level {case.level} by now.")
    if not timers.climb(session, case_id, from_level=level, now=now):
        raise MovedOn("The case is on the last rung of its ladder.")
    text_ = _checked_note(note)
    _tell(session, case_id, "escalated", actor, now, note=text_, detail={"by": "person"})


_REOPEN = text("""
UPDATE "case" SET state = 'open', cycle = cycle + 1, cycle_opened_at = :now, version = version + 1,
    verdict = NULL, verdict_value = NULL, verdict_by = NULL, verdict_note = NULL,
    resolved_at = NULL, closed_at = NULL, overdue_since = NULL, level = 0, blind = false,
    owner_team = :owner_team, owner_person = :owner_person, team = coalesce(:owner_team, team),
    owner_since = CASE WHEN :kept THEN owner_since ELSE :now END,
    claim_due_at = :now + coalesce(claim_within, claim_due_at - cycle_opened_at),
    resolve_due_at = :now + (resolve_due_at - cycle_opened_at),
    due_at = :now + least(coalesce(claim_within, claim_due_at - cycle_opened_at),
                          resolve_due_at - cycle_opened_at)
WHERE id = :id AND state IN ('resolved', 'closed')
RETURNING id
""")


def reopen(
    session: Session,
    case_id: int,
    *,
    actor: str,
    note: str | None = None,
    now: datetime,
) -> bool:
    """Begin a new cycle on a case that was resolved; False where it is open anyway.

    Where its owner is gone by now, the next of its ladder, its team or an admin is the owner.
    """
    before = queries.row(session, case_id)
    had = Owner(**announce.owner_of(before))
    chain = [had, *(Owner(rung["kind"], rung["id"]) for rung in before["ladder"])]
    chain.append(Owner("team", before["team"]))
    (owner,) = owners.first_able(session, [chain])
    given = {"id": case_id, "now": now, "kept": owner == had, **owner_columns(owner)}
    if session.execute(_REOPEN, given).first() is None:
        return False
    timers.start(session, case_id)
    _tell(session, case_id, "reopened", actor, now, note=note)
    if owner != had:
        words, detail = f"{had} cannot own it; {owner} does", {"owner": str(had)}
        timers.note(
            session, case_id, "rung skipped", actor=SYSTEM, at=now, note=words, detail=detail
        )
    return True


_OF_OUTPUT = text("""
SELECT id, trigger, state FROM "case"
WHERE tool = :tool AND output_id = :output_id FOR UPDATE
""")

_OBJECT = text("""
INSERT INTO objection (case_id, correction_id, actor, said, at)
VALUES (:case_id, :correction_id, :actor, CAST(:said AS jsonb), :now)
ON CONFLICT DO NOTHING RETURNING case_id
""")

_ADD_DISPUTE = text("""
UPDATE "case" SET dispute = CAST(:dispute AS jsonb), disputed_by = :disputed_by,
    version = version + 1
WHERE id = :id
""")


def add_dispute(session: Session, one: Wanted, *, now: datetime, shard: int) -> None:
    """An output that has a case is disputed, or its verdict appealed.

    The words go onto the case, once however often they come; one that was judged is opened
    again for somebody else.
    """
    case = session.execute(_OF_OUTPUT, {"tool": one.tool, "output_id": one.output_id}).one()
    if one.trigger is Trigger.UNMATCHED and case.trigger != Trigger.UNMATCHED:
        return  # The output came after all, and opened a case of its own.
    _count_exception(session, case.id, one, now=now, shard=shard)
    dispute, said = dict(one.dispute or {}), _as_json(one.dispute)
    words = {"case_id": case.id, "correction_id": dispute["id"], "actor": one.disputed_by}
    if session.execute(_OBJECT, {**words, "said": said, "now": now}).first() is None:
        return
    session.execute(_ADD_DISPUTE, {"id": case.id, "dispute": said, "disputed_by": one.disputed_by})
    who = one.disputed_by or SYSTEM
    if case.state in OPEN_STATES:
        _tell(session, case.id, "disputed", who, now, note=one.note)
    else:
        reopen(session, case.id, actor=who, note=one.note, now=now)


_BECOMES_EXCEPTION = text("""
UPDATE "case" SET exception_trigger = :trigger WHERE id = :id AND exception_trigger IS NULL
RETURNING tool_version
""")


def _count_exception(
    session: Session, case_id: int, one: Wanted, *, now: datetime, shard: int
) -> None:
    """An output is an exception once, under the first of its triggers that makes it one."""
    if one.trigger in NO_EXCEPTION:
        return
    became = session.execute(_BECOMES_EXCEPTION, {"id": case_id, "trigger": one.trigger}).first()
    if became is not None:
        place = (one.tool, hour_of(now), became.tool_version)
        tally = Counts({Count("exceptions", *place, one.trigger.value): 1})
        counts.add(session, tally, shard=shard)


_WITHDRAW = text("""
UPDATE objection o SET withdrawn_at = :now FROM "case" c
WHERE c.id = o.case_id AND c.tool = :tool AND c.output_id = :output_id
    AND o.correction_id = :correction_id AND o.withdrawn_at IS NULL
RETURNING o.case_id
""")

_LAST_OBJECTION = text("""
UPDATE "case" c SET dispute = last.said, disputed_by = last.actor, version = c.version + 1
FROM (SELECT) AS nothing LEFT JOIN LATERAL (
    SELECT said, actor FROM objection WHERE case_id = :id AND withdrawn_at IS NULL
    ORDER BY at DESC, correction_id DESC LIMIT 1) last ON true
WHERE c.id = :id
""")


def withdraw_dispute(session: Session, said: events.WithdrawnDispute, *, now: datetime) -> None:
    """Somebody takes an objection back: the case shows the last one that stands, or none.

    It stays open. Whoever owns it sees what happened, and decides.
    """
    which = {"tool": said.tool, "output_id": said.output_id, "correction_id": said.correction_id}
    # The case before its objections, as everybody locks them.
    case = session.execute(_OF_OUTPUT, which).first()
    if case is None or session.execute(_WITHDRAW, {**which, "now": now}).first() is None:
        return
    session.execute(_LAST_OBJECTION, {"id": case.id})
    timers.note(session, case.id, "dispute withdrawn", actor=said.actor.id, at=now)


_FILL_IN = text("""
UPDATE "case" SET kind = :kind, value = CAST(:value AS jsonb), confidence = :confidence,
    alternatives = CAST(:alternatives AS jsonb), input = CAST(:input AS jsonb),
    attributes = CAST(:attributes AS jsonb), subject = :subject, tool_version = :version,
    failure = CAST(:failure AS jsonb),
    version = version + 1
WHERE tool = :tool AND output_id = :output_id AND trigger = 'unmatched' AND kind IS NULL
RETURNING id
""")


def fill_in(session: Session, one: Wanted, *, now: datetime, shard: int) -> None:
    """The output of an unmatched correction has come after all; its case learns the facts."""
    facts = {
        "tool": one.tool,
        "output_id": one.output_id,
        "version": one.version,
        "kind": one.kind,
        "confidence": one.confidence,
        "subject": one.subject,
        "value": _as_json(one.value),
        "alternatives": _as_json(one.alternatives),
        "input": _as_json(one.input),
        "attributes": _as_json(one.attributes),
        "failure": _as_json(one.failure),
    }
    filled = session.execute(_FILL_IN, facts).first()
    if filled is not None:
        timers.note(session, filled.id, "output arrived", actor=SYSTEM, at=now)
        _count_exception(session, filled.id, one, now=now, shard=shard)


def change_person(
    session: Session,
    email: str,
    *,
    role: Role | None = None,
    teams: Iterable[str] | None = None,
    active: bool | None = None,
    policy: RoutingPolicy | None,
    actor: Actor,
    now: datetime,
) -> int:
    """Change a person as the registry does, so that cases keep owners; answers how many moved.

    Whoever is deactivated gives back what they hold and hands over their open cases in the
    same transaction, and whom the routing policy names stays able to own.

    Raises:
        NotFound: nobody has that address.
        StillOwns: the person is needed; it says what to do first.
    """
    named = policy.owners if policy is not None else frozenset[Owner]()
    before = {owner for owner in named if _can_own(session, owner)}
    moved = 0
    if active is False:
        timers.drop_claims(session, email, now=now)
        moved = hand_over(session, email, actor=actor, now=now)
    people_service.change_person(
        session, email, role=role, teams=teams, active=active, actor=actor.id, now=now
    )
    for owner in sorted(before, key=str):
        if not _can_own(session, owner):
            raise StillOwns(
                f"The routing policy names {owner}, who could own no case any more;"
                " change the policy first."
            )
    return moved


_LOCK_CASES = text("""
SELECT FROM "case" WHERE owner_person = :email AND state = ANY(:open) ORDER BY id FOR UPDATE
""")


def hand_over(session: Session, email: str, *, actor: Actor, now: datetime) -> int:
    """Give every open case of a person who is leaving to the case's team; answers how many.

    Call it in the transaction that deactivates the person.

    Raises:
        StillOwns: a case's team has nobody who judges.
    """
    email = email.lower()
    open_states = [state.value for state in OPEN_STATES]
    session.execute(_LOCK_CASES, {"email": email, "open": open_states})
    people_service.hold_person(session, email)
    freed = queries.open_cases_of(session, email)
    for case in freed:
        owner = Owner("team", case.team)
        if not _can_own(session, owner):
            raise StillOwns(
                f"active: case {case.id} of {email} would go to team '{case.team}', where"
                " nobody judges; make somebody a judge of it, or reassign the case, first."
            )
        reassign(session, actor, case.id, owner=owner, note=f"{email} left", now=now)
    return len(freed)


def _can_own(session: Session, owner: Owner) -> bool:
    try:
        check_owner(session, owner)
    except InvalidInput:
        return False
    return True


def check_policy(session: Session, policy: RoutingPolicy) -> None:
    """Whether everybody whom the routing policy names can be accountable.

    Raises:
        InvalidInput: who cannot, and why.
    """
    for owner in sorted(policy.owners, key=str):
        try:
            check_owner(session, owner)
        except InvalidInput as error:
            raise InvalidInput(
                f"The routing policy names {owner}: {error.problems[0].problem}. Mend that with"
                " `secondlook people`, or name another owner in the policy."
            ) from None


def check_owner(session: Session, owner: Owner) -> None:
    """Whether `owner` can be accountable: there, active, and with somebody who judges.

    Raises:
        InvalidInput: why not.
    """
    if owner.kind == "person":
        who = people_queries.actor(session, owner.id)
        if who is None:
            raise _invalid("owner", f"nobody active has the address '{owner.id}'", "Name another.")
        if who.role not in JUDGES:
            raise _invalid(
                "owner", f"{owner.id} is a {who.role}, who does not judge", "Name another."
            )
        return
    if not people_queries.judges_of(session, owner.id):
        raise _invalid(
            "owner",
            f"team '{owner.id}' has nobody active who judges",
            "Name a team with an owner or a lead in it, or add one.",
        )


# --- helpers ----------------------------------------------------------------------------


def _for_judge(session: Session, actor: Actor, case_id: int) -> SqlRow[Any]:
    case = queries.case_for(session, actor, case_id)
    if not actor.may(Verb.JUDGE):
        raise NotAllowed("Owners, leads and admins work on cases; your role reads them.")
    return case


def _require_no_objection(session: Session, actor: Actor, case_id: int) -> None:
    if queries.objects(session, actor.email, case_id):
        raise OwnDispute("You disputed this output; somebody else judges the dispute.")


def _fenced(
    session: Session, actor: Actor, case_id: int, statement: Any, *, token: str, **parameters: Any
) -> None:
    """Run a write that holds only under the claim that `token` stands for."""
    number = _token_number(token)
    written = session.execute(
        statement, {"id": case_id, "me": actor.email, "token": number, **parameters}
    ).first()
    if written is None:
        case = queries.case(session, case_id)
        raise StaleToken(
            "Your claim on this case is over; nothing was changed. Claim it again to go on.",
            state=case.state,
            holder=case.claimant,
        )


def _token_number(token: str | None) -> int:
    """The claim that a token stands for; a token that is none of ours stands for no claim."""
    return (
        int(token)
        if token is not None and token.isascii() and token.isdigit() and len(token) < 18
        else -1
    )


def _lost(case: SqlRow[Any]) -> HeldBySomebody | MovedOn:
    """Why a write on an open case did not take place."""
    if case.state == CaseState.CLAIMED:
        return HeldBySomebody(
            f"{case.claimant} holds this case until {case.lease_expires_at:%H:%M} UTC.",
            holder=case.claimant,
            expires_at=case.lease_expires_at.isoformat(),
        )
    return MovedOn(f"The case is {case.state}.", state=case.state, verdict_by=case.verdict_by)


def _tell(
    session: Session,
    case_id: int,
    what: str,
    actor: Actor | str,
    now: datetime,
    *,
    note: str | None = None,
    detail: dict[str, Any] | None = None,
) -> None:
    """Put what happened on the timeline and into the outbox."""
    who = actor if isinstance(actor, str) else actor.id
    timers.note(session, case_id, what, actor=who, at=now, note=note, detail=detail)
    announce.cases(session, what, [queries.row(session, case_id)], actor=who, now=now)


def _checked_note(note: str | None) -> str | None:
    if note is not None and (len(note.encode()) > _NOTE_BYTES or "\x00" in note):
        raise _invalid("note", "it is longer than 8 KiB or holds a NUL", "Shorten it.")
    return note or None


def _invalid(field: str, problem: str, hint: str) -> InvalidInput:
    return InvalidInput(f"{field}: {problem}.", problems=(Problem(f"/{field}", problem, hint),))


def _as_json(value: Any) -> str | None:
    return None if value is None else to_json(value).decode()
