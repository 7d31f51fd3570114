"""Hands events to the consumers as the log would, without one."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from secondlook import events
from sqlalchemy import text

from services.app.roles import CONSUMED
from services.escalation.consumer import EscalationConsumer
from services.escalation.policy.model import RoutingPolicy
from services.escalation.routing import Router
from services.feedback.consumer import FeedbackConsumer
from services.kit.clock import DatabaseClock
from services.kit.consuming.runner import Consumer
from services.kit.database import Database
from services.kit.eventlog.port import Batch, Partition, Record
from services.notifications.consumer import NotificationsConsumer


class Delivery:
    """Hands records to consumers as the log would: topic by topic, offsets rising."""

    def __init__(
        self, database: Database, policy: RoutingPolicy | None = None, *, timezone: str = "UTC"
    ) -> None:
        self._database = database
        self._next: dict[str, int] = {}
        self.feedback = FeedbackConsumer(DatabaseClock())
        self.escalation = EscalationConsumer(
            DatabaseClock(), Router(lambda _: policy, timezone=timezone)
        )
        self.notifications = NotificationsConsumer(DatabaseClock())

    def records(
        self, given: Iterable[Any], topic: str | None = None, *, key: bytes = b""
    ) -> list[Record]:
        """Records of events, or of raw bytes for `topic` under `key`."""
        made = []
        for one in given:
            raw = isinstance(one, bytes)
            name = topic or one.topic
            offset = self._next.get(name, 0)
            self._next[name] = offset + 1
            value = one if raw else events.encode(one)
            at = key if raw else one.key
            made.append(Record(Partition(name, 0), offset, at, value, (), datetime.now(UTC)))
        return made

    def take(self, *given: Any, topic: str | None = None, key: bytes = b"") -> None:
        """All consumers take these events, each in one transaction."""
        self._feed_all(as_batches(self.records(given, topic, key=key)))
        self.relay()

    def feed(self, consumer: Any, batches: Sequence[Batch]) -> None:
        """One consumer takes batches of the topics that it reads."""
        topics = next(read for name, read in CONSUMED.items() if getattr(self, name) is consumer)
        found = [batch for batch in batches if batch.partition.topic in topics]
        if found:
            with self._database.transaction() as session:
                parsed = [consumer.prepare(record) for batch in found for record in batch.records]
                consumer(session, found, parsed)

    def relay(self) -> None:
        """What is in the outbox goes to the consumers that read it, until nothing is left."""
        with self._database.transaction() as session:
            sent = session.execute(
                text(
                    "UPDATE outbox SET sent_at = now() WHERE sent_at IS NULL"
                    " RETURNING id, topic, key, value"
                )
            ).all()
        if not sent:
            return
        records = [
            Record(Partition(r.topic, 0), r.id, bytes(r.key), bytes(r.value), (), datetime.now(UTC))
            for r in sorted(sent, key=lambda row: row.id)
        ]
        self._feed_all(as_batches(records))
        self.relay()

    def _feed_all(self, batches: Sequence[Batch]) -> None:
        for name in CONSUMED:
            self.feed(getattr(self, name), batches)


def as_batches(records: Sequence[Record]) -> list[Batch]:
    """Records of any topics as one batch a partition."""
    by_partition: dict[Partition, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return [
        Batch(partition, found[0].offset, found[-1].offset + 1, found)
        for partition, found in by_partition.items()
    ]


def take_all(consumer: Consumer, *, behind: Callable[[], bool]) -> None:
    """Let a consumer take what waits for it, turn by turn in this thread, and leave its group."""
    while behind():
        consumer._turn()
    consumer._member.close()
