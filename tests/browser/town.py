"""The real product for browsers: pages, consumers and the relay over one database and its log."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import psycopg
from pydantic import SecretStr
from secondlook import events

from services.bootstrap import Resources, ensure_topics, make_consumer, make_ui
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.outbox import Relay
from services.kit.settings import Settings
from services.registry import access, service
from services.registry.identity import COOKIE
from services.registry.rules import OutputKind, Role
from tests import house
from tests.browser.harness import serve_app

OPS, AUDITOR = "oscar@example.org", "ida@example.org"
TEXT, FLAG, FIELDS, AUDITED = "drafter", "alarm", "reader", "audited"
OTHERS = "others-tool"
PASSWORD = "a long enough password"
SAID: dict[str, Any] = {
    house.TOOL: "billing",
    TEXT: "Dear customer,\r\n\r\nwe refunded you.",
    FLAG: True,
    FIELDS: {"number": {"value": "A-17"}, "total": {"value": 128.5, "confidence": 0.6}},
    AUDITED: "billing",
    OTHERS: "billing",
}
_KINDS = {TEXT: "text", FLAG: "flag", FIELDS: "fields"}
_DATABASES = itertools.count()


@dataclass
class Town:
    """A house with the product at work in it, and hands to make things happen."""

    resources: Resources
    origin: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    @property
    def database(self) -> Database:
        """Where everything is stored."""
        return self.resources.database

    def one(self, query: str, **parameters: Any) -> Any:
        """The single value that raw SQL finds."""
        return house.one(self.database, query, **parameters)

    def link(self, email: str) -> str:
        """The path of a fresh sign-in link."""
        with self.database.transaction() as session:
            now = DatabaseClock().now(session)
            token = access.create_link(
                session, email, actor="test", now=now, length=timedelta(hours=1)
            )
        return f"/sign-in/{token}"

    def session(self, email: str) -> str:
        """The secret of a fresh browser session."""
        token = self.link(email).rpartition("/")[2]
        with self.database.transaction() as session:
            now = DatabaseClock().now(session)
            secret, _ = access.use_link(session, token, now=now, length=timedelta(hours=1))
        return secret

    def signed_in(self, email: str) -> dict[str, Any]:
        """What a browser context is given to be signed in."""
        cookie = {
            "name": COOKIE,
            "value": self.session(email),
            "domain": "127.0.0.1",
            "path": "/",
            "expires": -1,
            "httpOnly": True,
            "secure": False,
            "sameSite": "Lax",
        }
        return {"cookies": [cookie], "origins": []}

    def output(self, tool: str = house.TOOL, *, confidence: float = 0.4, **fields: Any) -> str:
        """Send an output through the log and wait until it is stored; answers its id."""
        output_id = f"o/{next(self._numbers)} %"
        given: dict[str, Any] = {"value": SAID[tool], "kind": _KINDS.get(tool, "category")}
        given |= {"subject": f"Ticket {output_id}", **fields}
        if given["kind"] == "category":
            given.setdefault("alternatives", [{"value": "tax", "confidence": 0.2}])
        given.setdefault("input", {"text": "Where is my money?", "language": "en"})
        data = events.Output(output_id=output_id, confidence=confidence, **given)
        self.resources.intake.say([events.output_recorded(tool, data, time=house.NOON)])
        stored = "SELECT count(*) FROM output WHERE output_id = :id AND recorded_at IS NOT NULL"
        self.until(lambda: self.one(stored, id=output_id) == 1)
        return output_id

    def case(self, tool: str = house.TOOL, *, confidence: float = 0.4, **fields: Any) -> int:
        """Send an output that opens a case and wait for that; answers its number."""
        output_id = self.output(tool, confidence=confidence, **fields)
        return self.case_of(output_id)

    def case_of(self, output_id: str) -> int:
        """The number of the case on an output, once it is there."""
        opened = 'SELECT coalesce(max(id), 0) FROM "case" WHERE output_id = :id'
        self.until(lambda: self.one(opened, id=output_id) > 0)
        return int(self.one(opened, id=output_id))

    def correction(self, output_id: str) -> Any:
        """Kind, value and actor of the only correction of an output."""
        query = "SELECT kind, value, actor FROM correction WHERE output_id = :id"
        return tuple(self.one(query, id=output_id))

    def say(self, output_id: str, *, tool: str = house.TOOL, **said: Any) -> str:
        """Let a rep say something of an output and wait until it is stored; the event's id."""
        event = house.correction(output_id, **said)
        event = event.model_copy(update={"source": f"/tools/{tool}"})
        self.resources.intake.say([event])
        stored = "SELECT count(*) FROM correction WHERE event_id = :id"
        self.until(lambda: self.one(stored, id=event.id) == 1)
        return str(event.id)

    def verdict(self, case: int) -> Any:
        """Verdict, value and who gave it."""
        query = 'SELECT verdict, verdict_value, verdict_by FROM "case" WHERE id = :id'
        return tuple(self.one(query, id=case))

    def clear(self) -> None:
        """Close what is open, so that the queue holds a test's own cases alone."""
        close = """UPDATE "case" SET state = 'merged', claimant = NULL, lease_expires_at = NULL
            WHERE state IN ('open', 'claimed')"""
        with psycopg.connect(self.resources.database_url, autocommit=True) as connection:
            connection.execute(close)

    def until(self, done: Callable[[], bool], seconds: float = 15) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < deadline, "it did not happen in time"
            time.sleep(0.02)


