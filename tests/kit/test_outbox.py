"""The outbox: nothing skipped, nothing reordered, nothing lost, with real commits."""

import signal
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from services.kit.consuming import dead_letters
from services.kit.consuming.outbox import Relay, enqueue, publish_through
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import LogUnavailable, NewRecord, Partition, Record, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from tests.kit.logs import numbered

# A relay that is killed after the log took its records and before it could say so.
KILLED = """
import os, signal, sys
from services.kit.database import Database, make_engine
from services.kit.eventlog.postgres import PostgresLog
from services.kit.consuming.outbox import Relay
class Deadly(PostgresLog):
    def append(self, records):
        super().append(records)
        os.kill(os.getpid(), signal.SIGKILL)
Relay(Database(make_engine(sys.argv[1])), Deadly(sys.argv[1])).step()
"""


@pytest.fixture
def url(fresh_database: Callable[[], str]) -> str:
    return fresh_database()


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = Database(make_engine(url, pool_size=8))
    yield opened
    opened.close()


@pytest.fixture
def log(url: str) -> Iterator[PostgresLog]:
    made = PostgresLog(url)
    made.ensure_topics([TopicSpec("topic", 1)])
    yield made
    made.close()


def write(database: Database, records: Sequence[NewRecord]) -> None:
    with database.transaction() as session:
        enqueue(session, records)


def sent(log: PostgresLog) -> list[Record]:
    return log.read(Partition("topic", 0), start=0, limit=100_000)


def count(database: Database, condition: str) -> int:
    with database.transaction() as session:
        found = session.execute(text(f"SELECT count(*) FROM outbox WHERE {condition}"))
        return int(found.scalar_one())


def expire_leases(database: Database) -> None:
    with database.transaction() as session:
        session.execute(text("UPDATE outbox SET claimed_until = now() WHERE sent_at IS NULL"))


def test_step_sends_records_whole_and_in_order(database: Database, log: PostgresLog) -> None:
    odd = NewRecord("topic", b"\x00\xff", bytes(range(256)), (("na\x00me", b"\x00"), ("b", b"")))
    write(database, [*numbered("topic", 5, keys=2), odd])
    relay = Relay(database, log)
    assert relay.step() == 6
    assert relay.step() == 0
    *five, last = sent(log)
    assert [record.value for record in five] == [b"0", b"1", b"2", b"3", b"4"]
    assert (last.key, last.value, last.headers) == (odd.key, odd.value, odd.headers)
    assert count(database, "sent_at IS NULL") == 0


def test_enqueue_is_undone_with_its_transaction(database: Database, log: PostgresLog) -> None:
    def fail() -> None:
        with database.transaction() as session:
            enqueue(session, numbered("topic", 5))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert Relay(database, log).step() == 0


def test_step_sends_a_row_that_was_committed_late(database: Database, log: PostgresLog) -> None:
    relay = Relay(database, log)
    with database.transaction() as slow:
        enqueue(slow, [NewRecord("topic", b"late", b"late")])
        write(database, [NewRecord("topic", b"early", b"early")])
        assert relay.step() == 1
    assert relay.step() == 1
    assert [record.value for record in sent(log)] == [b"early", b"late"]


def test_step_takes_many_rows_in_several_goes(database: Database, log: PostgresLog) -> None:
    write(database, numbered("topic", 1200))
    relay = Relay(database, log)
    assert [relay.step() for _ in range(4)] == [500, 500, 200, 0]
    assert [int(record.value) for record in sent(log)] == list(range(1200))


