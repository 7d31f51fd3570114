"""Batches in parts, with nothing left out between them."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from services.kit.eventlog.port import Batch


def halves(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Two parts to try by themselves, or none where there is but one record."""
    middle = len(batches) // 2
    if middle:
        return [list(batches[:middle]), list(batches[middle:])]
    cut = len(batches[0].records) // 2
    return [[part] for part in _cut(batches[0], [cut])] if cut else []


def singles(batch: Batch) -> Iterator[Batch]:
    """The batch record by record, with nothing left out between them."""
    yield from _cut(batch, range(1, len(batch.records)))


def first(batch: Batch, records: int) -> Batch:
    """The batch up to so many records, of which it has more."""
    return next(_cut(batch, [records]))


def rest(batch: Batch, records: int) -> Batch:
    """What follows `first`."""
    return list(_cut(batch, [records]))[1]


def _cut(batch: Batch, places: Sequence[int]) -> Iterator[Batch]:
    """The batch in parts that end before the records at these places."""
    ends = [batch.records[place].offset for place in places]
    bounds = [batch.first_offset, *ends, batch.next_offset]
    indexes = [0, *places, len(batch.records)]
    for (start, end), (low, high) in zip(pairwise(bounds), pairwise(indexes), strict=True):
        unreadable = [item for item in batch.unreadable if start <= item.first < end]
        yield Batch(batch.partition, start, end, batch.records[low:high], unreadable)
