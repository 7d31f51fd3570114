"""`run` and the roles that it consists of: serve, consume, tick, export; and `migrate`."""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from functools import partial
from types import FrameType
from typing import Annotated
from wsgiref.simple_server import WSGIServer

import httpx2
import typer
import uvicorn
from prometheus_client import REGISTRY, start_http_server

from migrations import run as migrations
from services.app import resources as app_resources
from services.app import web as app_web
from services.app.roles import METRICS_PORTS, ROLES, Role, make_collector, make_consumer, make_loops
from services.commands.shared import AsJson, Consumed, answer, resources, say
from services.kit import logging
from services.kit.processes import listening
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from services.kit.processes.loops import run_loops
from services.kit.processes.supervisor import Process, Supervisor, bind, own_address
from services.kit.settings import Settings, load_settings

_SOCKET = "SECONDLOOK_LISTEN_FD"
_METRICS_HINT = (
    f"Set SECONDLOOK_METRICS_PORT to the first of {METRICS_PORTS} free ports in a row, or to 0."
)
_WEB_POOL = 12
_COLLECTED_FROM = 20_000


class Served(StrEnum):
    """What `serve` serves."""

    API = "api"
    UI = "ui"
    ALL = "all"


# --- run ----------------------------------------------------------------------------------


def run(
    demo: Annotated[bool, typer.Option("--demo", help="Add a demo and let it flow.")] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: a free one.")] = None,
    demo_people: Annotated[bool, typer.Option("--demo-people", hidden=True)] = False,
) -> None:
    """Start everything on this machine; Ctrl-C ends it."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    settings = load_settings(**given)
    logging.configure(settings.log_level, role="run")
    with ExitStack() as stack:
        postgres = _postgres(settings, stack)
        url = postgres.url if postgres is not None else _external(settings)
        migrations.upgrade(url)
        environment = {"SECONDLOOK_DATABASE_URL": url}
        _require_free_metrics_ports(settings)
        opened = stack.enter_context(bind(settings.host, settings.port))
        os.environ.update(environment)
        address = own_address(opened, settings.host)
        listening.remember(settings, address)
        with app_resources.opened(load_settings(), role="run", pool_size=1) as found:
            if demo or demo_people:
                people_of_demo(found)
            # A policy that cannot be used must not start anything.
            app_resources.take_routing(found)
            app_resources.ensure_topics(found)
        roles = _roles(settings, opened)
        if demo:
            roles.append(Process("demo", partial(flow, address)))
        Supervisor(roles, postgres).run(_Announcer(address))


def _require_free_metrics_ports(settings: Settings) -> None:
    """Refuse to start roles that could not: each serves its metrics on a port of its own.

    Raises:
        PortTaken: something else listens there.
    """
    if settings.metrics_port:
        for place in range(METRICS_PORTS):
            bind(settings.metrics_host, settings.metrics_port + place, hint=_METRICS_HINT).close()


def flow(address: str) -> None:
    """Let the demo flow, once the server is ready."""
    from services.commands import flow as story

    story.flow(address)


def people_of_demo(found: app_resources.Resources) -> None:
    """Make the demo's team and people, whom a routing policy may name."""
    from services.commands import demo

    demo.make_people(found)


def _postgres(settings: Settings, stack: ExitStack) -> EmbeddedPostgres | None:
    if not settings.embedded_database:
        return None
    postgres = EmbeddedPostgres(settings.data_dir)
    postgres.start()
    stack.callback(postgres.stop)
    return postgres