class Slow(PostgresLog):
    """A log that holds an append up until it is let go."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def append(self, records: Sequence[NewRecord]) -> None:
        self.begun.set()
        assert self.go_on.wait(20)
        super().append(records)


def test_second_relay_leaves_a_key_that_is_being_sent(
    database: Database, log: PostgresLog, url: str
) -> None:
    write(database, [NewRecord("topic", b"k", b"first")])
    slow = Slow(url)
    first = threading.Thread(target=Relay(database, slow).step)
    first.start()
    assert slow.begun.wait(20)
    write(database, [NewRecord("topic", b"k", b"second"), NewRecord("topic", b"other", b"other")])
    second = Relay(database, log)
    assert second.step() == 1
    slow.go_on.set()
    first.join()
    assert second.step() == 1
    assert [record.value for record in sent(log)] == [b"other", b"first", b"second"]
    slow.close()


def test_relays_together_keep_the_order_of_every_key(database: Database, log: PostgresLog) -> None:
    done = threading.Event()

    def relay() -> None:
        mine = Relay(database, log, rows=7)
        while not done.is_set():
            mine.step()

    relays = [threading.Thread(target=relay) for _ in range(3)]
    for thread in relays:
        thread.start()
    for start in range(0, 600, 20):
        write(database, numbered("topic", 20, keys=5, start=start))
    while count(database, "sent_at IS NULL"):
        pass
    done.set()
    for thread in relays:
        thread.join()
    by_key = defaultdict(list)
    for record in sent(log):
        by_key[record.key].append(int(record.value))
    assert sum(map(len, by_key.values())) == 600
    assert all(values == sorted(values) for values in by_key.values())


class Away(PostgresLog):
    """A log that cannot be reached."""

    def append(self, records: Sequence[NewRecord]) -> None:
        raise LogUnavailable("away")


def test_step_frees_what_it_could_not_send(database: Database, log: PostgresLog, url: str) -> None:
    write(database, numbered("topic", 3))
    away = Away(url)
    with pytest.raises(LogUnavailable):
        Relay(database, away).step()
    away.close()
    assert Relay(database, log).step() == 3


def test_killed_relay_loses_nothing(database: Database, log: PostgresLog, url: str) -> None:
    write(database, numbered("topic", 3, keys=1))
    killed = subprocess.run([sys.executable, "-c", KILLED, url])
    assert killed.returncode == -signal.SIGKILL
    relay = Relay(database, log)
    write(database, numbered("topic", 1, keys=1, start=3))
    assert relay.step() == 0, "the key waits for the lease of the relay that was killed"
    expire_leases(database)
    assert relay.step() == 4
    values = [int(record.value) for record in sent(log)]
    assert values == [0, 1, 2, 0, 1, 2, 3]


class Picky(PostgresLog):
    """A log that refuses one record, as Kafka does one that is too large."""

    def append(self, records: Sequence[NewRecord]) -> None:
        if any(record.value == b"1" for record in records):
            raise ValueError("too large")
        super().append(records)


def test_refused_record_holds_up_nothing_and_is_kept(
    database: Database, log: PostgresLog, url: str
) -> None:
    write(database, numbered("topic", 6, keys=3))
    picky = Picky(url)
    relay = Relay(database, picky)
    assert relay.step() == 6
    assert relay.step() == 0
    assert len(sent(log)) == 5
    with database.transaction() as session:
        (kept,) = dead_letters.waiting(session)
        assert (kept.consumer, kept.reason, kept.topic) == ("relay", "log_refuses", "topic")
        dead_letters.retry(session, kept.id, now=datetime.now(UTC))
    assert Relay(database, log).step() == 1
    assert {record.value for record in sent(log)} == {str(n).encode() for n in range(6)}
    picky.close()


@pytest.mark.parametrize("published", [False, True], ids=["outbox", "log"])
def test_what_is_rolled_back_is_never_said(
    published: bool, database: Database, log: PostgresLog
) -> None:
    log.ensure_topics([TopicSpec("topic", 2)])
    if published:
        database.tell_sessions(publish_through(log.append_within))
    with database.transaction() as session:
        enqueue(session, numbered("topic", 1))
        with suppress(ZeroDivisionError), session.begin_nested():
            enqueue(session, [NewRecord("topic", b"k", b"inner")])
            with session.begin_nested():
                enqueue(session, [NewRecord("topic", b"k", b"innermost")])
            raise ZeroDivisionError
        with session.begin_nested():
            enqueue(session, [NewRecord("topic", b"k", b"kept")])
    with suppress(ZeroDivisionError), database.transaction() as session:
        enqueue(session, [NewRecord("topic", b"k", b"outer")])
        raise ZeroDivisionError
    Relay(database, log).step()
    assert sorted(record.value for record in sent(log)) == [b"0", b"kept"]


def test_purge_removes_what_was_sent_long_ago(
    database: Database, log: PostgresLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kit.consuming.outbox._PURGE_ROWS", 4)
    write(database, numbered("topic", 10))
    relay = Relay(database, log)
    relay.step()
    write(database, numbered("topic", 1))
    assert relay.purge(timedelta(hours=1)) == 0
    assert relay.purge(timedelta(0)) == 10
    assert count(database, "true") == 1
