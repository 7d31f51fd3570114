"""Who can be accountable for a case, and who is where the one that was wanted cannot."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.routing import Owner
from services.people.rules import JUDGES, Role

_LOCK_TEAMS = text("SELECT FROM team WHERE slug = ANY(:teams) ORDER BY slug FOR SHARE")
_LOCK_PEOPLE = text("SELECT FROM person WHERE email = ANY(:people) ORDER BY email FOR SHARE")
_ABLE = text("""
SELECT 'team' AS kind, slug AS id FROM team WHERE slug = ANY(:teams) AND has_judge(slug)
UNION ALL
SELECT 'person', email FROM person
WHERE email = ANY(:people) AND active AND role = ANY(:judges)
""")
_STAND_IN = text("""
SELECT email FROM person WHERE active AND role = ANY(:judges)
ORDER BY role <> :admin, role <> :lead, email LIMIT 1
""")
_JUDGES = sorted(role.value for role in JUDGES)


def first_able(session: Session, chains: Sequence[Sequence[Owner]]) -> list[Owner]:
    """Of each chain the first who can be accountable, and stays so until the transaction ends.

    Where nobody of a chain can, an admin stands in, else a lead, else whoever judges. Only
    where nobody judges anywhere is it the chain's first, whom the database will refuse.
    """
    there = _able(session, {owner for chain in chains for owner in chain})
    found = [next((owner for owner in chain if owner in there), None) for chain in chains]
    spare = _stand_in(session) if None in found else None
    return [owner or spare or chain[0] for owner, chain in zip(found, chains, strict=True)]


def can_own(session: Session, owner: Owner) -> bool:
    """Whether this one can be accountable, and stays so until the transaction ends."""
    return owner in _able(session, {owner})


def _able(session: Session, wanted: set[Owner]) -> set[Owner]:
    given = {
        "teams": sorted(owner.id for owner in wanted if owner.kind == "team"),
        "people": sorted(owner.id for owner in wanted if owner.kind == "person"),
        "judges": _JUDGES,
    }
    # Whoever leaves holds these rows, so what is read after them holds. Teams come first
    # everywhere, so that no two wait for each other.
    for lock in (_LOCK_TEAMS, _LOCK_PEOPLE):
        session.execute(lock, given)
    return {Owner(row.kind, row.id) for row in session.execute(_ABLE, given)}


def _stand_in(session: Session) -> Owner | None:
    given = {"judges": _JUDGES, "admin": Role.ADMIN.value, "lead": Role.LEAD.value}
    email = session.execute(_STAND_IN, given).scalar()
    return Owner("person", email) if email is not None else None
