"""What the event log promises, held against both implementations."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.partitioner import partition_of
from services.kit.eventlog.port import (
    Bounds,
    EventLog,
    LogUnavailable,
    NewRecord,
    OffsetOutOfRange,
    Partition,
    TopicSpec,
)
from services.kit.eventlog.postgres import PostgresLog
from tests.kit.logs import Store, just_after, numbered, poll_records
from tests.waiting import until

KAFKA = pytest.param("kafka", marks=[pytest.mark.kafka, pytest.mark.xdist_group("kafka")])

# A member in a process of its own, for the test that kills it.
MEMBER = """
import sys
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.postgres import PostgresLog
kind, address, group, topic = sys.argv[1:]
log = PostgresLog(address) if kind == "postgres" else KafkaLog({"bootstrap_servers": [address]})
member = log.consumer(group, [topic], start_at=lambda asked: dict.fromkeys(asked, 0))
while True:
    if member.poll(max_records=10, timeout=0.1):
        print("reading", flush=True)
"""


@dataclass
class Rig:
    """A log, where it is, and a topic of four partitions that nobody else uses."""

    kind: str
    address: str
    log: EventLog
    topic: str

    def partitions(self) -> list[Partition]:
        return sorted(self.log.bounds([self.topic]))

    def holding(self, key: bytes) -> Partition:
        return Partition(self.topic, partition_of(key, 4))


@pytest.fixture(params=["postgres", KAFKA])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    log: EventLog
    if request.param == "postgres":
        address = request.getfixturevalue("fresh_database")()
        log = PostgresLog(address)
    else:
        address = request.getfixturevalue("kafka_bootstrap")
        log = KafkaLog({"bootstrap_servers": [address]}, session_seconds=6)
    topic = f"test-{uuid4().hex}"
    log.ensure_topics([TopicSpec(topic, 4)])
    yield Rig(request.param, address, log, topic)
    log.close()


class TestEventLog:
    def test_append_keeps_the_order_of_a_key(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 100))
        rig.log.append(numbered(rig.topic, 100, start=100))
        for partition in rig.partitions():
            found = rig.log.read(partition, start=0, limit=1000)
            assert [record.offset for record in found] == list(range(len(found)))
            for key in {record.key for record in found}:
                values = [int(record.value) for record in found if record.key == key]
                assert values == sorted(values)

    def test_append_places_keys_as_kafka_does(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 50, keys=50))
        found = [r for p in rig.partitions() for r in rig.log.read(p, start=0, limit=100)]
        assert len(found) == 50
        for record in found:
            assert record.key is not None
            assert record.partition == rig.holding(record.key)

    def test_append_of_nothing_does_nothing(self, rig: Rig) -> None:
        rig.log.append([])
        assert set(rig.log.bounds([rig.topic]).values()) == {Bounds(0, 0)}

    def test_append_to_a_missing_topic_fails(self, rig: Rig) -> None:
        with pytest.raises(LogUnavailable, match="no topic"):
            rig.log.append([NewRecord("no-such-topic", b"k", b"v")])

    def test_append_keeps_values_of_a_mebibyte(self, rig: Rig) -> None:
        values = [bytes([i]) * 1024 * 1024 for i in range(3)]
        rig.log.append([NewRecord(rig.topic, b"large", value) for value in values])
        found = rig.log.read(rig.holding(b"large"), start=0, limit=10)
        assert [record.value for record in found] == values

    def test_append_keeps_headers_and_any_bytes(self, rig: Rig) -> None:
        headers = (
            ("content-type", b"application/cloudevents+json"),
            ("ünïcode %41 \x00", bytes(range(256))),
            ("content-type", b""),
        )
        value = bytes(range(256))
        rig.log.append(
            [NewRecord(rig.topic, value, value, headers), NewRecord(rig.topic, b"", b"")]
        )
        found = rig.log.read(rig.holding(value), start=0, limit=1)[0]
        assert (found.key, found.value, found.headers) == (value, value, headers)
        empty = rig.log.read(rig.holding(b""), start=0, limit=5)[-1]
        assert (empty.key, empty.value, empty.headers) == (b"", b"", ())

    def test_append_says_when_by_the_logs_clock(self, rig: Rig) -> None:
        before = datetime.now(UTC) - timedelta(milliseconds=1)
        rig.log.append(numbered(rig.topic, 10, keys=1))
        rig.log.append(numbered(rig.topic, 10, keys=1))
        moments = [r.appended_at for r in rig.log.read(rig.holding(b"key-0"), start=0, limit=20)]
        assert moments == sorted(moments)
        assert before <= moments[0]
        assert moments[-1] <= datetime.now(UTC) + timedelta(milliseconds=1)

    def test_append_from_many_threads_leaves_no_gap(self, rig: Rig) -> None:
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: store.asked, lambda: store.step(consumer))

        def append(thread: int) -> None:
            for i in range(40):
                rig.log.append(numbered(rig.topic, 5, keys=7, start=thread * 1000 + i * 5))

        threads = [threading.Thread(target=append, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: len(store.applied) == 800, lambda: store.step(consumer))
        for thread in threads:
            thread.join()
        assert len({record.value for record in store.applied}) == 800
        for partition in rig.partitions():
            offsets = [r.offset for r in store.applied if r.partition == partition]
            assert offsets == list(range(len(offsets)))
        consumer.close()

    def test_ensure_topics_leaves_what_is_there(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 10))
        compacted = f"{rig.topic}-compacted"
        for _ in range(2):
            rig.log.ensure_topics(
                [TopicSpec(rig.topic, 9), TopicSpec(compacted, 1, compacted=True)]
            )
        bounds = rig.log.bounds([rig.topic, compacted, "no-such-topic"])
        assert len(bounds) == 5
        assert sum(held.next for held in bounds.values()) == 10

    def test_consumer_asks_for_its_start_before_the_first_record(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 40, keys=1))
        partition = rig.holding(b"key-0")
        asked: list[Partition] = []

        def start_at(partitions: Sequence[Partition]) -> dict[Partition, int]:
            asked.extend(partitions)
            return {p: 30 if p == partition else 0 for p in partitions}

        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=start_at)
        found = poll_records(consumer, 10)
        assert [record.offset for record in found] == list(range(30, 40))
        assert sorted(asked) == rig.partitions()
        assert consumer.assigned() == frozenset(rig.partitions())
        consumer.close()

    def test_poll_takes_no_more_than_it_was_asked_for(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 50))
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        sizes = []

        def step() -> None:
            batches = consumer.poll(max_records=7, timeout=0.1)
            sizes.append(sum(len(batch.records) for batch in batches))
            assert all(store.apply(batch) for batch in batches)

        until(lambda: len(store.applied) == 50, step)
        assert max(sizes) == 7
        consumer.close()

    def test_poll_of_nothing_waits_and_returns(self, rig: Rig) -> None:
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: store.asked, lambda: store.step(consumer))
        before = time.monotonic()
        assert consumer.poll(max_records=10, timeout=0.5) == []
        assert 0.45 <= time.monotonic() - before < 2
        consumer.close()

    def test_poll_passes_on_what_start_at_raises_and_asks_again(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 5))
        failures = [RuntimeError("the database is away")]

        def start_at(partitions: Sequence[Partition]) -> dict[Partition, int]:
            if failures:
                raise failures.pop()
            return dict.fromkeys(partitions, 0)

        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=start_at)
        with pytest.raises(RuntimeError, match="the database is away"):
            poll_records(consumer, 5)
        assert len(poll_records(consumer, 5)) == 5
        consumer.close()

    def test_partition_without_an_answer_is_not_read_until_rewound(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 40, keys=20))
        refused = rig.holding(b"key-0")
        refusing = [True]

        def start_at(partitions: Sequence[Partition]) -> dict[Partition, int]:
            return {p: 0 for p in partitions if p != refused or not refusing}

        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=start_at)
        held = rig.log.bounds([rig.topic])
        found = poll_records(consumer, 40 - held[refused].next)
        assert refused not in {record.partition for record in found}
        assert consumer.poll(max_records=100, timeout=0.5) == []
        refusing.clear()
        consumer.rewind([refused])
        assert {r.partition for r in poll_records(consumer, held[refused].next)} == {refused}
        consumer.close()

    def test_rewind_reads_again_from_where_it_is_told(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 20, keys=1))
        partition = rig.holding(b"key-0")
        starts = [12, 0]
        consumer = rig.log.consumer(
            rig.topic,
            [rig.topic],
            start_at=lambda asked: {p: starts[-1] if p == partition else 0 for p in asked},
        )
        assert len(poll_records(consumer, 20)) == 20
        starts.pop()
        consumer.rewind([partition])
        assert [r.offset for r in poll_records(consumer, 8)] == list(range(12, 20))
        consumer.close()

    def test_pause_holds_a_partition_back_until_resume(self, rig: Rig) -> None:
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: len(store.offsets) == 4, lambda: store.step(consumer))
        paused = rig.holding(b"key-0")
        consumer.pause([paused])
        rig.log.append(numbered(rig.topic, 40, keys=20))
        held = rig.log.bounds([rig.topic])[paused].next
        until(lambda: len(store.applied) == 40 - held, lambda: store.step(consumer))
        for _ in range(5):
            store.step(consumer)
        assert len(store.applied) == 40 - held
        consumer.resume([paused])
        until(lambda: len(store.applied) == 40, lambda: store.step(consumer))
        consumer.close()

    def test_lag_counts_what_was_not_delivered(self, rig: Rig) -> None:
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: len(store.offsets) == 4, lambda: store.step(consumer))
        rig.log.append(numbered(rig.topic, 30))
        assert sum(consumer.lag().values()) == 30
        until(lambda: len(store.applied) == 30, lambda: store.step(consumer))
        assert set(consumer.lag().values()) == {0}
        consumer.close()

    @pytest.mark.parametrize("wrong", [11, 1000])
    def test_start_beyond_the_end_is_out_of_range(self, rig: Rig, wrong: int) -> None:
        rig.log.append(numbered(rig.topic, 10, keys=1))
        partition = rig.holding(b"key-0")
        starts = [0, wrong]
        consumer = rig.log.consumer(
            rig.topic,
            [rig.topic],
            start_at=lambda asked: {p: starts[-1] if p == partition else 0 for p in asked},
        )
        with pytest.raises(OffsetOutOfRange) as caught:
            poll_records(consumer, 10)
        assert caught.value.partition == partition
        assert caught.value.offset == wrong
        assert caught.value.bounds == Bounds(0, 10)
        starts.pop()
        assert len(poll_records(consumer, 10)) == 10
        consumer.close()

    def test_replay_from_a_moment(self, rig: Rig) -> None:
        partition = rig.holding(b"key-0")
        rig.log.append(numbered(rig.topic, 10, keys=1))
        moment = just_after(rig.log.read(partition, start=9, limit=1)[0])
        assert rig.log.offset_at(partition, moment) == 10
        rig.log.append(numbered(rig.topic, 10, keys=1))
        assert rig.log.offset_at(partition, moment) == 10
        assert rig.log.offset_at(partition, moment - timedelta(days=1)) == 0
        assert rig.log.offset_at(partition, moment + timedelta(days=1)) == 20
        found = rig.log.read(partition, start=10, limit=5)
        assert [record.offset for record in found] == list(range(10, 15))
        assert rig.log.read(partition, start=20, limit=5) == []

    def test_group_shares_partitions_as_members_come_and_leave(self, rig: Rig) -> None:
        store = Store()
        first = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: len(first.assigned()) == 4, lambda: store.step(first))
        rig.log.append(numbered(rig.topic, 100))
        second = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(
            lambda: len(first.assigned()) == len(second.assigned()) == 2,
            lambda: store.step(first, second),
        )
        assert not first.assigned() & second.assigned()
        rig.log.append(numbered(rig.topic, 100, start=100))
        until(lambda: len(store.applied) == 200, lambda: store.step(first, second))
        first.close()
        until(lambda: len(second.assigned()) == 4, lambda: store.step(second))
        rig.log.append(numbered(rig.topic, 100, start=200))
        until(lambda: len(store.applied) == 300, lambda: store.step(second))
        assert sorted(int(record.value) for record in store.applied) == list(range(300))
        second.close()

    def test_groups_read_independently(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 10))
        for group in ("one", "two"):
            store = Store()
            consumer = rig.log.consumer(group, [rig.topic], start_at=store.start_at)
            assert len(poll_records(consumer, 10)) == 10
            consumer.close()

    @pytest.mark.slow
    def test_group_takes_over_from_a_member_that_was_killed(self, rig: Rig) -> None:
        child = subprocess.Popen(
            [sys.executable, "-c", MEMBER, rig.kind, rig.address, rig.topic, rig.topic],
            stdout=subprocess.PIPE,
        )
        rig.log.append(numbered(rig.topic, 20))
        assert child.stdout is not None
        child.stdout.readline()
        store = Store()
        survivor = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: len(survivor.assigned()) == 2, lambda: store.step(survivor))
        child.kill()
        child.communicate()
        until(lambda: len(store.applied) == 20, lambda: store.step(survivor))
        assert len(survivor.assigned()) == 4
        survivor.close()

    def test_publish_offsets_changes_nothing_here(self, rig: Rig) -> None:
        rig.log.append(numbered(rig.topic, 10, keys=1))
        partition = rig.holding(b"key-0")
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: len(store.applied) == 10, lambda: store.step(consumer))
        consumer.publish_offsets({partition: 10})
        store.step(consumer)
        consumer.close()
        again = rig.log.consumer(
            rig.topic, [rig.topic], start_at=lambda asked: dict.fromkeys(asked, 0)
        )
        assert len(poll_records(again, 10)) == 10
        again.close()

    def test_close_is_quick_and_may_come_twice(self, rig: Rig) -> None:
        store = Store()
        consumer = rig.log.consumer(rig.topic, [rig.topic], start_at=store.start_at)
        until(lambda: store.asked, lambda: store.step(consumer))
        before = time.monotonic()
        consumer.close()
        consumer.close()
        rig.log.close()
        rig.log.close()
        assert time.monotonic() - before < 2


def test_partitioner_agrees_with_kafka() -> None:
    from kafka.partitioner.default import murmur2 as theirs

    from services.kit.eventlog.partitioner import murmur2

    for length in range(40):
        key = bytes((length * 37 + i * 101) % 256 for i in range(length))
        assert murmur2(key) == theirs(key) & 0xFFFFFFFF
