"""Corrections: one a request from many connections, and in batches."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from benchmarks.load import BATCH, outputs, post_all
from benchmarks.server import Server, await_taken, server
from benchmarks.table import Row

_CONNECTIONS = 64
_ALONE = 1_000
_CALM_SECONDS, _IDLE_SECONDS = 5, 20


def rows(count: int) -> list[Row]:
    """Corrections a second, sent to counted in the decided truth."""
    with server() as running:
        idle = _idle(running)
        every = [json.dumps(o) for o in outputs(2 * count + _ALONE)]
        bodies = [
            f"[{','.join(every[n : n + BATCH])}]".encode() for n in range(0, len(every), BATCH)
        ]
        post_all(running, "/v1/outputs", bodies)
        await_taken(running.database_url, [("feedback", "secondlook.outputs")])
        p50, cpu = _alone(running, 2 * count)
        single = _single(running, 0, count)
        batched = _batched(running, count, count)
        return [
            Row("idle, CPU of all processes", idle, "% of a core", 1, "aim"),
            Row("corrections, one a request, one connection, p50", p50, "ms", 3, "aim"),
            Row("… CPU of all processes", cpu, "ms each", 3, "aim"),
            Row(
                f"corrections, one a request, {_CONNECTIONS} connections",
                single,
                "corrections/s",
                1_000,
                "aim",
            ),
            Row("corrections, batches of 500", batched, "corrections/s", 5_000, "aim"),
        ]


def _word(n: int) -> dict[str, object]:
    return {
        "output_id": f"o-{n}",
        "kind": "correction",
        "value": "lost_card",
        "actor": {"id": "rep@bench.example"},
        "occurred_at": "2026-11-16T12:00:00Z",
    }


def _idle(running: Server) -> float:
    """Percent of a core that all processes use together while nobody wants anything."""
    time.sleep(_CALM_SECONDS)
    used, begun = running.cpu_seconds(), time.monotonic()
    time.sleep(_IDLE_SECONDS)
    return (running.cpu_seconds() - used) / (time.monotonic() - begun) * 100


def _alone(running: Server, start: int) -> tuple[float, float]:
    """Milliseconds until an answer (p50), and of CPU until it is counted, of each correction."""
    address = urlsplit(running.address)
    connection = http.client.HTTPConnection(address.hostname or "", address.port)
    headers = {"Authorization": f"Bearer {running.key}", "Content-Type": "application/json"}
    used, times = running.cpu_seconds(), []
    for n in range(start, start + _ALONE):
        begun = time.monotonic()
        connection.request("POST", "/v1/corrections", json.dumps(_word(n)), headers)
        answer = connection.getresponse()
        said = answer.read()
        times.append(time.monotonic() - begun)
        assert answer.status == 202, said
    connection.close()
    _settle(running)
    cpu = (running.cpu_seconds() - used) / _ALONE
    return sorted(times)[_ALONE // 2] * 1000, cpu * 1000


def _single(running: Server, start: int, count: int) -> float:
    bodies = [json.dumps(_word(n)).encode() for n in range(start, start + count)]
    shares = [bodies[n::_CONNECTIONS] for n in range(_CONNECTIONS)]
    begun = time.monotonic()
    with ThreadPoolExecutor(_CONNECTIONS) as threads:
        list(threads.map(lambda each: post_all(running, "/v1/corrections", each), shares))
    _settle(running)
    return count / (time.monotonic() - begun)


def _batched(running: Server, start: int, count: int) -> float:
    bodies = [
        json.dumps([_word(n) for n in range(first, first + BATCH)]).encode()
        for first in range(start, start + count, BATCH)
    ]
    begun = time.monotonic()
    post_all(running, "/v1/corrections", bodies)
    _settle(running)
    return count / (time.monotonic() - begun)


def _settle(running: Server) -> None:
    await_taken(running.database_url, [("feedback", "secondlook.corrections")])
