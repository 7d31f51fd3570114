"""A small house on its real log: one database, both consumers, the relay and the timers."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from secondlook import events

from services.escalation import routing, service, timers
from services.escalation.consumer import EscalationConsumer
from services.escalation.opening import Router
from services.feedback.consumer import FeedbackConsumer
from services.kit.clock import DatabaseClock
from services.kit.consuming.outbox import Relay
from services.kit.consuming.runner import Consumer
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import EventLog, NewRecord, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.tools.rules import VerdictKind
from tests.conservation.checker import Ledger, Violation, check
from tests.house import furnish, person, rows

PARTITIONS = 4
POLICY = """
version: 1
catch_all: {team: support, priority: P3, sla: {claim: 30m, resolve: 2h}, escalate: standard}
policies:
  standard:
    - {at: 0m, own: team:support}
    - {at: 1h, own: user:lea@example.org}
    - {at: 3h, own: user:ada@example.org, repeat: 1h}
"""
_CONSUMED = {
    "feedback": (events.OUTPUTS, events.CORRECTIONS, events.VERDICTS),
    "escalation": (events.OUTPUTS, events.DISPUTES),
}
_BEHIND = """
SELECT count(*) FROM log_partition p LEFT JOIN consumer_offset o
    ON o.consumer = :consumer AND o.topic = p.topic AND o.partition = p.number
 WHERE p.topic = ANY(:topics) AND p.next_offset > coalesce(o.next_offset, 0)
"""


class Small:
    """The house with hands: events in, verbs done, time passed, and the sender's ledger."""

    def __init__(self, url: str, log: EventLog, ledger: Ledger | None = None) -> None:
        self.url, self.log = url, log
        self.database = Database(make_engine(url))
        self.clock = DatabaseClock()
        self.ledger = ledger or Ledger()

    def furnish(self, *, partitions: int = PARTITIONS) -> None:
        """Two teams, their people, a tool and the topics."""
        furnish(self.database)
        self.log.ensure_topics([TopicSpec(topic.name, partitions) for topic in events.TOPICS])

    # --- events ---------------------------------------------------------------------------

    def say(self, *given: Any) -> None:
        """Put events onto the log, and into the ledger."""
        self.log.append([NewRecord(e.topic, e.key, events.encode(e)) for e in given])
        for event in given:
            self.note(event)

    def note(self, event: Any) -> None:
        """Count an event as acknowledged."""
        name = event.data.output_id if event.topic == events.OUTPUTS else event.data.note
        self.ledger.entry(event.topic, name).times += 1

    def throw(self, key: str, value: bytes, *, fate: str = "refused") -> None:
        """Put bytes onto the outputs' topic as they are."""
        self.log.append([NewRecord(events.OUTPUTS, key.encode(), value)])
        self.ledger.entry(events.OUTPUTS, key, fate).times += 1

    # --- consumers ------------------------------------------------------------------------

    def consumer(self, name: str, kind: type[Consumer] = Consumer, **more: Any) -> Consumer:
        """A member of the consumers called `name`."""
        handler = (
            FeedbackConsumer(self.clock)
            if name == "feedback"
            else EscalationConsumer(self.clock, Router(routing.parse(POLICY)))
        )
        more = {"log": self.log, "database": self.database, "handler": handler, **more}
        return kind(name, _CONSUMED[name], **more)

    def behind(self, name: str) -> bool:
        """Whether there is something for the consumer to take."""
        given = {"consumer": name, "topics": list(_CONSUMED[name])}
        return rows(self.database, _BEHIND, **given)[0][0] > 0

    def settle(self) -> None:
        """Let everything arrive that is on its way."""
        with self._members() as members:
            relay = Relay(self.database, self.log)
            while relay.step() or any(self.behind(name) for name in members):
                for name, member in members.items():
                    while self.behind(name):
                        member._turn()

    @contextmanager
    def _members(self) -> Iterator[dict[str, Consumer]]:
        members = {name: self.consumer(name) for name in _CONSUMED}
        yield members
        for member in members.values():
            member._member.close()

    # --- people and time ------------------------------------------------------------------

    def do(self, verb: Callable[..., Any], who: str, case: int, **given: Any) -> Any:
        """One verb in a transaction of its own."""
        with self.database.transaction() as session:
            now = self.clock.now(session)
            return verb(session, person(session, who), case, now=now, **given)

    def claim(self, who: str, case: int, *, seconds: float = 900) -> str:
        """Take a case; answers the token."""
        lease = timedelta(seconds=seconds)
        return str(self.do(service.claim, who, case, lease=lease)["token"])

    def judge(self, who: str, case: int, *, token: str | None = None) -> None:
        """Correct the tool, under a claim made now unless `token` names one."""
        token = token or self.claim(who, case)
        given = {"token": token, "verdict": VerdictKind.CORRECTED, "value": "tax"}
        self.do(service.give_verdict, who, case, **given)
        self.ledger.verdict(case, who).times += 1

    def case(self, output_id: str) -> int:
        """The number of the case on an output."""
        query = 'SELECT id FROM "case" WHERE output_id = :o'
        return int(rows(self.database, query, o=output_id)[0][0])

    def fire(self, *, hours: float) -> None:
        """Fire whatever is due so many hours from now."""
        with self.database.transaction() as session:
            now = self.clock.now(session) + timedelta(hours=hours)
        fired = 100
        while fired == 100:
            with self.database.transaction() as session:
                fired = timers.fire_due(session, now=now)

    def check(self) -> list[Violation]:
        """What the checker finds."""
        return check(self.url, self.ledger)

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.database.close()


@contextmanager
def small_house(
    url: str, ledger: Ledger | None = None, *, partitions: int = PARTITIONS
) -> Iterator[Small]:
    """A small house on the embedded log: a new one, or one whose ledger is given."""
    house = Small(url, PostgresLog(url), ledger)
    if ledger is None:
        house.furnish(partitions=partitions)
    try:
        yield house
    finally:
        house.close()
