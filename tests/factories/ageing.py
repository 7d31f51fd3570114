"""An installation that grows old, and what goes from it."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr
from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.app.retention import Retention
from services.escalation import service as cases
from services.feedback.consumer import FeedbackConsumer
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.settings import Settings
from tests.factories import (
    Casework,
    Delivery,
    one,
    rows,
)

KEPT = 30
"""For how many days everything is kept here."""
TABLES = ("output", "case", "dead_letter", "hourly_count", "idempotency_key", "sign_in")


class Ahead(DatabaseClock):
    """The database's clock, so many days ahead."""

    def __init__(self) -> None:
        self.days = 0.0

    def now(self, session: Session) -> datetime:
        """The moment that it is by this clock."""
        return super().now(session) + timedelta(days=self.days)


class Kept:
    """An installation that grows old."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = Ahead()
        self.database = Database(make_engine(url))
        days = {f"retention_{table}": KEPT * 86400 for table in TABLES}
        given = Settings(database_url=SecretStr(url), **{**days, **settings})
        self.retention = Retention(Resources(given, self.database, url, self.clock))
        self.log = Delivery(self.database)
        self.log.feedback = FeedbackConsumer(self.clock)
        self.work = Casework(self.database)
        self.work.clock = self.clock

    def pass_days(self, days: float) -> None:
        """Grow older."""
        self.clock.days += days

    def purge(self) -> None:
        """Let everything go that has to."""
        while self.retention():
            pass

    def close_cases(self) -> None:
        """Close what is resolved."""
        with self.database.transaction() as session:
            now = self.clock.now(session)
            cases.close_resolved(session, now=now, before=now)

    def ids(self, table: str = "output") -> list[str]:
        """The outputs that a table names."""
        return [r[0] for r in rows(self.database, f"SELECT output_id FROM {table} ORDER BY 1")]

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(one(self.database, f'SELECT count(*) FROM "{table}"'))

    def case(self, output_id: str) -> int:
        """The case on an output."""
        query = "SELECT case_id FROM case_output WHERE output_id = :o"
        return int(one(self.database, query, o=output_id))
