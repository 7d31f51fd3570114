"""Settings become resources: what every role and command works with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial

from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from migrations import run as migrations
from services.escalation import service as escalation_service
from services.escalation.leaving import CaseDuty
from services.escalation.policy import revisions
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read as read_policy
from services.escalation.policy.revisions import PolicyInForce
from services.escalation.routing import Router
from services.feedback.intake import Intake
from services.kit.clock import Clock, DatabaseClock
from services.kit.clock_guard import ClockGuard, MachineClock, SteadyClock
from services.kit.consuming import outbox
from services.kit.database import Database, connect_alone, make_engine
from services.kit.errors import InvalidInput, Unavailable
from services.kit.eventlog import open_log
from services.kit.eventlog.port import EventLog, NewRecord, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.kit.processes import embedded_postgres
from services.kit.processes.capacity import Capacity, web_capacity
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from services.kit.settings import Settings
from services.notifications.feed_watch import FeedWatch
from services.people.duties import Duty
from services.tools.watch import PolicyWatch


@dataclass(frozen=True)
class Resources:
    """What a role works with. Opened once per process, closed when it ends."""

    settings: Settings
    database: Database
    database_url: str
    clock: Clock
    steady_clock: SteadyClock = field(default_factory=MachineClock)

    @cached_property
    def log(self) -> EventLog:
        """The event log, opened when it is first needed."""
        return open_log(self.settings, self.database_url)

    def publish(self, session: Session, records: Sequence[NewRecord]) -> None:
        """Append to the embedded log, in the transaction of a session."""
        self._embedded.append_within(session, records)

    @cached_property
    def _embedded(self) -> PostgresLog:
        """The embedded log with its topics: who writes first makes them."""
        assert isinstance(self.log, PostgresLog)
        ensure_topics(self)
        return self.log

    @cached_property
    def intake(self) -> Intake:
        """The way of requests onto the log."""
        embedded = self.log.append_on if isinstance(self.log, PostgresLog) else None
        connect = partial(connect_alone, self.database_url, application_name="secondlook intake")
        return Intake(connect, self.log, embedded)

    @cached_property
    def capacity(self) -> Capacity:
        """What a web process carries."""
        return web_capacity()

    @cached_property
    def policy_watch(self) -> PolicyWatch:
        """What the SDKs' long polls wait at."""
        return PolicyWatch(self.database, capacity=self.capacity.polls)

    @cached_property
    def feed_watch(self) -> FeedWatch:
        """What tools' long polls for verdicts wait at."""
        return FeedWatch(self.database, capacity=self.capacity.polls)

    @cached_property
    def router(self) -> Router:
        """How cases are routed: by the policy in force, or by the tools' teams."""
        return Router(self.routing_policy, timezone=self.settings.timezone)

    @cached_property
    def routing_policy(self) -> PolicyInForce:
        """The routing policy in force."""
        return PolicyInForce()

    @cached_property
    def clock_guard(self) -> ClockGuard:
        """The clock, for what it would set off: it is held against this machine's own."""
        confirm_after = self.settings.clock_confirm
        return ClockGuard(self.clock, self.steady_clock, confirm_after=confirm_after)

    @cached_property
    def duties(self) -> tuple[Duty, ...]:
        """Everything that people answer for, handed over when they leave."""
        return (CaseDuty(self.routing_policy),)

    def close(self) -> None:
        """Let go of everything that was opened."""
        if "intake" in self.__dict__:
            self.intake.close()
        if "log" in self.__dict__:
            self.log.close()
        self.database.close()


def routing_file(settings: Settings) -> str | None:
    """What the file says that the settings name as the routing policy; None where they name none.

    Raises:
        InvalidInput: it cannot be read.
    """
    if settings.routing_file is None:
        return None
    try:
        return settings.routing_file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        detail = f"SECONDLOOK_ROUTING_FILE: {settings.routing_file} cannot be read: {error}"
        raise InvalidInput(detail) from None


def take_routing(resources: Resources) -> None:
    """Put the routing policy that the settings name into force, where its file has changed.

    What is in force must name people, teams and calendars that are there.

    Raises:
        InvalidInput: it cannot be used, or somebody is not there; it says who.
    """
    content = routing_file(resources.settings)
    with resources.database.transaction() as session:
        if content is not None:
            revisions.take_file(session, content, now=resources.clock.now(session))
        policy = resources.routing_policy(session)
        if policy is not None:
            escalation_service.check_owners(session, policy)


def routing_to_come(resources: Resources, session: Session) -> RoutingPolicy | None:
    """The routing policy that holds after the next start: the settings' file where it is news,
    else the one in force.

    Raises:
        InvalidInput: the file cannot be read, or is no policy.
    """
    content = routing_file(resources.settings)
    if content is not None and revisions.is_news(session, content):
        return read_policy(content)
    return resources.routing_policy(session)


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The database to use: the one named, the embedded one that runs, or one started for now.

    Raises:
        Unavailable: none is named, and there is none in the data folder. Making one here
            would answer from nothing to whoever mistook the folder.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value()
        return
    running = embedded_postgres.connect_url(settings.data_dir)
    if running is not None:
        yield running
        return
    if not embedded_postgres.is_there(settings.data_dir):
        raise Unavailable(
            f"There is no database in {settings.data_dir.absolute()}. `secondlook run` makes one;"
            " for another folder set SECONDLOOK_DATA_DIR, for a database of your own"
            " SECONDLOOK_DATABASE_URL."
        )
    postgres = EmbeddedPostgres(settings.data_dir)
    postgres.start()
    try:
        migrations.upgrade(postgres.url)
        yield postgres.url
    finally:
        postgres.stop()


@contextmanager
def opened(settings: Settings, *, role: str, pool_size: int = 5) -> Iterator[Resources]:
    """The resources of a role, closed at the end."""
    with database_url(settings) as url:
        engine = make_engine(url, pool_size=pool_size, application_name=f"secondlook {role}")
        resources = Resources(settings, Database(engine), url, DatabaseClock())
        if not settings.kafka_bootstrap_servers:
            # One database holds both: what is said is on the log as soon as it is true.
            resources.database.tell_sessions(outbox.publish_through(resources.publish))
        try:
            yield resources
        finally:
            resources.close()


def ensure_topics(resources: Resources) -> None:
    """Make the topics that are missing, unless the settings say that others do that."""
    if resources.settings.kafka_bootstrap_servers and not resources.settings.kafka_create_topics:
        return
    keyed = resources.settings.log_partitions
    resources.log.ensure_topics(
        [
            TopicSpec(topic.name, 1 if topic.compacted else keyed, topic.compacted)
            for topic in events.TOPICS
        ]
    )


def require_ready(resources: Resources) -> None:
    """Raise `Unavailable`, saying why, unless work can be taken."""
    with resources.database.transaction() as session:
        version = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if version != migrations.newest():
        raise Unavailable(f"The database's schema is {version}; run `secondlook migrate`.")
    resources.log.bounds([events.OUTPUTS])
