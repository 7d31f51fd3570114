"""The event log in Apache Kafka, through kafka-python.

What is peculiar here answers something seen with kafka-python 3.0.12 and a real broker:

* its rebalance listener runs on the client's network thread, so ours only pauses and takes
  notes; positions are asked for and set on the polling thread;
* an idempotent producer can wedge for ever after a stalled broker, so ours is not: what is
  sent twice has the same event id, and consumers count it once;
* a join that outlasts a poll can end with nobody looking, so we ask it to be looked at;
* a member can be given partitions and then fetch nothing, so a watchdog makes a new one.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import ceil
from typing import Any, cast

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.consumer.fetcher import Fetcher
from kafka.net.compat import KafkaNetClient
from kafka.protocol.consumer import IsolationLevel
from kafka.structs import MemberState, OffsetAndMetadata

from services.kit.eventlog.decoding import Malformed, RawBatch, decode, ends_in_abort, split
from services.kit.eventlog.partitioner import partition_of
from services.kit.eventlog.port import (
    Batch,
    Bounds,
    LogConsumer,
    LogUnavailable,
    NewRecord,
    OffsetOutOfRange,
    Partition,
    Record,
    StartAt,
    TopicSpec,
    Unreadable,
)
from services.kit.settings import Settings

# An event may have 1 MiB; its key, its headers and the batch around it come on top.
MESSAGE_BYTES = 2 * 1024 * 1024
# What one poll may hold of values, and what a record weighs beside its value.
POLL_BYTES = 32 * 1024 * 1024
_RECORD_OVERHEAD = 256
_REQUEST_MS = 5_000
_DELIVERY_MS = 30_000
_SLICE = 0.1
_PATIENCE = 10.0
_PUBLISH_SECONDS = 1.0
_CLOSE_MS = 1_000

_log = logging.getLogger(__name__)


def client_options(settings: Settings) -> dict[str, Any]:
    """What every client of ours needs to find and to enter the cluster."""
    password = settings.kafka_sasl_password
    cafile = settings.kafka_ssl_cafile
    options = {
        "bootstrap_servers": (settings.kafka_bootstrap_servers or "").split(","),
        "security_protocol": settings.kafka_security_protocol,
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "ssl_cafile": str(cafile) if cafile else None,
    }
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def _reachable() -> Iterator[None]:
    """Let every failure of the client appear as `LogUnavailable`."""
    try:
        yield
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka: {error!r}") from error


def _make(kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Make a client; where that fails, end the network thread that it had started already."""
    started: list[Any] = []

    def network(**config: Any) -> Any:
        started.append(KafkaNetClient(**config))
        return started[-1]

    common = {
        "client_id": "secondlook",
        "reconnect_backoff_max_ms": 1_000,
        "retry_backoff_ms": 200,
        "bootstrap_timeout_ms": 3_000,
    }
    try:
        return kind(**common, **options, kafka_client=network)
    except BaseException:
        for client in started:
            client.close()
        raise


def _close(client: Any, **arguments: Any) -> None:
    """Close a client that may be beyond help."""
    try:
        client.close(**arguments)
    except Exception as error:  # whatever it says, we are done with it
        _log.debug("closing %s: %r", type(client).__name__, error)


class _Shared:
    """A client that threads share, made when first needed and again after it failed."""

    def __init__(self, make: Callable[[], Any], **close: Any) -> None:
        self._make, self._close_arguments = make, close
        self._client: Any = None
        self._lock = threading.RLock()

    @contextmanager
    def exclusively(self) -> Iterator[Any]:
        """The client, for one thread at a time; dropped when the block fails."""
        with self._lock:
            client = self.get()
            try:
                yield client
            except BaseException:
                self.drop(client)
                raise

    def get(self) -> Any:
        """The client, for clients that several threads may use at once."""
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def drop(self, client: Any) -> None:
        """Close this client and let the next caller make another one."""
        with self._lock:
            if self._client is not client or client is None:
                return
            self._client = None
        _close(client, **self._close_arguments)

    def close(self) -> None:
        """Close the client, if there is one."""
        self.drop(self._client)


