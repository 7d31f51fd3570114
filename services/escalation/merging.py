"""Cases that become part of another one, which answers for them by their earliest deadline."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, queries
from services.escalation.cases import Case
from services.escalation.claims import require_reviewer
from services.escalation.errors import MovedOn
from services.escalation.rules import OPEN_STATES, CaseState, CaseVerb
from services.escalation.timeline import Entry, Happening, tell
from services.escalation.transitions import move
from services.kit.errors import invalid
from services.people.rules import Actor, Verb

_MERGE = move(
    CaseVerb.MERGE,
    sets="incident = :into, merged_at = :now",
    which="id = ANY(:cases)",
    returning="id",
)
_COUNT = text('UPDATE "case" SET children = children + :more, version = version + 1 WHERE id = :id')


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
    join(session, [case.id], into=parent.id, who=actor.id, now=now)


def _both(session: Session, actor: Actor, case_id: int, into: int) -> tuple[Case, Case]:
    """Both cases, locked in the order in which everybody locks them."""
    found = {case.id: case for case in queries.lock(session, [case_id, into])}
    for number in (case_id, into):
        if number not in found:
            raise queries.missing(number)
        require_reviewer(actor, found[number])
    return found[case_id], found[into]


def _require_fit(case: Case, parent: Case) -> None:
    if case.id == parent.id:
        raise invalid("into", "a case is no part of itself", "Name another case.")
    if parent.incident is not None:
        problem = f"case {parent.id} is part of case {parent.incident} itself"
        raise invalid("into", problem, f"Merge into case {parent.incident}.")
    if case.children:
        problem = f"case {case.id} has {case.children} cases of its own"
        raise invalid("into", problem, "Merge those one by one, or the other way round.")


def join(session: Session, cases: Sequence[int], *, into: int, who: str, now: datetime) -> set[int]:
    """Merge those of these cases, locked, that are open into another, locked as well."""
    if not cases:
        return set()
    given = {"cases": list(cases), "into": into, "now": now}
    merged = {row.id for row in session.execute(_MERGE, given)}
    if not merged:
        return merged
    session.execute(_COUNT, {"id": into, "more": len(merged)})
    clocks.follow(session, sorted(merged), now=now)
    clocks.count_anew(session, [into])
    entries = [Entry(id_, Happening.MERGED, who, detail={"into": into}) for id_ in sorted(merged)]
    entries.append(Entry(into, Happening.JOINED, who, detail={"cases": len(merged)}))
    tell(session, entries, now=now)
    return merged


_UNMERGE = move(
    CaseVerb.UNMERGE,
    sets="""incident = NULL, merged_at = NULL, owner_team = :owner_team,
        owner_person = :owner_person, owner_schedule = :owner_schedule,
        team = coalesce(:team, team),
        owner_since = CASE WHEN :kept THEN owner_since ELSE :now END""",
    returning="id",
)


def unmerge(session: Session, actor: Actor, case_id: int, *, now: datetime) -> None:
    """Take a case out of the one that it is part of: it is open again, due when it was before.

    Raises:
        NotFound: there is no such case in the actor's sight.
        NotAllowed: the actor is no lead.
        MovedOn: it is part of none, or was decided as such.
    """
    seen = queries.case_for(session, actor, case_id)
    numbers = [case_id] if seen.incident is None else [case_id, seen.incident]
    case = next(one for one in queries.lock(session, numbers) if one.id == case_id)
    require_reviewer(actor, case)
    actor.require(Verb.TAKE_OVER, "Leads and admins take cases apart.")
    if case.state != CaseState.MERGED or case.incident is None or case.merged_at is None:
        raise MovedOn(f"The case is {case.state}, not merged.", state=case.state)
    (found,) = answering.of_reopened(session, [case], now=now)
    given = {"id": case_id, "now": now, "kept": found.owner == case.owner, **found.columns}
    session.execute(_UNMERGE, given)
    session.execute(_COUNT, {"id": case.incident, "more": -1})
    clocks.follow(session, [case_id], now=now, as_of=case.merged_at)
    clocks.count_anew(session, [case.incident])
    detail = {"from": case.incident}
    entries = [Entry(case_id, Happening.UNMERGED, actor.id, detail=detail)]
    entries += answering.told_again(case, found)
    entries.append(Entry(case.incident, Happening.LEFT, actor.id, detail={"case": case_id}))
    tell(session, entries, now=now)
