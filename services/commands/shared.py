"""What every command needs: settings, resources, answers and exit codes."""

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import psycopg
import typer
from psycopg.errors import UndefinedTable
from pydantic_core import to_jsonable_python
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from services.app.resources import Resources, opened
from services.kit.errors import Unavailable, invalid
from services.kit.eventlog.port import LogUnavailable
from services.kit.settings import load_settings
from services.people.rules import Actor, Role


class Consumed(StrEnum):
    """The consumers, by the name of what they consume for."""

    FEEDBACK = "feedback"
    ESCALATION = "escalation"
    NOTIFICATIONS = "notifications"


AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]


def group(help_: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help_, no_args_is_help=True, pretty_exceptions_enable=False)


def whoami() -> str:
    """How audit entries name whoever runs a command on this machine."""
    return f"cli:{getpass.getuser()}"


def operator() -> Actor:
    """Whoever runs a command on this machine: it could do anything to the data as well."""
    return Actor(whoami(), "Operator", Role.ADMIN, frozenset())


@contextmanager
def resources(role: str = "command") -> Iterator[Resources]:
    """The resources of a command."""
    with opened(load_settings(), role=role, pool_size=2) as found:
        yield found


@contextmanager
def transaction() -> Iterator[tuple[Resources, Session, datetime]]:
    """Resources, one transaction and its time."""
    with resources() as found, found.database.transaction() as session:
        yield found, session, found.clock.now(session)


@contextmanager
def in_words() -> Iterator[None]:
    """Raise in words of ours what storage that is not there, or not ours yet, raises.

    Raises:
        Unavailable: it says what to look at.
    """
    try:
        yield
    except (OperationalError, ProgrammingError, UndefinedTable, LogUnavailable) as error:
        problem = _storage_problem(error)
        if problem is None:
            raise
        raise Unavailable(problem) from error


def _storage_problem(error: BaseException | None) -> str | None:
    """What to tell an operator, or None where storage is there and the fault is another."""
    if isinstance(error, LogUnavailable):
        # The embedded log is in the database, and says so by its cause.
        return _storage_problem(error.__cause__) or f"The event log cannot be reached: {error}"
    cause = getattr(error, "orig", error)
    if isinstance(cause, UndefinedTable):
        return "The database lacks this release's tables; run `secondlook migrate`."
    # Whatever fails once PostgreSQL is reached has a code.
    if isinstance(cause, psycopg.OperationalError) and cause.sqlstate is None:
        reason = str(cause).partition("\n")[0]
        return (
            f"The database cannot be reached: {reason}. "
            "Is it running, and is SECONDLOOK_DATABASE_URL right?"
        )
    return None


def say(line: str) -> None:
    """Write a line of the answer."""
    sys.stdout.write(line + "\n")


def answer(data: Any, *, as_json: bool, lines: list[str]) -> None:
    """Write the answer: `data` as JSON, or `lines` for people."""
    if as_json:
        say(json.dumps(to_jsonable_python(data, bytes_mode="base64"), indent=2))
    else:
        for line in lines:
            say(line)


def read_text(path: Path) -> str:
    """What a file says, with or without a byte-order mark.

    Raises:
        InvalidInput: it is no UTF-8; it names the line.
    """
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problem = f"{path}, line {line}, is no UTF-8 text"
        raise invalid("file", problem, "Save it as UTF-8.") from None
