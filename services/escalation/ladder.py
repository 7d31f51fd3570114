"""The ladder that a case climbs, from one who is accountable to the next."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, impartial
from services.escalation.answering import Answering, Chain
from services.escalation.cases import Case
from services.escalation.models import OPEN
from services.escalation.owners import owned_by
from services.escalation.rules import Wanted
from services.escalation.timeline import Happening, tell_one
from services.kit.counts import Count, hour_of
from services.people.rules import SYSTEM

_CLIMB = text(f"""
UPDATE "case" SET level = :level, {owned_by(":")}, version = version + 1
WHERE id = :case AND level = :from_level AND {OPEN} RETURNING tool
""")


def above(case: Case) -> Chain:
    """Who may come to be accountable for a case that climbs, on whatever rung."""
    rungs = answering.of_ladder(case.ladder[case.level + 1 :])
    return Chain(tuple(rungs), case.owner_person)


def climb(
    session: Session, case: Case, answers: Answering, *, to: int | None = None, now: datetime
) -> Count | None:
    """Make the owner of rung `to`, else of the next one, accountable; None at the ladder's end.

    Answers what is to be counted: once for all cases of a transaction, so that no two wait for
    each other's counts.

    The case is locked, and `answers` knows all who may be accountable. A rung where nobody is, as
    its owner is no longer there, may not review, is away, has a part in the case, or nobody has
    the duty, is passed over at once.
    """
    lowest = to or case.level + 1
    apart = impartial.apart(session, [case.id])[case.id]
    for level, wanted in enumerate(answering.of_ladder(case.ladder[lowest:]), lowest):
        owner, why_not = answers.answers(wanted, case.owner_person).without(apart)
        if owner is None:
            _skip(session, case, wanted, why_not, now=now)
            continue
        found = answers.found(wanted, owner)
        given = {"case": case.id, "from_level": case.level, "level": level, "now": now}
        climbed = session.execute(_CLIMB, {**given, **found.columns}).first()
        if climbed is None:
            return None
        return Count("escalations", case.tool, hour_of(now), 0, str(level))
    return None


def _skip(session: Session, case: Case, wanted: Wanted, why: str, *, now: datetime) -> None:
    detail = {"owner": wanted.id or str(wanted)}
    tell_one(
        session, case.id, Happening.RUNG_SKIPPED, SYSTEM, now=now, note=why or None, detail=detail
    )
