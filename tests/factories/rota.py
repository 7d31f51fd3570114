"""Changes of who is there: absences, duties taken over, and what goes on by the clock."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from services.escalation import service
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.people import absences, schedules
from services.people.duties import Duty
from tests.factories.people import OPERATOR

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Rota:
    """Who is there, changed in a transaction of its own each; moments are said as from now on."""

    def __init__(self, database: Database, duties: Sequence[Duty] = ()) -> None:
        """`duties`: what follows from a change; nothing is handed over without any."""
        self.database = database
        self.duties = tuple(duties)

    def do(self, verb: Any, *given: Any, **named: Any) -> Any:
        """Anything else that people do about who is there."""
        with self.database.transaction() as session:
            now = DatabaseClock().now(session)
            by = {"actor": OPERATOR, "duties": self.duties, "now": now}
            return verb(session, *given, **{name: _at(now, v) for name, v in named.items()}, **by)

    def override(
        self, email: str, begin: timedelta = -HOUR, end: timedelta = DAY, slug: str = "primary"
    ) -> int:
        """Somebody has a schedule's duty."""
        found: int = self.do(schedules.override, slug, email, begin=begin, end=end)
        return found

    def away(
        self,
        email: str,
        stand_in: str | None = None,
        begin: timedelta = -HOUR,
        end: timedelta = DAY,
    ) -> None:
        """Somebody is not there, with a stand-in or without one."""
        self.do(absences.go_away, email, begin=begin, end=end, stand_in=stand_in)

    def pass_on(self, ahead: timedelta = timedelta()) -> int:
        """What goes on with the duty, or to a stand-in, by the clock does."""
        with self.database.transaction() as session:
            return service.pass_on(session, now=DatabaseClock().now(session) + ahead)


def _at(now: datetime, given: Any) -> Any:
    return now + given if isinstance(given, timedelta) else given
