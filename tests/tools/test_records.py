"""Bytes into events: what a record costs to read is told by the thread's own clock."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from secondlook import events

from services.kit.eventlog.port import Partition, Record
from services.tools import records
from tests import factories
from tests.waiting import throughout

LIMIT = 0.05


@pytest.fixture
def reading(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], None]:
    """Make each reading of the record under the key `slow` do something first."""
    decode = events.decode
    monkeypatch.setattr(records, "_COSTLY_SECONDS", LIMIT)

    def do(work: Callable[[], Any]) -> None:
        def slowed(raw: bytes, headers: Any) -> Any:
            if b"slow" in raw:
                work()
            return decode(raw, headers)

        monkeypatch.setattr(records.events, "decode", slowed)

    return do


def parse(*names: str) -> list[records.ParsedRecord]:
    return [
        records.parse(
            Record(
                Partition(events.OUTPUTS, 0),
                offset,
                b"",
                events.encode(factories.output(name)),
                (),
                datetime.now(UTC),
            )
        )
        for offset, name in enumerate(names)
    ]


def burn() -> None:
    until = time.thread_time() + 2 * LIMIT
    while time.thread_time() < until:
        pass


def test_record_that_takes_long_to_read_is_refused_and_those_beside_it_are_not(
    reading: Callable[[Callable[[], Any]], None],
) -> None:
    reading(burn)
    before, slow, after = parse("before", "slow", "after")
    assert slow.event is None
    assert slow.refusal is not None
    assert slow.refusal.reason == "too_costly"
    assert before.event is not None
    assert after.event is not None


def test_machine_that_stands_still_is_not_the_records_fault(
    reading: Callable[[Callable[[], Any]], None],
) -> None:
    reading(lambda: throughout(2 * LIMIT, lambda: True))
    (slow,) = parse("slow")
    assert slow.refusal is None
    assert slow.event is not None
