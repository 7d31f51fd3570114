"""What goes wrong while records are consumed: what to read again, and what to reject."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
PATIENCE_SECONDS = 120.0
"""So long the database may be to blame for a record that takes too long while no other passes."""


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

    def shrink(self) -> None:
        """Read a quarter."""
        self.records = max(1, self.records // 4)

    def grow(self) -> None:
        """Read a little more again, up to the most."""
        self.records = min(self._most, self.records + 1 + self._most // 20)


@dataclass
class _Slow:
    """A record that took too long alone."""

    offset: int
    since: float
    tries: int = 0
    others_passed: bool = False
    """Whether other records were taken meanwhile, so that the database is not slow for all."""


class SlowRecords:
    """The records at which partitions stand still, since they take too long even alone."""

    def __init__(self) -> None:
        self._found: dict[Partition, _Slow] = {}

    def note(self, batches: Sequence[Batch]) -> None:
        """These took too long; one that was alone is to blame, or the database is."""
        if (alone := _alone(batches)) is not None:
            partition, offset = alone
            found = self._found.get(partition)
            if found is None or found.offset != offset:
                found = self._found[partition] = _Slow(offset, time.monotonic())
            found.tries += 1

    def is_hopeless(self, batches: Sequence[Batch]) -> bool:
        """Whether this is one record that was tried often enough, while others passed or nobody
        did for `PATIENCE_SECONDS`."""
        alone = _alone(batches)
        found = self._found.get(alone[0]) if alone is not None else None
        if alone is None or found is None or found.offset != alone[1] or found.tries < TRIES:
            return False
        return found.others_passed or time.monotonic() - found.since > PATIENCE_SECONDS

    def passed(self) -> None:
        """Others were taken, none of them by rejecting it: the database is well."""
        for found in self._found.values():
            found.others_passed = True

    def begin(self, partition: Partition, offset: int) -> None:
        """A partition is read on from here; what has held it up elsewhere counts no more."""
        if partition in self._found and self._found[partition].offset != offset:
            del self._found[partition]


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
