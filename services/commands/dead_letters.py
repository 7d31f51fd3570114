"""`dead-letters`: events that could not be used, and what to do about them."""

from typing import Annotated, Any

import typer

from services.commands.shared import AsJson, answer, group, operator, resources, transaction
from services.kit.consuming.dead_letters import DeadLetterListed, DeadLetterRow, each_waiting
from services.tools import dead_letters

commands = group("Events that could not be used: list, show, retry, discard.")


Number = Annotated[int, typer.Argument(help="The dead letter's number.")]


def _summary(row: DeadLetterListed | DeadLetterRow) -> dict[str, Any]:
    names = ("id", "topic", "partition", "offset", "reason", "received_at", "parked", "tool")
    return {name: getattr(row, name) for name in names}


@commands.command("list")
def list_waiting(
    everything: Annotated[bool, typer.Option("--all", help="Also those dealt with.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits for somebody, the oldest first."""
    with transaction() as (_, session, _now):
        found = list(each_waiting(session, everything=everything))
    lines = [
        f"{r.id}  {r.received_at:%F %T}  {r.topic}/{r.partition}/{r.offset}  {r.reason}"
        for r in found
    ]
    answer([_summary(row) for row in found], as_json=as_json, lines=lines or ["none"])


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
    numbers: Annotated[list[int] | None, typer.Argument(help="Their numbers.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one that waits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, as they came; each gets a new place on the log."""
    if not numbers and not everything:
        raise typer.BadParameter("name some by their numbers, or say --all")
    done = []
    with resources() as found:
        if everything:
            with found.database.transaction() as session:
                numbers = [row.id for row in each_waiting(session)]
        for number in numbers or ():
            with found.database.transaction() as session:
                now = found.clock.now(session)
                dead_letters.retry(session, operator(), number, now=now)
            done.append(number)
    answer({"retried": done}, as_json=as_json, lines=[f"{len(done)} are sent again"])


@commands.command("discard")
def discard(
    number: Number,
    reason: Annotated[str, typer.Option(help="Why it is not going to be used.")],
    as_json: AsJson = False,
) -> None:
    """Decide that a dead letter is never going to be used; it stays, with the reason."""
    with transaction() as (_, session, now):
        dead_letters.discard(session, operator(), number, reason=reason, now=now)
    answer({"discarded": number}, as_json=as_json, lines=[f"{number} is discarded"])
