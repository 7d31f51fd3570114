"""A database with people and tools in it, and what tests ask of one."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psycopg
from pydantic import SecretStr

from services.app.resources import Resources, ensure_topics
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.settings import Settings
from tests.factories import people, storage, tools

_NUMBERS = itertools.count()


def populate(database: Database, **tool: Any) -> None:
    """Both teams, everybody, and the one tool."""
    with database.transaction() as session:
        people.add_people(session)
        tools.add_tool(session, **tool)


def populate_fully(database: Database) -> None:
    """The same with every tool."""
    populate(database)
    with database.transaction() as session:
        tools.add_every_tool(session)


def open_resources(url: str, **settings: Any) -> Resources:
    """What a role of the product works with, on the database at `url`; topics included."""
    given = Settings(database_url=SecretStr(url), **settings)
    opened = Resources(given, Database(make_engine(url, pool_size=10)), url, DatabaseClock())
    ensure_topics(opened)
    return opened


class Installation:
    """What is stored, and everybody's ways in."""

    def __init__(self, resources: Resources) -> None:
        self.resources = resources

    @property
    def database(self) -> Database:
        """Where everything is stored."""
        return self.resources.database

    def rows(self, query: str, **given: Any) -> list[Any]:
        """What raw SQL finds."""
        return storage.rows(self.database, query, **given)

    def one(self, query: str, **given: Any) -> Any:
        """The single value that raw SQL finds."""
        return storage.one(self.database, query, **given)

    def case_on(self, output_id: str) -> int:
        """The number of the case on an output."""
        return int(
            self.one(
                "SELECT case_id FROM case_output WHERE output_id = :id",
                id=output_id,
            )
        )

    def link(self, email: str) -> str:
        """The path of a fresh sign-in link."""
        with self.database.transaction() as session:
            return f"/sign-in/{people.sign_in_link(session, email)}"

    def session(self, email: str) -> str:
        """The secret of a fresh browser session."""
        with self.database.transaction() as session:
            return people.browser_session(session, email)

    def token(self, email: str) -> str:
        """A fresh personal token."""
        with self.database.transaction() as session:
            return people.personal_token(session, email)

    def key(self, tool: str = tools.TOOL) -> str:
        """A fresh key of a tool."""
        with self.database.transaction() as session:
            return tools.tool_key(session, tool)


def named(url: str, database: str) -> str:
    """The address of another database of the same server."""
    return f"{url.rpartition('/')[0]}/{database}"


@contextmanager
def cloned(postgres_url: str, template: str = "template") -> Iterator[str]:
    """A database of its own made from another one; answers its address."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = _clone(connection, template)
        try:
            yield named(postgres_url, name)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_template(postgres_url: str, fill: Callable[[Database], None]) -> str:
    """A migrated database that `fill` has put something into, to clone; stays with the server."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = _clone(connection, "template")
    database = Database(make_engine(named(postgres_url, name)))
    fill(database)
    database.close()
    return name


@cache
def populated_template(postgres_url: str) -> str:
    """The template of what `populate` puts there."""
    return make_template(postgres_url, populate)


def _clone(connection: psycopg.Connection[Any], template: str) -> str:
    name = f"test_{next(_NUMBERS)}"
    # Half the work of the default way, which writes every page to the log of changes.
    connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy")
    return name
