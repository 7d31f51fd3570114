"""The embedded event log's own promises: late commits, clocks, retention, outages."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from services.kit.eventlog import membership, postgres
from services.kit.eventlog.headers import headers_from_json, headers_to_json
from services.kit.eventlog.port import (
    Bounds,
    LogUnavailable,
    NewRecord,
    OffsetOutOfRange,
    Partition,
    TopicSpec,
)
from services.kit.eventlog.postgres import PostgresLog
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.conftest import build_schema
from tests.kit.logs import Store, just_after, numbered, poll_records
from tests.waiting import until

ONE = Partition("one", 0)


@pytest.fixture
def url(fresh_database: Callable[[], str]) -> str:
    return fresh_database()


@pytest.fixture
def log(url: str) -> Iterator[PostgresLog]:
    made = PostgresLog(url)
    made.ensure_topics([TopicSpec("one", 1), TopicSpec("many", 4)])
    yield made
    made.close()


def test_reader_waits_for_a_record_that_is_committed_late(log: PostgresLog, url: str) -> None:
    with psycopg.connect(url) as slow:
        # What an append does, stopped before its commit.
        slow.execute("UPDATE log_partition SET next_offset = 1 WHERE topic = 'one'")
        slow.execute(
            'INSERT INTO log_record (partition_id, "offset", key, value)'
            " SELECT id, 0, 'k', 'late' FROM log_partition WHERE topic = 'one'"
        )
        quick = threading.Thread(target=log.append, args=([NewRecord("one", b"k", b"early")],))
        quick.start()
        consumer = log.consumer("g", ["one"], start_at=lambda asked: dict.fromkeys(asked, 0))
        for _ in range(5):
            assert consumer.poll(max_records=10, timeout=0.1) == []
        slow.commit()
    quick.join()
    assert [record.value for record in poll_records(consumer, 2)] == [b"late", b"early"]
    consumer.close()


def test_append_is_whole_or_not_there(log: PostgresLog, url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("ALTER TABLE log_record ADD CHECK (value <> 'bad')")
    with pytest.raises(psycopg.errors.CheckViolation):
        log.append([*numbered("many", 10), NewRecord("many", b"k", b"bad")])
    assert set(log.bounds(["many"]).values()) == {Bounds(0, 0)}


def test_moments_never_go_back_when_the_clock_does(log: PostgresLog, url: str) -> None:
    log.append(numbered("one", 1))
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE log_partition SET appended_at = clock_timestamp() + interval '1 hour'"
        )
    log.append(numbered("one", 2))
    first, *later = log.read(ONE, start=0, limit=10)
    assert later[0].appended_at == later[1].appended_at > first.appended_at + timedelta(minutes=59)


def test_poll_bounds_the_bytes_it_holds(log: PostgresLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "_POLL_BYTES", 1000)
    log.append([NewRecord("one", b"k", b"x" * 400) for _ in range(10)])
    store = Store()
    consumer = log.consumer("g", ["one"], start_at=store.start_at)
    sizes = []
    while len(store.applied) < 10:
        for batch in consumer.poll(max_records=100, timeout=1):
            sizes.append(len(batch.records))
            store.apply(batch)
    assert sizes == [3, 3, 3, 1]
    consumer.close()


def test_poll_serves_partitions_in_turn(log: PostgresLog) -> None:
    log.append(numbered("many", 400, keys=40))
    store = Store()
    consumer = log.consumer("g", ["many"], start_at=store.start_at)
    for _ in range(4):
        for batch in consumer.poll(max_records=10, timeout=1):
            store.apply(batch)
    assert len({record.partition for record in store.applied}) == 4
    consumer.close()


def test_trim_removes_what_is_old_and_consumed(
    log: PostgresLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "_TRIM_RECORDS", 7)
    log.append(numbered("one", 20))
    moment = just_after(log.read(ONE, start=19, limit=1)[0])
    log.append(numbered("one", 20))
    assert log.trim(moment, {}) == 0
    assert log.trim(moment - timedelta(hours=1), {ONE: 40}) == 0
    assert log.trim(moment, {ONE: 15}) == 15
    assert log.bounds(["one"]) == {ONE: Bounds(15, 40)}
    assert log.trim(moment, {ONE: 40}) == 5
    assert log.trim(moment + timedelta(hours=1), {ONE: 40}) == 20
    assert log.bounds(["one"]) == {ONE: Bounds(40, 40)}
    log.append(numbered("one", 1))
    assert [record.offset for record in log.read(ONE, start=0, limit=10)] == [40]
    assert log.offset_at(ONE, moment) == 40


def test_poll_says_when_retention_overtook_it(log: PostgresLog) -> None:
    log.append(numbered("one", 20))
    store = Store()
    consumer = log.consumer("g", ["one"], start_at=store.start_at)
    for batch in consumer.poll(max_records=5, timeout=1):
        store.apply(batch)
    log.trim(datetime.now(UTC) + timedelta(hours=1), {ONE: 10})
    with pytest.raises(OffsetOutOfRange) as caught:
        consumer.poll(max_records=5, timeout=1)
    assert (caught.value.offset, caught.value.bounds) == (5, Bounds(10, 20))
    store.offsets[ONE] = 10
    assert len(poll_records(consumer, 10)) == 10
    consumer.close()


def test_stuck_member_loses_its_partitions_but_lives(
    log: PostgresLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "STUCK_SECONDS", 0.5)
    monkeypatch.setattr(membership, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(membership, "EXPIRY_SECONDS", 1)
    store = Store()
    stuck = log.consumer("g", ["many"], start_at=store.start_at)
    store.step(stuck)
    other = log.consumer("g", ["many"], start_at=store.start_at)
    until(lambda: len(other.assigned()) == 2, lambda: store.step(stuck, other))
    until(lambda: len(other.assigned()) == 4, lambda: store.step(other))
    until(lambda: len(other.assigned()) == 2, lambda: store.step(stuck, other))
    stuck.close()
    other.close()


def test_member_elsewhere_is_waited_for_until_it_expires(
    log: PostgresLog, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(membership, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(membership, "EXPIRY_SECONDS", 1)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO log_member (consumer_group, member) VALUES ('g', 'elsewhere/0/1/x')"
        )
    store = Store()
    consumer = log.consumer("g", ["many"], start_at=store.start_at)
    store.step(consumer)
    assert len(consumer.assigned()) == 2
    until(lambda: len(consumer.assigned()) == 4, lambda: store.step(consumer))
    consumer.close()


@pytest.fixture
def server(memory_folder: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(memory_folder / uuid4().hex)
    made.start()
    build_schema(made.url)
    yield made
    made.stop()


def _append_until_unavailable(log: PostgresLog) -> int:
    """Backends live on for a moment; answers the number of the first record not taken."""
    for n in count(1):
        try:
            log.append(numbered("one", 1, start=n))
        except LogUnavailable:
            break
    return n


def test_outage_is_log_unavailable_and_passes(server: EmbeddedPostgres) -> None:
    log = PostgresLog(server.url)
    log.ensure_topics([TopicSpec("one", 1)])
    consumer = log.consumer("g", ["one"], start_at=lambda asked: dict.fromkeys(asked, 0))
    log.append(numbered("one", 1))
    assert len(poll_records(consumer, 1)) == 1
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    n = _append_until_unavailable(log)
    with pytest.raises(LogUnavailable):
        consumer.poll(max_records=1, timeout=0.1)
    until(server.ensure_running)
    log.append(numbered("one", 1, start=n))
    assert poll_records(consumer, n)[-1].value == str(n).encode()
    consumer.close()
    log.close()


@pytest.mark.parametrize("name", ["content-type", "", "ü", "100%", "a\x00b", "\ud800", "%41"])
def test_headers_survive_as_json(name: str) -> None:
    headers = ((name, bytes(range(256))), (name, b""))
    stored = headers_to_json(headers)
    assert stored is not None
    assert all(text.isascii() and text.isprintable() for pair in stored for text in pair)
    assert headers_from_json(stored) == headers


def test_headers_stay_readable_as_json() -> None:
    assert headers_to_json((("content-type", b"application/json; a=b"),)) == [
        ["content-type", "application/json; a=b"]
    ]
    assert headers_to_json(()) is None
    assert headers_from_json(None) == ()
