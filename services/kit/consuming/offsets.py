"""How far each consumer has come, kept beside the effects of what it consumed.

The offset moves in the same transaction as those effects and only from where it was
expected to be. So an effect is there exactly once, however often a record is read, and a
consumer that was thought dead cannot write after somebody else took over.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import func, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.database import affected
from services.kit.eventlog.port import Bounds, Partition
from services.kit.models import ConsumerOffset, LogGap

# What `attempts` counts: up to here, starts at this place that came to nothing; beyond it,
# tries of its first record alone.
CAREFUL = 3


class StaleOffset(Exception):
    """Somebody else moved the offset: roll back, and read again from where it is now."""


class Move(NamedTuple):
    """A step of one partition, from the offset that is expected to the one after the work.

    `records` is how many lay between: fewer than the offsets, where some hold none.
    """

    partition: Partition
    start: int
    end: int
    records: int


class Place(NamedTuple):
    """Where a partition goes on. `careful`: several starts at this very place came to nothing."""

    next_offset: int
    careful: bool


class Position(NamedTuple):
    """How far a consumer has come in a partition."""

    consumer: str
    topic: str
    partition: int
    start_offset: int
    next_offset: int
    taken: int
    progressed_at: datetime


_ADVANCE = text("""
    UPDATE consumer_offset o
       SET next_offset = move.hi, progressed_at = clock_timestamp(), taken = taken + move.n,
           attempted_offset = move.hi, attempts = :attempts
      FROM unnest(CAST(:topics AS text[]), CAST(:numbers AS bigint[]),
                  CAST(:lows AS bigint[]), CAST(:highs AS bigint[]), CAST(:counts AS bigint[]))
           AS move (topic, number, lo, hi, n)
     WHERE o.consumer = :consumer AND o.topic = move.topic AND o.partition = move.number
       AND o.next_offset = move.lo
""")

_BEGIN = text("""
    INSERT INTO consumer_offset (consumer, topic, partition, start_offset, next_offset)
    SELECT :consumer, topic, number, first, first
      FROM unnest(CAST(:topics AS text[]), CAST(:numbers AS bigint[]), CAST(:firsts AS bigint[]))
           AS held (topic, number, first)
        ON CONFLICT DO NOTHING
""")

_COUNT_START = text("""
    UPDATE consumer_offset
       SET attempts = CASE WHEN attempted_offset <> next_offset THEN 1
                           WHEN attempts < :careful THEN attempts + 1 ELSE attempts END,
           attempted_offset = next_offset
     WHERE consumer = :consumer AND topic = :topic AND partition = :number
 RETURNING attempts
""")

_COUNT_TRY = text("""
    UPDATE consumer_offset
       SET attempts = greatest(:careful, CASE WHEN attempted_offset = next_offset
                                              THEN attempts ELSE 0 END) + 1,
           attempted_offset = next_offset
     WHERE consumer = :consumer AND topic = :topic AND partition = :number
       AND next_offset = :offset
 RETURNING attempts
