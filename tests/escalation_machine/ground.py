"""What every step of the machine stands on: one transaction that is rolled back at the end.

Each verb lies in a savepoint of it: so millions of steps leave nothing behind, and a step costs its
statements and no more.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from secondlook import events
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from services.escalation.leaving import CaseDuty
from services.escalation.policy.revisions import PolicyInForce
from services.kit.errors import SecondlookError
from tests.escalation_machine.checks import BROKEN
from tests.factories import ADMIN, LEAD, OTHER_TEAM, OUTSIDER, OWNER, REP, TEAM, TEAMMATE
from tests.factories.people import OPERATOR

PEOPLE = (OWNER, TEAMMATE, LEAD, OUTSIDER, ADMIN, REP)
TEAMS = (TEAM, OTHER_TEAM, "third")
AT_ONCE = 100
_TOLD = [name.split(".")[2] for name in sorted(events.CASE_EVENT_TYPES)]
# The same in every walk, and so far ahead that the database's own clock is never the later one.
BEGIN = datetime(2040, 3, 23, 8, tzinfo=UTC)


class Broken(AssertionError):
    """A promise was broken."""


class Ground:
    """One installation in one transaction, its time, and what was done to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._around = connection.begin()
        self.moment = BEGIN
        self._policy = PolicyInForce()
        self._duties = (CaseDuty(self._policy),)
        self.outputs = 0
        self.cases: list[int] = []
        self.people = list(PEOPLE)
        self.touched = True
        self.done: Counter[str] = Counter()
        """How often each verb was done, and how often any was refused."""

    def now(self, _session: Session) -> datetime:
        """The time, as the machine has it: a clock like any other."""
        return self.moment

    def close(self, *, keep: bool = False) -> None:
        """Let nothing of it have been; or keep it."""
        if keep:
            self._around.commit()
        else:
            self._around.rollback()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with (
            Session(
                self._connection,
                join_transaction_mode="create_savepoint",
                expire_on_commit=False,
                autoflush=False,
            ) as session,
            session.begin(),
        ):
            yield session
        self.touched = True

    def attempt(self, verb: Callable[[Session], Any], name: str) -> Any:
        """Do something that may be refused, in a transaction; answers None where it is."""
        try:
            with self._transaction() as session:
                found = verb(session)
        except SecondlookError:
            self.done["refused"] += 1
            return None
        self.done[name] += 1
        return found

    def check(self) -> None:
        """Whether every promise is kept; what was refused has changed nothing.

        Raises:
            Broken: one is not; it says which.
        """
        if not self.touched:
            return
        self.touched = False
        given = {"asked": self.outputs, "told": _TOLD}
        found = self._connection.execute(BROKEN, given).all()
        if found:
            raise Broken("; ".join(f"{row.n} x {row.broken}" for row in found))

    def _manage(self, verb: Any, *given: Any, **named: Any) -> Any:
        by = {"actor": OPERATOR, "now": self.moment}
        return self.attempt(lambda session: verb(session, *given, **named, **by), verb.__name__)
