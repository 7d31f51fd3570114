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
from services.kit.errors import NotFound
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


def keep(database: Database, *offsets: int, parked: bool = False) -> list[int]:
    """Keep a record of each offset; answers the dead letters' numbers."""
    refused = [
        (
            Record(PLACE, n, b"key", BYTES, (("a", b"\x00b"),), NOON),
            Refusal("invalid", (), None, parked),
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


def test_too_many_counts_what_waits_since_an_hour(stored: tuple[Database, PostgresLog]) -> None:
    database, _ = stored
    keep(database, 1, 2, 3)
    keep(database, 4, 5, parked=True)

    def too_many(limit: int, consumer: str = "feedback") -> bool:
        with database.transaction() as session:
            return dead_letters.too_many(session, consumer, limit=limit)

    assert too_many(2)
    assert not too_many(3)
    assert not too_many(1, "escalation")
    with database.transaction() as session:
        dead_letters.retry(session, 1, now=NOON)
    assert not too_many(2)
    with database.transaction() as session:
        session.execute(
            text("UPDATE dead_letter SET kept_at = kept_at - :age"), {"age": timedelta(hours=1)}
        )
    assert not too_many(1)
