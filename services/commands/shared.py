"""What every command needs: settings, resources, answers and exit codes."""

import getpass
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from services.bootstrap import Resources, opened
from services.kit.settings import load_settings


class Consumed(StrEnum):
    """The consumers, by the name of what they consume for."""

    FEEDBACK = "feedback"
    ESCALATION = "escalation"


AsJson = Annotated[bool, typer.Option("--json", help="Answer as JSON, for scripts.")]


def group(help_: str) -> typer.Typer:
    """A group of commands."""
    return typer.Typer(help=help_, no_args_is_help=True, pretty_exceptions_enable=False)


def whoami() -> str:
    """How audit entries name whoever runs a command on this machine."""
    return f"cli:{getpass.getuser()}"


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
