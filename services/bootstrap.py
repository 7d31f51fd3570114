"""Settings become resources, resources become apps, consumers and loops. Wiring only."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic.json_schema import models_json_schema
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp

from migrations import run as migrations
from services.escalation import api as escalation_api
from services.escalation import consumer as escalation_consumer
from services.escalation import queries as escalation_queries
from services.escalation import routing, timers
from services.escalation import service as escalation_service
from services.escalation.consumer import EscalationConsumer
from services.escalation.opening import Router
from services.feedback import api as feedback_api
from services.feedback import consumer as feedback_consumer
from services.feedback import service as feedback_service
from services.feedback.consumer import FeedbackConsumer
from services.feedback.intake import Intake
from services.insight import api as insight_api
from services.insight.metrics import BusinessCollector
from services.kit import (
    consumer_metrics,
    deadletters,
    embedded_postgres,
    idempotency,
    listening,
    offsets,
)
from services.kit.clock import Clock, DatabaseClock
from services.kit.consumer import Consumer, Handler
from services.kit.database import Database, make_engine
from services.kit.embedded_postgres import EmbeddedPostgres
from services.kit.errors import InvalidInput, NotFound, Unavailable
from services.kit.eventlog import open_log
from services.kit.eventlog.port import EventLog, TopicSpec
from services.kit.eventlog.postgres import PostgresLog
from services.kit.http import OneOrigin, RefuseEncodedBody, install_errors, require_storable
from services.kit.loops import Loop
from services.kit.outbox import Relay
from services.kit.settings import Settings
from services.registry import access
from services.registry import api as registry_api
from services.registry.identity import Identity
from ui.app import make_app
from ui.kit.context import PageContext
from ui.kit.security import SecurityHeaders
from ui.kit.templating import Templates

_API_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")
CONSUMED = {consumer.NAME: consumer.TOPICS for consumer in (feedback_consumer, escalation_consumer)}
"""The topics that each consumer reads."""

_BODY_BYTES = 8 * 1024 * 1024
_LOOPBACK = ("127.0.0.1", "::1", None)


@dataclass(frozen=True)
class Resources:
    """What a role works with. Opened once per process, closed when it ends."""

    settings: Settings
    database: Database
    database_url: str
    clock: Clock

    @cached_property
    def log(self) -> EventLog:
        """The event log, opened when it is first needed."""
        return open_log(self.settings, self.database_url)

    @cached_property
    def intake(self) -> Intake:
        """The way of requests onto the log."""
        return Intake(self.database, self.log)

    @cached_property
    def policy_watch(self) -> registry_api.PolicyWatch:
        """What the SDKs' long polls wait at."""
        return registry_api.PolicyWatch(self.database)

    @cached_property
    def router(self) -> Router:
        """How cases are routed: by the policy file, or by the tools' teams.

        Raises:
            InvalidInput: the file cannot be read or is no policy.
        """
        return Router(load_routing(self.settings), timezone=self.settings.timezone)

    def close(self) -> None:
        """Let go of everything that was opened."""
        if "intake" in self.__dict__:
            self.intake.worker.close()
        if "log" in self.__dict__:
            self.log.close()
        self.database.close()


def load_routing(settings: Settings) -> routing.RoutingPolicy | None:
    """The routing policy that the settings name, or None.

    Raises:
        InvalidInput: the file cannot be read or is no policy.
    """
    if settings.routing_file is None:
        return None
    try:
        content = settings.routing_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        detail = f"SECONDLOOK_ROUTING_FILE: {settings.routing_file} cannot be read: {error}"
        raise InvalidInput(detail) from None
    return routing.parse(content)


def check_routing(resources: Resources) -> None:
    """Whether everybody whom the routing policy names is there.

    Raises:
        InvalidInput: the policy cannot be used, or somebody is not there; it says who.
    """
    policy = resources.router.policy
    if policy is not None:
        with resources.database.transaction() as session:
            escalation_service.check_policy(session, policy)


# --- opening ------------------------------------------------------------------------------


