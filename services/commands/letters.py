"""`dead-letters`, `account`, `audit`, `replay`: where every event is, and what to do about it."""

from typing import Annotated, Any

import typer

from services import bootstrap
from services.commands.shared import AsJson, Consumed, answer, group, resources, transaction, whoami
from services.feedback import queries as feedback
from services.insight.account import TOPICS
from services.insight.account import account as explain
from services.kit import audit as audit_log
from services.kit import deadletters, offsets

dead_letters = group("Events that could not be used: list, show, retry.")
audit = group("The audit log.")

LetterId = Annotated[int, typer.Argument(help="The dead letter's number.")]


def _summary(row: Any) -> dict[str, Any]:
    names = ("id", "topic", "partition", "offset", "reason", "received_at", "parked", "tool")
    return {name: getattr(row, name) for name in names}


@dead_letters.command("list")
def list_letters(
    everything: Annotated[bool, typer.Option("--all", help="Also those retried.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what waits for somebody, the oldest first."""
    with transaction() as (_, session, _now):
        found = feedback.dead_letters(session, everything=everything, limit=100_000)
    lines = [
        f"{r.id}  {r.received_at:%F %T}  {r.topic}/{r.partition}/{r.offset}  {r.reason}"
        for r in found
    ]
    answer([_summary(row) for row in found], as_json=as_json, lines=lines or ["none"])


@dead_letters.command("show")
def show_letter(letter: LetterId, as_json: AsJson = False) -> None:
    """Show one with its bytes and all that is wrong with it."""
    with transaction() as (_, session, _now):
        row = feedback.dead_letter(session, letter)
    data = {
        **_summary(row),
        "problems": row.problems,
        "bytes": bytes(row.value),
        "text": bytes(row.value).decode(errors="replace"),
        "retried_at": row.retried_at,
    }
    lines = [f"{name}: {value}" for name, value in data.items() if name != "bytes"]
    answer(data, as_json=as_json, lines=lines)


@dead_letters.command("retry")
def retry_letters(
    letters: Annotated[list[int] | None, typer.Argument(help="Their numbers.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every one that waits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters again, as they came; each gets a new place on the log."""
    if not letters and not everything:
        raise typer.BadParameter("name the letters, or say --all")
    done = []
    with resources() as found:
        if everything:
            with found.database.transaction() as session:
                letters = [row.id for row in feedback.dead_letters(session, limit=100_000)]
        for letter in letters or ():
            with found.database.transaction() as session:
                now = found.clock.now(session)
                deadletters.retry(session, letter, now=now)
                _note(session, now, "retry", "dead letter", str(letter))
            done.append(letter)
    answer({"retried": done}, as_json=as_json, lines=[f"{len(done)} are sent again"])


def _note(session: Any, now: Any, verb: str, kind: str, name: str, **detail: Any) -> None:
    audit_log.record(
        session, at=now, actor=whoami(), verb=verb, object_kind=kind, object_id=name, **detail
    )


def account(as_json: AsJson = False) -> None:
    """Say where every event is."""
    with resources() as found:
        bounds = found.log.bounds(list(TOPICS))
        with found.database.transaction() as session:
            data = explain(
                session, bounds, lambda p, start, limit: found.log.read(p, start=start, limit=limit)
            )
    lines = [f"{name:14}{value}" for name, value in data.items() if isinstance(value, int)]
    lines += [f"{slug}: {entry}" for slug, entry in data["tools"].items()]
    answer(data, as_json=as_json, lines=lines)


@audit.command("verify")
def verify_audit(as_json: AsJson = False) -> None:
    """Check that nobody changed the past; exit 1 where somebody did."""
    with transaction() as (_, session, _now):
        broken = list(audit_log.verify(session))
    data = {"sound": not broken, "broken": [b._asdict() for b in broken]}
    lines = [f"entry {b.entry}: {b.problem}" for b in broken] or ["the audit log is sound"]
    answer(data, as_json=as_json, lines=lines)
    if broken:
        raise typer.Exit(1)


def replay(
    consumer: Annotated[Consumed, typer.Argument(help="feedback or escalation")],
    topic: Annotated[str, typer.Argument(help="The topic to read again.")],
    offset: Annotated[int, typer.Option(min=0, help="From here on, in every partition.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Let a consumer read a topic again; what it knows already changes nothing."""
    topics = bootstrap.CONSUMED[consumer.value]
    if topic not in topics:
        raise typer.BadParameter(f"{consumer.value} reads {', '.join(topics)}", param_hint="topic")
    with resources() as found:
        bounds = found.log.bounds([topic])
        with found.database.transaction() as session:
            now = found.clock.now(session)
            again = offsets.replay(session, consumer.value, bounds, offset)
            _note(session, now, "replay", "consumer", consumer.value, topic=topic, offset=offset)
    data = {"consumer": consumer.value, "topic": topic, "offset": offset, "again": again}
    lines = [f"{consumer.value} reads {again} offsets of {topic} again, from {offset} on"]
    answer(data, as_json=as_json, lines=lines)
