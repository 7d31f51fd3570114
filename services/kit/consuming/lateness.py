"""Which consumers leave records lying on the log."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from services.kit.consuming import offsets
from services.kit.eventlog.port import Bounds, EventLog, Partition


class Late(NamedTuple):
    """A consumer that has not taken records of some age yet."""

    consumer: str
    records: int
    """Offsets that it has not taken, whatever their age."""
    oldest: datetime
    """When the oldest of them was appended."""
    progressed_at: datetime | None
    """When it last took something where such a record lies; None where it never did."""


def late(
    log: EventLog,
    positions: Sequence[offsets.Position],
    consumed: Mapping[str, Collection[str]],
    *,
    before: datetime,
) -> list[Late]:
    """The consumers of which a record waits that was appended before this moment.

    One with nothing to take is never late, however long it has been idle. `positions` must have
    been read before; `consumed` names the topics of each.
    """
    ends = log.bounds(sorted({topic for topics in consumed.values() for topic in topics}))
    reached = {(at.consumer, Partition(at.topic, at.partition)): at for at in positions}
    found = []
    for consumer, topics in consumed.items():
        held = {
            partition: bounds for partition, bounds in ends.items() if partition.topic in topics
        }
        places = {partition: reached.get((consumer, partition)) for partition in held}
        if one := _late(log, consumer, held, places, before):
            found.append(one)
    return found


def _late(
    log: EventLog,
    consumer: str,
    held: Mapping[Partition, Bounds],
    places: Mapping[Partition, offsets.Position | None],
    before: datetime,
) -> Late | None:
    waiting = {partition: offsets.behind(places[partition], held[partition]) for partition in held}
    heads = {
        partition: appended_at
        for partition, records in waiting.items()
        if records and (appended_at := _head(log, partition, places[partition], held[partition]))
    }
    old = {
        partition: appended_at for partition, appended_at in heads.items() if appended_at < before
    }
    if not old:
        return None
    moved = [at.progressed_at for partition in old if (at := places[partition]) and at.taken]
    return Late(consumer, sum(waiting.values()), min(old.values()), max(moved, default=None))


def _head(
    log: EventLog, partition: Partition, at: offsets.Position | None, held: Bounds
) -> datetime | None:
    """When the first record that waits was appended; None where none can be read."""
    start = held.first if at is None else max(at.next_offset, held.first)
    records = log.read(partition, start=start, limit=1)
    return records[0].appended_at if records else None
