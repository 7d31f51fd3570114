"""The event log as the rest of the product sees it: a port with two implementations.

Both keep the same promises, and one contract test class holds both to them:

* `append` returns after the records are durable, in the order given per partition;
* offsets of a partition rise by one a record and a reader never skips a record that is
  committed later than its neighbour;
* positions are the consumer's own business: it tells the log where to start, the log
  never decides it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple, Protocol

Headers = tuple[tuple[str, bytes], ...]


class Partition(NamedTuple):
    """One ordered part of a topic."""

    topic: str
    number: int


class Bounds(NamedTuple):
    """What a partition holds: offsets from `first` to `next - 1`."""

    first: int
    next: int


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic to make where it is missing. `compacted` keeps the newest record per key."""

    name: str
    partitions: int
    compacted: bool = False


# Tuples, because millions of them are made: a frozen dataclass takes four times as long.
class NewRecord(NamedTuple):
    """A record to append. Records with equal keys go to the same partition."""

    topic: str
    key: bytes
    value: bytes
    headers: Headers = ()


class Record(NamedTuple):
    """A record as read. `appended_at` is the log's time, never the sender's.

    (On a Kafka topic that somebody else made it is what that topic is set to keep.)
    """

    partition: Partition
    offset: int
    key: bytes | None
    value: bytes
    headers: Headers
    appended_at: datetime


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Offsets from `first` to `next - 1` that the log holds and nobody can decode.

    `raw` is the record, or the whole batch that it lies in, as the log has it.
    """

    first: int
    next: int
    reason: str
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition.

    `next_offset` is where reading goes on after this batch; it may lie beyond the last
    record plus one (compaction, control records, unreadable records).
    """

    partition: Partition
    first_offset: int
    next_offset: int
    records: Sequence[Record]
    unreadable: Sequence[Unreadable] = field(default=())


class LogUnavailable(Exception):
    """The log cannot be reached or did not confirm in time. Trying again may help."""


class OffsetOutOfRange(Exception):
    """A stored position lies outside what the partition holds; `bounds` is what it holds."""

    def __init__(self, partition: Partition, offset: int, bounds: Bounds) -> None:
        super().__init__(f"{partition} holds {bounds.first}..{bounds.next - 1}, not {offset}")
        self.partition, self.offset, self.bounds = partition, offset, bounds


StartAt = Callable[[Sequence[Partition]], Mapping[Partition, int]]
"""Asked, on the polling thread, where to start newly assigned or rewound partitions.

A partition that the answer leaves out is not read until it is rewound or assigned anew.
What this raises, `poll` raises, and the same partitions are asked about again.
"""


class LogConsumer(Protocol):
    """A member of a consumer group. Not thread-safe: one thread polls it."""

    def poll(self, *, max_records: int, timeout: float) -> list[Batch]:
        """Batches of the assigned partitions, at most `max_records` records altogether.

        Fewer where they are large: a poll holds some 32 MiB. What is unreadable counts, and
        a batch may hold nothing and still lead on. Waits up to `timeout` seconds when there
        is nothing. Newly assigned partitions are read from where `start_at` says, never
        before that was asked.

        Raises:
            LogUnavailable: the log cannot be reached; poll again later.
            OffsetOutOfRange: what `start_at` said is not there.
        """
        ...

    def assigned(self) -> frozenset[Partition]:
        """The partitions that this member reads now."""
        ...

    def rewind(self, partitions: Sequence[Partition]) -> None:
        """Forget how far these were read; the next poll asks `start_at` again."""
        ...

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing from these until `resume`. Survives nothing: a rebalance ends it."""
        ...

    def resume(self, partitions: Sequence[Partition]) -> None:
        """End a pause."""
        ...

    def lag(self) -> Mapping[Partition, int]:
        """Records not yet delivered, per assigned partition."""
        ...

    def publish_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Show these positions to the log's own lag tools. Nothing reads them back."""
        ...

    def close(self) -> None:
        """Leave the group; may be called twice."""
        ...


class EventLog(Protocol):
    """An append-only, partitioned log of events. Safe to use from several threads."""

    def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Make the topics that are missing; leave the others as they are."""
        ...

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append; returns once every record is durable.

        Raises:
            ValueError: the log takes no record as large as one of these.
            LogUnavailable: not all are known to be durable; append them again.
        """
        ...

    def bounds(self, topics: Sequence[str]) -> Mapping[Partition, Bounds]:
        """What each partition of these topics holds now."""
        ...

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """The offset of the first record appended at or after `moment`, or the end."""
        ...

    def read(self, partition: Partition, *, start: int, limit: int) -> list[Record]:
        """Up to `limit` records from `start`, outside any consumer group.

        Fewer where they are large, none at the end.
        """
        ...

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        """Join `group` on `topics`."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...
