"""The runner: one effect per record, whatever dies, fails, or comes twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy
from sqlalchemy import text

from services.kit.consuming import offsets
from services.kit.consuming.offsets import Move, Offsets, StaleOffset
from services.kit.consuming.runner import Consumer, Counters
from services.kit.database import Database, is_infrastructure, make_engine
from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.port import (
    EventLog,
    LogConsumer,
    LogUnavailable,
    NewRecord,
    Partition,
    StartAt,
    TopicSpec,
)
from services.kit.eventlog.postgres import PostgresLog
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.conftest import build_schema
from tests.kit import effects, kafka_wire
from tests.kit.effects import Effects
from tests.kit.logs import numbered, running
from tests.waiting import throughout, until

ROOT = Path(__file__).parent.parent.parent
ONE = Partition("topic", 0)


@dataclass
class Rig:
    """A database, the log in it, and what was counted."""

    url: str
    database: Database
    log: EventLog
    handler: Effects = field(default_factory=Effects)
    counted: Counter[Any] = field(default_factory=Counter)

    def consumer(self, log: EventLog | None = None, **more: Any) -> Consumer:
        return Consumer(
            "test",
            ["topic"],
            log=log or self.log,
            database=self.database,
            handler=self.handler,
            counters=Counters(
                committed=lambda _, n: self.counted.update(committed=n),
                retried=lambda reason: self.counted.update([reason]),
                rejected=lambda _, reason: self.counted.update([f"rejected {reason}"]),
                stale=lambda _: self.counted.update(stale=1),
                paused=lambda yes: self.counted.update(paused=int(yes) - self.counted["paused"]),
            ),
            **more,
        )

    def append(self, *values: str) -> None:
        self.log.append([NewRecord("topic", b"key", value.encode()) for value in values])

    def rows(self, query: str) -> list[Any]:
        with self.database.transaction() as session:
            return [row[0] if len(row) == 1 else tuple(row) for row in session.execute(text(query))]

    def effects(self) -> list[str]:
        return self.rows("SELECT value FROM effect ORDER BY id")

    def done(self, n: int) -> Callable[[], bool]:
        """Whether so many records have had an effect or were rejected."""
        query = "SELECT (SELECT count(*) FROM effect) + (SELECT count(*) FROM rejected)"
        return lambda: self.rows(query)[0] >= n

    def position(self) -> int:
        return int(self.rows("SELECT next_offset FROM consumer_offset WHERE partition = 0")[0])

    def command(self, *more: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "tests.kit.effects", self.url, *more]
        return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def run_to_death(self) -> int:
        """Run a consumer process until it ends by itself."""
        child = self.command()
        child.communicate(timeout=40)
        return child.returncode

    def stop(self, child: "subprocess.Popen[str]") -> float:
        """Ask a process to end; answers how long that took."""
        before = time.monotonic()
        child.terminate()
        child.communicate(timeout=20)
        assert child.returncode == 0
        return time.monotonic() - before


def make_rig(url: str, *, partitions: int = 1) -> Rig:
    database = Database(make_engine(url, pool_size=8))
    with database.transaction() as session:
        for statement in effects.TABLES:
            session.execute(text(statement))
    log = PostgresLog(url)
    log.ensure_topics([TopicSpec("topic", partitions)])
    return Rig(url, database, log)


@pytest.fixture
def rig(fresh_database: Callable[[], str]) -> Iterator[Rig]:
    made = make_rig(fresh_database())
    yield made
    made.log.close()
    made.database.close()


# --- once ---------------------------------------------------------------------------------


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


# --- bad records --------------------------------------------------------------------------


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
        until(lambda: rig.counted["paused"])
        rig.append("4")
        none = "SELECT count(*) FROM rejected"
        throughout(1, lambda: (rig.rows(none), rig.effects()) == ([0], ["1"]))
        pausing.clear()
        until(rig.done(6))
    assert rig.effects() == ["1", "2", "3", "4"]


def test_pause_comes_within_a_second_of_the_limit(rig: Rig) -> None:
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


# --- infrastructure -----------------------------------------------------------------------


def test_lost_database_is_waited_for(memory_folder: Path) -> None:
    server = EmbeddedPostgres(memory_folder / uuid4().hex)
    server.start()
    build_schema(server.url)
    rig = make_rig(server.url)
    rig.append(*map(str, range(50)))
    with running(rig.consumer()):
        until(rig.done(50))
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(lambda: rig.counted["log"] + rig.counted["database"])
        until(server.ensure_running)
        until(lambda: _appended(rig, "after"))
        until(lambda: "after" in _effects_or_none(rig))
    assert rig.effects() == [*(str(i) for i in range(50)), "after"]
    rig.log.close()
    rig.database.close()
    server.stop()


def _appended(rig: Rig, value: str) -> bool:
    try:
        rig.append(value)
    except LogUnavailable:
        return False
    return True


def _effects_or_none(rig: Rig) -> list[str]:
    try:
        return rig.effects()
    except sqlalchemy.exc.OperationalError:
        return []


def test_ended_connection_costs_nothing(rig: Rig) -> None:
    with running(rig.consumer()):
        for round_ in range(5):
            rig.append(str(round_))
            rig.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            until(rig.done(round_ + 1))
    assert rig.effects() == ["0", "1", "2", "3", "4"]
    assert rig.counted["rejected OperationalError"] == 0


@pytest.mark.parametrize(
    ("statement", "speaks_of_the_server"),
    [
        ("SELECT 1 / 0", False),
        ("INSERT INTO log_partition (topic, number) VALUES ('topic', 0)", False),
        (
            "INSERT INTO keyed SELECT string_agg(md5(g::text), '') FROM generate_series(1, 999) g",
            False,
        ),
        ("SELECT convert_from('\\x00', 'UTF8')", False),
        ("SET statement_timeout = 10; SELECT pg_sleep(1)", True),
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'deadlock' USING ERRCODE = '40P01'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'standby' USING ERRCODE = '25006'; END $$", True),
        ("DO $$ BEGIN RAISE EXCEPTION 'broken file' USING ERRCODE = 'XX001'; END $$", True),
    ],
)
def test_errors_of_the_server_are_told_from_errors_of_data(
    rig: Rig, statement: str, speaks_of_the_server: bool
) -> None:
    with rig.database.transaction() as session:
        session.execute(text("CREATE TABLE keyed (c text PRIMARY KEY)"))
    for run in (_through_sqlalchemy, _through_psycopg):
        error = run(rig, statement)
        assert error is not None
        assert is_infrastructure(error) is speaks_of_the_server


def _through_sqlalchemy(rig: Rig, statement: str) -> Exception | None:
    try:
        with rig.database.engine.connect() as connection:
            connection.exec_driver_sql(statement)
    except sqlalchemy.exc.DBAPIError as error:
        return error
    return None


def _through_psycopg(rig: Rig, statement: str) -> Exception | None:
    try:
        with psycopg.connect(rig.url) as connection:
            connection.execute(statement)
    except psycopg.Error as error:
        return error
    return None


def test_absent_server_is_infrastructure(free_port: Callable[[], int]) -> None:
    address = f"postgresql://u:p@127.0.0.1:{free_port()}/d"
    engine = make_engine(address)
    with pytest.raises(sqlalchemy.exc.OperationalError) as through_sqlalchemy:
        engine.connect()
    with pytest.raises(psycopg.OperationalError) as through_psycopg:
        psycopg.connect(address)
    assert is_infrastructure(through_sqlalchemy.value)
    assert is_infrastructure(through_psycopg.value)
    assert not is_infrastructure(ValueError())
    engine.dispose()


# --- dying --------------------------------------------------------------------------------


def test_kill_in_a_transaction_leaves_one_effect(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKER", str(tmp_path / "killed"))
    rig.append("1", "once", "2")
    assert rig.run_to_death() == -signal.SIGKILL
    assert rig.effects() == []
    child = rig.command()
    until(rig.done(3))
    rig.stop(child)
    assert rig.effects() == ["1", "once", "2"]


def dies(child: "subprocess.Popen[str]", done: Callable[[], bool]) -> bool:
    """Wait until all is done or a consumer was killed; answers whether it was killed."""
    until(lambda: done() or child.poll() is not None)
    if child.poll() is None:
        return False
    assert child.returncode == -signal.SIGKILL
    child.communicate()
    return True


@pytest.mark.slow
def test_record_that_kills_is_rejected_after_three_tries_alone(rig: Rig) -> None:
    rig.append("1", "2", "die", "3", "4")
    deaths = 0
    child = rig.command()
    while dies(child, rig.done(5)):
        deaths += 1
        assert deaths < 10
        child = rig.command()
    rig.stop(child)
    assert rig.effects() == ["1", "2", "3", "4"]
    assert rig.rows("SELECT place, reason FROM rejected") == [(2, "crashed_consumer")]
    # Twice together with its neighbours, then three times alone.
    assert deaths == 5


def test_starts_without_work_are_not_counted(rig: Rig) -> None:
    for _ in range(8):
        with running(rig.consumer()):
            until(lambda: rig.rows("SELECT 1 FROM consumer_offset"))
    rig.append("1")
    with running(rig.consumer()):
        until(rig.done(1))
    assert rig.rows("SELECT attempts FROM consumer_offset") == [0]
    assert rig.effects() == ["1"]


def test_stop_ends_a_process_quickly(rig: Rig) -> None:
    child = rig.command()
    rig.append("1")
    until(rig.done(1))
    # A fraction of a second at rest; the suite shares its cores with others.
    assert rig.stop(child) < 10


def test_watchdog_ends_a_process_that_hangs(rig: Rig) -> None:
    rig.append("hang")
    child = rig.command("2")
    before = time.monotonic()
    child.communicate(timeout=30)
    assert child.returncode == 70
    assert time.monotonic() - before < 20


def test_frozen_process_goes_on_when_it_is_thawed(rig: Rig) -> None:
    child = rig.command("2")
    rig.append("1")
    until(rig.done(1))
    child.send_signal(signal.SIGSTOP)
    throughout(3, lambda: child.poll() is None)  # longer than a process may stand still
    child.send_signal(signal.SIGCONT)
    rig.append("2")
    until(rig.done(2))
    rig.stop(child)
    assert rig.effects() == ["1", "2"]


# --- gaps, ends and replays ---------------------------------------------------------------


def test_offsets_that_are_gone_are_recorded_and_passed_over(rig: Rig) -> None:
    assert isinstance(rig.log, PostgresLog)
    rig.append("0", "1")
    with running(rig.consumer()):
        until(rig.done(2))
    rig.append(*map(str, range(2, 10)))
    rig.log.trim(datetime.now(UTC) + timedelta(hours=1), {ONE: 7})
    with running(rig.consumer()):
        until(rig.done(5))
    assert rig.effects() == ["0", "1", "7", "8", "9"]
    with rig.database.transaction() as session:
        assert offsets.gaps(session) == {"test": 1}
        assert offsets.missing(session, "test", ["topic"]) == 5
        assert offsets.missing(session, "test", ["other"]) == 0
        (position,) = offsets.positions(session)
        assert (position.start_offset, position.next_offset) == (0, 10)


def test_partition_that_ends_before_its_offset_waits_for_a_rewind(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    # The topic was made anew, under the same name.
    rig.rows("WITH gone AS (DELETE FROM log_record) SELECT 1")
    rig.rows("WITH reset AS (UPDATE log_partition SET next_offset = 0 RETURNING 1) SELECT 1")
    with running(rig.consumer()):
        until(lambda: rig.rows("SELECT 1 FROM log_gap"))
        rig.append("a", "b", "c", "d")
        throughout(1, lambda: len(rig.effects()) == 3)
    with running(rig.consumer()):
        throughout(1, lambda: len(rig.effects()) == 3)
        with rig.database.transaction() as session:
            offsets.replay(session, "test", rig.log.bounds(["topic"]), 0)
        until(rig.done(7))
    assert rig.effects() == ["0", "1", "2", "a", "b", "c", "d"]
    with rig.database.transaction() as session:
        assert offsets.missing(session, "test", ["topic"]) == 0
        assert offsets.gaps(session) == {"test": 1}


def test_running_consumer_notices_a_rewind(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
        with rig.database.transaction() as session:
            offsets.replay(session, "test", rig.log.bounds(["topic"]), 1)
        until(rig.done(5))
    assert rig.effects() == ["0", "1", "2", "1", "2"]
    with rig.database.transaction() as session:
        assert [at.taken for at in offsets.positions(session)] == [5]
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 99) == 0
    assert rig.position() == 3


def test_replay_never_moves_past_what_nobody_has_read(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    rig.append("3", "4")
    with rig.database.transaction() as session:
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 5) == 0
        assert offsets.replay(session, "test", rig.log.bounds(["topic"]), 2) == 1
    with running(rig.consumer()):
        until(rig.done(6))
    assert rig.effects() == ["0", "1", "2", "2", "3", "4"]


def test_retention_spares_what_one_consumer_has_yet_to_read(rig: Rig) -> None:
    rig.append("0", "1", "2")
    with running(rig.consumer()):
        until(rig.done(3))
    with rig.database.transaction() as session:
        assert offsets.consumed(session, {"topic": ["test"], "other": ["test"]}) == {ONE: 3}
        assert offsets.consumed(session, {"topic": ["test", "late"]}) == {}
        Offsets("late").load(session, rig.log.bounds(["topic"]))
        assert offsets.consumed(session, {"topic": ["test", "late"]}) == {ONE: 0}


# --- over Kafka ---------------------------------------------------------------------------


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
