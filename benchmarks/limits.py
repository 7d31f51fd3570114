"""What the parts alone can do on this machine: the figures that ours are held against."""

import json
import time
from dataclasses import dataclass

import psycopg

from benchmarks.load import BATCH, outputs, post_all
from benchmarks.server import server
from benchmarks.table import Row
from services.kit.eventlog import open_log
from services.kit.eventlog.port import EventLog
from services.kit.eventlog.postgres import PostgresLog
from services.kit.settings import Settings


@dataclass(frozen=True, slots=True)
class Limits:
    """Rows a second by plain COPY, and records a second read from the embedded log."""

    copied: float
    read: float

    def rows(self) -> list[Row]:
        """The limits themselves."""
        return [
            Row("limit: the same rows by plain COPY", self.copied, "rows/s"),
            Row("limit: reading the embedded log", self.read, "records/s"),
        ]

    def beside(self, rate: float, *, read: float, log: str) -> list[Row]:
        """A rate of ours beside the limits; `read` is that of its log."""
        return [
            Row("… beside plain COPY", rate, "events/s", self.copied, "COPY"),
            Row("… of plain COPY", rate / self.copied, "", 0.2, "aim"),
            Row(f"… beside reading {log}", rate, "events/s", read, "reading"),
        ]


def measure(count: int) -> Limits:
    """The same rows by plain COPY, and the log read without doing anything."""
    with server() as running:
        every = [json.dumps(o) for o in outputs(count)]
        bodies = [f"[{','.join(every[n : n + BATCH])}]".encode() for n in range(0, count, BATCH)]
        post_all(running, "/v1/outputs", bodies)
        return Limits(_copy(running.database_url, every), _read(PostgresLog(running.database_url)))


def read_kafka(bootstrap: str) -> float:
    """Records a second from Kafka, read without doing anything."""
    return _read(open_log(Settings(kafka_bootstrap_servers=bootstrap), ""))


def _copy(url: str, every: list[str]) -> float:
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE plain (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
            " output_id text UNIQUE, body jsonb)"
        )
        connection.commit()
        begun = time.monotonic()
        for start in range(0, len(every), BATCH):
            with connection.cursor().copy("COPY plain (output_id, body) FROM STDIN") as copy:
                for n in range(start, min(start + BATCH, len(every))):
                    copy.write_row((f"o-{n}", every[n]))
            connection.commit()
        return len(every) / (time.monotonic() - begun)


def _read(log: EventLog) -> float:
    begun, found = time.monotonic(), 0
    for partition, held in log.bounds(["secondlook.outputs"]).items():
        start = held.first
        while start < held.next:
            records = log.read(partition, start=start, limit=2_000)
            found, start = found + len(records), records[-1].offset + 1
    log.close()
    return found / (time.monotonic() - begun)
