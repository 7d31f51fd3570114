"""What kafka-python makes of fetched bytes, put in a way that never stops and never overflows."""

from collections.abc import Iterator
from functools import partial
from typing import Any, cast

from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.protocol.consumer import IsolationLevel

from services.kit.eventlog.decoding import Malformed, RawBatch, decode, ends_in_abort, split
from services.kit.eventlog.port import Partition, Record, Unreadable

# What one poll may hold of values, and what a record weighs beside its value.
POLL_BYTES = 32 * 1024 * 1024
_RECORD_OVERHEAD = 256


def tolerate(client: KafkaConsumer) -> None:
    """Have a client answer our `Record` and `Unreadable`, within a budget that it then has."""
    client.budget = Budget(client)
    records = partial(_TolerantRecords, client.budget)
    client._fetcher.PartitionRecords = records  # noqa: SLF001 - there is no other way in


class Budget:
    """How many bytes one poll of a client may hold: a small fetch can inflate to gigabytes.

    A partition whose turn comes when nothing is left is paused. The client then keeps what
    it has of it, still packed, and goes on to the next one.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._left = POLL_BYTES
        self._held: set[KafkaPartition] = set()

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be unpacked."""
        return self._left <= 0

    def spend(self, item: Record | Unreadable) -> None:
        """Count something that was unpacked."""
        content = item.raw if isinstance(item, Unreadable) else item.value
        self._left -= len(content) + _RECORD_OVERHEAD

    def hold(self, name: KafkaPartition) -> None:
        """Keep a partition for the next poll."""
        self._client.pause(name)
        self._held.add(name)

    def renew(self) -> set[KafkaPartition]:
        """Begin a new poll; answers the partitions that were held and are to be resumed."""
        held, self._held, self._left = self._held, set(), POLL_BYTES
        return held


class _TolerantRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """The records of one fetched partition, with `Unreadable` among them where needed.

    Takes the place of the client's own class, which raises instead and never gets on.
    """

    next_fetch_offset: int

    def __init__(self, budget: Budget, *arguments: Any, **more: Any) -> None:
        self._budget = budget
        super().__init__(*arguments, **more)

    def take(self, n: int) -> list[Record | Unreadable]:
        """The next `n`, or as many as the poll can still hold."""
        self._maybe_raise_next_inline_exception()
        if self._budget.is_spent:
            self._budget.hold(self.topic_partition)
        taken: list[Record | Unreadable] = []
        unpacked = self.record_iterator
        while len(taken) < n and not self._budget.is_spent:
            item = next(unpacked, None)
            if item is None:
                break
            self._budget.spend(item)
            taken.append(item)
        return taken

    def _maybe_skip_record(self, record: Record | Unreadable) -> bool:
        """Whether it lies before what was asked for: a batch is only sent whole."""
        end = record.next if isinstance(record, Unreadable) else record.offset + 1
        return end <= cast("int", self.fetch_offset)

    def _unpack_records(
        self, tp: KafkaPartition, records: Any, *_: Any
    ) -> Iterator[Record | Unreadable]:
        partition = Partition(tp.topic, tp.partition)
        try:
            for batch in split(bytes(records._buffer)):  # noqa: SLF001 - whole, as it was sent
                self.leader_epoch = batch.epoch
                if not self._is_dropped(batch):
                    yield from self._unpack_batch(batch, partition)
                self.next_fetch_offset = max(self.next_fetch_offset, batch.next)
        except Malformed as error:
            raise kafka_errors.CorruptRecordError(f"{partition}: {error}") from error
        finally:
            self.drain()

    def _unpack_batch(self, batch: RawBatch, partition: Partition) -> Iterator[Record | Unreadable]:
        for record in decode(batch, partition):
            end = record.next if isinstance(record, Unreadable) else record.offset + 1
            self.next_fetch_offset = end
            self.records_read += 1
            yield record
        self.bytes_read += len(batch.raw)

    def _is_dropped(self, batch: RawBatch) -> bool:
        """Whether a batch is a mark, or belongs to a transaction that was aborted."""
        if batch.problem is not None:
            return False
        if self.isolation_level == IsolationLevel.READ_COMMITTED and batch.producer >= 0:
            self._consume_aborted_transactions_up_to(batch.next - 1)
            if batch.is_control and ends_in_abort(batch):
                self.aborted_producer_ids.discard(batch.producer)
            elif batch.is_transactional and batch.producer in self.aborted_producer_ids:
                return True
        return batch.is_control
