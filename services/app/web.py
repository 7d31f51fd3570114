"""What the web role serves: the API, the pages, or both on one origin."""

from datetime import timedelta
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic.json_schema import models_json_schema
from sqlalchemy.orm import Session
from starlette.types import ASGIApp

from services.app.resources import Resources, require_ready
from services.app.roles import CONSUMED, readers
from services.escalation import api as escalation_api
from services.escalation import queries as escalation_queries
from services.escalation import routing_api
from services.escalation.cases import as_answer, hides_answer
from services.escalation.verbs import Limits
from services.feedback import api as feedback_api
from services.feedback.admission import Admission
from services.feedback.api import CaseLookup, ShownCase
from services.feedback.queries import OutputWhole
from services.insight import api as insight_api
from services.kit.consuming import offsets
from services.kit.errors import NotFound
from services.kit.processes import listening
from services.kit.settings import Settings
from services.kit.web.addresses import ClientAddresses
from services.kit.web.bodies import NO_BODY, BodyLimits, BodyRule, CloseUnread
from services.kit.web.origin import OneOrigin
from services.kit.web.problems import install_errors
from services.kit.web.storable import Utf8Addresses, require_storable
from services.measurement import api as measurement_api
from services.notifications import api as notifications_api
from services.people import api as people_api
from services.people.rules import Actor, Verb
from services.tools import api as tools_api
from services.tools.identity import Identity
from ui.app import make_app
from ui.kit.context import PageContext
from ui.kit.security import SecurityHeaders
from ui.kit.templating import Templates

_API_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json")


_JSON = frozenset({"application/json"})
_BATCH = BodyRule(8 * 1024 * 1024, _JSON)
_CLOUD_EVENTS = frozenset({"application/cloudevents+json", "application/cloudevents-batch+json"})
_EVENTS = BodyRule(_BATCH.most_bytes, _JSON | _CLOUD_EVENTS)
# FastAPI reads these bodies before it asks who is calling, and on the event loop.
_SINGLE = BodyRule(1024 * 1024, _JSON, most_members=12_000)
# A tool may have 10,000 categories, each with a threshold, and names with commas.
_TOOL = BodyRule(2 * 1024 * 1024, _JSON, most_members=60_000)


def body_rule(method: str, path: str) -> BodyRule:
    """What the API takes as a body."""
    if method not in ("POST", "PUT", "PATCH"):
        return NO_BODY
    if path == "/v1/events":
        return _EVENTS
    if path.startswith("/v1/tools/"):
        return _TOOL
    return _BATCH if path in ("/v1/outputs", "/v1/corrections") else _SINGLE


_LOOPBACK = ("127.0.0.1", "::1", None)


def make_web(resources: Resources, *, api: bool, ui: bool) -> ASGIApp:
    """What `serve` serves: the API, the pages, or both on one origin."""
    if not ui:
        return make_api(resources)
    pages = make_ui(resources)
    if not api:
        return pages
    return OneOrigin(pages=pages, api=make_api(resources), api_paths=_API_PATHS)


def _backlog(resources: Resources) -> int:
    """How many records wait for the consumer that is the furthest behind."""
    ends = resources.log.bounds(sorted(readers()))
    with resources.database.transaction() as session:
        return offsets.backlog(session, CONSUMED, ends)


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
            duties=resources.duties,
            router=resources.router,
            lease=timedelta(seconds=settings.lease),
            reopen_window=timedelta(seconds=settings.reopen_window),
            pause_limit=timedelta(seconds=settings.pause_limit),
            session_length=timedelta(seconds=settings.session_length),
            link_length=timedelta(seconds=settings.link_length),
            outbound_allow=settings.outbound_allow,
            timezone=settings.timezone,
            https=_https(settings),
            addresses=ClientAddresses(settings.trusted_proxies),
            address=lambda: listening.address(settings),
            api_address=lambda: listening.api_address(settings),
        )

    return make_app(context, public_url=settings.public_url)


def make_api(resources: Resources) -> FastAPI:
    """The HTTP API. Its documentation page is off; `/openapi.json` is the contract."""
    database, clock = resources.database, resources.clock
    identity = Identity(database)
    intake = resources.intake
    admission = Admission(
        database,
        limit=resources.settings.dead_letter_limit,
        backlog=partial(_backlog, resources),
    )
    routes = escalation_api.RouteDependencies(
        database,
        clock,
        Limits(
            lease=timedelta(seconds=resources.settings.lease),
            reopen_window=timedelta(seconds=resources.settings.reopen_window),
            pause=timedelta(seconds=resources.settings.pause_limit),
        ),
    )

    app = FastAPI(
        title="Secondlook",
        version="1",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(require_storable)],
    )
    app.include_router(feedback_api.router(database, intake, admission, identity, CASES))
    app.include_router(escalation_api.router(routes, identity))
    app.include_router(routing_api.router(database, clock, resources.routing_policy, identity))
    app.include_router(tools_api.router(database, clock, identity, resources.policy_watch))
    app.include_router(people_api.router(database, clock, identity.may(Verb.MANAGE_SKILLS)))
    app.include_router(insight_api.router(database, clock, identity))
    app.include_router(measurement_api.router(database, clock, identity))
    app.include_router(notifications_api.inbox_router(database, clock, identity.person))
    app.include_router(
        notifications_api.verdicts_router(database, _tool_of(identity), resources.feed_watch)
    )
    _add_probes(app, resources)
    app.add_middleware(BodyLimits, rule_of=body_rule)
    app.add_middleware(Utf8Addresses)
    install_errors(app)
    app.add_middleware(CloseUnread)
    app.add_middleware(SecurityHeaders, https=_https(resources.settings))
    app.openapi = partial(_openapi, app)  # type: ignore[method-assign]
    return app


def _tool_of(identity: Identity) -> notifications_api.ToolOf:
    """Finds out which tool is calling, for what knows tools by their names alone."""

    async def tool_of(request: Request) -> str:
        return (await identity.tool(request)).tool.slug

    return tool_of


def _case_of_output(session: Session, actor: Actor | None, output: OutputWhole) -> ShownCase:
    """An output's case: for a person if it is in their sight, for its tool unless it is blind."""
    case = escalation_queries.case_of_output(session, output.tool, output.output_id)
    blind = hides_answer(case, audit_pending=output.audit_pending)
    if case is None:
        return ShownCase(None, blind)
    seen = escalation_queries.sees(actor, case) if actor is not None else not blind
    return ShownCase(as_answer(case) if seen else None, blind)


CASES = CaseLookup(_case_of_output, escalation_queries.blind_outputs)
"""What feedback's routes are told of cases."""


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
