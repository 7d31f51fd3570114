"""Batches on Kafka that cannot be read, in part or at all."""

import resource
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from services.kit.eventlog.compression import Unpackable, decompress
from services.kit.eventlog.decoding import Malformed, decode, split
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.port import (
    Bounds,
    NewRecord,
    Partition,
    Record,
    Unreadable,
)
from tests.factories.broker import Broker
from tests.kit import kafka_wire
from tests.kit.kafka_reading import read_all, values_of
from tests.kit.logs import Store
from tests.waiting import until

PARTITION = Partition("topic", 0)


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
