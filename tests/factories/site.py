"""The whole product in this process, for browsers: pages, consumers and the relay."""

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any

import psycopg
from fastapi import FastAPI
from secondlook import events

from services.app.resources import Resources
from services.app.roles import CONSUMED, make_consumer
from services.app.web import make_ui
from services.kit.consuming.outbox import Relay
from services.kit.database import Database
from services.tools.identity import COOKIE
from tests.browser.harness import serve_app
from tests.factories import outputs, people, tools
from tests.factories.installation import (
    Installation,
    cloned,
    make_template,
    open_resources,
    populate_fully,
)
from tests.waiting import until

_CLOSE = """UPDATE "case" SET state = 'closed', claimant = NULL, lease_expires_at = NULL,
    paused_since = NULL, wakes_at = NULL, pause_reason = NULL, wakes_after = NULL,
    closed_at = now(),
    verdict = 'upheld', verdict_id = 'cleared', verdict_by = 'cleared'
    WHERE state NOT IN ('resolved', 'closed')"""


class Site(Installation):
    """Pages over a database in which things can be made to happen."""

    def __init__(self, resources: Resources, origin: str = "") -> None:
        super().__init__(resources)
        self.origin = origin
        self._numbers = itertools.count()

    @cached_property
    def app(self) -> FastAPI:
        """The pages."""
        return make_ui(self.resources)

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

    def output(self, tool: str = tools.TOOL, *, confidence: float = 0.4, **fields: Any) -> str:
        """Send an output through the log and wait until it is stored; answers its id."""
        output_id = f"o/{next(self._numbers)} %"
        given: dict[str, Any] = {
            "value": tools.VALUES[tool],
            "kind": tools.KINDS[tool].value if tool in tools.KINDS else "category",
            "subject": f"Ticket {output_id}",
            "input": {"text": "Where is my money?", "language": "en"},
            **fields,
        }
        if given["kind"] == "category":
            given.setdefault("alternatives", [{"value": "tax", "confidence": 0.2}])
        self.send(outputs.output(output_id, tool=tool, confidence=confidence, **given))
        stored = "SELECT count(*) FROM output WHERE output_id = :id AND recorded_at IS NOT NULL"
        until(lambda: self.one(stored, id=output_id) == 1)
        return output_id

    def send(self, *given: events.Event) -> None:
        """Put events onto the log."""
        self.resources.intake.say(list(given))

    def case(self, tool: str = tools.TOOL, *, confidence: float = 0.4, **fields: Any) -> int:
        """Send an output that opens a case and wait for that; answers its number."""
        output_id = self.output(tool, confidence=confidence, **fields)
        return self.case_of(output_id)

    def case_of(self, output_id: str) -> int:
        """The number of the case on an output, once it is there."""
        opened = "SELECT coalesce(max(case_id), 0) FROM case_output WHERE output_id = :id"
        return int(until(lambda: self.one(opened, id=output_id)))

    def correction(self, output_id: str) -> Any:
        """Kind, value and actor of the only correction of an output."""
        query = "SELECT kind, value, actor FROM correction WHERE output_id = :id"
        return tuple(self.one(query, id=output_id))

    def say(self, output_id: str, *, tool: str = tools.TOOL, **said: Any) -> str:
        """Let a rep say something of an output and wait until it is stored; the event's id."""
        event = outputs.correction(output_id, **said)
        event = event.model_copy(update={"source": f"/tools/{tool}"})
        self.resources.intake.say([event])
        stored = "SELECT count(*) FROM correction WHERE event_id = :id"
        until(lambda: self.one(stored, id=event.id) == 1)
        return str(event.id)

    def verdict(self, case: int) -> Any:
        """Verdict, value and who gave it."""
        query = 'SELECT verdict, verdict_value, verdict_by FROM "case" WHERE id = :id'
        return tuple(self.one(query, id=case))

    def clear(self) -> None:
        """Close what is open, so that the queue holds a test's own cases alone."""
        with psycopg.connect(self.resources.database_url, autocommit=True) as connection:
            # No verb closes cases at will, and the database holds everybody to the verbs.
            connection.execute("SET session_replication_role = replica")
            connection.execute(_CLOSE)


def _fill(database: Database) -> None:
    populate_fully(database)
    with database.transaction() as session:
        people.set_password(session, people.OWNER)


@cache
def _template(postgres_url: str) -> str:
    return make_template(postgres_url, _fill)


@contextmanager
def open_site(postgres_url: str) -> Iterator[Site]:
    """A site without a web server: what tests do that speak to the pages in this process."""
    with cloned(postgres_url, _template(postgres_url)) as url:
        resources = open_resources(url, log_partitions=2)
        try:
            yield Site(resources)
        finally:
            resources.close()


@contextmanager
def at_work(site: Site) -> Iterator[Site]:
    """Both consumers and the relay, in threads."""
    ended = threading.Event()
    relay = Relay(site.database, site.resources.log)

    def pass_on() -> None:
        while not ended.is_set():
            if not relay.step():
                ended.wait(0.01)

    consumers = [make_consumer(site.resources, name) for name in CONSUMED]
    threads = [threading.Thread(target=run) for run in (*(c.run for c in consumers), pass_on)]
    for thread in threads:
        thread.start()
    try:
        yield site
    finally:
        ended.set()
        for consumer in consumers:
            consumer.stop()
        for thread in threads:
            thread.join(timeout=20)


@contextmanager
def open_served_site(postgres_url: str) -> Iterator[Site]:
    """Everything that `secondlook run` runs, in this process."""
    with (
        open_site(postgres_url) as site,
        at_work(site),
        serve_app(site.app) as origin,
    ):
        site.origin = origin
        yield site
