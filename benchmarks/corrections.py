"""Corrections: one a request from many connections, and in batches."""

import json
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.load import BATCH, outputs, post_all
from benchmarks.server import Server, await_taken, server
from benchmarks.table import Row

_CONNECTIONS = 64


def rows(count: int) -> list[Row]:
    """Corrections a second, sent to counted in the decided truth."""
    with server() as running:
        every = [json.dumps(o) for o in outputs(2 * count)]
        bodies = [
            f"[{','.join(every[n : n + BATCH])}]".encode() for n in range(0, 2 * count, BATCH)
        ]
        post_all(running, "/v1/outputs", bodies)
        await_taken(running.database_url, [("feedback", "secondlook.outputs")])
        single = _single(running, 0, count)
        batched = _batched(running, count, count)
        return [
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
