"""Kafka's own troubles: dead brokers, stalled members, batches that cannot be read."""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaConsumer, TopicPartition
from pydantic import SecretStr

from services.kit.eventlog import open_log
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.kafka_clients import client_options
from services.kit.eventlog.port import (
    LogConsumer,
    LogUnavailable,
    NewRecord,
    Partition,
    TopicSpec,
)
from services.kit.settings import load_settings
from tests.factories.broker import Broker
from tests.kit.kafka_reading import read_all, values_of
from tests.kit.logs import Store, numbered
from tests.waiting import until


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
