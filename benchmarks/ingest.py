"""Outputs sent to stored and routed: over HTTP batches and the embedded log."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import psycopg
from secondlook import Secondlook, events

from benchmarks.limits import Limits, read_kafka
from benchmarks.load import BATCH, CASE_EVERY, outputs, post_all
from benchmarks.server import THRESHOLD, TOOL, Server, await_taken, server
from benchmarks.table import Row
from services.kit.eventlog import open_log
from services.kit.eventlog.port import NewRecord
from services.kit.settings import Settings

_CONNECTIONS = 4
_TAKERS = [("feedback", events.OUTPUTS), ("escalation", events.REVIEWS)]
AIM = {"embedded": 5_000, "kafka": 10_000}
"""Outputs a second, end to end, on two cores."""
CPU_AIM = 0.12


def rows(count: int, limits: Limits) -> list[Row]:
    """Over HTTP batches and the embedded log, with the server's memory before and after."""
    with server() as running:
        idle = running.memory_mib()
        post_all(running, "/v1/outputs", _bodies(range(10_000_000, 10_000_000 + BATCH)))
        await_taken(running.database_url, _TAKERS)
        rate, cpu = _over_http(running, count)
        what = f"outputs, HTTP batches, {_CONNECTIONS} connections, embedded log, stored and routed"
        return [
            Row("memory, idle, all processes", idle, "MiB", 500, "aim"),
            Row("memory after the run", running.memory_mib(), "MiB"),
            Row(what, rate, "events/s", AIM["embedded"], "aim"),
            *limits.beside(rate, read=limits.read, log="the embedded log"),
            Row("… CPU of all processes", cpu, "s per 1,000", CPU_AIM, "aim"),
        ]


def _bodies(numbers: range) -> list[bytes]:
    """Batches of the outputs with these numbers."""
    return [json.dumps(list(outputs(BATCH, start=n))).encode() for n in numbers[::BATCH]]


def _over_http(running: Server, count: int) -> tuple[float, float]:
    """Events per second and CPU seconds per 1,000 events, end to end."""
    bodies = _bodies(range(count))
    shares = [bodies[n::_CONNECTIONS] for n in range(_CONNECTIONS)]
    cpu, begun = running.cpu_seconds(), time.monotonic()
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        list(threads.map(lambda share: post_all(running, "/v1/outputs", share), shares))
    await_taken(running.database_url, _TAKERS)
    took = time.monotonic() - begun
    return count / took, (running.cpu_seconds() - cpu) / count * 1000


def kafka_rows(bootstrap: str, count: int, limits: Limits) -> list[Row]:
    """Over Kafka: as an SDK sends them, and from a log that is full when reading begins."""
    with server(SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS=bootstrap) as running:
        sent = _measured(running, count, lambda: _send_with_sdk(running, bootstrap, count))
        with running.frozen("sl-feedback", "sl-escalation"):
            _append(bootstrap, range(count, 2 * count))
        read = _measured(running, 2 * count, lambda: None)
    limit = read_kafka(bootstrap)
    return [
        Row("limit: reading Kafka", limit, "records/s"),
        Row("outputs, one SDK over Kafka, sent to stored and routed", sent[0], "events/s"),
        Row("… CPU of all our server's processes", sent[1], "s per 1,000"),
        Row("outputs, from Kafka, stored and routed", read[0], "events/s", AIM["kafka"], "aim"),
        *limits.beside(read[0], read=limit, log="Kafka"),
        Row("… CPU of all our server's processes", read[1], "s per 1,000", CPU_AIM, "aim"),
    ]


def _measured(running: Server, total: int, send: Callable[[], None]) -> tuple[float, float]:
    """Events per second and CPU seconds per 1,000, from before `send` until all are routed."""
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        count = total - _stored(connection, "outputs")
        cpu, begun = running.cpu_seconds(), time.monotonic()
        send()
        deadline = begun + 300
        while not _routed(connection, total):
            if time.monotonic() > deadline:
                raise TimeoutError("not everything was stored and routed")
            time.sleep(0.02)
        took = time.monotonic() - begun
    return count / took, (running.cpu_seconds() - cpu) / count * 1000


def _routed(connection: "psycopg.Connection[Any]", total: int) -> bool:
    """Whether so many outputs are stored and every tenth of them has its case."""
    wanted = {"outputs": total, "cases": total // CASE_EVERY}
    return all(_stored(connection, what) >= count for what, count in wanted.items())


def _stored(connection: "psycopg.Connection[Any]", measure: str) -> int:
    query = "SELECT coalesce(sum(n), 0)::bigint FROM total_count WHERE measure = %s"
    row = connection.execute(query, (measure,)).fetchone()
    return int(row[0]) if row is not None else 0


def _send_with_sdk(running: Server, bootstrap: str, count: int) -> None:
    with Secondlook(
        running.address, running.key, kafka_bootstrap_servers=bootstrap, buffer_size=count
    ) as look:
        look.wait_for_policy(30)
        for one in outputs(count):
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


def _append(bootstrap: str, numbers: range) -> None:
    """Put decided outputs onto Kafka, as many tools together would have."""
    log = open_log(Settings(kafka_bootstrap_servers=bootstrap), "")
    for start in numbers[::BATCH]:
        log.append([_record(body) for body in outputs(BATCH, start=start)])
    log.close()


def _record(body: dict[str, Any]) -> NewRecord:
    disposition = "review" if body["confidence"] < THRESHOLD else "proceed"
    output = events.Output.model_validate({**body, "disposition": disposition})
    event = events.output_recorded(TOOL, output, time=datetime.now(UTC))
    return NewRecord(event.topic, event.key, events.encode(event))
