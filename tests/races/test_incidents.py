"""Two who work on cases of one cause at the same moment: real threads, real commits."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from secondlook import events

from services.escalation import bulk, service
from services.escalation.policy.read import read as read_policy
from services.escalation.service import Judgement
from services.escalation.verbs import Work
from services.kit.database import Database
from services.tools.rules import VerdictKind
from tests.escalation.incidents import GROUPED, LIMITS, incident, parts, unsure
from tests.factories import LEASE, OWNER, Casework, Delivery, actor_of, one, rows

_ROUNDS = 8


@pytest.fixture
def database(populated: Database) -> Database:
    """People and the tool are there."""
    return populated


def test_cases_that_open_at_once_are_one_incident(database: Database) -> None:
    start = Barrier(2)
    consumers = [Delivery(database, read_policy(GROUPED)) for _ in range(2)]

    def deliver(number: int) -> None:
        for round_ in range(_ROUNDS):
            # Two of a cause are no incident yet; four are one.
            version = events.Version(model=f"m-{round_}")
            given = unsure((round_ * 2 + number) * 2, 2, version=version)
            start.wait()
            consumers[number].take(*given)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(deliver, range(2)))
    query = "SELECT children FROM \"case\" WHERE subject_kind = 'incident'"
    assert [row.children for row in rows(database, query)] == [4] * _ROUNDS


def test_undoing_an_incident_and_its_parts_at_once_is_no_deadlock(database: Database) -> None:
    Delivery(database, read_policy(GROUPED)).take(*unsure(0, 12))
    whole, casework = incident(database), Casework(database)
    ids, start = parts(database, whole), Barrier(2)

    def undo(named: list[int]) -> None:
        start.wait()
        with database.transaction() as session:
            now = casework.clock.now(session)
            work = Work(session, actor_of(session, OWNER), named[0], LIMITS, now)
            bulk.do_to_all(work, "undo", named, {})

    for _ in range(_ROUNDS):
        with database.transaction() as session:
            now, actor = casework.clock.now(session), actor_of(session, OWNER)
            said = Judgement(VerdictKind.UPHELD)
            service.decide(session, actor, ids, said, lease=LEASE, now=now)
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(undo, ([whole], ids)))
        left = "SELECT count(*) FROM \"case\" WHERE incident = :id AND state = 'merged'"
        assert one(database, left, id=whole) == len(ids)
