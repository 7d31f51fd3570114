"""Records that take too long: each is found by itself, and holds up nobody else's partition."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.kit.consuming.cutting import first, rest
from services.kit.eventlog.port import Batch, Partition

TRIES = 3
"""So often a record is tried alone that takes too long each time."""
PATIENCE_SECONDS = 120.0
"""So long the database may be to blame for that while no other record passes."""


@dataclass
class _Slow:
    """A record that took too long alone, by the place that it is read from."""

    offset: int
    since: float = field(default_factory=time.monotonic)
    """When it was first found to."""
    last: float = 0.0
    """When it was last."""
    tries: int = 0
    outrun: int = 0
    """How many of the tries others passed after: the database was not slow for all."""
    awaits_others: bool = True


class SlowPartitions:
    """Partitions in which something took too long, and the records at which they stand still.

    A partition like that is taken by itself, in small parts that grow while they pass. What is
    left in the end is one record, alone.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limits: dict[Partition, int] = {}
        """How many records of a suspected partition are taken at a time."""
        self._found: dict[Partition, _Slow] = {}

    def suspects(self, batch: Batch) -> bool:
        """Whether a batch is to be taken by itself, in parts."""
        return batch.partition in self._limits

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """A suspected batch in parts, each of which was taken when the next one is asked for."""
        partition, left = batch.partition, batch
        while True:
            limit = self._limits.get(partition, self._most)
            if len(left.records) <= limit:
                yield left
                self._trust(partition)
                return
            yield first(left, limit)
            left = rest(left, limit)
            self._trust(partition)

    def _trust(self, partition: Partition) -> None:
        """A part has passed: the next may be twice as long."""
        limit = 2 * self._limits.pop(partition, self._most)
        if limit < self._most:
            self._limits[partition] = limit

    def note(self, batches: Sequence[Batch]) -> None:
        """These took too long together. One that was alone is to blame, or the database is."""
        holding = [batch for batch in batches if batch.records]
        for batch in holding:
            self._limits[batch.partition] = max(1, len(batch.records) // 4)
        if len(holding) == len(holding[:1]) and all(len(one.records) == 1 for one in holding):
            for batch in holding:
                self._blame(batch.partition, batch.first_offset)

    def _blame(self, partition: Partition, offset: int) -> None:
        found = self._found.get(partition)
        if found is None or found.offset != offset:
            found = self._found[partition] = _Slow(offset)
        found.tries += 1
        found.last = time.monotonic()
        found.awaits_others = True

    def is_hopeless(self, part: Batch) -> bool:
        """Whether this is one record that was tried often enough: others passed after each try,
        or nobody did for `PATIENCE_SECONDS`."""
        found = self._found.get(part.partition)
        if found is None or len(part.records) != 1 or found.offset != part.first_offset:
            return False
        waited = found.last - found.since > PATIENCE_SECONDS
        return found.outrun >= TRIES or (found.tries >= TRIES and waited)

    def passed(self) -> None:
        """Others were taken, none of them by rejecting it: the database is well."""
        for found in self._found.values():
            found.outrun += found.awaits_others
            found.awaits_others = False

    def begin(self, partition: Partition, offset: int) -> None:
        """A partition is read on from here; what has held it up elsewhere counts no more."""
        if partition in self._found and self._found[partition].offset != offset:
            del self._found[partition]
