"""An engine by a clock that can be moved: `python -m tests.engines.engine URL SECONDS`."""

import sys
import threading
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import service
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.processes.loops import Loop

_SHIFT = text("SELECT shift FROM moved_clock")
_BATCH = 100


class MovedClock(DatabaseClock):
    """The database's clock, as it is after somebody has moved it."""

    def now(self, session: Session) -> datetime:
        """The moment that it is by this clock."""
        shift: timedelta = session.execute(_SHIFT).scalar_one()
        return super().now(session) + shift


def main() -> None:
    """Fire, with so many seconds between two looks, until it is ended."""
    database, clock = Database(make_engine(sys.argv[1], pool_size=1)), MovedClock()

    def fire() -> bool:
        with database.transaction() as session:
            now = clock.now(session)
            return service.fire_due(session, now=now, limit=_BATCH) >= _BATCH

    Loop("timers", fire, every=float(sys.argv[2])).run(threading.Event())


if __name__ == "__main__":
    main()
