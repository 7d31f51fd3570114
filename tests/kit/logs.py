"""Helpers of the event log's tests: something that stores offsets, and ways to read."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from services.kit.consuming.runner import Consumer
from services.kit.eventlog.port import Batch, LogConsumer, NewRecord, Partition, Record
from tests.waiting import until


@dataclass
class Store:
    """Offsets and effects of a consumer, guarded like the real ones by compare-and-set."""

    offsets: dict[Partition, int] = field(default_factory=dict)
    applied: list[Record] = field(default_factory=list)
    asked: list[list[Partition]] = field(default_factory=list)
    stale: int = 0

    def start_at(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.asked.append(list(partitions))
        return {partition: self.offsets.setdefault(partition, 0) for partition in partitions}

    def apply(self, batch: Batch) -> bool:
        """Take a batch unless somebody else has been there."""
        if self.offsets.get(batch.partition, 0) != batch.first_offset:
            self.stale += 1
            return False
        self.offsets[batch.partition] = batch.next_offset
        self.applied.extend(batch.records)
        return True

    def step(self, *consumers: LogConsumer) -> None:
        """Let each consumer poll once and apply what it gets."""
        for consumer in consumers:
            for batch in consumer.poll(max_records=500, timeout=0.05):
                if not self.apply(batch):
                    consumer.rewind([batch.partition])


@contextmanager
def running(*consumers: Consumer) -> Iterator[None]:
    """Let consumers run, each in a thread, for as long as the context is open."""
    threads = [threading.Thread(target=consumer.run) for consumer in consumers]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for consumer in consumers:
            consumer.stop()
        for thread in threads:
            thread.join()


def poll_records(consumer: LogConsumer, n: int) -> list[Record]:
    """Poll until `n` records have come."""
    found: list[Record] = []

    def step() -> None:
        for batch in consumer.poll(max_records=500, timeout=0.2):
            found.extend(batch.records)

    until(lambda: len(found) >= n, step)
    return found


def just_after(record: Record) -> datetime:
    """A moment after a record, and one that the clock has left behind."""
    moment = record.appended_at + timedelta(milliseconds=2)
    until(lambda: datetime.now(UTC) > moment + timedelta(milliseconds=2))
    return moment


def numbered(topic: str, n: int, *, keys: int = 10, start: int = 0) -> list[NewRecord]:
    """`n` records whose values count up, over some keys."""
    return [
        NewRecord(topic, f"key-{i % keys}".encode(), str(i).encode())
        for i in range(start, start + n)
    ]
