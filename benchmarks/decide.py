"""What a decision costs a tool, and what an event costs whoever reads it.

`python -m benchmarks.decide` prints the figures. CPU microseconds of the calling thread, the
best of several rounds; waiting is not counted, so that a busy machine matters little. The last
rows are wall time of `output()` with the server down, as a tool would feel it.
"""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from secondlook import Secondlook, decide, events, keys
from secondlook.gate import GatePolicy
from secondlook.testing import TOOL, FakeSecondlook, a_policy, an_output

from benchmarks.table import Row

ROUNDS = 9
TEXT = "I was charged twice for my order and would like the second payment back, please. " * 4


def rows() -> list[Row]:
    """The figures for the table of all benchmarks."""
    found = [Row(what, value, "µs") for what, value in measure().items()]
    return [
        replace(row, against=50, against_what="aim") if "decide" in row.what else row
        for row in found
    ]


def measure() -> dict[str, float]:
    """Microseconds by what was measured."""
    return {**_codec(), **_gate(), **_client()}


def cpu(work: Callable[[], object], calls: int) -> float:
    """CPU microseconds of one call: the best round, which others disturbed least."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.thread_time()
        for _ in range(calls):
            work()
        best = min(best, time.thread_time() - begun)
    return best / calls * 1e6


def an_event() -> events.OutputRecorded:
    """An event of about 750 bytes, as a ticket categoriser would send."""
    output = an_output(
        alternatives=[{"value": "billing", "confidence": 0.2}],
        input={"text": TEXT[:230], "language": "en"},
        version={"model": "2026-11-01", "prompt": "7"},
        attributes={"plan": "gold"},
        latency_ms=120.5,
    )
    return events.output_recorded(TOOL, output, time=datetime.now(UTC))


def _codec() -> dict[str, float]:
    event = an_event()
    raw = events.encode(event)
    batch = b"[" + b",".join([raw] * 500) + b"]"
    data = event.data.model_dump_json(exclude_none=True).encode()
    headers = [(f"ce_{n}", str(v).encode()) for n, v in _attributes(raw).items()]
    return {
        f"decode, structured, {len(raw)} bytes": cpu(lambda: events.decode(raw), 2_000),
        "decode, in a batch of 500": cpu(lambda: events.decode_batch(batch), 5) / 500,
        "decode, binary": cpu(lambda: events.decode(data, headers), 2_000),
        "encode": cpu(lambda: events.encode(event), 2_000),
        "digest": cpu(lambda: events.digest(event), 2_000),
    }


def _attributes(raw: bytes) -> dict[str, object]:
    parsed = json.loads(raw)
    return {name: parsed[name] for name in ("specversion", "id", "source", "type", "time")}


def _gate() -> dict[str, float]:
    plain, drawing = a_policy(), a_policy(audit_rate=0.02, holdout_rate=0.05)
    return {
        "decide, no audits": cpu(lambda: _decide(plain), 5_000),
        "decide, audits and holdout": cpu(lambda: _decide(drawing), 5_000),
    }


def _decide(policy: GatePolicy) -> None:
    decide(policy, output_id="t-1841", kind="category", value="refund", confidence=0.9)


def _client() -> dict[str, float]:
    fake = FakeSecondlook(a_policy(audit_rate=0.02))

    def record() -> None:
        fake.output("t-1", kind="category", value="refund", confidence=0.9, input_text=TEXT)
        fake.events.clear()

    return {"output(), without queueing": cpu(record, 1_000), **_waits()}


def _waits() -> dict[str, float]:
    """Wall time of `output()` while the server is down and the buffer fills."""
    look = Secondlook("http://127.0.0.1:9", keys.generate())
    took = []
    for number in range(5_000):
        begun = time.perf_counter()
        look.output(f"t-{number}", kind="category", value="refund", input_text=TEXT)
        took.append((time.perf_counter() - begun) * 1e6)
    look.close(0)
    took.sort()
    return {
        "output() in an outage, wall p50": took[len(took) // 2],
        "output() in an outage, wall p99": took[len(took) * 99 // 100],
    }


if __name__ == "__main__":
    for name, microseconds in measure().items():
        print(f"{name:40} {microseconds:8.1f} µs")
