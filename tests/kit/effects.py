"""A handler whose effects can be counted, and whose records say how it is to behave.

Run as a program it is a consumer of its own, for the tests that kill one:
`python -m tests.kit.effects DATABASE_URL`.
"""

import os
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.consuming.runner import Consumer
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import Batch, Record
from services.kit.eventlog.postgres import PostgresLog
from tests.waiting import throughout

TABLES = (
    "CREATE TABLE effect (id bigint GENERATED ALWAYS AS IDENTITY, value text)",
    "CREATE TABLE rejected (place bigint, value bytea, reason text)",
)


class Effects:
    """Writes a row per record. `bad` fails, `die` kills the process, `hang` never returns.

    `costly` takes half a second to read.
    """

    def __init__(self) -> None:
        self.rejecting = True
        self.calls = 0

    def prepare(self, record: Record) -> str:
        value = record.value.decode()
        if value.startswith("costly"):
            throughout(0.5, lambda: True)
        return value

    def __call__(self, session: Session, batches: Sequence[Batch], prepared: Sequence[str]) -> None:
        self.calls += 1
        values = list(prepared)
        session.execute(
            text("INSERT INTO effect (value) SELECT unnest(CAST(:values AS text[]))"),
            {"values": values},
        )
        if "once" in values and not (marker := Path(os.environ["MARKER"])).exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "die" in values:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in values:
            threading.Event().wait()
        if any(value.startswith("bad") for value in values):
            raise ValueError("bad record")

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        if not self.rejecting:
            raise RuntimeError("nowhere to keep it")
        session.execute(
            text("INSERT INTO rejected VALUES (:place, :value, :reason)"),
            {"place": record.offset, "value": record.value, "reason": str(error)},
        )


def main() -> None:
    url, *more = sys.argv[1:]
    database, log = Database(make_engine(url)), PostgresLog(url)
    consumer = Consumer(
        "test",
        ["topic"],
        log=log,
        database=database,
        handler=Effects(),
        hang_seconds=float(more[0]) if more else 60.0,
    )
    signal.signal(signal.SIGTERM, lambda *_: consumer.stop())
    print("started", flush=True)
    consumer.run()
    log.close()
    database.close()


if __name__ == "__main__":
    main()
