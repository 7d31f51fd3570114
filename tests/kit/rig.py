"""A consumer of the real runner on a log of its own, and what became of its records."""

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import text

from services.kit.consuming.counters import Counters
from services.kit.consuming.runner import Consumer
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import (
    EventLog,
    NewRecord,
    Partition,
    TopicSpec,
)
from services.kit.eventlog.postgres import PostgresLog
from tests.kit import effects
from tests.kit.effects import Effects

ROOT = Path(__file__).parent.parent.parent
ONE = Partition("topic", 0)


@dataclass
class Rig:
    """A database, the log in it, and what was counted."""

    url: str
    database: Database
    log: EventLog
    handler: Effects = field(default_factory=Effects)
    counted: Counter[Any] = field(default_factory=Counter)

    def consumer(
        self, log: EventLog | None = None, *, handler: Effects | None = None, **more: Any
    ) -> Consumer:
        """A member of the one group."""
        return Consumer(
            "test",
            ["topic"],
            log=log or self.log,
            database=self.database,
            handler=handler or self.handler,
            counters=Counters(
                committed=lambda _, n: self.counted.update(committed=n),
                retried=lambda reason: self.counted.update([reason]),
                rejected=lambda _, reason: self.counted.update([f"rejected {reason}"]),
                stale=lambda _: self.counted.update(stale=1),
                paused=lambda yes: self.counted.update(paused=int(yes) - self.counted["paused"]),
            ),
            look_seconds=0.5,
            **more,
        )

    def append(self, *values: str) -> None:
        """Append records."""
        self.log.append([NewRecord("topic", b"key", value.encode()) for value in values])

    def rows(self, query: str) -> list[Any]:
        """What raw SQL finds."""
        # On a connection of its own: those of the pool may have been ended a moment ago.
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(query.encode()).fetchall()
        return [row[0] if len(row) == 1 else tuple(row) for row in found]

    def effects(self) -> list[str]:
        """What the handler did, in order."""
        return self.rows("SELECT value FROM effect ORDER BY id")

    def done(self, n: int) -> Callable[[], bool]:
        """Whether so many records have had an effect or were rejected."""
        query = "SELECT (SELECT count(*) FROM effect) + (SELECT count(*) FROM rejected)"
        return lambda: self.rows(query)[0] >= n

    def position(self) -> int:
        """How far the first partition was taken."""
        return int(self.rows("SELECT next_offset FROM consumer_offset WHERE partition = 0")[0])

    def command(self, *more: str) -> "subprocess.Popen[str]":
        """A consumer as a process of its own."""
        command = [sys.executable, "-m", "tests.kit.effects", self.url, *more]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def run_to_death(self) -> int:
        """Run a consumer process until it ends by itself."""
        child = self.command()
        child.communicate(timeout=40)
        return child.returncode

    def stop(self, child: "subprocess.Popen[str]") -> float:
        """Ask a process to end; answers how long that took."""
        before = time.monotonic()
        child.terminate()
        child.communicate(timeout=20)
        assert child.returncode == 0
        return time.monotonic() - before


def make_rig(url: str, *, partitions: int = 1) -> Rig:
    """A rig on the database at `url`."""
    database = Database(make_engine(url, pool_size=8))
    with database.transaction() as session:
        for statement in effects.TABLES:
            session.execute(text(statement))
    log = PostgresLog(url)
    log.ensure_topics([TopicSpec("topic", partitions)])
    return Rig(url, database, log)
