"""The clock as a value that is handed over."""

from datetime import UTC, datetime
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.orm import Session


class Clock(Protocol):
    """Tells the time. Read it once per verb and pass the answer down."""

    def now(self, session: Session) -> datetime:
        """The present moment, aware, in UTC."""
        ...


_NOW = text("SELECT clock_timestamp()")


class DatabaseClock:
    """The database's clock: the only one that deadlines and leases are decided by.

    `now()` is the wall clock at the statement, not the transaction's start, because a
    transaction that waited for a lock must not act on the time before the wait.
    """

    def now(self, session: Session) -> datetime:
        """The database server's wall-clock time."""
        moment = session.execute(_NOW).scalar_one()
        assert isinstance(moment, datetime)
        return moment.astimezone(UTC)
