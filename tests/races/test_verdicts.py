"""A verdict meets what somebody else does to the same case at the same moment."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from services.escalation import service
from services.escalation.bodies import VerdictBody
from services.escalation.errors import MovedOn
from services.escalation.verbs import VERBS, Limits, Work
from services.kit.database import Database, Session
from services.tools.rules import VerdictKind
from tests.factories import LEAD, OWNER, actor_of, output, rows
from tests.factories.cases import LEASE
from tests.factories.pipeline import Pipeline, open_pipeline
from tests.waiting import until

_LIMITS = Limits(lease=LEASE, reopen_window=LEASE, pause=LEASE)
_WAITS = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def pipeline(fresh_database: Callable[[], str]) -> Iterator[Pipeline]:
    with open_pipeline(fresh_database()) as opened:
        opened.send(output("o-1", confidence=0.2), output("o-2", confidence=0.2))
        opened.settle()
        yield opened


def _waiting(database: Database) -> bool:
    return bool(rows(database, _WAITS)[0].count)


def _verdict_during(pipeline: Pipeline, change: Callable[[Session], Any]) -> Any:
    """What comes of a verdict on case 1 that is given while a change of it is not yet committed."""
    body = VerdictBody(verdict=VerdictKind.UPHELD, token=pipeline.claim(OWNER, 1))
    changed = threading.Event()

    def give() -> object:
        changed.wait()
        with pipeline.database.transaction() as session:
            actor, now = actor_of(session, OWNER), pipeline.clock.now(session)
            return VERBS["verdict"].do(Work(session, actor, 1, _LIMITS, now), body)

    with ThreadPoolExecutor(1) as threads:
        with pipeline.database.transaction() as session:
            change(session)
            verdict = threads.submit(give)
            changed.set()
            until(lambda: _waiting(pipeline.database))
        return verdict


def test_nothing_is_merged_into_what_is_decided_meanwhile(pipeline: Pipeline) -> None:
    def merge(session: Session) -> None:
        now = pipeline.clock.now(session)
        service.merge(session, actor_of(session, LEAD), 2, into=1, now=now)

    verdict = _verdict_during(pipeline, merge)
    with pytest.raises(MovedOn, match="Cases are merged into this one"):
        verdict.result()
    found = rows(pipeline.database, 'SELECT id, state FROM "case" ORDER BY id')
    assert found == [(1, "claimed"), (2, "merged")]


def test_one_person_decides_nothing_that_asks_two_by_now(pipeline: Pipeline) -> None:
    def ask_two(session: Session) -> None:
        session.execute(text('UPDATE "case" SET reviewers = 2 WHERE id = 1'))

    _verdict_during(pipeline, ask_two).result()
    assert rows(pipeline.database, "SELECT count(*) FROM opinion") == [(1,)]
    assert rows(pipeline.database, 'SELECT state FROM "case" WHERE id = 1') == [("open",)]
