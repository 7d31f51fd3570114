"""The real apps over a real database, with people who are signed in."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from starlette.testclient import TestClient

from services.app import resources as app_resources
from services.app import roles as app_roles
from services.app import web as app_web
from services.app.resources import Resources
from services.escalation import consumer as escalation_consumer
from services.feedback import consumer as feedback_consumer
from services.kit.clock import DatabaseClock
from services.kit.consuming import offsets
from services.kit.database import Database, make_engine
from services.kit.settings import Settings
from services.people import access
from services.people import service as people_service
from services.people.rules import Role
from services.tools import keys as tool_keys
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests.house import TOOL, Log, furnish

FOREIGN_TOOL = "foreign"


@dataclass
class House:
    """Everything that a test of the API speaks to."""

    resources: Resources
    client: TestClient
    log: Log
    key: str
    foreign_key: str
    tokens: dict[str, str]

    def bearer(self, who: str) -> dict[str, str]:
        """The header of somebody: an e-mail address, a role, or `tool`."""
        token = {"tool": self.key, "foreign tool": self.foreign_key}.get(who) or self.tokens[who]
        return {"Authorization": f"Bearer {token}"}

    def settle(self) -> None:
        """Let both consumers take what is on the log, and what follows from it."""
        for name in ("feedback", "escalation"):
            drain(self.resources, name)
        self.log.relay()


def drain(resources: Resources, name: str) -> None:
    """Take everything that waits for a consumer, by the real runner."""
    consumer = app_roles.make_consumer(resources, name)
    topics = {
        "feedback": feedback_consumer.TOPICS,
        "escalation": escalation_consumer.TOPICS,
    }[name]
    thread = threading.Thread(target=consumer.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline and not _taken(resources, name, topics):
        time.sleep(0.02)
    consumer.stop()
    thread.join(10)


def _taken(resources: Resources, name: str, topics: tuple[str, ...]) -> bool:
    with resources.database.transaction() as session:
        reached = {
            (at.topic, at.partition): at.next_offset
            for at in offsets.positions(session)
            if at.consumer == name
        }
    ends = resources.log.bounds(list(topics))
    return all(reached.get(tuple(p), 0) >= held.next for p, held in ends.items())


def make_house(url: str, furnished: Callable[[Database], None] = furnish) -> House:
    """A furnished house on the database at `url`: two teams' tools, people of every role."""
    database = Database(make_engine(url, pool_size=10))
    furnished(database)
    resources = Resources(Settings(), database, url, DatabaseClock())
    app_resources.ensure_topics(resources)
    tokens = {}
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        tool_service.add_tool(
            session,
            FOREIGN_TOOL,
            kind=OutputKind.CATEGORY,
            team="other",
            maturity_seconds=0,
            actor="test",
            now=now,
        )
        for role in Role:
            for team in ("support", "other"):
                email = f"{role.value}.{team}@example.org"
                people_service.add_person(
                    session,
                    email,
                    name=f"{role.value} of {team}",
                    role=role,
                    teams=[team],
                    actor="test",
                    now=now,
                )
                tokens[f"{role.value}.{team}"] = access.create_token(
                    session, email, actor="test", now=now
                )
        key = tool_keys.create_key(session, TOOL, actor="test", now=now)
        foreign = tool_keys.create_key(session, FOREIGN_TOOL, actor="test", now=now)
    client = TestClient(
        app_web.make_web(resources, api=True, ui=True),
        raise_server_exceptions=False,
        follow_redirects=False,
    )
    return House(resources, client, Log(database), key, foreign, tokens)


@pytest.fixture
def house(fresh_database: Callable[[], str]) -> Iterator[House]:
    """A furnished house of this test's own."""
    made = make_house(fresh_database())
    with made.client:
        yield made
    made.resources.close()
