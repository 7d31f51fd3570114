"""What happens to cases when somebody leaves, or may no longer review."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import claims, owners
from services.escalation.handling import reassign
from services.escalation.models import OPEN
from services.escalation.policy.model import RoutingPolicy
from services.escalation.rules import Owner
from services.people import service as people_service
from services.people.errors import StillOwns
from services.people.rules import Actor
from services.people.service import PersonChange


class CaseDuty:
    """Cases as a duty of people: handed over in the transaction in which somebody leaves."""

    def __init__(self, policy: RoutingPolicy | None) -> None:
        self._policy = policy

    @contextmanager
    def kept(self, session: Session, change: PersonChange) -> Iterator[int]:
        """Around a change: hand over what would have no owner; answers how many cases moved.

        Raises:
            StillOwns: a case would go to nobody, or whom the routing policy names could own
                none any more.
        """
        named = self._policy.owners if self._policy is not None else frozenset[Owner]()
        before = owners.able(session, named)
        moved = 0
        if change.active is False:
            claims.drop_claims(session, change.email, now=change.now)
            moved = hand_over(session, change.email, actor=change.actor, now=change.now)
        yield moved
        for owner in sorted(before - owners.able(session, before), key=str):
            raise StillOwns(
                f"The routing policy names {owner}, who could own no case any more;"
                " change the policy first."
            )


_LOCK_OWNED = text(f"""
SELECT id, team FROM "case" WHERE owner_person = :email AND {OPEN} ORDER BY id FOR UPDATE
""")


def hand_over(session: Session, email: str, *, actor: Actor, now: datetime) -> int:
    """Give every open case of a person who is leaving to the case's team; answers how many.

    Call it in the transaction that deactivates the person.

    Raises:
        StillOwns: a case's team has nobody who may review.
    """
    session.execute(_LOCK_OWNED, {"email": email})
    people_service.hold_person(session, email)
    freed = session.execute(_LOCK_OWNED, {"email": email}).all()
    for case in freed:
        owner = Owner("team", case.team)
        if not owners.can_own(session, owner):
            raise StillOwns(
                f"active: case {case.id} of {email} would go to team '{case.team}', where"
                " nobody may review; make somebody a reviewer of it, or reassign the case, first."
            )
        reassign(session, actor, case.id, owner=owner, note=f"{email} left", now=now)
    return len(freed)
