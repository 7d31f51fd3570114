"""Cases that become part of another one, which answers for them by their earliest deadline."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import uuid4

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, queries
from services.escalation.cases import Case
from services.escalation.claims import drop_claims, require_reviewer, take
from services.escalation.errors import MovedOn
from services.escalation.owners import owned_by
from services.escalation.pauses import wake_up
from services.escalation.rules import OPEN_STATES, CaseState, CaseVerb, SubjectKind
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.escalation.verdicts import Ending, end_whole, has_parts
from services.kit.errors import NotAllowed, invalid
from services.people.rules import Actor, Verb
from services.tools.rules import VerdictKind

_PARTS = "json_to_recordset(CAST(:parts AS json)) AS g(part bigint, whole bigint)"
_MERGE = move(
    CaseVerb.MERGE,
    sets="incident = g.whole, merged_at = :now",
    given=_PARTS,
    which="id = g.part",
    returning="id, incident",
)
_COUNT = text("""
UPDATE "case" SET children = (SELECT count(*) FROM "case" p WHERE p.incident = "case".id),
    version = version + 1
WHERE id = ANY(:ids)
""")


def count_children(session: Session, ids: Sequence[int]) -> None:
    """Count anew how many cases name each of these as what they are, or were, part of."""
    session.execute(_COUNT, {"ids": list(ids)})


def merge(session: Session, actor: Actor, case_id: int, *, into: int, now: datetime) -> None:
    """Make a case part of another one, until it is taken out again.

    Raises:
        NotFound: one of the two is out of the actor's sight.
        NotAllowed: the actor is no lead.
        InvalidInput: it would be part of itself, of what is a part, or has parts.
        MovedOn: one of the two is no longer open.
    """
    case, parent = _both(session, actor, case_id, into)
    actor.require(Verb.TAKE_OVER, "Leads and admins merge cases.")
    _require_fit(case, parent)
    for one in (case, parent):
        if one.state not in OPEN_STATES:
            raise MovedOn(f"Case {one.id} is {one.state}.", state=one.state)
    if parent.incident is not None:
        session.execute(_FORGET, {"id": parent.id})
    # It answers for what had a clock that ran: it is looked at again, not put off with it.
    wake_up(session, [parent.id], actor.id, now=now)
    entries = join(session, {parent.id: [case.id]}, who=actor.id, now=now)
    if case.state != CaseState.OPEN:
        # Whoever held it holds it no more, and it is put off no more: it is due by its own clocks.
        clocks.count_anew(session, [case.id])
        clocks.count_anew(session, [parent.id])
    tell(session, entries, now=now)
    count_children(session, [one.incident for one in (case, parent) if one.incident is not None])


# What was part of one that is decided, and is open again, answers for itself.
_FORGET = text('UPDATE "case" SET incident = NULL WHERE id = :id')


def _both(session: Session, actor: Actor, case_id: int, into: int) -> tuple[Case, Case]:
    """Both cases, locked in the order in which everybody locks them, with what they were part of
    before."""
    locked = sorted({case_id, into, *queries.wholes(session, [case_id, into])})
    found = {case.id: case for case in queries.lock(session, locked)}
    for number in (case_id, into):
        if number not in found:
            raise queries.missing(number)
        require_reviewer(actor, found[number])
    return found[case_id], found[into]


def _require_fit(case: Case, parent: Case) -> None:
    for one in (case, parent):
        if one.hidden:
            problem = f"case {one.id} is looked at blind, by itself"
            raise invalid("into", problem, "Decide it first.")
    if case.id == parent.id:
        raise invalid("into", "a case is no part of itself", "Name another case.")
    if parent.state == CaseState.MERGED:
        problem = f"case {parent.id} is part of case {parent.incident} itself"
        raise invalid("into", problem, f"Merge into case {parent.incident}.")
    if case.children:
        problem = f"case {case.id} has {case.children} cases of its own"
        raise invalid("into", problem, "Merge those one by one, or the other way round.")


def join(
    session: Session, parts: Mapping[int, Sequence[int]], *, who: str, now: datetime
) -> list[Entry]:
    """Merge those of these cases, locked, that are open into the ones that they are given under,
    locked as well; answers what is to be written of it."""
    rows = [{"part": part, "whole": whole} for whole, given in parts.items() for part in given]
    if not rows:
        return []
    merged = session.execute(_MERGE, {"parts": to_json(rows).decode(), "now": now}).all()
    joined = Counter(row.incident for row in merged)
    count_children(session, list(joined))
    clocks.follow(session, sorted(row.id for row in merged), now=now)
    clocks.count_anew(session, sorted(joined))
    return [
        *(Entry(row.id, Happening.MERGED, who, detail={"into": row.incident}) for row in merged),
        *(Entry(id_, Happening.JOINED, who, detail={"cases": n}) for id_, n in joined.items()),
    ]


_UNMERGE = move(
    CaseVerb.UNMERGE,
    sets=f"incident = NULL, merged_at = NULL, cause = NULL, {owned_by(':')}",
    returning="id",
)


def unmerge(session: Session, actor: Actor, case_id: int, *, now: datetime) -> None:
    """Take a case out of the one that it is part of: it is open again, due when it was before.

    An incident that nothing is left of ends with it, and so does whosever claim on it.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor is no lead.
        MovedOn: it is part of none, or was decided as such.
    """
    seen = queries.case_for(session, actor, case_id)
    numbers = [case_id] if seen.incident is None else [case_id, seen.incident]
    held = {one.id: one for one in queries.lock(session, numbers)}
    case = held[case_id]
    require_reviewer(actor, case)
    actor.require(Verb.TAKE_OVER, "Leads and admins take cases apart.")
    whole = held.get(case.incident or 0)
    if whole is not None and not queries.sees(actor, whole):
        raise NotAllowed("It is part of a case of another team; a lead of that one takes it out.")
    if case.state != CaseState.MERGED or whole is None or case.merged_at is None:
        raise MovedOn(f"The case is {case.state}, not merged.", state=case.state)
    (found,) = answering.of_reopened(session, [case], now=now)
    session.execute(_UNMERGE, {"id": case_id, "now": now, **found.columns})
    _close_if_empty(session, actor, whole, now=now)
    count_children(session, [whole.id])
    clocks.follow(session, [case_id], now=now, as_of=case.merged_at)
    clocks.count_anew(session, [whole.id])
    detail = {"from": whole.id}
    entries = [Entry(case_id, Happening.UNMERGED, actor.id, detail=detail)]
    entries += answering.told_again(case, found)
    entries.append(Entry(whole.id, Happening.LEFT, actor.id, detail={"case": case_id}))
    tell(session, entries, now=now)


def _close_if_empty(session: Session, actor: Actor, whole: Case, *, now: datetime) -> None:
    """End an incident whose last case has been taken out of it, whoever holds it."""
    if whole.subject_kind != SubjectKind.INCIDENT or has_parts(session, whole.id):
        return
    wake_up(session, [whole.id], actor.id, now=now)
    if whole.claimant not in (None, actor.email):
        drop_claims(session, whole.claimant, [whole.id], by="unmerge", now=now)
    token = take(session, actor, whole.id, lease=timedelta(minutes=1), now=now).claim.token
    note = "Its last case was taken out of it."
    # As where the last of its cases is decided: what was said of that one is said of it.
    last = session.execute(_LAST_DECIDED, {"whole": whole.id}).first()
    verdict, value = last or (VerdictKind.NOT_ACTIONABLE.value, None)
    ending = Ending(verdict, value, f"verdict-{uuid4()}", note)
    end_whole(session, actor, whole.id, ending, token=token, now=now)


_LAST_DECIDED = text("""
SELECT verdict, CAST(verdict_value AS text) AS value FROM "case"
WHERE incident = :whole AND verdict IS NOT NULL ORDER BY resolved_at DESC, id DESC LIMIT 1
""")
