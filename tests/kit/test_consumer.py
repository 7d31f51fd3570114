"""The runner: one effect per record, whatever dies, fails, or comes twice."""

import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

import pytest
from sqlalchemy import text

from services.kit.consuming.offsets import Move, Offsets, StaleOffset
from services.kit.consuming.runner import Consumer
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.port import (
    LogConsumer,
    NewRecord,
    StartAt,
    TopicSpec,
)
from services.kit.eventlog.postgres import PostgresLog
from tests.kit import kafka_wire
from tests.kit.logs import numbered, running
from tests.kit.rig import ONE, Rig, make_rig
from tests.waiting import throughout, until


def test_every_record_has_its_effect_once(rig: Rig) -> None:
    rig.append(*map(str, range(100)))
    with running(rig.consumer(batch_records=30)):
        until(rig.done(100))
        rig.append(*map(str, range(100, 150)))
        until(rig.done(150))
        until(lambda: rig.counted["committed"] == 150)
    assert rig.effects() == [str(i) for i in range(150)]
    assert rig.position() == 150


def test_restart_goes_on_where_the_last_one_ended(rig: Rig) -> None:
    for start in (0, 50):
        rig.append(*map(str, range(start, start + 50)))
        with running(rig.consumer()):
            until(rig.done(start + 50))
    assert rig.effects() == [str(i) for i in range(100)]


class Everyone(PostgresLog):
    """A log that gives every member every partition, as to one that was thought dead."""

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        return super().consumer(uuid4().hex, topics, start_at=start_at)


def test_two_readers_of_one_partition_have_one_effect(rig: Rig) -> None:
    log = Everyone(rig.url)
    with running(*(rig.consumer(log, batch_records=5) for _ in range(2))):
        for start in range(0, 300, 10):
            rig.append(*map(str, range(start, start + 10)))
        until(rig.done(300))
    assert rig.effects() == [str(i) for i in range(300)]
    assert rig.counted["stale"] > 0
    log.close()


def test_members_share_the_work(fresh_database: Callable[[], str]) -> None:
    rig = make_rig(fresh_database(), partitions=4)
    rig.log.append(numbered("topic", 200, keys=40))
    with running(rig.consumer(batch_records=20), rig.consumer(batch_records=20)):
        rig.log.append(numbered("topic", 200, keys=40, start=200))
        until(rig.done(400))
    assert sorted(map(int, rig.effects())) == list(range(400))
    rig.log.close()
    rig.database.close()


def test_stale_offset_undoes_the_effect(rig: Rig) -> None:
    stored = Offsets("test")
    with rig.database.transaction() as session:
        stored.load(session, rig.log.bounds(["topic"]))

    def write_from(start: int) -> None:
        with rig.database.transaction() as session:
            session.execute(text("INSERT INTO effect (value) VALUES ('x')"))
            stored.advance(session, [Move(ONE, start, start + 10, 10)])

    write_from(0)
    with pytest.raises(StaleOffset):
        write_from(0)
    with pytest.raises(StaleOffset):
        write_from(5)
    assert len(rig.effects()) == 1
    assert rig.position() == 10


def test_bad_records_are_found_and_rejected_alone(rig: Rig) -> None:
    values = [f"bad {i}" if i in (0, 57, 58, 199) else str(i) for i in range(200)]
    rig.append(*values)
    with running(rig.consumer()):
        until(rig.done(200))
    good = [value for value in values if not value.startswith("bad")]
    assert rig.effects() == good
    query = "SELECT place, convert_from(value, 'UTF8'), reason FROM rejected ORDER BY place"
    assert rig.rows(query) == [(i, f"bad {i}", "bad record") for i in (0, 57, 58, 199)]
    assert rig.counted["rejected ValueError"] == 4
    assert rig.position() == 200


def test_record_that_cannot_be_rejected_is_kept_waiting(rig: Rig) -> None:
    rig.append("1", "bad", "2")
    rig.handler.rejecting = False
    with running(rig.consumer()):
        until(lambda: rig.counted["unexpected"] >= 3)
        assert rig.handler.calls < 40, "it must not spin"
        assert rig.effects() == ["1"]
        rig.handler.rejecting = True
        until(rig.done(3))
    assert rig.effects() == ["1", "2"]


def test_pause_rejects_nothing_and_drops_nothing(rig: Rig) -> None:
    rig.append("1", "bad", "2", "bad", "3")
    pausing = threading.Event()
    pausing.set()
    with running(rig.consumer(should_pause=lambda _: pausing.is_set())):
        until(lambda: rig.effects() == ["1"])
        rig.append("4")
        none = "SELECT count(*) FROM rejected"
        throughout(1, lambda: (rig.rows(none), rig.effects()) == ([0], ["1"]))
        pausing.clear()
        until(rig.done(6))
    assert rig.effects() == ["1", "2", "3", "4"]


def test_pause_comes_with_the_limit_and_goes_with_it(rig: Rig) -> None:
    pausing = threading.Event()
    with running(rig.consumer(should_pause=lambda _: pausing.is_set())):
        rig.append("1")
        until(rig.done(1))
        pausing.set()
        until(lambda: rig.counted["paused"] == 1)
        rig.append("2")
        throughout(1, lambda: rig.effects() == ["1"])
        pausing.clear()
        until(rig.done(2))
        assert rig.counted["paused"] == 0


def test_unreadable_batch_is_kept_and_passed(rig: Rig, kafka_bootstrap: str) -> None:
    topic = f"test-{uuid4().hex}"
    log = KafkaLog({"bootstrap_servers": [kafka_bootstrap]})
    log.ensure_topics([TopicSpec(topic, 1)])
    log.append([NewRecord(topic, b"", b"before")])
    plain = kafka_wire.batch([b"one", b"two"])
    packed = kafka_wire.zstd_frame(plain[61:])
    raw = kafka_wire.recompressed(plain, kafka_wire.ZSTD, packed)
    kafka_wire.produce(kafka_bootstrap, topic, raw)
    log.append([NewRecord(topic, b"", b"after")])
    consumer = Consumer(uuid4().hex, [topic], log=log, database=rig.database, handler=rig.handler)
    with running(consumer):
        until(rig.done(3))
    assert sorted(rig.effects()) == ["after", "before"]
    ((place, value, reason),) = rig.rows("SELECT place, value, reason FROM rejected")
    assert (place, reason) == (1, "unreadable")
    assert b"two" in value
    log.close()
