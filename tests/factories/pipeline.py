"""A real log with both consumers, the relay and the timers, driven by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from secondlook import events

from services.app.roles import CONSUMED
from services.escalation.consumer import EscalationConsumer
from services.escalation.policy.read import read as read_policy
from services.escalation.routing import Router
from services.feedback.consumer import FeedbackConsumer
from services.kit.consuming.handler import Handler
from services.kit.consuming.outbox import Relay, publish_through
from services.kit.consuming.runner import Consumer
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import EventLog, NewRecord, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.notifications.consumer import NotificationsConsumer
from tests.conservation.checker import check
from tests.conservation.ledger import Ledger, Violation
from tests.factories.cases import Casework
from tests.factories.installation import populate
from tests.factories.routing import POLICY
from tests.factories.storage import rows

PARTITIONS = 4
_BEHIND = """
SELECT count(*) FROM log_partition p LEFT JOIN consumer_offset o
    ON o.consumer = :consumer AND o.topic = p.topic AND o.partition = p.number
 WHERE p.topic = ANY(:topics) AND p.next_offset > coalesce(o.next_offset, 0)
"""
_BATCH = 100


class Pipeline(Casework):
    """Events in, verbs done, time passed, and the sender's ledger of it."""

    def __init__(
        self, url: str, log: EventLog, ledger: Ledger | None = None, *, relayed: bool = False
    ) -> None:
        super().__init__(Database(make_engine(url)))
        if isinstance(log, PostgresLog) and not relayed:
            self.database.tell_sessions(publish_through(log.append_within))
        self.url, self.log = url, log
        self.ledger = ledger or Ledger()

    def populate(self, *, partitions: int = PARTITIONS) -> None:
        """People, the tool and the topics."""
        # The topics first: on this log a tool's policy is appended as soon as there is a tool.
        self.log.ensure_topics([TopicSpec(topic.name, partitions) for topic in events.TOPICS])
        populate(self.database)

    # --- events ---------------------------------------------------------------------------

    def send(self, *given: Any) -> None:
        """Put events onto the log, and into the ledger."""
        self.log.append([NewRecord(e.topic, e.key, events.encode(e)) for e in given])
        for event in given:
            self.note(event)

    def note(self, event: Any) -> None:
        """Count an event as acknowledged."""
        name = event.data.output_id if event.topic == events.OUTPUTS else event.data.note
        self.ledger.entry(event.topic, name).times += 1

    def send_raw(self, key: str, value: bytes, *, fate: str = "refused") -> None:
        """Put bytes onto the outputs' topic as they are."""
        self.log.append([NewRecord(events.OUTPUTS, key.encode(), value)])
        self.ledger.entry(events.OUTPUTS, key, fate).times += 1

    # --- consumers ------------------------------------------------------------------------

    def consumer(self, name: str, kind: type[Consumer] = Consumer, **more: Any) -> Consumer:
        """A member of the consumers called `name`."""
        more = {"log": self.log, "database": self.database, "handler": self.handler(name), **more}
        return kind(name, CONSUMED[name], **more)

    def handler(self, name: str) -> Handler[Any]:
        """What the consumers called `name` do."""
        if name == "feedback":
            return FeedbackConsumer(self.clock)
        if name == "escalation":
            policy = read_policy(POLICY)
            return EscalationConsumer(self.clock, Router(lambda _: policy))
        return NotificationsConsumer(self.clock)

    def behind(self, name: str) -> bool:
        """Whether there is something for the consumer to take."""
        given = {"consumer": name, "topics": list(CONSUMED[name])}
        return int(rows(self.database, _BEHIND, **given)[0][0]) > 0

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
        members = {name: self.consumer(name) for name in CONSUMED}
        yield members
        for member in members.values():
            member._member.close()

    # --- people and time ------------------------------------------------------------------

    def give_verdict(
        self,
        who: str,
        case: int,
        verdict: str = "corrected",
        *,
        token: str | None = None,
        **given: Any,
    ) -> Any:
        """Correct the tool unless another verdict is given, and note it in the ledger."""
        if verdict == "corrected":
            given.setdefault("value", "tax")
        answer = super().give_verdict(who, case, verdict, token=token, **given)
        self.ledger.verdict(case, who).times += 1
        return answer

    def case(self, output_id: str) -> int:
        """The number of the case on an output."""
        query = "SELECT case_id FROM case_output WHERE output_id = :o"
        return int(rows(self.database, query, o=output_id)[0][0])

    def pass_time(self, hours: float) -> None:
        """Fire whatever is due so many hours from now."""
        while self.fire(timedelta(hours=hours)) == _BATCH:
            pass

    def check(self) -> list[Violation]:
        """What the checker finds."""
        return check(self.url, self.ledger)

    def close(self) -> None:
        """Let go of everything."""
        self.log.close()
        self.database.close()


@contextmanager
def open_pipeline(
    url: str,
    ledger: Ledger | None = None,
    *,
    partitions: int = PARTITIONS,
    relayed: bool = False,
) -> Iterator[Pipeline]:
    """A pipeline on the embedded log: a new one, or one whose ledger is given.

    `relayed`: what it publishes goes by way of the outbox, as it does with Kafka.
    """
    opened = Pipeline(url, PostgresLog(url), ledger, relayed=relayed)
    if ledger is None:
        opened.populate(partitions=partitions)
    try:
        yield opened
    finally:
        opened.close()
