"""What the parts alone can do on this machine: the figures that ours are held against."""

import json
import time

import psycopg

from benchmarks.house import server
from benchmarks.ingest import BATCH, outputs, post_all
from benchmarks.table import Row
from services.kit.eventlog.port import Partition
from services.kit.eventlog.postgres import PostgresLog


def rows(count: int) -> list[Row]:
    """The same rows by plain COPY, and the log read without doing anything."""
    with server() as running:
        every = [json.dumps(o) for o in outputs(count)]
        bodies = [f"[{','.join(every[n : n + BATCH])}]".encode() for n in range(0, count, BATCH)]
        post_all(running, "/v1/outputs", bodies)
        return [
            Row("limit: the same rows by plain COPY", _copy(running.database_url, every), "rows/s"),
            Row("limit: reading the embedded log", _read(running.database_url), "records/s"),
        ]


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


def _read(url: str) -> float:
    log = PostgresLog(url)
    begun, found = time.monotonic(), 0
    for partition, held in log.bounds(["secondlook.outputs"]).items():
        start = held.first
        while start < held.next:
            records = log.read(Partition(*partition), start=start, limit=2_000)
            found, start = found + len(records), records[-1].offset + 1
    log.close()
    return found / (time.monotonic() - begun)
