"""An engine by a clock that can be moved: `python -m tests.engines.engine URL SECONDS NAME`."""

import sys
import threading
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import service
from services.kit.clock import DatabaseClock
from services.kit.clock_guard import ClockGuard, MachineClock
from services.kit.database import Database, connect_alone, make_engine
from services.kit.processes.loops import Loop, run_loops

_MOVED = text("SELECT passed + jumped FROM moved_clock")
_PASSED = "SELECT extract(epoch FROM passed) FROM moved_clock"
_BATCH = 100
_CONFIRM = 900


class MovedClock(DatabaseClock):
    """The database's clock, after time has been let pass and the clock has jumped."""

    def now(self, session: Session) -> datetime:
        """The moment that it is by this clock."""
        moved: timedelta = session.execute(_MOVED).scalar_one()
        return super().now(session) + moved


class PassedClock(MachineClock):
    """The machine's clock, where as much time has passed: jumps are the other one's alone."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._connection = connect_alone(url)

    def now(self) -> float:
        """Seconds since the machine was started."""
        row = self._connection.execute(_PASSED).fetchone()
        assert row is not None
        return super().now() + float(row[0])


def main() -> None:
    """Fire, with so many seconds between two looks, until it is ended."""
    url, every, name = sys.argv[1], float(sys.argv[2]), sys.argv[3]
    database = Database(make_engine(url, pool_size=2, application_name=name))
    guard = ClockGuard(MovedClock(), PassedClock(url), confirm_after=_CONFIRM)

    def watch() -> bool:
        with database.transaction() as session:
            guard.watch(session)
        return False

    def fire() -> bool:
        with database.transaction() as session:
            now = guard.now(session)
            return now is not None and service.fire_due(session, now=now, limit=_BATCH) >= _BATCH

    loops = [Loop("clock", watch, every=every), Loop("timers", fire, every=every)]
    run_loops(loops, threading.Event(), stalled_after=600.0)


if __name__ == "__main__":
    main()