def _external(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


def _roles(settings: Settings, opened: socket.socket) -> list[Process]:
    os.environ[_SOCKET] = str(opened.fileno())
    return [Process(name, partial(_work, role)) for name, role in ROLES.items()]


def _work(role: Role) -> None:
    """What a role's process does."""
    if role.serves is not None:
        serve(Served(role.serves))
    elif role.topics:
        consume(Consumed(role.name))
    elif role.loops:
        tick()
    else:
        export()


class _Announcer:
    """Says `ready` once `/readyz` does."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._said = False
        self._next = 0.0

    def __call__(self) -> None:
        if self._said or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + 0.2
        try:
            ready = httpx2.get(f"{self._address}/readyz", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return
        if ready:
            self._said = True
            say(f"ready {self._address}")
            sys.stdout.flush()


# --- roles ----------------------------------------------------------------------------------


def serve(what: Annotated[Served, typer.Argument(help="api, ui or all")]) -> None:
    """Serve the API, the pages, or both on one origin."""
    settings = load_settings()
    logging.configure(settings.log_level, role=f"serve {what}")
    with app_resources.opened(settings, role=f"serve {what}", pool_size=_WEB_POOL) as found:
        app = app_web.make_web(found, api=what is not Served.UI, ui=what is not Served.API)
        _keep_what_is_there()
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=found.capacity.connections,
        )
        _Server(config, on_exit=partial(_let_go, found)).run(sockets=_inherited_sockets())


def _let_go(found: app_resources.Resources) -> None:
    """Answer whoever waits for a policy or a verdict."""
    found.policy_watch.close()
    found.feed_watch.close()


def _keep_what_is_there() -> None:
    """Tell the garbage collector that what was made until now stays.

    It would go through all of that again and again, for a third of the time that a batch takes
    and tens of milliseconds in which nobody is answered.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECTED_FROM)


class _Server(uvicorn.Server):
    """A server that says when it is asked to end, so that nobody is kept waiting."""

    def __init__(self, config: uvicorn.Config, *, on_exit: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_exit = on_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal to end."""
        self._on_exit()
        super().handle_exit(sig, frame)


def _inherited_sockets() -> list[socket.socket] | None:
    """The socket that the supervisor opened for this role, or None where there is none.

    Opened by its number, so that Python asks the system what it is: of a socket that it
    does not know for TCP, asyncio leaves Nagle's algorithm on, and every answer to a
    client that waits for it takes 40 ms.
    """
    inherited = os.environ.get(_SOCKET)
    return None if inherited is None else [socket.socket(fileno=int(inherited))]


def consume(
    what: Annotated[Consumed, typer.Argument(help="feedback, escalation or notifications")],
) -> None:
    """Take events from the log, as one member of a consumer group."""
    settings = load_settings()
    logging.configure(settings.log_level, role=f"consume {what}")
    with app_resources.opened(settings, role=f"consume {what}", pool_size=3) as found:
        if what is Consumed.ESCALATION:
            app_resources.take_routing(found)
        consumer = make_consumer(found, what.value)
        stopping = _on_signal(consumer.stop)
        _serve_metrics(settings, ROLES[what.value])
        consumer.run()
        stopping.set()


def tick() -> None:
    """Fire deadlines, free leases, close cases, send the outbox: everything that takes time."""
    settings = load_settings()
    logging.configure(settings.log_level, role="tick")
    with app_resources.opened(settings, role="tick", pool_size=8) as found:
        stopping = _on_signal(None)
        _serve_metrics(settings, ROLES["tick"])
        run_loops(make_loops(found), stopping)


def export() -> None:
    """Serve the business metrics for Prometheus."""
    settings = load_settings()
    logging.configure(settings.log_level, role="export")
    with app_resources.opened(settings, role="export", pool_size=3) as found:
        REGISTRY.register(make_collector(found))
        stopping = _on_signal(None)
        server, thread = _serve_metrics(settings, ROLES["export"])
        stopping.wait()
        server.shutdown()
        thread.join(timeout=2)


def _serve_metrics(settings: Settings, role: Role) -> tuple[WSGIServer, threading.Thread]:
    """Serve a role's metrics on its own port, counted from the exporter's.

    Raises:
        PortTaken: something else listens there.
    """
    port = settings.metrics_port + (role.place or 0) if settings.metrics_port else 0
    bind(settings.metrics_host, port, hint=_METRICS_HINT).close()
    return start_http_server(port, settings.metrics_host)


def _on_signal(stop: Callable[[], None] | None) -> threading.Event:
    """An event that SIGTERM and SIGINT set; `stop` is called as well."""
    stopping = threading.Event()

    def on_signal(*_: object) -> None:
        stopping.set()
        if stop is not None:
            stop()

    for sent in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sent, on_signal)
    return stopping


def migrate(as_json: AsJson = False) -> None:
    """Bring the database to this release's schema, and make missing topics."""
    with resources("migrate") as found:
        migrations.upgrade(found.database_url)
        app_resources.ensure_topics(found)
    revision = migrations.newest()
    answer({"revision": revision}, as_json=as_json, lines=[f"the schema is at {revision}"])
