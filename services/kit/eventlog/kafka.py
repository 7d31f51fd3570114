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
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors

from services.kit.eventlog.kafka_clients import CLOSE_MS, Shared, make_client, reachable
from services.kit.eventlog.kafka_member import KafkaLogConsumer
from services.kit.eventlog.kafka_records import tolerate
from services.kit.eventlog.partitioner import partition_of
from services.kit.eventlog.port import (
    Bounds,
    LogConsumer,
    LogUnavailable,
    NewRecord,
    Partition,
    Record,
    StartAt,
    TopicSpec,
)

# An event may have 1 MiB; its key, its headers and the batch around it come on top.
MESSAGE_BYTES = 2 * 1024 * 1024
_REQUEST_MS = 5_000
# Looking up offsets is done on the way, by loops that must stay able to end.
_LOOKUP_MS = 2_000
_DELIVERY_MS = 30_000


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
        self._admin = Shared(self._make_admin)
        self._reader = Shared(self._make_reader, timeout_ms=CLOSE_MS)
        self._producer = Shared(self._make_producer, timeout=CLOSE_MS / 1000)
        self._counts: dict[str, int] = {}

    def _make_admin(self) -> KafkaAdminClient:
        return make_client(KafkaAdminClient, {**self._options, "request_timeout_ms": _REQUEST_MS})

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
        return make_client(KafkaProducer, {**self._options, **options})

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
        made = make_client(KafkaConsumer, {**self._options, **options, **more})
        tolerate(made)
        return made

    def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Make the topics that are missing, or only name them where making is switched off.

        Raises:
            LogUnavailable: also where topics are missing and may not be made.
        """
        with reachable(), self._admin.exclusively() as admin:
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
        with reachable():
            self._know({record.topic for record in records})
            producer = self._producer.get()
            try:
                sent = [self._send(producer, record) for record in records]
                producer.flush(timeout=_DELIVERY_MS / 1000)
                for receipt in sent:
                    receipt.get(timeout=0)
            except kafka_errors.MessageSizeTooLargeError as error:
                raise ValueError(str(error)) from error
            except BaseException:  # what it still holds would be sent behind our back
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
        with reachable(), self._admin.exclusively() as admin:
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
        with reachable(), self._reader.exclusively() as reader:
            firsts = reader.beginning_offsets(asked, timeout_ms=_LOOKUP_MS)
            nexts = reader.end_offsets(asked, timeout_ms=_LOOKUP_MS)
        return {Partition(*name): Bounds(firsts[name], nexts[name]) for name in asked}

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """Kafka's own index by time, exact to the millisecond."""
        name = KafkaPartition(*partition)
        milliseconds = -int(-moment.timestamp() * 1000 // 1)
        with reachable(), self._reader.exclusively() as reader:
            found = reader.offsets_for_times({name: milliseconds}, timeout_ms=_LOOKUP_MS)[name]
        if found is None or found.offset < 0:
            return self._bounds_of([partition])[partition].next
        return int(found.offset)

    def read(self, partition: Partition, *, start: int, limit: int) -> list[Record]:
        """Up to `limit` records, fewer where they are large; the unreadable are left out."""
        name, found = KafkaPartition(*partition), list[Record]()
        end = self._bounds_of([partition])[partition].next
        deadline = time.monotonic() + _REQUEST_MS / 1000
        with reachable(), self._reader.exclusively() as reader:
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
