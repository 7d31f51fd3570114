"""Alembic's way in: one linear history, run under a lock and with time limits."""

from alembic import context
from sqlalchemy import Connection, text

from migrations.target import metadata
from services.kit.database import make_engine
from services.kit.locks import Lock

# Two starts at once must not migrate at once; the number only has to be ours.


def _run(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": Lock.MIGRATE})
    connection.execute(text("SET LOCAL lock_timeout = '10s'"))
    connection.execute(text("SET LOCAL statement_timeout = '15min'"))
    context.configure(connection=connection, target_metadata=metadata, compare_type=True)
    context.run_migrations()


def main() -> None:
    """Migrate the database that the caller named as `sqlalchemy.url`."""
    url = context.config.get_main_option("sqlalchemy.url")
    if url is None:
        raise SystemExit("no database named; run `secondlook migrate`")
    engine = make_engine(url, pool_size=1, application_name="secondlook migrate")
    try:
        with engine.begin() as connection:
            _run(connection)
    finally:
        engine.dispose()


main()
