"""A member of a consumer group of the embedded log, whose positions are kept elsewhere."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import psycopg

from services.kit.eventlog.appending import CHANNEL
from services.kit.eventlog.membership import Connected, Membership, share_of
from services.kit.eventlog.port import (
    Batch,
    Bounds,
    OffsetOutOfRange,
    Partition,
    Record,
    StartAt,
)
from services.kit.wakeup import Wakeup

# Word of what is appended is a hint: where there was none, a member looks so often all the same.
_READ_AGAIN_SECONDS = 5.0


class ReadableLog(Connected, Protocol):
    """What a member reads from."""

    def own_connection(self) -> psycopg.Connection[Any]:
        """A connection that is nobody else's."""
        ...

    def bounds(self, topics: Sequence[str]) -> dict[Partition, Bounds]:
        """What each partition of these topics holds now."""
        ...

    def read_rows(
        self, partitions: Mapping[int, Partition], starts: Mapping[int, int], limit: int
    ) -> list[Record]:
        """Records of several partitions, from where each is to start."""
        ...


class PostgresConsumer:
    """A member of a consumer group of the embedded log."""

    def __init__(
        self, log: ReadableLog, group: str, topics: Sequence[str], start_at: StartAt
    ) -> None:
        self._log = log
        self._start_at = start_at
        self._membership = Membership(log, group, topics)
        self._ids: dict[Partition, int] = {}
        self._unasked: set[Partition] = set()
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._turn = 0
        self._is_news = True
        self._read_at = 0.0
        self._topics = frozenset(topics)
        self._wakeup = Wakeup(log.own_connection, CHANNEL)

    def poll(self, *, max_records: int, timeout: float) -> list[Batch]:
        """Read, and where there is nothing, read again as soon as something is appended."""
        deadline = time.monotonic() + timeout
        self._is_news |= self._wakeup.listen()
        while True:
            self._follow_membership()
            self._ask_starts()
            batches = self._read_news(max_records)
            left = deadline - time.monotonic()
            if batches or left <= 0:
                return batches
            self._is_news = self._wakeup.wait(left, self._topics)

    def _read_news(self, max_records: int) -> list[Batch]:
        """Read where there is reason to, and now and then where there is none."""
        now = time.monotonic()
        if not self._is_news and now < self._read_at + _READ_AGAIN_SECONDS:
            return []
        batches = self._read(max_records)
        self._is_news, self._read_at = bool(batches), now
        return batches

    def _follow_membership(self) -> None:
        members, partitions = self._membership.view()
        mine = share_of(self._membership.member, members, sorted(partitions))
        for partition in self._ids.keys() - mine:
            self._forget(partition)
            del self._ids[partition]
            self._paused.discard(partition)
        for partition in mine - self._ids.keys():
            self._ids[partition] = partitions[partition]
            self._unasked.add(partition)

    def _forget(self, partition: Partition) -> None:
        self._unasked.discard(partition)
        self._positions.pop(partition, None)

    def _ask_starts(self) -> None:
        """Ask where to start; whoever gets no answer is not read until rewound."""
        if not self._unasked:
            return
        self._is_news = True
        asked = sorted(self._unasked)
        starts = self._start_at(asked)
        bounds = self._log.bounds(sorted({partition.topic for partition in asked}))
        for partition, start in starts.items():
            held = bounds[partition]
            if not held.first <= start <= held.next:
                raise OffsetOutOfRange(partition, start, held)
        self._unasked.clear()
        self._positions.update(starts)

    def _read(self, max_records: int) -> list[Batch]:
        readable = sorted(self._positions.keys() - self._paused)
        if not readable:
            return []
        self._turn = (self._turn + 1) % len(readable)
        in_turn = readable[self._turn :] + readable[: self._turn]
        names = {self._ids[partition]: partition for partition in in_turn}
        starts = {row: self._positions[partition] for row, partition in names.items()}
        found: dict[Partition, list[Record]] = defaultdict(list)
        for record in self._log.read_rows(names, starts, max_records):
            found[record.partition].append(record)
        return [self._batch(partition, records) for partition, records in found.items()]

    def _batch(self, partition: Partition, records: list[Record]) -> Batch:
        start = self._positions[partition]
        if records[0].offset != start:
            # Retention went by while we lagged; there are no holes otherwise.
            self.rewind([partition])
            bounds = self._log.bounds([partition.topic])[partition]
            raise OffsetOutOfRange(partition, start, bounds)
        self._positions[partition] = records[-1].offset + 1
        return Batch(partition, start, records[-1].offset + 1, records)

    def assigned(self) -> frozenset[Partition]:
        """The partitions that this member reads now."""
        return frozenset(self._ids)

    def rewind(self, partitions: Sequence[Partition]) -> None:
        """Forget how far these were read; the next poll asks `start_at` again."""
        for partition in partitions:
            if partition in self._ids:
                self._positions.pop(partition, None)
                self._unasked.add(partition)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing from these until `resume`."""
        self._paused.update(set(partitions) & self._ids.keys())

    def resume(self, partitions: Sequence[Partition]) -> None:
        """End a pause."""
        self._paused.difference_update(partitions)
        self._is_news = True

    def lag(self) -> dict[Partition, int]:
        """Records not yet delivered, per assigned partition whose position is known."""
        bounds = self._log.bounds(sorted({partition.topic for partition in self._positions}))
        return {
            partition: bounds[partition].next - position
            for partition, position in self._positions.items()
        }

    def publish_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Nothing: there are no lag tools but ours, and they read our own table."""

    def close(self) -> None:
        """Leave the group."""
        self._wakeup.close()
        self._membership.leave()
