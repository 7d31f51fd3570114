"""Cases open, climb and go on while schedules and people change: nobody deadlocks, none is lost."""

import random
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Lock
from typing import Any

from sqlalchemy import text

from services.escalation import queries, service
from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import SecondlookError
from services.people import absences
from services.people import service as people_service
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    add_schedule,
    as_batches,
    correction,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.rota import HOUR, Rota

SECONDS, THREADS = 3, 5
PEOPLE = (OWNER, TEAMMATE, LEAD, OUTSIDER)
POLICY = read_policy("""
version: 1
catch_all: {schedule: first, sla: {claim: 1h, resolve: 8h}, escalate: long}
rules:
  - id: taxes
    when: {predicted.category: "tax*"}
    owner: {team: support}
    assign: {by: least_loaded, max_open: 20}
  - id: refunds
    when: {predicted.category: "refund*"}
    owner: {team: other}
    assign: {by: round_robin}
ladders:
  long:
    - {at: 1h, own: schedule:second}
    - {at: 2h, own: manager}
    - {at: 4h, own: user:ada@example.org}
""")
DUTIES = (CaseDuty(lambda _: POLICY),)


class Anybody:
    """Does anything, again and again, until the time is over."""

    words = count()
    partitions = (Lock(), Lock(), Lock())

    def __init__(self, database: Database, number: int) -> None:
        self.database = database
        self.random = random.Random(number)
        self.log = Delivery(database, POLICY)
        self.casework = Casework(database)
        self.rota = Rota(database, DUTIES)
        self.done: Counter[str] = Counter()

    def work(self, until: float) -> Counter[str]:
        """Everything that may be refused may be; the database's own errors are raised."""
        verbs: list[Callable[[], Any]] = [
            *(self.open, self.open, self.object, self.override, self.away, self.back),
            *(self.fire, self.pass_on, self.leave, self.reassign),
        ]
        while time.monotonic() < until:
            verb = self.random.choice(verbs)
            try:
                verb()
            except SecondlookError:
                self.done["refused"] += 1
            else:
                self.done[verb.__name__] += 1
        return self.done

    def open(self) -> None:
        """A batch of new cases."""
        values = [self.random.choice(["tax", "refund", "billing"]) for _ in range(15)]
        self._take(*(output(f"o-{next(self.words)}", value=v, confidence=0.1) for v in values))

    def object(self) -> None:
        """Objections to what has been decided or not."""
        about = {self.random.randrange(100) for _ in range(6)}
        self._take(
            *(
                correction(f"o-{n}", kind="appeal", note="no", event_id=f"e-{next(self.words)}")
                for n in about
            )
        )

    def _take(self, *said: Any) -> None:
        self.log.feed(self.log.feedback, as_batches(self.log.records(said)))
        partition = self.random.randrange(len(self.partitions))
        # All that is asked of an output lies in one partition, which one consumer reads at a time.
        with self.partitions[partition]:
            sent = rows(self.database, _SENT, partition=partition, of=len(self.partitions))
            if sent:
                reviews = self.log.records([bytes(row.value) for row in sent], "secondlook.reviews")
                self.log.feed(self.log.escalation, as_batches(reviews))

    def override(self) -> None:
        """Somebody has a schedule's duty."""
        who, slug = self.random.choice(PEOPLE), self.random.choice(["first", "second"])
        self.rota.override(who, slug=slug, end=HOUR)

    def away(self) -> None:
        """Somebody goes away, with a stand-in or without one."""
        who, instead = self.random.choice(PEOPLE), self.random.choice([None, *PEOPLE])
        self.rota.away(who, instead, end=HOUR)

    def back(self) -> None:
        """Somebody comes back."""
        self.rota.do(absences.come_back, self.random.choice(PEOPLE))

    def leave(self) -> None:
        """Somebody leaves, and comes again."""
        who = self.random.choice(PEOPLE)
        for active in (False, True):
            self.rota.do(people_service.change_person, who, active=active)

    def fire(self) -> None:
        """What will be due is."""
        self.casework.fire(self.random.randrange(6) * HOUR)

    def pass_on(self) -> None:
        """What goes on with the duty does."""
        self.rota.pass_on(self.random.randrange(12) * HOUR)

    def reassign(self) -> None:
        """An admin makes somebody else accountable."""
        owner = self.random.choice([Owner("person", LEAD), Owner("team", TEAM)])
        with self.database.transaction() as session:
            now, case = DatabaseClock().now(session), self.random.randrange(1, 150)
            service.reassign(session, OPERATOR, case, owner=owner, now=now)


_SENT = """
UPDATE outbox SET sent_at = now() WHERE id IN (
    SELECT id FROM outbox WHERE sent_at IS NULL AND topic = 'secondlook.reviews'
        AND abs(hashtext(encode(key, 'hex'))) % :of = :partition
    ORDER BY id LIMIT 40) RETURNING value
"""


def test_everything_at_once_neither_deadlocks_nor_leaves_a_case_to_nobody(
    populated: Database,
) -> None:
    with populated.transaction() as session:
        add_schedule(session, "first", OWNER, TEAMMATE, every="12h")
        add_schedule(session, "second", OUTSIDER, ADMIN, every="12h", team=OTHER_TEAM)
        session.execute(
            text("UPDATE person SET manager = :lead WHERE email <> :lead"), {"lead": LEAD}
        )
        session.execute(
            text("INSERT INTO membership (person, team) VALUES (:who, 'other')"), {"who": TEAMMATE}
        )
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(THREADS) as threads:
        anybody = [Anybody(populated, number) for number in range(THREADS)]
        done = sum((found for found in threads.map(lambda a: a.work(until), anybody)), Counter())
    assert done["open"] > 0
    with populated.transaction() as session:
        assert queries.unowned(session) == {}
    assert one(populated, "SELECT count(*) FROM timer WHERE failures > 0") == 0
