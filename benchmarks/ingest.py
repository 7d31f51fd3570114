"""Outputs sent to stored and routed: over HTTP batches and the embedded log."""

import http.client
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.house import Server, await_taken

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
        {"feedback": "secondlook.outputs", "escalation": "secondlook.outputs"},
    )
    took = time.monotonic() - begun
    return {
        "events_per_second": count / took,
        "accepted_per_second": count / accepted,
        "cpu_seconds_per_1000": (server.cpu_seconds() - cpu) / count * 1000,
    }
