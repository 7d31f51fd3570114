"""The roles that Secondlook consists of: one table of what each serves, consumes or loops.

`secondlook run` starts them all; in production they are started one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.app.retention import Retention
from services.escalation import consumer as escalation_consumer
from services.escalation import service as escalation_service
from services.escalation.consumer import EscalationConsumer
from services.feedback import consumer as feedback_consumer
from services.feedback import service as feedback_service
from services.feedback.consumer import FeedbackConsumer
from services.insight.metrics import BusinessCollector
from services.kit.consuming import dead_letters, offsets
from services.kit.consuming import metrics as consumer_metrics
from services.kit.consuming.handler import Handler
from services.kit.consuming.outbox import WAKE_CHANNEL, Relay
from services.kit.consuming.runner import Consumer
from services.kit.database import connect_alone
from services.kit.eventlog.postgres import PostgresLog
from services.kit.processes import listening
from services.kit.processes.loops import Loop
from services.kit.wakeup import Wakeup
from services.notifications import consumer as notifications_consumer
from services.notifications import loops as notifications_loops
from services.notifications.consumer import NotificationsConsumer
from services.tools.queries import ToolCache

MakeHandler = Callable[[Resources], Handler[Any]]


@dataclass(frozen=True, slots=True)
class Role:
    """A role. It serves pages and API, or consumes topics, or does loops, or exports metrics.

    `place`: how far from the exporter's its own port for metrics is; None serves them itself.
    """

    name: str
    place: int | None = None
    serves: str | None = None
    topics: tuple[str, ...] = ()
    handler: MakeHandler | None = None
    loops: bool = False
    exports: bool = False


ROLES: Mapping[str, Role] = {
    role.name: role
    for role in (
        Role("web", serves="all"),
        Role(
            feedback_consumer.NAME,
            place=1,
            topics=feedback_consumer.TOPICS,
            handler=lambda found: FeedbackConsumer(found.clock),
        ),
        Role(
            escalation_consumer.NAME,
            place=2,
            topics=escalation_consumer.TOPICS,
            handler=lambda found: EscalationConsumer(found.clock, found.router),
        ),
        Role("tick", place=3, loops=True),
        Role(
            notifications_consumer.NAME,
            place=4,
            topics=notifications_consumer.TOPICS,
            handler=lambda found: NotificationsConsumer(found.clock),
        ),
        Role("export", place=0, exports=True),
    )
}
CONSUMED: Mapping[str, Sequence[str]] = {
    role.name: role.topics for role in ROLES.values() if role.topics
}
"""The topics that each consumer reads."""
METRICS_PORTS = 1 + max(role.place or 0 for role in ROLES.values())
"""How many ports in a row serve metrics."""


def readers() -> dict[str, list[str]]:
    """The consumers of each topic."""
    topics = {topic for read in CONSUMED.values() for topic in read}
    return {topic: [name for name, read in CONSUMED.items() if topic in read] for topic in topics}


def make_consumer(resources: Resources, name: str) -> Consumer:
    """A member of the consumers called `name`."""
    role = ROLES[name]
    assert role.handler is not None
    tools = ToolCache()
    return Consumer(
        name,
        role.topics,
        log=resources.log,
        database=resources.database,
        handler=role.handler(resources),
        batch_records=resources.settings.batch_records,
        should_pause=partial(
            dead_letters.too_many_faults,
            consumer=name,
            limit=resources.settings.dead_letter_limit,
            tools=lambda session: len(tools.tools(session)),
        ),
        counters=consumer_metrics.counters(name),
    )


def make_loops(resources: Resources) -> list[Loop]:
    """Everything that `tick` does."""
    relay = Relay(resources.database, resources.log)
    return [
        Loop("clock", _in_transaction(resources, _watch_clock), every=2.0),
        *_case_loops(resources),
        *_notification_loops(resources),
        Loop("unmatched", _by_the_clock(resources, _report_unmatched), every=10.0),
        Loop("backlog", _in_transaction(resources, _send_on), every=10.0),
        _relay_loop(resources, relay),
        Loop("retention", Retention(resources), every=60.0, share=_PURGE_SHARE),
        Loop("log retention", partial(_purge_log, resources, relay), every=600.0),
    ]


_BATCH = 100
_PURGE_SHARE = 0.1
Step = Callable[[Resources, Session], int]
TimedStep = Callable[[Resources, Session, datetime], int]


def _in_transaction(resources: Resources, step: Step) -> Callable[[], bool]:
    """A loop's step that does up to a batch in one transaction, and says whether to go on."""

    def once() -> bool:
        with resources.database.transaction() as session:
            return step(resources, session) >= _BATCH

    return once


