"""What goes wrong while records are consumed: what to read again, and what to reject."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from services.kit.consuming.offsets import StaleOffset
from services.kit.database import is_infrastructure
from services.kit.eventlog.port import (
    Batch,
    LogUnavailable,
    OffsetOutOfRange,
    Partition,
    Record,
    Unreadable,
)

TRIES = 3
"""How often a record is tried alone that kills the process, or takes too long, each time."""


class Paused(Exception):
    """Too much would have to be rejected: nothing is, until a person has looked."""


class Interrupted(Exception):
    """The process is asked to end in the middle of a batch; the rest is read again later."""


class BatchSize:
    """How many records are read at a time.

    A batch that took too long would take as long again, and everybody waits for it.
    """

    def __init__(self, most: int) -> None:
        self._most = self.records = most
        self._slow: tuple[Partition, int] | None = None
        self._tries = 0

    def shrink(self, batches: Sequence[Batch]) -> None:
        """Read a quarter of these, which took too long, and count how often one alone did."""
        self.records = max(1, self.records // 4)
        if (alone := _alone(batches)) is not None:
            self._tries = self._tries + 1 if alone == self._slow else 1
            self._slow = alone

    def is_hopeless(self, batches: Sequence[Batch]) -> bool:
        """Whether this is one record, which took too long alone as often as one is tried."""
        return self._tries >= TRIES and _alone(batches) == self._slow

    def forget(self) -> None:
        """Count anew, should that record come again."""
        self._slow, self._tries = None, 0

    def grow(self) -> None:
        """Read a little more again, up to the most."""
        self.records = min(self._most, self.records + 1 + self._most // 20)


def _alone(batches: Sequence[Batch]) -> tuple[Partition, int] | None:
    """The place of the only record of these batches, if there is but one."""
    offsets = [(batch.partition, r.offset) for batch in batches for r in batch.records]
    return offsets[0] if len(offsets) == len(batches) == 1 else None


def must_retry(error: BaseException) -> bool:
    """Whether an error says nothing against the records: they are to be read again."""
    ours = (StaleOffset, Paused, Interrupted, LogUnavailable, OffsetOutOfRange)
    return isinstance(error, ours) or is_infrastructure(error)


def reason_of(error: Exception) -> str:
    """One word for a metric's label."""
    for kind, word in _WORDS.items():
        if isinstance(error, kind):
            return word
    return "database" if is_infrastructure(error) else "unexpected"


_WORDS: Mapping[type[Exception], str] = {
    StaleOffset: "stale",
    OffsetOutOfRange: "out_of_range",
    LogUnavailable: "log",
    Paused: "paused",
    Interrupted: "stopping",
}


def as_record(partition: Partition, item: Unreadable) -> Record:
    """Something to keep what cannot be read in."""
    headers = (
        ("secondlook-unreadable", item.reason.encode(errors="replace")),
        ("secondlook-offsets", f"{item.first}-{item.next - 1}".encode()),
    )
    return Record(partition, item.first, None, item.raw, headers, datetime.now(UTC))
