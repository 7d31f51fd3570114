"""The ladder that a case climbs, from one who is accountable to the next."""

from collections import Counter
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.cases import Case
from services.escalation.models import OPEN
from services.escalation.timeline import Happening, tell_one
from services.kit import counts
from services.kit.counts import Count, hour_of
from services.people.rules import SYSTEM

_CLIMB = text(f"""
UPDATE "case" SET level = :level, owner_team = :owner_team, owner_person = :owner_person,
    team = coalesce(:team, team), owner_since = :now, version = version + 1
WHERE id = :case AND level = :from_level AND {OPEN} RETURNING tool
""")


def climb(session: Session, case: Case, *, to: int | None = None, now: datetime) -> bool:
    """Make the owner of rung `to`, else of the next one, accountable; False at the ladder's end.

    The case is locked. A rung whose owner is no longer there, or may not review, is passed
    over at once.
    """
    lowest = to or case.level + 1
    above = owners.of_ladder(case.ladder[lowest:])
    able = owners.able(session, above)
    for level, owner in enumerate(above, lowest):
        if owner not in able:
            skipped = {"owner": owner.id}
            tell_one(session, case.id, Happening.RUNG_SKIPPED, SYSTEM, now=now, detail=skipped)
            continue
        given = {"case": case.id, "from_level": case.level, "level": level, "now": now}
        climbed = session.execute(
            _CLIMB, {**given, **owners.columns(owner), "team": owners.seen_by(owner)}
        ).first()
        if climbed is not None:
            place = Count("escalations", case.tool, hour_of(now), 0, str(level))
            counts.add(session, Counter({place: 1}), shard=0)
        return climbed is not None
    return False
