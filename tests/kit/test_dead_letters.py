"""Dead letters: kept whole, sent again through the outbox, and a reason to pause in number."""

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.consuming.outbox import Relay
from services.kit.database import Database, make_engine
from services.kit.errors import InvalidInput, NotFound
from services.kit.eventlog.port import Partition, Record, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from tests.factories import NOON

PLACE = Partition("secondlook.outputs", 3)
BYTES = b"\xffno event"


@pytest.fixture
def stored(fresh_database: Callable[[], str]) -> Iterator[tuple[Database, PostgresLog]]:
    """A database and the log in it."""
    url = fresh_database()
    database, log = Database(make_engine(url)), PostgresLog(url)
    log.ensure_topics([TopicSpec(PLACE.topic, 8)])
    yield database, log
    log.close()
    database.close()


def keep(
    database: Database,
    *offsets: int,
    parked: bool = False,
    tool: str | None = None,
    reason: str = "invalid",
) -> list[int]:
    """Keep a record of each offset; answers the dead letters' numbers."""
    refused = [
        (
            Record(PLACE, n, b"key", BYTES, (("a", b"\x00b"),), NOON),
            Refusal(reason, (), tool, parked),
        )
        for n in offsets
    ]
    with database.transaction() as session:
        dead_letters.keep(session, "feedback", refused, topic=None)
        return list(session.scalars(text("SELECT id FROM dead_letter ORDER BY id")))


def test_retry_leaves_through_the_outbox(stored: tuple[Database, PostgresLog]) -> None:
    database, log = stored
    (letter,) = keep(database, 7)
    with Session(database.engine) as session:
        dead_letters.retry(session, letter, now=NOON)
        session.rollback()
    assert Relay(database, log).step() == 0, "what was rolled back was never sent"
    with database.transaction() as session:
        dead_letters.retry(session, letter, now=NOON)
    assert Relay(database, log).step() == 1
    ends = log.bounds([PLACE.topic])
    (again,) = [r for p in ends for r in log.read(p, start=0, limit=10)]
    assert (again.key, again.value) == (b"key", BYTES)
    assert again.headers == (("a", b"\x00b"), (dead_letters.RETRY_HEADER, str(letter).encode()))
    with pytest.raises(NotFound), database.transaction() as session:
        dead_letters.retry(session, letter, now=NOON)


def test_tool_is_over_its_limit_by_what_waits_since_an_hour(
    stored: tuple[Database, PostgresLog],
) -> None:
    database, _ = stored
    keep(database, 1, 2, 3, tool="bad")
    keep(database, 4, 5, tool="bad", parked=True)
    keep(database, 6, tool="good")
    keep(database, 7, 8, 9)

    def over(limit: int) -> frozenset[str]:
        with database.transaction() as session:
            return dead_letters.tools_over_limit(session, limit=limit)

    assert over(4) == {"bad"}
    assert over(5) == frozenset()
    with database.transaction() as session:
        dead_letters.retry(session, 1, now=NOON)
    assert over(4) == frozenset()
    with database.transaction() as session:
        dead_letters.discard(session, 2, reason="a test", actor="ada", now=NOON)
    assert over(3) == frozenset()
    with database.transaction() as session:
        session.execute(
            text("UPDATE dead_letter SET kept_at = kept_at - :age"), {"age": timedelta(hours=1)}
        )
    assert over(0) == frozenset()


def test_no_tool_alone_makes_a_consumer_pause(stored: tuple[Database, PostgresLog]) -> None:
    database, _ = stored

    def at_fault(tools: int) -> bool:
        with database.transaction() as session:
            return dead_letters.too_many_faults(session, "feedback", limit=4, tools=lambda _: tools)

    keep(database, *range(50), tool="worse")
    assert not at_fault(1)
    keep(database, *range(50, 53), tool="bad", reason="cannot_be_stored")
    assert not at_fault(1)
    keep(database, *range(53, 90), tool="bad", reason="cannot_be_stored")
    assert at_fault(1)
    assert not at_fault(2)
    keep(database, 90, tool="other", reason="cannot_be_stored")
    assert not at_fault(2)
    keep(database, 91, tool="third", reason="crashed_consumer")
    assert at_fault(3)


@pytest.mark.parametrize("reason", ["", "  ", "x" * 1001, "a\0b"])
def test_discard_needs_a_reason(stored: tuple[Database, PostgresLog], reason: str) -> None:
    database, _ = stored
    (number,) = keep(database, 1)
    with database.transaction() as session, pytest.raises(InvalidInput, match="reason"):
        dead_letters.discard(session, number, reason=reason, actor="ada", now=NOON)
    with database.transaction() as session:
        assert dead_letters.one(session, number).discarded_at is None


def test_dead_letter_is_dealt_with_once(stored: tuple[Database, PostgresLog]) -> None:
    database, _ = stored
    (number,) = keep(database, 1)
    with database.transaction() as session:
        dead_letters.discard(session, number, reason="noise", actor="ada", now=NOON)
    for again in (
        lambda s: dead_letters.retry(s, number, now=NOON),
        lambda s: dead_letters.discard(s, number, reason="noise", actor="ada", now=NOON),
    ):
        with database.transaction() as session, pytest.raises(NotFound):
            again(session)
    with database.transaction() as session:
        kept = dead_letters.one(session, number)
        assert (kept.discarded_by, kept.discard_reason) == ("ada", "noise")
        assert dead_letters.waiting(session) == []
