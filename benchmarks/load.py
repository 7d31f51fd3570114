"""What the benchmarks send."""

import http.client
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from benchmarks.server import Server

BATCH = 500
CASE_EVERY = 10
_TOO_MANY, _RETRY_SECONDS = 429, 0.1
_WORDS = "I still have not received my new card, although I ordered it over a week ago. " * 4


def outputs(count: int, *, start: int = 0) -> Iterator[dict[str, Any]]:
    """Outputs of about 600 bytes; one in ten needs a person."""
    for n in range(start, start + count):
        yield {
            "output_id": f"o-{n}",
            "kind": "category",
            "value": "card_arrival",
            "confidence": 0.4 if n % CASE_EVERY == 0 else 0.93,
            "alternatives": [
                {"value": "lost_card", "confidence": 0.04},
                {"value": "card_delivery_estimate", "confidence": 0.02},
            ],
            "input": {"text": _WORDS[:300], "language": "en"},
            "subject": f"ticket-{n}",
            "version": {"model": "bench-1"},
        }


def post_all(server: Server, path: str, bodies: list[bytes]) -> None:
    """POST every body in turn over one connection, again where more waits than the server takes."""
    where = urlsplit(server.address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    headers = {"Authorization": f"Bearer {server.key}", "Content-Type": "application/json"}
    for body in bodies:
        while _post(connection, path, body, headers) == _TOO_MANY:
            time.sleep(_RETRY_SECONDS)
    connection.close()


def _post(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: dict[str, str]
) -> int:
    connection.request("POST", path, body, headers)
    answer = connection.getresponse()
    said = answer.read()
    assert answer.status in (202, _TOO_MANY), said
    return answer.status
