"""One history: it makes what the code says, and can be walked back."""

from collections.abc import Callable

import psycopg
from alembic import command

from migrations import run


def test_migrations_make_the_tables_of_the_code(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE migrated")
        url = f"{postgres_url.rpartition('/')[0]}/migrated"
        try:
            run.upgrade(url)
            run.check(url)
            command.downgrade(run.config(url), "base")
            run.upgrade(url)
        finally:
            connection.execute("DROP DATABASE migrated WITH (FORCE)")


def test_migrating_twice_changes_nothing(fresh_database: Callable[[], str]) -> None:
    run.upgrade(fresh_database())
