"""`dead-letters`: events that could not be used, and what to do about them."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Annotated, Any

import typer
from pydantic_core import to_jsonable_python
from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.commands.shared import (
    AsJson,
    answer,
    group,
    operator,
    resources,
    say,
    transaction,
)
from services.kit.consuming.dead_letters import DeadLetterListed, DeadLetterRow, Matching
from services.tools import dead_letters

commands = group("Events that could not be used: list, show, retry, discard.")


Number = Annotated[int, typer.Argument(help="The dead letter's number.")]
Numbers = Annotated[list[int] | None, typer.Argument(help="Their numbers.")]
OfTool = Annotated[str | None, typer.Option("--tool", help="All that wait of this tool.")]
RefusedFor = Annotated[
    str | None, typer.Option("--refused-for", help="All that wait with this reason, as listed.")
]
_PAGE = 1_000
_MOST_NUMBERS = 100  # they are read together, a MiB each at most


def _summary(row: DeadLetterListed | DeadLetterRow) -> dict[str, Any]:
    names = ("id", "topic", "partition", "offset", "reason", "received_at", "parked", "tool")
    return {name: getattr(row, name) for name in names}


@commands.command("list")
def list_waiting(
    everything: Annotated[bool, typer.Option("--all", help="Also those dealt with.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="So many at most.")] = 50,
    after: Annotated[int, typer.Option(min=0, help="Those after this number.")] = 0,
    as_json: AsJson = False,
) -> None:
    """List what waits for somebody, the oldest first."""
    with resources() as found:
        write = _write_json if as_json else _write_lines
        write(_listed(found, after=after, limit=limit + 1, everything=everything), limit)


def _listed(
    found: Resources, *, after: int, limit: int, everything: bool
) -> Iterator[DeadLetterListed]:
    """Dead letters page by page: there may be more than fit into memory."""
    while limit > 0:
        with found.database.transaction() as session:
            page = dead_letters.waiting(
                session, operator(), after=after, limit=min(limit, _PAGE), everything=everything
            )
        if not page:
            return
        yield from page
        after, limit = page[-1].id, limit - len(page)


def _write_lines(rows: Iterator[DeadLetterListed], limit: int) -> None:
    last = None
    for n, r in enumerate(rows):
        if n == limit:
            say(f"There are more: go on with --after {last}.")
            return
        say(f"{r.id}  {r.received_at:%F %T}  {r.topic}/{r.partition}/{r.offset}  {r.reason}")
        last = r.id
    if last is None:
        say("none")


def _write_json(rows: Iterator[DeadLetterListed], limit: int) -> None:
    """A list, written as it is read; the last one's number is what to go on after."""
    say("[")
    for n, row in enumerate(rows):
        if n == limit:
            break
        say(("," if n else "") + json.dumps(to_jsonable_python(_summary(row))))
    say("]")


@commands.command("show")
def show(number: Number, as_json: AsJson = False) -> None:
    """Show one with its bytes and all that is wrong with it."""
    with transaction() as (_, session, _now):
        row = dead_letters.one(session, operator(), number)
    data = {
        **_summary(row),
        "problems": row.problems,
        "bytes": bytes(row.value),
        "text": bytes(row.value).decode(errors="replace"),
        "retried_at": row.retried_at,
        "discarded_at": row.discarded_at,
        "discarded_by": row.discarded_by,
        "discard_reason": row.discard_reason,
    }
    lines = [f"{name}: {value}" for name, value in data.items() if name != "bytes"]
    answer(data, as_json=as_json, lines=lines)


@commands.command("retry")
def retry(
    numbers: Numbers = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one that waits.")] = False,
    tool: OfTool = None,
    refused_for: RefusedFor = None,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, as they came; each gets a new place on the log."""
    matching = everything or tool is not None or refused_for is not None
    _require_one_way(numbers, matching=matching, ways="--all, --tool or --refused-for")
    done = _deal_with(
        numbers,
        tool,
        refused_for,
        named=lambda session, some, now: dead_letters.retry(session, operator(), *some, now=now),
        matching=lambda session, which, now: dead_letters.retry_matching(
            session, operator(), which, now=now
        ),
    )
    answer({"retried": done}, as_json=as_json, lines=[f"{done} are sent again"])


@commands.command("discard")
def discard(
    reason: Annotated[str, typer.Option(help="Why they are not going to be used.")],
    numbers: Numbers = None,
    tool: OfTool = None,
    refused_for: RefusedFor = None,
    as_json: AsJson = False,
) -> None:
    """Decide that dead letters are never going to be used; they stay, with the reason."""
    matching = tool is not None or refused_for is not None
    _require_one_way(numbers, matching=matching, ways="--tool or --refused-for")
    done = _deal_with(
        numbers,
        tool,
        refused_for,
        named=lambda session, some, now: dead_letters.discard(
            session, operator(), *some, reason=reason, now=now
        ),
        matching=lambda session, which, now: dead_letters.discard_matching(
            session, operator(), which, reason=reason, now=now
        ),
    )
    answer({"discarded": done}, as_json=as_json, lines=[f"{done} are discarded"])


def _require_one_way(numbers: list[int] | None, *, matching: bool, ways: str) -> None:
    if bool(numbers) == matching:
        raise typer.BadParameter(f"name some by their numbers, or say {ways}")
    if numbers and len(numbers) > _MOST_NUMBERS:
        raise typer.BadParameter(f"name {_MOST_NUMBERS} at most, or say {ways}")


_Step = Callable[[Session, Matching, datetime], list[int]]


_Named = Callable[[Session, set[int], datetime], None]


def _deal_with(
    numbers: list[int] | None,
    tool: str | None,
    reason: str | None,
    *,
    named: _Named,
    matching: _Step,
) -> int:
    """Deal with those that are numbered, together, or with all that match; answers how many."""
    if not numbers:
        return _in_steps(tool, reason, matching)
    with transaction() as (_, session, now):
        named(session, set(numbers), now)
    return len(set(numbers))


def _in_steps(tool: str | None, reason: str | None, step: _Step) -> int:
    """Deal with all that match, some in each transaction; answers how many."""
    done = 0
    with resources() as found:
        with found.database.transaction() as session:
            which = dead_letters.match(session, operator(), tool=tool, reason=reason)
        while True:
            with found.database.transaction() as session:
                taken = step(session, which, found.clock.now(session))
            if not taken:
                return done
            done, which = done + len(taken), which.beyond(taken)
