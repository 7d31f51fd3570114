"""Records that take too long: found by themselves, and in nobody else's way."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaProducer
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.consuming import runner, slowness
from services.kit.consuming.runner import Consumer
from services.kit.consuming.slowness import SlowPartitions
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.partitioner import partition_of
from services.kit.eventlog.port import (
    Batch,
    LogUnavailable,
    NewRecord,
    Partition,
    Record,
    TopicSpec,
)
from tests.kit.effects import Effects
from tests.kit.logs import running
from tests.kit.rig import Rig, make_rig
from tests.waiting import until


def test_batch_that_takes_too_long_is_read_in_smaller_parts(rig: Rig) -> None:
    # The server ends a transaction that stands still for 5 s; here it is told to after 0.2 s.
    sizes: list[int] = []

    class Slow(Effects):
        def __call__(self, session: Session, batches: Sequence[Batch], prepared: Any) -> None:
            sizes.append(sum(len(batch.records) for batch in batches))
            session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '200ms'"))
            if sizes[-1] > 20:
                time.sleep(0.4)
            super().__call__(session, batches, prepared)

    rig.append(*map(str, range(100)))
    with running(rig.consumer(handler=Slow())):
        until(rig.done(100))
    assert sizes[0] == 100
    assert rig.effects() == [str(i) for i in range(100)]


class SlowFor(Effects):
    """Takes too long whenever one of these values is among the records."""

    def __init__(self, *values: str) -> None:
        super().__init__()
        self.slow = {value.encode() for value in values}
        self.alone: Counter[bytes] = Counter()
        """How often each slow value was tried alone."""

    def __call__(self, session: Session, batches: Sequence[Batch], prepared: Any) -> None:
        session.execute(text("SET LOCAL idle_in_transaction_session_timeout = '100ms'"))
        values = [record.value for batch in batches for record in batch.records]
        if self.slow & set(values):
            self.alone.update(values if len(values) == 1 else [])
            time.sleep(0.25)
        super().__call__(session, batches, prepared)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Failures are waited out briefly, and nobody is patient with a slow record."""
    monkeypatch.setattr(runner, "_LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(slowness, "PATIENCE_SECONDS", 0.0)
    return monkeypatch


_REJECTED = "SELECT convert_from(value, 'UTF8') FROM rejected ORDER BY 1"


@pytest.mark.usefixtures("hasty")
def test_record_that_alone_takes_too_long_is_rejected_after_three_tries(rig: Rig) -> None:
    handler = SlowFor("3")
    rig.append(*map(str, range(8)))
    with running(rig.consumer(handler=handler)):
        until(rig.done(8))
    assert handler.alone == {b"3": 3}
    assert rig.effects() == [str(i) for i in range(8) if i != 3]
    query = "SELECT place, convert_from(value, 'UTF8'), reason FROM rejected"
    assert rig.rows(query) == [(3, "3", "took_too_long")]
    assert rig.counted["rejected took_too_long"] == 1


@pytest.fixture
def wide_rig(fresh_database: Callable[[], str]) -> Iterator[Rig]:
    """A rig of two partitions, with four slow records and, behind them, four good ones."""
    made = make_rig(fresh_database(), partitions=2)
    for kind in ("slow", "good"):
        made.log.append(
            [NewRecord("topic", f"k{n}".encode(), f"{kind} {n}".encode()) for n in range(4)]
        )
    yield made
    made.log.close()
    made.database.close()


@pytest.mark.usefixtures("hasty")
def test_slow_records_of_several_partitions_are_found_one_by_one(wide_rig: Rig) -> None:
    handler = SlowFor(*(f"slow {n}" for n in range(4)))
    with running(wide_rig.consumer(handler=handler)):
        until(wide_rig.done(8))
    assert wide_rig.rows(_REJECTED) == [f"slow {n}" for n in range(4)]
    assert sorted(wide_rig.effects()) == [f"good {n}" for n in range(4)]


def test_slow_record_is_rejected_without_patience_where_others_pass(
    wide_rig: Rig, hasty: pytest.MonkeyPatch
) -> None:
    hasty.setattr(slowness, "PATIENCE_SECONDS", 3600.0)
    handler = SlowFor("slow 0")
    with running(wide_rig.consumer(handler=handler)):
        until(lambda: handler.alone[b"slow 0"] > 3)
        assert wide_rig.rows(_REJECTED) == [], "nothing else came meanwhile"
        more = [NewRecord("topic", f"k{n}".encode(), b"more") for n in range(4)]

        def rejected() -> bool:
            wide_rig.log.append(more)
            return bool(wide_rig.rows(_REJECTED))

        until(rejected)
    assert wide_rig.rows(_REJECTED) == ["slow 0"]


def test_nothing_is_rejected_while_the_database_is_slow_for_all(
    rig: Rig, hasty: pytest.MonkeyPatch
) -> None:
    hasty.setattr(slowness, "PATIENCE_SECONDS", 3600.0)
    values = [str(n) for n in range(4)]
    handler = SlowFor(*values)
    rig.append(*values)
    with running(rig.consumer(handler=handler)):
        until(lambda: handler.alone[b"0"] > 4)
        handler.slow.clear()
        until(rig.done(4))
    assert rig.effects() == values
    assert rig.rows(_REJECTED) == []


def a_record(number: int, offset: int) -> Batch:
    """A record of that partition, alone."""
    at = Partition("t", number)
    record = Record(at, offset, None, b"", (), datetime.now(UTC))
    return Batch(at, offset, offset + 1, [record])


def test_rejecting_one_slow_record_is_no_evidence_against_another() -> None:
    slow, heads = SlowPartitions(10), [a_record(0, 5), a_record(1, 5)]
    for head in heads * slowness.TRIES:
        slow.note([head])
    assert not any(map(slow.is_hopeless, heads))
    slow.begin(heads[0].partition, 6)
    assert not slow.is_hopeless(heads[1])


def test_every_try_counts_that_others_passed_after() -> None:
    slow, head = SlowPartitions(10), a_record(0, 5)
    slow.note([head])
    slow.passed()
    # The database has a bad minute: two tries more, and nobody passes.
    for _ in range(2):
        slow.note([head])
    assert not slow.is_hopeless(head)
    slow.passed()
    slow.passed()
    assert not slow.is_hopeless(head)
    slow.note([head])
    slow.passed()
    assert slow.is_hopeless(head)


def test_a_record_is_tried_again_after_an_outage_that_outlasts_all_patience(
    rig: Rig, hasty: pytest.MonkeyPatch
) -> None:
    hasty.setattr(slowness, "PATIENCE_SECONDS", 3.0)
    handler = SlowFor("a", "b")
    rig.append("a", "b")
    consumer = rig.consumer(handler=handler)
    poll, back_at = consumer._member.poll, list[float]()

    def polled(**given: Any) -> Any:
        """The log is away for longer than anybody waits; then the database is well."""
        if handler.alone[b"a"] >= slowness.TRIES:
            back_at[:] = back_at or [time.monotonic() + 4]
            handler.slow.clear()
            if time.monotonic() < back_at[0]:
                raise LogUnavailable("restarting")
        return poll(**given)

    hasty.setattr(consumer._member, "poll", polled)
    with running(consumer):
        until(rig.done(2))
    assert rig.rows(_REJECTED) == []


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("partitions", [4, 12])
def test_a_slow_record_stops_its_own_partition_alone_under_load(
    fresh_database: Callable[[], str], hasty: pytest.MonkeyPatch, partitions: int
) -> None:
    hasty.setattr(slowness, "PATIENCE_SECONDS", 3600.0)
    rig = make_rig(fresh_database(), partitions=partitions)
    slow = partition_of(b"slow", partitions)
    keys = [key for key in (b"%d" % n for n in range(400)) if partition_of(key, partitions) != slow]
    rig.log.append([NewRecord("topic", b"slow", b"slow")])
    loaded = threading.Event()

    def load() -> None:
        while not loaded.wait(0.05):
            rig.log.append([NewRecord("topic", key, b"good") for key in keys[:100]])

    loader = threading.Thread(target=load)
    loader.start()
    try:
        with running(rig.consumer(handler=SlowFor("slow"))):
            until(lambda: bool(rig.rows(_REJECTED)))
    finally:
        loaded.set()
        loader.join()
        rig.log.close()
        rig.database.close()


@pytest.fixture
def topic(kafka_log: KafkaLog) -> str:
    """A topic of two partitions on a real broker."""
    name = f"test-{uuid4().hex}"
    kafka_log.ensure_topics([TopicSpec(name, 2)])
    return name


@pytest.fixture
def kafka_log(kafka_bootstrap: str) -> Iterator[KafkaLog]:
    log = KafkaLog({"bootstrap_servers": [kafka_bootstrap]})
    yield log
    log.close()


def send(address: str, topic: str, *transactions: tuple[int, Sequence[str], bool]) -> None:
    """Transactions on the log: the partition, what it holds, and whether it is committed."""
    producer = KafkaProducer(bootstrap_servers=[address], transactional_id=uuid4().hex)
    producer.init_transactions()
    for partition, values, committed in transactions:
        producer.begin_transaction()
        for value in values:
            producer.send(topic, key=b"k", value=value.encode(), partition=partition)
        producer.flush()
        if committed:
            producer.commit_transaction()
        else:
            producer.abort_transaction()
    producer.close()


BEHIND_MARKS = [(0, [value], True) for value in ("a", "slow", "b", "c")]
"""Each transaction ends with a mark: no record lies at its offset."""
BESIDE_MARKS = [(0, ["a", "slow", "b", "c"], True), *[(1, ["aborted"], False)] * 5]
"""The other partition holds nothing that anybody reads."""


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("transactions", [BEHIND_MARKS, BESIDE_MARKS])
def test_a_slow_record_is_found_among_marks_of_transactions(
    transactions: Any, rig: Rig, kafka_log: KafkaLog, topic: str, kafka_bootstrap: str
) -> None:
    send(kafka_bootstrap, topic, *transactions)
    handler = SlowFor("slow")
    given = {"log": kafka_log, "database": rig.database, "handler": handler}
    with running(Consumer(uuid4().hex, [topic], **given)):
        until(lambda: rig.effects() == ["a", "b", "c"])
    assert rig.rows(_REJECTED) == ["slow"]
    assert handler.alone == {b"slow": 3}


@pytest.mark.usefixtures("hasty")
def test_tries_of_a_record_are_counted_anew_once_it_was_taken(rig: Rig) -> None:
    handler = SlowFor("a")
    rig.append("a")
    with running(rig.consumer(handler=handler)):
        until(lambda: handler.alone[b"a"] == 2)
        handler.slow.clear()
        until(rig.done(1))
        handler.slow.add(b"a")
        rig.rows("UPDATE consumer_offset SET next_offset = 0, start_offset = 0 RETURNING 1")
        until(lambda: handler.alone[b"a"] == 4)
        handler.slow.clear()
        until(rig.done(1))
    assert rig.rows(_REJECTED) == []
