"""From an output's event to its case: how long until somebody owns what the tool is unsure of."""

import http.client
import json
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import urlsplit

import psycopg

from benchmarks.server import Server, server
from benchmarks.table import Row

_A_SECOND = 100
_SENDERS = 4
_LOOK_EVERY = 0.005
_PATIENCE = 30.0
_WARMING, _MEASURED = "warming", "measured"
_OWNED = """
SELECT c.id, o.output_id FROM "case" c JOIN case_output o ON o.case_id = c.id
WHERE c.id > %s AND num_nonnulls(c.owner_team, c.owner_person) = 1 ORDER BY c.id
"""


def rows(seconds: int, where: str = "embedded log", **settings: str) -> list[Row]:
    """p50 and p99 from sending an unsure output until its case is there for all to see.

    Args:
        seconds: how long 100 unsure outputs a second are sent, each in a request of its own.
        where: what the log is, for the table.
        settings: of the server.
    """
    with server(**settings) as running, ThreadPoolExecutor(_SENDERS + 1) as threads:
        _Sender(running, 0, 1).send(_WARMING)
        _watch(running, _WARMING, _A_SECOND // _SENDERS)
        watching = threads.submit(_watch, running, _MEASURED, seconds * _A_SECOND)
        senders = [_Sender(running, number, seconds) for number in range(_SENDERS)]
        begun = list(threads.map(lambda sender: sender.send(_MEASURED), senders))
        seen = watching.result()
    waits = sorted((seen[output] - at) * 1000 for sender in begun for output, at in sender.items())
    what = f"event to owned case, {where}, {_A_SECOND} cases/s"
    return [
        Row(f"{what}, p50", waits[len(waits) // 2], "ms"),
        Row(f"{what}, p99", waits[int(len(waits) * 0.99)], "ms", 1_000, "aim"),
    ]


class _Sender:
    """Sends its share of the outputs, evenly in time, over one connection."""

    def __init__(self, running: Server, number: int, seconds: int) -> None:
        address = urlsplit(running.address)
        self._connection = http.client.HTTPConnection(address.hostname or "", address.port)
        self._headers = {
            "Authorization": f"Bearer {running.key}",
            "Content-Type": "application/json",
        }
        self._number, self._count = number, seconds * _A_SECOND // _SENDERS

    def send(self, prefix: str) -> dict[str, float]:
        """Answers when each output was sent, by its id."""
        sent: dict[str, float] = {}
        start = time.monotonic() + self._number / _A_SECOND
        for n in range(self._count):
            time.sleep(max(0.0, start + n * _SENDERS / _A_SECOND - time.monotonic()))
            output = f"{prefix}-{self._number}-{n}"
            sent[output] = time.monotonic()
            self._connection.request("POST", "/v1/outputs", unsure(output), self._headers)
            answer = self._connection.getresponse()
            assert answer.status == 202, answer.read()
            answer.read()
        return sent


def unsure(output_id: str) -> bytes:
    """An output that needs a person."""
    output = {
        "output_id": output_id,
        "kind": "category",
        "value": "lost_card",
        "confidence": 0.2,
        "occurred_at": datetime.now(UTC).isoformat(),
    }
    return json.dumps(output).encode()


def _watch(running: Server, prefix: str, expected: int) -> dict[str, float]:
    """When each of so many cases was first to be seen, by its output; others are passed over."""
    seen: dict[str, float] = {}
    last, deadline = 0, time.monotonic() + _PATIENCE
    with psycopg.connect(running.database_url, autocommit=True) as connection:
        while len(seen) < expected:
            now = time.monotonic()
            for case, output in connection.execute(_OWNED, (last,)).fetchall():
                last, deadline = case, now + _PATIENCE
                if output.startswith(prefix):
                    seen[output] = now
            if now > deadline:
                raise TimeoutError(f"there are {len(seen)} cases of {expected}")
            time.sleep(_LOOK_EVERY)
    return seen
