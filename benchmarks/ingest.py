"""Outputs sent to stored and routed: over HTTP batches and the embedded log."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import psycopg
from secondlook import Secondlook

from benchmarks.house import Server, await_taken, server
from benchmarks.table import Row

BATCH = 500
_CASE_EVERY = 10
_WORDS = "I still have not received my new card, although I ordered it over a week ago. " * 4


def outputs(count: int, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Outputs of about 600 bytes; one in ten needs a person."""
    for n in range(start, start + count):
        yield {
            "output_id": f"o-{n}",
            "kind": "category",
            "value": "card_arrival",
            "confidence": 0.4 if n % _CASE_EVERY == 0 else 0.93,
            "alternatives": [
                {"value": "lost_card", "confidence": 0.04},
                {"value": "card_delivery_estimate", "confidence": 0.02},
            ],
            "input": {"text": _WORDS[:300], "language": "en"},
            "subject": f"ticket-{n}",
            "version": {"model": "bench-1"},
        }


def post_all(server: Server, path: str, bodies: list[bytes]) -> None:
    """POST every body in turn over one connection."""
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    for body in bodies:
        connection.request("POST", path, body, headers)
        answer = connection.getresponse()
        said = answer.read()
        assert answer.status == 202, said
    connection.close()


def run(server: Server, count: int) -> dict[str, float]:
    """Events per second and CPU seconds per 1,000 events, end to end."""
    every = list(outputs(count))
    bodies = [json.dumps(every[n : n + BATCH]).encode() for n in range(0, count, BATCH)]
    cpu, begun = server.cpu_seconds(), time.monotonic()
    post_all(server, "/v1/outputs", bodies)
    accepted = time.monotonic() - begun
    await_taken(
        server.database_url,
        [("feedback", "secondlook.outputs"), ("escalation", "secondlook.outputs")],
    )
    took = time.monotonic() - begun
    return {
        "events_per_second": count / took,
        "accepted_per_second": count / accepted,
        "cpu_seconds_per_1000": (server.cpu_seconds() - cpu) / count * 1000,
    }


AIM = {"embedded": 5_000, "kafka": 10_000}
"""Outputs a second, end to end, on two cores."""


def rows(count: int) -> list[Row]:
    """Over HTTP batches and the embedded log, with the server's memory before and after."""
    with server() as running:
        idle = running.memory_mib()
        warm = [json.dumps(list(outputs(BATCH, start=10_000_000))).encode()]
        post_all(running, "/v1/outputs", warm)
        found = run(running, count)
        return [
            Row("memory, idle, all processes", idle, "MiB", 500, "aim"),
            Row("memory after the run", running.memory_mib(), "MiB"),
            Row(
                "outputs, HTTP batches, embedded log, sent to stored and routed",
                found["events_per_second"],
                "events/s",
                AIM["embedded"],
                "aim",
            ),
            Row("… CPU of all processes", found["cpu_seconds_per_1000"], "s per 1,000"),
        ]


def kafka_rows(bootstrap: str, count: int) -> list[Row]:
    """From Kafka: the events are on the log before the consumers begin."""
    prefix = {"SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS": bootstrap}
    with server(**prefix) as running:
        look = Secondlook(
            running.address, running.key, kafka_bootstrap_servers=bootstrap, buffer_size=count
        )
        look.wait_for_policy(30)
        every = list(outputs(count))
        cpu, begun = running.cpu_seconds(), time.monotonic()
        for one in every:
            look.output(
                one["output_id"],
                kind="category",
                value=one["value"],
                confidence=one["confidence"],
                alternatives=one["alternatives"],
                input_text=one["input"]["text"],
                model="bench-1",
                subject=one["subject"],
            )
        look.flush(300)
        _await_stored(running, count)
        took = time.monotonic() - begun
        look.close()
        return [
            Row(
                "outputs, SDK over Kafka, sent to stored and routed",
                count / took,
                "events/s",
                AIM["kafka"],
                "aim",
            ),
            Row(
                "… CPU of all our processes",
                (running.cpu_seconds() - cpu) / count * 1000,
                "s per 1,000",
            ),
        ]


def _await_stored(running: Server, count: int) -> None:
    """Wait until everything is stored and every tenth of it has its case."""
    query = (
        "SELECT (SELECT coalesce(sum(n), 0) FROM total_count WHERE measure = 'outputs') >= %s"
        " AND (SELECT coalesce(sum(n), 0) FROM total_count WHERE measure = 'cases') >= %s"
    )
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline:
            row = connection.execute(query, (count, count // _CASE_EVERY)).fetchone()
            if row is not None and row[0]:
                return
            time.sleep(0.05)
    raise TimeoutError("not everything was stored")