@contextmanager
def database_url(settings: Settings) -> Iterator[str]:
    """The database to use: the one named, the embedded one that runs, or one started for now.

    Raises:
        Unavailable: none is named, and there is none in the data folder. Making one here
            would answer from an empty house to whoever mistook the folder.
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


# --- the web ------------------------------------------------------------------------------


def make_web(resources: Resources, *, api: bool, ui: bool) -> ASGIApp:
    """What `serve` serves: the API, the pages, or both on one origin."""
    if not ui:
        return make_api(resources)
    pages = make_ui(resources)
    if not api:
        return pages
    return OneOrigin(pages=pages, api=make_api(resources), api_paths=_API_PATHS)


def _https(settings: Settings) -> bool:
    """Whether people reach us over https."""
    return (settings.public_url or "").startswith("https:")


def make_ui(resources: Resources) -> FastAPI:
    """The pages."""
    settings = resources.settings

    def context(templates: Templates) -> PageContext:
        return PageContext(
            database=resources.database,
            clock=resources.clock,
            identity=Identity(resources.database),
            templates=templates,
            publish=resources.intake.say,
            routing=resources.router.policy,
            lease=timedelta(seconds=settings.lease),
            session_length=timedelta(seconds=settings.session_length),
            link_length=timedelta(seconds=settings.link_length),
            https=_https(settings),
            address=lambda: listening.address(settings),
            api_address=lambda: listening.api_address(settings),
        )

    return make_app(context, public_url=settings.public_url)


def make_api(resources: Resources) -> FastAPI:
    """The HTTP API. Its documentation page is off; `/openapi.json` is the contract."""
    database, clock = resources.database, resources.clock
    identity = Identity(database)
    intake = resources.intake
    desk = escalation_api.Desk(database, clock, timedelta(seconds=resources.settings.lease))

    app = FastAPI(
        title="Secondlook",
        version="1",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_storable)],
    )
    app.include_router(feedback_api.router(database, intake, identity, _case_of_output))
    app.include_router(escalation_api.router(desk, identity))
    app.include_router(registry_api.router(database, clock, identity, resources.policy_watch))
    app.include_router(insight_api.router(database, clock, identity))
    _add_probes(app, resources)
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=_BODY_BYTES)
    app.add_middleware(RefuseEncodedBody)
    install_errors(app)
    app.add_middleware(SecurityHeaders, https=_https(resources.settings))
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    return app


def _case_of_output(session: Session, tool: str, output_id: str) -> dict[str, Any] | None:
    case = escalation_queries.case_of_output(session, tool, output_id)
    return escalation_queries.as_answer(case) if case is not None else None


def _openapi(app: FastAPI) -> dict[str, Any]:
    """The API's description with the contracts that bodies are read by."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        models = [(model, "validation") for model in feedback_api.BODY_MODELS]
        _, contracts = models_json_schema(models, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
        schema.setdefault("components", {}).setdefault("schemas", {}).update(contracts["$defs"])
        app.openapi_schema = schema
    return app.openapi_schema


def _add_probes(app: FastAPI, resources: Resources) -> None:
    @app.get("/healthz", tags=["probes"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["probes"])
    def readyz() -> dict[str, str]:
        """The database is there, with the schema that this release wants, and so is the log."""
        require_ready(resources)
        return {"status": "ready"}

    @app.get("/metrics", tags=["probes"], response_class=Response)
    def metrics(request: Request) -> Response:
        """This process's own metrics, for scrapers on this machine."""
        host = request.client.host if request.client is not None else None
        if host not in _LOOPBACK or "x-forwarded-for" in request.headers:
            raise NotFound("There is nothing here.")
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def require_ready(resources: Resources) -> None:
    """Raise `Unavailable`, saying why, unless work can be taken."""
    with resources.database.transaction() as session:
        version = session.execute(text("SELECT version_num FROM alembic_version")).scalar_one()
    if version != migrations.newest():
        raise Unavailable(f"The database's schema is {version}; run `secondlook migrate`.")
    resources.log.bounds([events.OUTPUTS])


# --- consumers and loops ------------------------------------------------------------------


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
            deadletters.too_many, consumer=name, limit=resources.settings.dead_letter_limit
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
