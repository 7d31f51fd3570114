"""The real apps in this process, with keys and tokens for everybody."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial
from typing import NamedTuple

from starlette.testclient import TestClient

from services.app import roles as app_roles
from services.app import web as app_web
from services.app.resources import Resources
from services.app.roles import CONSUMED
from services.kit.consuming import offsets
from services.kit.database import Database
from services.kit.eventlog.port import Partition
from services.people.rules import Role
from tests.factories import people, tools
from tests.factories.delivery import Delivery, take_all
from tests.factories.installation import (
    Installation,
    cloned,
    make_template,
    open_resources,
    populate,
)


class Api(Installation):
    """Everything that a test of the API speaks to.

    Beside the people of all tests there is one of each role in each team, by the name of
    `<role>.<team>`.
    """

    def __init__(self, resources: Resources, ways_in: "WaysIn", *, pages: bool) -> None:
        super().__init__(resources)
        self.log = Delivery(resources.database)
        self.tool_key, self.foreign_key, self.tokens = ways_in
        self.client = TestClient(
            app_web.make_web(resources, api=True, ui=pages),
            raise_server_exceptions=False,
            follow_redirects=False,
        )

    def bearer(self, who: str) -> dict[str, str]:
        """The header of somebody: `<role>.<team>`, `tool` or `foreign tool`."""
        keys = {"tool": self.tool_key, "foreign tool": self.foreign_key}
        return {"Authorization": f"Bearer {keys.get(who) or self.tokens[who]}"}

    def settle(self) -> None:
        """Let both consumers take what is on the log, and what follows from it."""
        for name in CONSUMED:
            consumer = app_roles.make_consumer(self.resources, name)
            take_all(consumer, behind=partial(self._is_behind, name))
        self.log.relay()

    def _is_behind(self, name: str) -> bool:
        with self.database.transaction() as session:
            reached = {
                Partition(at.topic, at.partition): at.next_offset
                for at in offsets.positions(session)
                if at.consumer == name
            }
        ends = self.resources.log.bounds(list(CONSUMED[name]))
        return any(reached.get(partition, 0) < held.next for partition, held in ends.items())


def _each_role_and_team() -> list[str]:
    return [f"{role.value}.{team}" for role in Role for team in (people.TEAM, people.OTHER_TEAM)]


class WaysIn(NamedTuple):
    """The keys of both tools, and everybody's token by `<role>.<team>`."""

    tool_key: str
    foreign_key: str
    tokens: dict[str, str]


def _add_each_role(database: Database) -> WaysIn:
    """The foreign tool, and one person of each role in each team."""
    tokens = {}
    with database.transaction() as session:
        tools.add_tool(session, tools.FOREIGN, team=people.OTHER_TEAM)
        for name in _each_role_and_team():
            role, _, team = name.partition(".")
            email = f"{name}@example.org"
            people.add_person(session, email, role=Role(role), teams=[team])
            tokens[name] = people.personal_token(session, email)
        own, foreign = tools.tool_key(session), tools.tool_key(session, tools.FOREIGN)
    return WaysIn(own, foreign, tokens)


@cache
def _template(postgres_url: str, populated: Callable[[Database], None]) -> tuple[str, WaysIn]:
    ways_in = []

    def fill(database: Database) -> None:
        populated(database)
        ways_in.append(_add_each_role(database))

    return make_template(postgres_url, fill), ways_in[0]


@contextmanager
def open_api(
    postgres_url: str, populated: Callable[[Database], None] = populate, *, pages: bool = False
) -> Iterator[Api]:
    """The apps over a database of their own, where `populated` has put people and tools.

    The pages, too, where they are asked for.
    """
    template, ways_in = _template(postgres_url, populated)
    with cloned(postgres_url, template) as url:
        resources = open_resources(url)
        try:
            opened = Api(resources, ways_in, pages=pages)
            with opened.client:
                yield opened
        finally:
            resources.close()