""")


class Offsets:
    """The offsets of one consumer."""

    def __init__(self, consumer: str) -> None:
        self.consumer = consumer

    def load(
        self,
        session: Session,
        bounds: Mapping[Partition, Bounds],
        *,
        starting: Collection[Partition] = (),
        seen: Mapping[Partition, int] | None = None,
    ) -> dict[Partition, Place]:
        """Where these partitions go on; those met for the first time begin at their first.

        Offsets that retention removed before they were consumed are recorded as a gap and
        passed over. A partition that ends before its stored offset, as one that was made
        anew does, is left out until somebody rewinds it. Where there is something to
        read, a start is counted for each partition in `starting`.

        `seen` are the offsets from before `bounds` were read.

        Raises:
            StaleOffset: somebody has moved past the end that `bounds` tell of meanwhile,
                so they say nothing about where the partition ends now.
        """
        self._begin(session, bounds)
        cut_off = self._cut_off(session)
        places = {}
        for row in self._rows(session, bounds):
            partition = Partition(row.topic, row.partition)
            held = bounds[partition]
            if row.next_offset > held.next:
                if seen is not None and seen.get(partition) != row.next_offset:
                    raise StaleOffset(f"{self.consumer} is moving on in {partition}")
                self._note_gap(session, row, held.next)
            elif (partition, row.next_offset) not in cut_off:
                if row.next_offset < held.first:
                    self._note_gap(session, row, held.first)
                    row.next_offset = held.first
                    session.flush()
                counted = partition in starting and row.next_offset < held.next
                attempts = self._count_start(session, partition) if counted else row.attempts
                places[partition] = Place(row.next_offset, attempts >= CAREFUL)
        return places

    def _begin(self, session: Session, bounds: Mapping[Partition, Bounds]) -> None:
        names = sorted(bounds)
        values = {
            "consumer": self.consumer,
            "topics": [name.topic for name in names],
            "numbers": [name.number for name in names],
            "firsts": [bounds[name].first for name in names],
        }
        session.execute(_BEGIN, values)

    def _rows(self, session: Session, partitions: Collection[Partition]) -> list[ConsumerOffset]:
        """The rows of these partitions, locked so that their offsets stand still."""
        place = tuple_(ConsumerOffset.topic, ConsumerOffset.partition)
        wanted = (
            select(ConsumerOffset)
            .where(ConsumerOffset.consumer == self.consumer, place.in_(partitions))
            .order_by(ConsumerOffset.topic, ConsumerOffset.partition)
            .with_for_update()
            .execution_options(populate_existing=True)
        )
        return list(session.scalars(wanted))

    def _cut_off(self, session: Session) -> set[tuple[Partition, int]]:
        """Places past which their partition once ended.

        Kept as gaps that go backwards, because the end may grow past such a place again,
        and what then lies there is not what was meant.
        """
        rows = session.execute(
            select(LogGap.topic, LogGap.partition, LogGap.first_missing).where(
                LogGap.consumer == self.consumer, LogGap.next_present < LogGap.first_missing
            )
        )
        return {(Partition(topic, number), offset) for topic, number, offset in rows}

    def _note_gap(self, session: Session, row: ConsumerOffset, next_present: int) -> None:
        values = {
            "consumer": self.consumer,
            "topic": row.topic,
            "partition": row.partition,
            "first_missing": row.next_offset,
            "next_present": next_present,
        }
        session.execute(insert(LogGap).values(values).on_conflict_do_nothing())

    def _count_start(self, session: Session, partition: Partition) -> int:
        values = {**self._named(partition), "careful": CAREFUL}
        return int(session.execute(_COUNT_START, values).scalar_one())

    def _named(self, partition: Partition) -> dict[str, str | int]:
        return {"consumer": self.consumer, "topic": partition.topic, "number": partition.number}

    def count_try(self, session: Session, partition: Partition, offset: int) -> int:
        """Note, in a transaction of its own, that the record at `offset` is now tried alone.

        Returns:
            How many times that is, this time included.

        Raises:
            StaleOffset: the partition does not go on at `offset`.
        """
        values = {**self._named(partition), "offset": offset, "careful": CAREFUL}
        attempts = session.execute(_COUNT_TRY, values).scalar()
        if attempts is None:
            raise StaleOffset(f"{self.consumer} is not at {offset} of {partition}")
        return int(attempts) - CAREFUL

    def advance(self, session: Session, moves: Sequence[Move], *, careful: bool = False) -> None:
        """Move all of these offsets, or none. `careful`: a start there is to be careful, too.

        Raises:
            StaleOffset: one of them is not where it was expected.
        """
        values = {
            "consumer": self.consumer,
            "topics": [move.partition.topic for move in moves],
            "numbers": [move.partition.number for move in moves],
            "lows": [move.start for move in moves],
            "highs": [move.end for move in moves],
            "counts": [move.records for move in moves],
            "attempts": CAREFUL if careful else 0,
        }
        moved = affected(session.execute(_ADVANCE, values))
        if moved != len(moves):
            raise StaleOffset(f"{self.consumer} moved {moved} of {len(moves)} offsets")

    def current(self, session: Session) -> dict[Partition, int]:
        """Where every partition of this consumer goes on."""
        rows = session.execute(
            select(
                ConsumerOffset.topic, ConsumerOffset.partition, ConsumerOffset.next_offset
            ).where(ConsumerOffset.consumer == self.consumer)
        )
        return {Partition(topic, number): offset for topic, number, offset in rows}


_REPLAY = text("""
    WITH wanted AS (
        SELECT o.consumer, o.topic, o.partition, o.next_offset AS was,
               least(o.next_offset, held.next, greatest(:offset, held.first)) AS start
          FROM consumer_offset o
          JOIN unnest(CAST(:topics AS text[]), CAST(:numbers AS bigint[]),
                      CAST(:firsts AS bigint[]), CAST(:nexts AS bigint[]))
               AS held (topic, number, first, next)
            ON held.topic = o.topic AND held.number = o.partition
         WHERE o.consumer = :consumer ORDER BY o.topic, o.partition FOR UPDATE OF o)
    UPDATE consumer_offset o
       SET next_offset = wanted.start, start_offset = least(o.start_offset, wanted.start),
           attempts = 0, attempted_offset = -1
      FROM wanted
     WHERE o.consumer = wanted.consumer AND o.topic = wanted.topic
       AND o.partition = wanted.partition
 RETURNING wanted.was - wanted.start
