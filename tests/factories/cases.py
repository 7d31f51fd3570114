"""What people do with cases, and what time does, each in a transaction of its own."""

from datetime import timedelta
from typing import Any

from services.escalation import queries, service
from services.kit.clock import DatabaseClock
from services.kit.database import Database, Session
from services.people.rules import Actor
from services.tools.rules import VerdictKind
from tests.factories.people import actor_of

LEASE = timedelta(minutes=15)


def give_verdict(session: Session, actor: Actor, case: int, **given: Any) -> service.Verdict:
    """A verdict on the case of that number, as routes give it."""
    read = service.case_for_reviewer(session, actor, case, lock=True)
    return service.give_verdict(session, actor, read, **given)


class Casework:
    """Does verbs as somebody."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = DatabaseClock()

    def do(self, verb: str, who: str, case: int, **given: Any) -> Any:
        """One verb of `escalation.service`."""
        with self.database.transaction() as session:
            now = self.clock.now(session)
            return getattr(service, verb)(session, actor_of(session, who), case, now=now, **given)

    def claim(self, who: str, case: int, *, lease: timedelta = LEASE) -> str:
        """Take a case; answers the token."""
        return str(self.do("claim", who, case, lease=lease).token)

    def give_verdict(
        self,
        who: str,
        case: int,
        verdict: str = "upheld",
        *,
        token: str | None = None,
        **given: Any,
    ) -> Any:
        """A verdict, under a claim made now unless `token` names one."""
        given |= {"token": token, "lease": LEASE, "verdict": VerdictKind(verdict)}
        with self.database.transaction() as session:
            now = self.clock.now(session)
            return give_verdict(session, actor_of(session, who), case, now=now, **given).kind

    def undo(self, who: str, case: int, *, window: timedelta = timedelta(hours=1)) -> None:
        """Take back the verdict that the case has now."""
        with self.database.transaction() as session:
            actor = actor_of(session, who)
            seen = queries.case(session, case).verdict_id or "opinion"
            now = self.clock.now(session)
            service.undo(session, actor, case, verdict_id=seen, window=window, now=now)

    def fire(self, ahead: timedelta = timedelta()) -> int:
        """Fire what is due so far from now, in one batch; answers how many steps that were."""
        with self.database.transaction() as session:
            return service.fire_due(session, now=self.clock.now(session) + ahead)