def furnish(database: Database) -> None:
    """The house, with a tool of each kind, one that is audited, and one of another team."""
    house.furnish(database)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        by: dict[str, Any] = {"actor": "test", "now": now}
        for email, role in ((OPS, Role.OPS), (AUDITOR, Role.AUDITOR)):
            name = email.partition("@")[0].title()
            service.add_person(session, email, name=name, role=role, teams=["support"], **by)
        for slug, kind in _KINDS.items():
            service.add_tool(
                session,
                slug,
                name=None,
                kind=OutputKind(kind),
                team="support",
                maturity_seconds=0,
                **by,
            )
        for slug, team, rate in ((AUDITED, "support", 1.0), (OTHERS, "other", 0.0)):
            service.add_tool(
                session,
                slug,
                name=None,
                kind=OutputKind.CATEGORY,
                categories=house.CATEGORIES,
                team=team,
                audit_rate=rate,
                maturity_seconds=0,
                **by,
            )
        access.set_password(session, house.OWNER, PASSWORD, actor="test", now=now)


@contextlib.contextmanager
def resources(postgres_url: str) -> Iterator[Resources]:
    """A furnished database of its own, with the log in it."""
    name = f"town_{next(_DATABASES)}"
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
        url = f"{postgres_url.rpartition('/')[0]}/{name}"
        settings = Settings(database_url=SecretStr(url), log_partitions=2)
        opened = Resources(settings, Database(make_engine(url)), url, DatabaseClock())
        try:
            furnish(opened.database)
            ensure_topics(opened)
            yield opened
        finally:
            opened.close()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def at_work(opened: Resources) -> Iterator[None]:
    """Both consumers and the relay, in threads."""
    ended = threading.Event()
    relay = Relay(opened.database, opened.log)

    def pass_on() -> None:
        while not ended.is_set():
            if not relay.step():
                ended.wait(0.02)

    consumers = [make_consumer(opened, name) for name in ("feedback", "escalation")]
    threads = [threading.Thread(target=one.run) for one in consumers]
    threads.append(threading.Thread(target=pass_on))
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for consumer in consumers:
            consumer.stop()
        for thread in threads:
            thread.join(timeout=20)


@contextlib.contextmanager
def open_town(postgres_url: str) -> Iterator[Town]:
    """Everything that `secondlook run` runs, in this process."""
    with (
        resources(postgres_url) as opened,
        at_work(opened),
        serve_app(make_ui(opened)) as origin,
    ):
        yield Town(opened, origin)