""")


def replay(session: Session, consumer: str, bounds: Mapping[Partition, Bounds], offset: int) -> int:
    """Let a consumer read on from `offset` in all of these partitions, within seconds.

    For replays and for partitions that were made anew. It never moves forward, where
    records would lie that nobody reads: a partition that has not come so far stays.

    Returns:
        How many offsets are read again.
    """
    names = sorted(bounds)
    values = {
        "consumer": consumer,
        "offset": offset,
        "topics": [name.topic for name in names],
        "numbers": [name.number for name in names],
        "firsts": [bounds[name].first for name in names],
        "nexts": [bounds[name].next for name in names],
    }
    return sum(session.scalars(_REPLAY, values))


def positions(session: Session) -> list[Position]:
    """How far every consumer has come in every partition."""
    columns = (
        ConsumerOffset.consumer,
        ConsumerOffset.topic,
        ConsumerOffset.partition,
        ConsumerOffset.start_offset,
        ConsumerOffset.next_offset,
        ConsumerOffset.taken,
        ConsumerOffset.progressed_at,
    )
    rows = session.execute(select(*columns).order_by(*columns[:3]))
    return [Position(*row) for row in rows]


def behind(at: Position | None, held: Bounds) -> int:
    """How many offsets of a partition a consumer has not taken yet; all, where it never began."""
    return max(0, held.next - (held.first if at is None else at.next_offset))


def backlog(
    session: Session, consumed: Mapping[str, Collection[str]], ends: Mapping[Partition, Bounds]
) -> int:
    """How many records wait for the consumer that is the furthest behind.

    `consumed`: the topics that each reads; `ends`: what their partitions hold.
    """
    reached = {(at.consumer, Partition(at.topic, at.partition)): at for at in positions(session)}
    return max(
        sum(
            behind(reached.get((consumer, partition)), held)
            for partition, held in ends.items()
            if partition.topic in topics
        )
        for consumer, topics in consumed.items()
    )


def consumed(session: Session, readers: Mapping[str, Collection[str]]) -> dict[Partition, int]:
    """Up to where every partition was consumed by all who have to: what retention may remove.

    `readers` names the consumers of each topic. A partition that one of them has not
    begun yet is left out.
    """
    found: dict[Partition, dict[str, int]] = defaultdict(dict)
    for at in positions(session):
        if at.consumer in readers.get(at.topic, ()):
            found[Partition(at.topic, at.partition)][at.consumer] = at.next_offset
    return {
        partition: min(offsets.values())
        for partition, offsets in found.items()
        if offsets.keys() >= set(readers[partition.topic])
    }


def gaps(session: Session) -> dict[str, int]:
    """How many gaps each consumer has met."""
    rows = session.execute(select(LogGap.consumer, func.count()).group_by(LogGap.consumer))
    return {row[0]: row[1] for row in rows}


def missing(session: Session, consumer: str, topics: Collection[str]) -> int:
    """How many offsets of these topics were gone before the consumer could take them."""
    width = LogGap.next_present - LogGap.first_missing
    total = session.scalar(
        select(func.coalesce(func.sum(width), 0)).where(
            LogGap.consumer == consumer, LogGap.topic.in_(topics), width > 0
        )
    )
    return int(total or 0)
