"""Kafka's own troubles: dead brokers, stalled members, batches that cannot be read."""

import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from pydantic import SecretStr

from services.kit.eventlog import open_log
from services.kit.eventlog.compression import Unpackable, decompress
from services.kit.eventlog.decoding import Malformed, decode, split
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.kafka_clients import client_options
from services.kit.eventlog.port import (
    Bounds,
    LogConsumer,
    LogUnavailable,
    NewRecord,
    Partition,
    Record,
    TopicSpec,
    Unreadable,
)
from services.kit.settings import load_settings
from tests.factories.broker import Broker
from tests.kit import kafka_wire
from tests.kit.logs import Store, numbered
from tests.waiting import until

PARTITION = Partition("topic", 0)


@pytest.fixture
def log(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    made = KafkaLog({"bootstrap_servers": [kafka_bootstrap]}, stall_seconds=1, session_seconds=6)
    yield made
    made.close()


@pytest.fixture
def topic(log: KafkaLog) -> str:
    """A topic of one partition."""
    name = f"test-{uuid4().hex}"
    log.ensure_topics([TopicSpec(name, 1)])
    return name


def read_all(log: KafkaLog, topic: str) -> list[Record | Unreadable]:
    """Everything there is, in order, read by a member of a new group."""
    end = log.bounds([topic])[Partition(topic, 0)].next
    found: list[Record | Unreadable] = []
    store = Store()
    consumer = log.consumer(uuid4().hex, [topic], start_at=store.start_at)

    def step() -> None:
        for batch in consumer.poll(max_records=100, timeout=0.2):
            assert store.apply(batch)
            found.extend([*batch.records, *batch.unreadable])

    until(lambda: store.offsets.get(Partition(topic, 0)) == end, step)
    assert consumer.lag() == {Partition(topic, 0): 0}
    consumer.close()
    return sorted(
        found, key=lambda item: item.first if isinstance(item, Unreadable) else item.offset
    )


def values_of(found: list[Record | Unreadable]) -> list[bytes | str]:
    return [item.reason if isinstance(item, Unreadable) else item.value for item in found]


def test_record_with_a_broken_header_is_unreadable_alone(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    raw = kafka_wire.batch([b"one", b"two", b"three"], headers=[("name", b"v")])
    second = raw.index(b"name", raw.index(b"two"))
    raw = kafka_wire.sealed(raw[:second] + b"\xff\xfe\xff\xfe" + raw[second + 4 :])
    kafka_wire.produce(kafka_bootstrap, topic, raw)
    log.append([NewRecord(topic, b"", b"after")])
    one, broken, three, after = read_all(log, topic)
    assert values_of([one, three, after]) == [b"one", b"three", b"after"]
    assert isinstance(broken, Unreadable)
    assert (broken.first, broken.next) == (1, 2)
    assert broken.reason.startswith("broken headers")
    assert b"two" in broken.raw


def test_batch_that_would_fill_the_memory_is_unreadable(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    bomb = kafka_wire.batch([bytes(200 * 1024 * 1024)], codec=kafka_wire.GZIP)
    assert len(bomb) < 1024 * 1024
    kafka_wire.produce(kafka_bootstrap, topic, bomb)
    del bomb
    log.append([NewRecord(topic, b"", b"after")])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    broken, after = read_all(log, topic)
    assert values_of([after]) == [b"after"]
    assert isinstance(broken, Unreadable)
    assert "more than 33554432 bytes" in broken.reason
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024


def test_poll_bounds_what_compressed_records_grow_to(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    mebibyte = 1024 * 1024
    for first in (0, 20, 40):
        values = [bytes([i]) * mebibyte for i in range(first, first + 20)]
        kafka_wire.produce(kafka_bootstrap, topic, kafka_wire.batch(values, codec=kafka_wire.GZIP))
    store = Store()
    consumer = log.consumer(topic, [topic], start_at=store.start_at)
    sizes: list[int] = []
    seen: list[int] = []

    def step() -> None:
        for batch in consumer.poll(max_records=1000, timeout=0.2):
            sizes.append(len(batch.records))
            seen.extend(record.value[0] for record in batch.records)

    until(lambda: len(seen) == 60, step)
    assert seen == list(range(60))
    assert max(sizes) == 32
    consumer.close()
    assert len(log.read(Partition(topic, 0), start=0, limit=1000)) == 32
    assert [r.value[0] for r in log.read(Partition(topic, 0), start=59, limit=1)] == [59]


def test_batch_without_a_library_is_unreadable(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    plain = kafka_wire.batch([b"one", b"two"])
    packed = kafka_wire.zstd_frame(plain[61:])
    kafka_wire.produce(
        kafka_bootstrap, topic, kafka_wire.recompressed(plain, kafka_wire.ZSTD, packed)
    )
    log.append([NewRecord(topic, b"", b"after")])
    broken, after = read_all(log, topic)
    assert values_of([after]) == [b"after"]
    assert isinstance(broken, Unreadable)
    assert (broken.first, broken.next) == (0, 2)
    assert broken.reason == "no library for zstd is installed"
    assert b"two" in broken.raw


def test_batch_that_rotted_on_disk_is_unreadable(
    log: KafkaLog, topic: str, kafka_broker: Broker
) -> None:
    for value in (b"first", b"second", b"third"):
        log.append([NewRecord(topic, b"", value)])
    segment = next((kafka_broker.folder / "data" / f"{topic}-0").glob("*.log"))
    content = segment.read_bytes()
    with segment.open("r+b") as file:
        file.seek(content.index(b"second"))
        file.write(b"SECOND")
    first, broken, third = read_all(log, topic)
    assert values_of([first, third]) == [b"first", b"third"]
    assert isinstance(broken, Unreadable)
    assert (broken.first, broken.next) == (1, 2)
    assert broken.reason == "the checksum is wrong"
    assert b"SECOND" in broken.raw


def test_member_starts_in_the_middle_of_an_unreadable_batch(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    plain = kafka_wire.batch([b"a", b"b", b"c", b"d"])
    packed = kafka_wire.zstd_frame(plain[61:])
    kafka_wire.produce(
        kafka_bootstrap, topic, kafka_wire.recompressed(plain, kafka_wire.ZSTD, packed)
    )
    store = Store(offsets={Partition(topic, 0): 2})
    consumer = log.consumer(topic, [topic], start_at=store.start_at)
    batches: list[Any] = []
    until(lambda: batches, lambda: batches.extend(consumer.poll(max_records=10, timeout=0.2)))
    assert (batches[0].first_offset, batches[0].next_offset) == (2, 4)
    assert [(item.first, item.next) for item in batches[0].unreadable] == [(2, 4)]
    consumer.close()


def test_aborted_transactions_are_passed_over(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    producer = KafkaProducer(bootstrap_servers=[kafka_bootstrap], transactional_id=uuid4().hex)
    producer.init_transactions()
    for value, end in (
        (b"kept", producer.commit_transaction),
        (b"dropped", producer.abort_transaction),
    ):
        producer.begin_transaction()
        producer.send(topic, value=value, key=b"k")
        producer.flush()
        end()
    producer.close()
    assert values_of(read_all(log, topic)) == [b"kept"]
    assert log.bounds([topic])[Partition(topic, 0)] == Bounds(0, 4)


def stop_fetching(consumer: LogConsumer) -> None:
    """Leave the client in the state that was seen after a broker's death: it waits for ever."""

    class Pending(set[int]):
        def remove(self, element: int, /) -> None:
            """Keep it: the answer that would clear it never came."""

    fetcher = consumer._client._fetcher  # type: ignore[attr-defined]
    fetcher._nodes_with_pending_fetch_requests = Pending({1})


def test_stalled_member_is_made_anew(log: KafkaLog, topic: str) -> None:
    store = Store()
    consumer = log.consumer(topic, [topic], start_at=store.start_at)
    log.append(numbered(topic, 10))
    until(lambda: len(store.applied) == 10, lambda: store.step(consumer))
    stop_fetching(consumer)
    log.append(numbered(topic, 10, start=10))
    before = time.monotonic()
    until(lambda: len(store.applied) == 20, lambda: store.step(consumer))
    assert time.monotonic() - before < 20
    assert [int(record.value) for record in store.applied] == list(range(20))
    consumer.close()


def test_join_that_outlasts_polls_is_not_lost(log: KafkaLog) -> None:
    for _ in range(10):
        topic = f"test-{uuid4().hex}"
        log.ensure_topics([TopicSpec(topic, 1)])
        store = Store()
        consumer = log.consumer(topic, [topic], start_at=store.start_at)
        before = time.monotonic()
        while not store.asked:
            consumer.poll(max_records=1, timeout=0.002)
        assert time.monotonic() - before < 15
        consumer.close()


def test_published_offsets_are_seen_by_kafkas_tools(
    log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    store = Store()
    consumer = log.consumer(topic, [topic], start_at=store.start_at)
    log.append(numbered(topic, 10))
    until(lambda: len(store.applied) == 10, lambda: store.step(consumer))
    consumer.publish_offsets({Partition(topic, 0): 7})
    store.step(consumer)
    consumer.publish_offsets({Partition(topic, 0): 10})
    consumer.close()
    with KafkaConsumer(bootstrap_servers=[kafka_bootstrap], group_id=topic) as tool:
        assert tool.committed(TopicPartition(topic, 0)) == 10


def test_idle_member_is_left_alone(log: KafkaLog, topic: str) -> None:
    store = Store()
    consumer = log.consumer(topic, [topic], start_at=store.start_at)
    until(lambda: store.asked, lambda: store.step(consumer))
    client = consumer._client  # type: ignore[attr-defined]
    consumer.poll(max_records=1, timeout=2.5)
    assert consumer._client is client  # type: ignore[attr-defined]
    consumer.close()


@pytest.mark.slow
def test_killed_broker_costs_no_record(log: KafkaLog, topic: str, kafka_broker: Broker) -> None:
    store = Store()
    members = [log.consumer(topic, [topic], start_at=store.start_at) for _ in range(2)]
    done = threading.Event()
    sent: list[int] = []
    refused: list[LogUnavailable] = []

    def send() -> None:
        while not done.is_set():
            try:
                log.append([NewRecord(topic, b"k", str(len(sent)).encode())])
            except LogUnavailable as error:
                refused.append(error)
            else:
                sent.append(len(sent))

    def step() -> None:
        try:
            store.step(*members)
        except LogUnavailable as error:
            refused.append(error)

    sender = threading.Thread(target=send)
    sender.start()
    until(lambda: len(store.applied) > 50, step)
    os.kill(kafka_broker.pid, signal.SIGKILL)
    outage = time.monotonic() + 3
    until(lambda: time.monotonic() > outage, step)
    kafka_broker.run("start")
    back, seen = time.monotonic(), len(store.applied)
    until(lambda: len(store.applied) > seen + 50, step)
    print(f"consumption came back {time.monotonic() - back:.1f} s after the broker")
    done.set()
    sender.join()
    until(lambda: len({r.value for r in store.applied}) >= len(sent), step)
    first_seen = list(dict.fromkeys(int(record.value) for record in store.applied))
    assert first_seen == list(range(len(first_seen)))
    for member in members:
        member.close()


def test_missing_topic_is_named_where_it_may_not_be_made(kafka_bootstrap: str, topic: str) -> None:
    log = KafkaLog({"bootstrap_servers": [kafka_bootstrap]}, create_topics=False)
    log.ensure_topics([TopicSpec(topic, 1)])
    with pytest.raises(LogUnavailable, match=r"lacks these topics.*: not-there$"):
        log.ensure_topics([TopicSpec(topic, 1), TopicSpec("not-there", 1)])
    log.close()


def test_absent_broker_is_log_unavailable(free_port: Callable[[], int]) -> None:
    log = KafkaLog({"bootstrap_servers": [f"127.0.0.1:{free_port()}"]})
    threads = threading.active_count()
    with pytest.raises(LogUnavailable):
        log.append([NewRecord("topic", b"k", b"v")])
    consumer = log.consumer("g", ["topic"], start_at=lambda asked: dict.fromkeys(asked, 0))
    with pytest.raises(LogUnavailable):
        consumer.poll(max_records=1, timeout=0.1)
    consumer.close()
    log.close()
    until(lambda: threading.active_count() <= threads)


def test_record_that_is_too_large_is_refused(log: KafkaLog, topic: str) -> None:
    with pytest.raises(ValueError, match="larger"):
        log.append([NewRecord(topic, b"k", bytes(3 * 1024 * 1024))])
    log.append([NewRecord(topic, b"k", b"fits")])
    assert values_of(read_all(log, topic)) == [b"fits"]


def test_replaced_producer_goes_on(log: KafkaLog, topic: str) -> None:
    log.append(numbered(topic, 1))
    log._producer.get().close()
    with pytest.raises(LogUnavailable):
        log.append(numbered(topic, 1, start=1))
    log.append(numbered(topic, 1, start=1))
    assert values_of(read_all(log, topic)) == [b"0", b"1"]


def test_open_log_follows_the_settings(
    fresh_database: Callable[[], str], kafka_bootstrap: str
) -> None:
    url = fresh_database()
    embedded = open_log(load_settings(), url)
    assert embedded.bounds(["no-such-topic"]) == {}
    embedded.close()
    kafka = open_log(load_settings(kafka_bootstrap_servers=kafka_bootstrap), url)
    assert kafka.bounds(["no-such-topic"]) == {}
    kafka.close()


def test_client_options_carry_the_account() -> None:
    settings = load_settings(
        kafka_bootstrap_servers="a:1,b:2",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="us",
        kafka_sasl_password=SecretStr("secret"),
        kafka_ssl_cafile=Path("/ca.pem"),
    )
    assert client_options(settings) == {
        "bootstrap_servers": ["a:1", "b:2"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "us",
        "sasl_plain_password": "secret",
        "ssl_cafile": "/ca.pem",
    }


def test_decoding_reads_what_kafka_python_writes() -> None:
    raw = kafka_wire.batch([b"a", b"", b"c"], headers=[("h", b"1"), ("ü", b"")])
    packed = kafka_wire.batch([b"a" * 1000] * 3, codec=kafka_wire.GZIP)
    (plain,) = split(raw)
    found = list(decode(plain, PARTITION))
    assert values_of(found) == [b"a", b"", b"c"]
    assert all(isinstance(r, Record) and r.headers == (("h", b"1"), ("ü", b"")) for r in found)
    (gzipped,) = split(packed)
    assert values_of(list(decode(gzipped, PARTITION))) == [b"a" * 1000] * 3


@pytest.mark.parametrize("cut", range(1, 40))
def test_decoding_never_raises_on_broken_records(cut: int) -> None:
    raw = kafka_wire.batch([b"one", b"two", b"three"], headers=[("name", b"v")])
    for position in (61 + cut, len(raw) - cut):
        broken = bytearray(raw)
        broken[position] ^= 0xFF
        (batch,) = split(kafka_wire.sealed(bytes(broken)))
        found = list(decode(batch, PARTITION))
        covered = [
            offset
            for item in found
            for offset in (
                range(item.first, item.next) if isinstance(item, Unreadable) else [item.offset]
            )
        ]
        assert covered == [0, 1, 2]


def test_splitting_leaves_a_batch_that_was_cut_off() -> None:
    raw = kafka_wire.batch([b"one"])
    assert len(list(split(raw + raw[:-1]))) == 1
    assert list(split(raw[:11])) == []
    with pytest.raises(Malformed):
        list(split(bytes(100)))


@pytest.mark.parametrize(
    ("codec", "data"), [(1, b"no gzip"), (1, b""), (7, b""), (2, b"x"), (3, b"x")]
)
def test_decompress_names_what_is_wrong(codec: int, data: bytes) -> None:
    if data == b"" and codec == 1:
        assert decompress(codec, data, limit=10) == b""
        return
    with pytest.raises(Unpackable):
        decompress(codec, data, limit=10)