def _by_the_clock(resources: Resources, step: TimedStep) -> Callable[[], bool]:
    """The same of a step that time sets off: it does nothing while the clock is not believed."""

    def guarded(found: Resources, session: Session) -> int:
        now = found.clock_guard.now(session)
        return 0 if now is None else step(found, session, now)

    return _in_transaction(resources, guarded)


def _watch_clock(resources: Resources, session: Session) -> int:
    resources.clock_guard.watch(session)
    return 0


def _case_loops(resources: Resources) -> list[Loop]:
    def fire(_: Resources, session: Session, now: datetime) -> int:
        return escalation_service.fire_due(session, now=now, limit=_BATCH)

    def expire(_: Resources, session: Session, now: datetime) -> int:
        return escalation_service.expire_leases(session, now=now, limit=_BATCH)

    def close(found: Resources, session: Session, now: datetime) -> int:
        before = now - timedelta(seconds=found.settings.reopen_window)
        return escalation_service.close_resolved(session, now=now, before=before, limit=_BATCH)

    def recount(_: Resources, session: Session) -> int:
        return escalation_service.recount(session, limit=_BATCH)

    def pass_on(_: Resources, session: Session, now: datetime) -> int:
        return escalation_service.pass_on(session, now=now, limit=_BATCH)

    return [
        Loop("recount", _in_transaction(resources, recount), every=30.0),
        Loop("timers", _by_the_clock(resources, fire), every=2.0),
        Loop("handing over", _by_the_clock(resources, pass_on), every=2.0),
        Loop("leases", _by_the_clock(resources, expire), every=2.0),
        Loop("closing", _by_the_clock(resources, close), every=30.0),
    ]


def _notification_loops(resources: Resources) -> list[Loop]:
    settings = resources.settings
    channels = notifications_loops.make_channels(settings, partial(listening.address, settings))
    connect = partial(connect_alone, resources.database_url)
    return notifications_loops.make_loops(
        resources.database, resources.clock, resources.clock_guard, channels, connect
    )


def _report_unmatched(resources: Resources, session: Session, now: datetime) -> int:
    before = now - timedelta(seconds=resources.settings.unmatched_after)
    return feedback_service.report_unmatched(session, now=now, before=before, limit=_BATCH)


def _send_on(resources: Resources, session: Session) -> int:
    sent = feedback_service.send_on(session, now=resources.clock.now(session))
    return _BATCH if sent else 0


def _relay_loop(resources: Resources, relay: Relay) -> Loop:
    """Sends the outbox as soon as something is in it.

    On the embedded log nothing is written there; what an earlier life on Kafka left is sent.
    """
    wakeup = Wakeup(partial(connect_alone, resources.database_url), WAKE_CHANNEL)
    return Loop("relay", lambda: relay.step() > 0, every=5.0, wait=wakeup.wait, close=wakeup.close)


def _purge_log(resources: Resources, relay: Relay) -> bool:
    """Drop what was sent, or consumed, longer ago than its retention."""
    with resources.database.transaction() as session:
        now = resources.clock_guard.now(session)
        consumed = offsets.consumed(session, readers())
    if now is None:
        return False
    if resources.settings.retention_outbox is not None:
        relay.purge(timedelta(seconds=resources.settings.retention_outbox))
    if isinstance(resources.log, PostgresLog):
        resources.log.trim(now - timedelta(seconds=resources.settings.log_retention), consumed)
    return False


def make_collector(resources: Resources) -> BusinessCollector:
    """What `export` serves."""
    return BusinessCollector(
        resources.database,
        resources.clock,
        lambda topics: resources.log.bounds(list(topics)),
        consumed=CONSUMED,
    )
