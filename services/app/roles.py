"""The roles that Secondlook consists of: one table of what serves, consumes and loops."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.escalation import consumer as escalation_consumer
from services.escalation import timers
from services.escalation.consumer import EscalationConsumer
from services.feedback import consumer as feedback_consumer
from services.feedback import service as feedback_service
from services.feedback.consumer import FeedbackConsumer
from services.insight.metrics import BusinessCollector
from services.kit.consuming import dead_letters, offsets
from services.kit.consuming import metrics as consumer_metrics
from services.kit.consuming.outbox import Relay
from services.kit.consuming.runner import Consumer, Handler
from services.kit.eventlog.postgres import PostgresLog
from services.kit.processes.loops import Loop
from services.kit.web import idempotency
from services.people import access

CONSUMED = {consumer.NAME: consumer.TOPICS for consumer in (feedback_consumer, escalation_consumer)}


"""The topics that each consumer reads."""


def make_consumer(resources: Resources, name: str) -> Consumer:
    """A member of the consumers called `name`: `feedback` or `escalation`."""
    handler: Handler
    topics: tuple[str, ...]
    if name == feedback_consumer.NAME:
        handler, topics = FeedbackConsumer(resources.clock), feedback_consumer.TOPICS
    else:
        handler = EscalationConsumer(resources.clock, resources.router)
        topics = escalation_consumer.TOPICS
    return Consumer(
        name,
        topics,
        log=resources.log,
        database=resources.database,
        handler=handler,
        batch_records=resources.settings.batch_records,
        should_pause=partial(
            dead_letters.too_many, consumer=name, limit=resources.settings.dead_letter_limit
        ),
        counters=consumer_metrics.counters(name),
    )


def make_loops(resources: Resources) -> list[Loop]:
    """Everything that `tick` does."""
    relay = Relay(resources.database, resources.log)
    settings = resources.settings
    batch = 100

    def in_transaction(step: Callable[[Session], int]) -> Callable[[], bool]:
        def once() -> bool:
            with resources.database.transaction() as session:
                return step(session) >= batch

        return once

    def fire(session: Session) -> int:
        return timers.fire_due(session, now=resources.clock.now(session), limit=batch)

    def expire(session: Session) -> int:
        return timers.expire_leases(session, now=resources.clock.now(session), limit=batch)

    def close(session: Session) -> int:
        now = resources.clock.now(session)
        before = now - timedelta(seconds=settings.reopen_window)
        return timers.close_resolved(session, now=now, before=before, limit=batch)

    def unmatched(session: Session) -> int:
        now = resources.clock.now(session)
        before = now - timedelta(seconds=settings.unmatched_after)
        return feedback_service.report_unmatched(session, now=now, before=before, limit=batch)

    def forget(session: Session) -> int:
        yesterday = resources.clock.now(session) - timedelta(days=1)
        idempotency.forget(session, before=yesterday)
        access.forget(session, before=yesterday)
        return 0

    return [
        Loop("timers", in_transaction(fire), every=0.5),
        Loop("leases", in_transaction(expire), every=1.0),
        Loop("closing", in_transaction(close), every=10.0),
        Loop("unmatched", in_transaction(unmatched), every=2.0),
        Loop("relay", lambda: relay.step() > 0, every=0.05),
        Loop("tidying", in_transaction(forget), every=600.0),
        Loop("purging", partial(_purge, resources, relay), every=600.0),
    ]


def _purge(resources: Resources, relay: Relay) -> bool:
    """Drop what was sent and consumed longer ago than the log's retention."""
    retention = timedelta(seconds=resources.settings.log_retention)
    relay.purge(retention)
    if not isinstance(resources.log, PostgresLog):
        return False
    with resources.database.transaction() as session:
        before = resources.clock.now(session) - retention
        consumed = offsets.consumed(session, readers())
    resources.log.trim(before, consumed)
    return False


def readers() -> dict[str, list[str]]:
    """The consumers of each topic."""
    topics = {topic for read in CONSUMED.values() for topic in read}
    return {topic: [name for name, read in CONSUMED.items() if topic in read] for topic in topics}


def make_collector(resources: Resources) -> BusinessCollector:
    """What `export` serves."""
    return BusinessCollector(
        resources.database,
        resources.clock,
        lambda topics: resources.log.bounds(list(topics)),
        consumed=CONSUMED,
    )