class KafkaLog:
    """The event log in a Kafka cluster.

    `stall_seconds` is how long a member of a group may get nothing although there is
    something before it is made anew.
    """

    def __init__(
        self,
        options: Mapping[str, Any],
        *,
        create_topics: bool = True,
        replication: int = -1,
        stall_seconds: float = 10.0,
        session_seconds: float = 10.0,
    ) -> None:
        self._options = dict(options)
        self._create_topics = create_topics
        self._replication = replication
        self._stall_seconds = stall_seconds
        self._session_ms = int(session_seconds * 1000)
        self._admin = _Shared(self._make_admin)
        self._reader = _Shared(self._make_reader, timeout_ms=_CLOSE_MS)
        self._producer = _Shared(self._make_producer, timeout=_CLOSE_MS / 1000)
        self._counts: dict[str, int] = {}

    def _make_admin(self) -> KafkaAdminClient:
        return _make(KafkaAdminClient, {**self._options, "request_timeout_ms": _REQUEST_MS})

    def _make_producer(self) -> KafkaProducer:
        options = {
            "acks": "all",
            "enable_idempotence": False,
            "max_in_flight_requests_per_connection": 1,
            "delivery_timeout_ms": _DELIVERY_MS,
            "request_timeout_ms": _REQUEST_MS,
            "max_block_ms": _REQUEST_MS,
            "batch_size": 256 * 1024,
            "max_request_size": MESSAGE_BYTES,
            "metrics_enabled": False,
        }
        return _make(KafkaProducer, {**self._options, **options})

    def _make_reader(self, **more: Any) -> KafkaConsumer:
        options = {
            "enable_auto_commit": False,
            "auto_offset_reset": "none",
            "isolation_level": "read_committed",
            "allow_auto_create_topics": False,
            # What a poll may hold: some batches of several partitions, one at the very least.
            "fetch_max_bytes": 16 * 1024 * 1024,
            "max_partition_fetch_bytes": 2 * MESSAGE_BYTES,
            "fetch_max_wait_ms": 250,
            # How soon a topic that somebody made later is noticed.
            "metadata_max_age_ms": 30_000,
            "request_timeout_ms": _REQUEST_MS,
            "metrics_enabled": False,
        }
        made = _make(KafkaConsumer, {**self._options, **options, **more})
        made.budget = _Budget(made)
        tolerant = partial(_TolerantRecords, made.budget)
        made._fetcher.PartitionRecords = tolerant  # noqa: SLF001 - the only way in
        return made

    def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Make the topics that are missing, or only name them where making is switched off.

        Raises:
            LogUnavailable: also where topics are missing and may not be made.
        """
        with _reachable(), self._admin.exclusively() as admin:
            there = {found["name"] for found in _described(admin, [t.name for t in topics])}
            missing = [topic for topic in topics if topic.name not in there]
            if missing and not self._create_topics:
                names = ", ".join(topic.name for topic in missing)
                raise LogUnavailable(
                    f"Kafka lacks these topics, and may not be given them: {names}"
                )
            for topic in missing:
                with contextlib.suppress(kafka_errors.TopicAlreadyExistsError):
                    admin.create_topics({topic.name: self._topic(topic)})
            admin.wait_for_topics([topic.name for topic in missing])

    def _topic(self, topic: TopicSpec) -> dict[str, Any]:
        return {
            "num_partitions": topic.partitions,
            "replication_factor": self._replication,
            "configs": {
                "cleanup.policy": "compact" if topic.compacted else "delete",
                "max.message.bytes": str(MESSAGE_BYTES),
                # When something was appended is the log's to say, not the sender's.
                "message.timestamp.type": "LogAppendTime",
            },
        }

    def append(self, records: Sequence[NewRecord]) -> None:
        """Send everything, then wait until every replica in sync has it.

        Raises:
            ValueError: a record is larger than a record may be.
            LogUnavailable: not all are known to be durable; append them again.
        """
        if not records:
            return
        with _reachable():
            self._know({record.topic for record in records})
            producer = self._producer.get()
            try:
                sent = [self._send(producer, record) for record in records]
                producer.flush(timeout=_DELIVERY_MS / 1000)
                for receipt in sent:
                    receipt.get(timeout=0)
            except kafka_errors.MessageSizeTooLargeError as error:
                raise ValueError(str(error)) from error
            except BaseException:
                self._producer.drop(producer)
                raise

    def _send(self, producer: KafkaProducer, record: NewRecord) -> Any:
        number = partition_of(record.key, self._counts[record.topic])
        return producer.send(
            record.topic,
            key=record.key,
            value=record.value,
            headers=list(record.headers),
            partition=number,
        )

    def _know(self, topics: set[str]) -> None:
        """Learn the number of partitions of topics not met before."""
        for partition in self._partitions(sorted(topics - self._counts.keys())):
            self._counts[partition.topic] = max(
                self._counts.get(partition.topic, 0), partition.number + 1
            )
        if unknown := topics - self._counts.keys():
            raise LogUnavailable(f"There is no topic {', '.join(sorted(unknown))}")

    def _partitions(self, topics: Sequence[str]) -> list[Partition]:
        if not topics:
            return []
        with _reachable(), self._admin.exclusively() as admin:
            return [
                Partition(topic["name"], part["partition_index"])
                for topic in _described(admin, topics)
                for part in topic["partitions"]
            ]

    def bounds(self, topics: Sequence[str]) -> dict[Partition, Bounds]:
        """What each partition of these topics holds now, of committed transactions."""
        return self._bounds_of(self._partitions(topics))

    def _bounds_of(self, partitions: Sequence[Partition]) -> dict[Partition, Bounds]:
        asked = [KafkaPartition(*partition) for partition in partitions]
        if not asked:
            return {}
        with _reachable(), self._reader.exclusively() as reader:
            firsts = reader.beginning_offsets(asked, timeout_ms=_REQUEST_MS)
            nexts = reader.end_offsets(asked, timeout_ms=_REQUEST_MS)
        return {Partition(*name): Bounds(firsts[name], nexts[name]) for name in asked}

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """Kafka's own index by time, exact to the millisecond."""
        name = KafkaPartition(*partition)
        milliseconds = -int(-moment.timestamp() * 1000 // 1)
        with _reachable(), self._reader.exclusively() as reader:
            found = reader.offsets_for_times({name: milliseconds}, timeout_ms=_REQUEST_MS)[name]
        if found is None or found.offset < 0:
            return self._bounds_of([partition])[partition].next
        return int(found.offset)

    def read(self, partition: Partition, *, start: int, limit: int) -> list[Record]:
        """Up to `limit` records, fewer where they are large; the unreadable are left out."""
        name, found = KafkaPartition(*partition), list[Record]()
        end = self._bounds_of([partition])[partition].next
        deadline = time.monotonic() + _REQUEST_MS / 1000
        with _reachable(), self._reader.exclusively() as reader:
            reader.assign([name])
            reader.seek(name, start)
            for held in reader.budget.renew():
                reader.resume(held)
            while len(found) < limit and reader.position(name, timeout_ms=_REQUEST_MS) < end:
                if reader.budget.is_spent:
                    break
                if time.monotonic() > deadline:
                    raise LogUnavailable(f"Kafka sent nothing of {partition} from {start}")
                got = reader.poll(timeout_ms=200, max_records=limit - len(found)).get(name, [])
                found += [record for record in got if isinstance(record, Record)]
        return found

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        """Join `group` on `topics`."""

        def make(listener: ConsumerRebalanceListener) -> KafkaConsumer:
            made = self._make_reader(
                group_id=group,
                session_timeout_ms=self._session_ms,
                heartbeat_interval_ms=self._session_ms // 5,
                max_poll_interval_ms=120_000,
            )
            made.subscribe(topics=list(topics), listener=listener)
            return made

        return KafkaLogConsumer(make, self._bounds_of, start_at, self._stall_seconds)

    def close(self) -> None:
        """Close every client; what `append` has not answered for may be lost."""
        for shared in (self._producer, self._reader, self._admin):
            shared.close()


def _described(admin: KafkaAdminClient, topics: Sequence[str]) -> list[dict[str, Any]]:
    """What the cluster says of those of the topics that it has."""
    answer = admin.describe_topics(list(topics))
    return [topic for topic in answer if topic["error_code"] == 0]


class _Budget:
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

    def __init__(self, budget: _Budget, *arguments: Any, **more: Any) -> None:
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


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes which partitions we hold. Its methods run on the client's network thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Partition] = set()
        self._fresh: set[Partition] = set()
        self._new: set[Partition] = set()
        self.client: Any = None

    def on_partitions_assigned(self, assigned: Sequence[KafkaPartition]) -> None:
        """Keep the partitions still until the polling thread has set their positions."""
        self.client.pause(*assigned)
        for partition in assigned:
            # Any position keeps the client from asking Kafka for one of its own.
            self.client.seek(partition, 0)
        with self._lock:
            names = {Partition(*partition) for partition in assigned}
            self._held |= names
            self._fresh |= names
            self._new |= names

    def on_partitions_revoked(self, revoked: Sequence[KafkaPartition]) -> None:
        """Forget them; whoever comes next begins where our last transaction ended."""
        with self._lock:
            names = {Partition(*partition) for partition in revoked}
            self._held -= names
            self._fresh -= names

    def on_partitions_lost(self, lost: Sequence[KafkaPartition]) -> None:
        """The same: our transactions are guarded by the stored offset, not by Kafka."""
        self.on_partitions_revoked(lost)

    def held(self) -> frozenset[Partition]:
        """The partitions that are ours now."""
        with self._lock:
            return frozenset(self._held)

    def fresh(self) -> list[Partition]:
        """Those of them whose start has to be asked."""
        with self._lock:
            return sorted(self._fresh)

    def take_new(self) -> set[Partition]:
        """Those that were given to us since this was last asked."""
        with self._lock:
            taken, self._new = self._new, set()
            return taken

    def ask_again(self, partitions: Sequence[Partition]) -> None:
        """Count partitions as fresh again, those that are still ours."""
        with self._lock:
            self._fresh |= self._held.intersection(partitions)

    def answered(self, partitions: Sequence[Partition]) -> None:
        """Their start is known, or refused."""
        with self._lock:
            self._fresh.difference_update(partitions)


class KafkaLogConsumer:
    """A member of a Kafka consumer group whose positions are kept elsewhere."""

    def __init__(
        self,
        make: Callable[[ConsumerRebalanceListener], KafkaConsumer],
        bounds_of: Callable[[Sequence[Partition]], Mapping[Partition, Bounds]],
        start_at: StartAt,
        stall_seconds: float,
    ) -> None:
        self._make, self._bounds_of, self._start_at = make, bounds_of, start_at
        self._stall_seconds = stall_seconds
        self._client: Any = None
        self._assignment = _Assignment()
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._unpublished: dict[Partition, int] = {}
        self._published_at = 0.0
        self._moved_at = time.monotonic()
        self._failing_since: float | None = None

    def poll(self, *, max_records: int, timeout: float) -> list[Batch]:
        """Ask the client in short slices, so that a new assignment is served at once."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                batches = self._poll_once(max_records, deadline - time.monotonic())
                self._failing_since = None
            except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
                raise self._out_of_range(error) from error
            except kafka_errors.KafkaError as error:
                self._bear(error)
                batches = []
            if batches:
                self._moved_at = time.monotonic()
                return batches
            self._watch_for_stall()
            if time.monotonic() >= deadline:
                return []

    def _poll_once(self, max_records: int, left: float) -> list[Batch]:
        client = self._connected()
        self._ask_starts(client)
        self._publish(client)
        self._set_flow([Partition(*name) for name in client.budget.renew()], still=False)
        _finish_join(client)
        wait = ceil(max(0.0, min(_SLICE, left)) * 1000)
        found = client.poll(timeout_ms=wait, max_records=max_records)
        unasked = set(self._assignment.fresh())
        batches = []
        for partition in sorted(self._assignment.held() - unasked):
            start = self._positions.get(partition)
            name = KafkaPartition(*partition)
            end = None if start is None else self._position(client, name)
            if start is not None and end is not None and end > start:
                batches.append(_batch(partition, start, end, found.get(name, ())))
                self._positions[partition] = end
        return batches

    def _connected(self) -> Any:
        if self._client is None:
            self._assignment = _Assignment()
            self._positions.clear()
            self._paused.clear()
            with _reachable():
                client = self._make(self._assignment)
            self._assignment.client = self._client = client
            self._moved_at = time.monotonic()
        return self._client

    def _ask_starts(self, client: Any) -> None:
        """Ask where to start; whoever gets no answer is not read until rewound."""
        self._paused -= self._assignment.take_new()
        asked = self._assignment.fresh()
        if not asked:
            return
        starts = self._start_at(asked)
        for partition in asked:
            self._positions.pop(partition, None)
        self._assignment.answered(asked)
        for partition, start in starts.items():
            # It may have been taken from us while we asked: then it is fresh again, or gone.
            with contextlib.suppress(ValueError, KeyError):
                client.seek(KafkaPartition(*partition), start)
                self._positions[partition] = start
                if partition not in self._paused:
                    client.resume(KafkaPartition(*partition))

    @staticmethod
    def _position(client: Any, name: KafkaPartition) -> int | None:
        try:
            return cast("int | None", client.position(name, timeout_ms=0))
        except (kafka_errors.IllegalStateError, KeyError):  # just taken from us
            return None

    def _out_of_range(self, error: Any) -> OffsetOutOfRange:
        told = getattr(error, "divergent_offsets", None) or error.args[0]
        partition = Partition(*next(iter(told)))
        offset = self._positions.get(partition, -1)
        self.rewind([partition])
        return OffsetOutOfRange(partition, offset, self._bounds_of([partition])[partition])

    def _bear(self, error: Exception) -> None:
        """Give the client time to mend itself, then make another one and say so."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        _log.debug("polling Kafka: %r", error)
        if now - self._failing_since > _PATIENCE or self._client is None:
            self._failing_since = None
            self._drop()
            raise LogUnavailable(f"Kafka: {error!r}") from error
        time.sleep(_SLICE)

    def _watch_for_stall(self) -> None:
        """Make the client anew when it has got nothing for long although there is something."""
        quiet = time.monotonic() - self._moved_at
        if self._client is None or quiet < self._stall_seconds:
            return
        try:
            behind = any(n for p, n in self.lag().items() if p not in self._paused)
        except LogUnavailable:
            return  # no wonder then
        outside = self._client.group_metadata().state != MemberState.STABLE
        if behind or (outside and quiet > 3 * self._stall_seconds):
            _log.warning("nothing came from Kafka for %.0f s: joining the group anew", quiet)
            self._drop()
        elif not outside:
            self._moved_at = time.monotonic()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            _close(client, timeout_ms=_CLOSE_MS)

    def assigned(self) -> frozenset[Partition]:
        """The partitions that this member reads now."""
        return self._assignment.held()

    def rewind(self, partitions: Sequence[Partition]) -> None:
        """Forget how far these were read; the next poll asks `start_at` again."""
        self._set_flow(partitions, still=True)
        for partition in partitions:
            self._positions.pop(partition, None)
        self._assignment.ask_again(partitions)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing from these until `resume`."""
        self._paused.update(self._assignment.held().intersection(partitions))
        self._set_flow(partitions, still=True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """End a pause."""
        self._paused.difference_update(partitions)
        self._set_flow(partitions, still=False)

    def _set_flow(self, partitions: Sequence[Partition], *, still: bool) -> None:
        """Pause or resume at the client; what is paused or has no start yet stays still."""
        for partition in self._assignment.held().intersection(partitions):
            flows = partition in self._positions and partition not in self._paused
            with contextlib.suppress(KeyError):  # just taken from us
                if still:
                    self._client.pause(KafkaPartition(*partition))
                elif flows:
                    self._client.resume(KafkaPartition(*partition))

    def lag(self) -> dict[Partition, int]:
        """Records not yet delivered, per assigned partition whose position is known."""
        known = dict(self._positions)
        bounds = self._bounds_of(sorted(known))
        return {partition: bounds[partition].next - at for partition, at in known.items()}

    def publish_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Show these positions to Kafka's lag tools, at most once a second."""
        self._unpublished.update(offsets)

    def _publish(self, client: Any) -> None:
        now = time.monotonic()
        if not self._unpublished or now - self._published_at < _PUBLISH_SECONDS:
            return
        self._published_at = now
        client.commit_async(self._taken_unpublished(), callback=_note_publication)

    def _taken_unpublished(self) -> dict[KafkaPartition, OffsetAndMetadata]:
        taken, self._unpublished = self._unpublished, {}
        return {KafkaPartition(*name): OffsetAndMetadata(at) for name, at in taken.items()}

    def close(self) -> None:
        """Leave the group, having shown the last positions if that is quick."""
        if self._client is not None and self._unpublished:
            try:
                self._client.commit(self._taken_unpublished(), timeout_ms=_CLOSE_MS // 2)
            except kafka_errors.KafkaError as error:
                _log.debug("publishing offsets: %r", error)
        self._drop()


def _finish_join(client: KafkaConsumer) -> None:
    """Have the next poll wait for a join that goes on.

    A leader that joins again because partitions came to be known does not remember that
    it has to: when the join ends between two polls, what it was given would be lost, and
    with it the heartbeat.
    """
    if client.group_metadata().state == MemberState.REBALANCING:
        client._coordinator.request_rejoin()  # noqa: SLF001 - there is no other way in


def _note_publication(_: object, answer: object) -> None:
    if isinstance(answer, Exception):
        _log.debug("publishing offsets: %r", answer)


def _batch(
    partition: Partition, start: int, end: int, found: Sequence[Record | Unreadable]
) -> Batch:
    records = [item for item in found if isinstance(item, Record)]
    # A batch comes whole, although we may have been through some of it.
    unreadable = [
        replace(item, first=max(item.first, start))
        for item in found
        if isinstance(item, Unreadable)
    ]
    return Batch(partition, start, end, records, unreadable)
