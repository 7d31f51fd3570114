"""Engine, sessions and the base of all tables."""

import select
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import psycopg
import sqlalchemy
from pydantic_core import from_json
from sqlalchemy import (
    BigInteger,
    CursorResult,
    DateTime,
    Engine,
    LargeBinary,
    MetaData,
    Result,
    Text,
    TextualSelect,
    column,
    create_engine,
    event,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker

from services.kit.errors import AlreadyThere

__all__ = [
    "Base",
    "Database",
    "Json",
    "Session",
    "add_new",
    "affected",
    "connect_alone",
    "has_news",
    "is_infrastructure",
    "make_engine",
    "selecting",
    "took_too_long",
]

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

# A worker that freezes inside a transaction hides its rows from all others until the
# server ends it; these bounds decide how long that can be.
_IDLE_IN_TRANSACTION_MS = 5_000
_STATEMENT_MS = 60_000


# SQLSTATE classes and states that speak of the server and not of what it was given: lost
# connections, deadlocks, full disks, locks, shutdowns, broken files, a standby, a time-out.
_SERVER_CLASSES = frozenset({"08", "40", "53", "55", "57", "58", "XX"})
_SERVER_STATES = frozenset({"25006", "25P03"})
_TOO_LONG = frozenset({"25P03", "57014"})

# Python's None is SQL's NULL, never JSON's null: "no value" has one spelling.
Json = JSONB(none_as_null=True)


class Base(DeclarativeBase):
    """Base of every table, with names for constraints so that migrations can speak of them."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        int: BigInteger,
        str: Text,
        bytes: LargeBinary,
        datetime: DateTime(timezone=True),
        dict[str, Any]: Json,
        list[Any]: Json,
    }


def make_engine(
    url: str,
    *,
    pool_size: int = 5,
    application_name: str = "secondlook",
    statement_timeout_ms: int = _STATEMENT_MS,
) -> Engine:
    """An engine for PostgreSQL through psycopg.

    `pool_size` bounds the connections of this process: nothing overflows it, so a
    process never holds more than it was given.
    """
    options = (
        f"-c idle_in_transaction_session_timeout={_IDLE_IN_TRANSACTION_MS} "
        f"-c statement_timeout={statement_timeout_ms} -c timezone=UTC -c jit=off"
    )
    engine = create_engine(
        url.replace("postgresql://", "postgresql+psycopg://", 1),
        # Several times as fast as the standard library's, on rows that are mostly JSON.
        json_deserializer=from_json,
        pool_size=pool_size,
        max_overflow=0,
        pool_recycle=1800,
        connect_args={
            "application_name": application_name,
            "options": options,
            "connect_timeout": 5,
            "keepalives_idle": 30,
            "tcp_user_timeout": 20_000,
        },
    )
    event.listen(engine, "connect", _mark_new)
    event.listen(engine, "checkout", _refuse_lost)
    return engine


_NEW = "new"


def _mark_new(_: object, record: Any) -> None:
    record.info[_NEW] = True


def _refuse_lost(connection: psycopg.Connection[Any], record: Any, *_: object) -> None:
    """Have the pool replace what the server has ended, without asking the server each time.

    One that was made for this very use is not replaced: its statement will say what is wrong.
    """
    if not record.info.pop(_NEW, False) and has_news(connection):
        raise sqlalchemy.exc.InvalidatePoolError


def is_infrastructure(error: BaseException) -> bool:
    """Whether an error speaks of the database server, not of what it was given."""
    if isinstance(error, sqlalchemy.exc.TimeoutError):
        return True
    if isinstance(error, sqlalchemy.exc.DBAPIError) and error.connection_invalidated:
        return True
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if not isinstance(cause, psycopg.Error):
        return False
    state = cause.sqlstate
    if state is None:
        return isinstance(cause, psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in _SERVER_CLASSES or state in _SERVER_STATES


def took_too_long(error: BaseException) -> bool:
    """Whether the server ended a statement, or a transaction, for the time that it took."""
    cause = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    return isinstance(cause, psycopg.Error) and cause.sqlstate in _TOO_LONG


def connect_alone(
    url: str, *, application_name: str = "secondlook wakeup"
) -> psycopg.Connection[Any]:
    """A connection outside any pool that commits each statement, such as one that listens."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=5,
        application_name=application_name,
        # Who only listens would never notice that the other end is gone.
        keepalives_idle=30,
        tcp_user_timeout=20_000,
        options=f"-c statement_timeout={_STATEMENT_MS} -c timezone=UTC -c jit=off",
    )


def has_news(connection: psycopg.Connection[Any], *, within: float = 0.0) -> bool:
    """Whether the server says something, within so many seconds, that nobody asked for.

    As a rule, that it is gone; to who listens, what was notified.
    """
    if connection.closed:
        return True
    asked = select.poll()  # of any number of open files, which `select` is not
    asked.register(connection, select.POLLIN)
    return bool(asked.poll(within * 1000))


class KeptConnection:
    """One thread's own connection, kept from one use to the next.

    For what is asked thousands of times a second: nothing is looked for in a pool, nothing
    begun and nothing ended. A server that went away is noticed at the next use.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connect = connect
        self._connection: psycopg.Connection[Any] | None = None

    @contextmanager
    def open(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection; it is dropped where what is done with it fails."""
        if self._connection is not None and has_news(self._connection):
            self.close()
        if self._connection is None:
            self._connection = self._connect()
        try:
            yield self._connection
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give it back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def selecting(statement: str, columns: Iterable[str]) -> TextualSelect:
    """A select that is sent often: told which columns it has, SQLAlchemy learns them once.

    `columns` are their names in their order; what Python gets is what the driver makes of them.
    """
    return text(statement).columns(*map(column, columns))


def add_new(session: Session, row: Base, key: str, what: str) -> None:
    """Insert a row under a key that must be free.

    Raises:
        AlreadyThere: it is taken.
    """
    if session.get(type(row), key) is not None:
        raise AlreadyThere(f"There is a {what} already.")
    session.add(row)
    session.flush()


def affected(result: Result[Any]) -> int:
    """How many rows a statement wrote."""
    return cast("CursorResult[Any]", result).rowcount


class Database:
    """Where sessions come from. Verbs never commit; `transaction()` is the edge that does."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False, autoflush=False)

    def tell_sessions(self, info: dict[str, Any]) -> None:
        """Give every session from now on this `info`."""
        self._sessions.configure(info=info)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        with self._sessions() as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self) -> Iterator[Session]:
        """One transaction that sees one moment, for reads that are held against one another."""
        with self.transaction() as session:
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    def close(self) -> None:
        """Give back every connection."""
        self.engine.dispose()
