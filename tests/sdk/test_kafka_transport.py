"""Events straight to Kafka: what becomes of them on the way, and on a real broker."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from secondlook import events
from secondlook._http import Refused, Unavailable
from secondlook._kafka import KafkaTransport, record_of, settings
from secondlook.testing import NOON, TOOL, a_correction, an_output

SOURCE = f"/tools/{TOOL}"


def item_of(event: events.Event) -> bytes:
    return event.model_dump_json(exclude={"source"}, exclude_none=True).encode()


def an_item(output_id: str = "t-1841") -> bytes:
    return item_of(events.output_recorded("unnamed", an_output(output_id=output_id), time=NOON))


class Producer:
    """A producer of which the futures answer what the test says."""

    def __init__(self, answers: list[Exception | None]) -> None:
        self.answers = answers
        self.records: list[tuple[str, bytes, bytes]] = []
        self.closed = False

    def send(self, topic: str, *, key: bytes, value: bytes, headers: Any) -> "Producer":
        self.records.append((topic, key, value))
        assert headers == [("content-type", b"application/cloudevents+json; charset=UTF-8")]
        return self

    def flush(self, timeout: float) -> None:
        assert timeout > 0

    def get(self, timeout: float) -> None:
        assert timeout > 0
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer

    def close(self, timeout: float) -> None:
        assert timeout > 0
        self.closed = True
        raise KafkaTimeoutError("as it may")


class Factory:
    """Makes producers, and remembers them."""

    def __init__(self, *answers: list[Exception | None]) -> None:
        self.answers = list(answers)
        self.made: list[Producer] = []

    def __call__(self, servers: str, options: Mapping[str, Any]) -> Producer:
        assert (servers, options) == ("broker:9092", {})
        self.made.append(Producer(self.answers.pop(0) if self.answers else []))
        return self.made[-1]


def a_transport(*answers: list[Exception | None]) -> tuple[KafkaTransport, Factory]:
    factory = Factory(*answers)
    return KafkaTransport("broker:9092", {}, make=factory), factory


def test_records_have_the_topic_key_and_source_of_their_event() -> None:
    topic, key, value = record_of(SOURCE, an_item("a/b"))
    assert (topic, key) == ("secondlook.outputs", b"ticket-categoriser/a/b")
    assert events.decode(value).source == SOURCE
    correction = events.correction_recorded("unnamed", a_correction(), time=NOON)
    assert record_of(SOURCE, item_of(correction))[:2] == (
        "secondlook.corrections",
        b"ticket-categoriser/t-1841",
    )


@pytest.mark.parametrize("item", [b"{damaged", b"[]", b"{}", b'{"type":"other"}', b"\xff"])
def test_what_a_disk_damaged_is_refused(item: bytes) -> None:
    with pytest.raises(Refused):
        record_of(SOURCE, item)


def test_the_producer_waits_for_all_replicas_and_is_not_idempotent() -> None:
    chosen = settings("one:9092, two:9092")
    assert chosen["bootstrap_servers"] == ["one:9092", "two:9092"]
    assert chosen["acks"] == "all"
    assert chosen["enable_idempotence"] is False
    assert chosen["max_in_flight_requests_per_connection"] == 1


def test_a_producer_is_kept_while_it_works() -> None:
    transport, factory = a_transport()
    transport.send(SOURCE, [an_item("a"), an_item("b")])
    transport.send(SOURCE, [an_item("c")])
    (producer,) = factory.made
    assert [key[-1:] for _, key, _ in producer.records] == [b"a", b"b", b"c"]


def test_a_producer_is_made_before_the_first_event_where_that_can_be() -> None:
    transport, factory = a_transport()
    transport.open()
    transport.send(SOURCE, [an_item("a")])
    assert len(factory.made) == 1


@pytest.mark.parametrize("error", [KafkaTimeoutError("no broker"), RuntimeError("no thread")])
def test_a_producer_that_can_not_be_made_yet_is_made_later(error: Exception) -> None:
    factory = Factory()
    errors = [error]

    def make(servers: str, options: Mapping[str, Any]) -> Producer:
        if errors:
            raise errors.pop()
        return factory(servers, options)

    transport = KafkaTransport("broker:9092", {}, make=make)
    transport.open()
    transport.send(SOURCE, [an_item("a")])
    assert len(factory.made) == 1


def test_a_producer_that_timed_out_is_replaced() -> None:
    transport, factory = a_transport([None, KafkaTimeoutError("delivery")])
    with pytest.raises(Unavailable):
        transport.send(SOURCE, [an_item("a"), an_item("b")])
    transport.send(SOURCE, [an_item("a"), an_item("b")])
    assert len(factory.made) == 2
    assert factory.made[0].closed


def test_an_event_too_large_for_the_broker_is_refused() -> None:
    transport, _ = a_transport([MessageSizeTooLargeError("too large")])
    with pytest.raises(Refused):
        transport.send(SOURCE, [an_item()])


def test_closing_an_unused_transport_does_nothing() -> None:
    transport, factory = a_transport()
    transport.close()
    assert factory.made == []


@pytest.fixture
def tail(kafka_bootstrap: str) -> Iterator[Any]:
    """Reads what is added to the topics of tools from now on."""
    from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
    from kafka.admin import NewTopic
    from kafka.errors import TopicAlreadyExistsError

    names = ["secondlook.outputs", "secondlook.corrections"]
    admin = KafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    for name in names:
        try:
            admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
        except TopicAlreadyExistsError:
            continue
    admin.close()
    consumer = KafkaConsumer(bootstrap_servers=kafka_bootstrap, enable_auto_commit=False)
    parts = [TopicPartition(n, p) for n in names for p in consumer.partitions_for_topic(n)]
    consumer.assign(parts)
    consumer.seek_to_end(*parts)
    for part in parts:
        consumer.position(part)
    yield consumer
    consumer.close()


def read(consumer: Any, wanted: set[str], seconds: float = 30.0) -> dict[str, list[Any]]:
    """The records of these outputs, by output id, once each has one."""
    found: dict[str, list[Any]] = {}
    end = time.monotonic() + seconds
    while wanted - set(found):
        assert time.monotonic() < end, f"{len(wanted - set(found))} never came"
        for records in consumer.poll(timeout_ms=200).values():
            for record in records:
                event = events.decode(record.value, record.headers)
                if event.subject in wanted:
                    found.setdefault(event.subject, []).append(record)
    return found


@pytest.mark.kafka
def test_a_real_broker_gets_every_event_under_its_key(
    kafka_bootstrap: str, tail: Any, server: Any
) -> None:
    run = uuid4().hex
    ids = [f"{run}-{number}" for number in range(700)]
    with server.client(kafka_bootstrap_servers=kafka_bootstrap) as look:
        for output_id in ids:
            look.output(output_id, kind="category", value="refund", confidence=0.9)
        look.correct(ids[0], value="billing", actor="ana")
        assert look.flush(20)
        assert look.stats().sent == 701
    found = read(tail, set(ids))
    while len(found[ids[0]]) < 2:
        found[ids[0]] += read(tail, {ids[0]})[ids[0]]
    output, correction = sorted(found[ids[0]], key=lambda r: r.topic, reverse=True)
    assert (output.topic, correction.topic) == ("secondlook.outputs", "secondlook.corrections")
    assert output.key == correction.key == f"{TOOL}/{ids[0]}".encode()
    assert output.partition == correction.partition
    assert all(len(records) == 1 for output_id, records in found.items() if output_id != ids[0])
    assert server.batches == []


@pytest.mark.kafka
def test_a_broker_that_stands_still_costs_nothing(
    kafka_broker: Any, tail: Any, server: Any
) -> None:
    run = uuid4().hex
    ids = [f"{run}-{number}" for number in range(60)]
    short = {"delivery_timeout_ms": 2_000, "request_timeout_ms": 1_000, "max_block_ms": 1_000}
    address = kafka_broker.address
    look = server.client(kafka_bootstrap_servers=address, kafka_options=short)
    with look:
        for output_id in ids[:20]:
            look.output(output_id, kind="category", value="refund", confidence=0.9)
        assert look.flush(20)
        os.kill(kafka_broker.pid, signal.SIGSTOP)
        try:
            for output_id in ids[20:]:
                look.output(output_id, kind="category", value="refund", confidence=0.9)
            assert not look.flush(4)
        finally:
            os.kill(kafka_broker.pid, signal.SIGCONT)
        assert look.flush(40)
        assert (look.stats().sent, look.stats().dropped) == (60, 0)
    assert set(read(tail, set(ids))) == set(ids)
