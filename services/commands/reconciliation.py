"""`account` and `replay`: where every event is, and reading a topic again."""

from collections.abc import Mapping
from typing import Annotated

import typer

from services.app import roles as app_roles
from services.commands.shared import AsJson, Consumed, answer, resources, whoami
from services.insight.account import TOPICS
from services.insight.account import account as explain
from services.kit import audit
from services.kit.consuming import offsets


def account(as_json: AsJson = False) -> None:
    """Say where every event is."""
    with resources() as found:
        bounds = found.log.bounds(list(TOPICS))
        with found.database.transaction() as session:
            data = explain(
                session, bounds, lambda p, start, limit: found.log.read(p, start=start, limit=limit)
            )
    lines = [f"{name:14}{value}" for name, value in data.items() if isinstance(value, int)]
    for slug, entry in data["tools"].items():
        lines += [f"{slug}: {_in_words(entry)}", f"  cases: {_in_words(entry['cases'])}"]
    answer(data, as_json=as_json, lines=lines)


def _in_words(counts: Mapping[str, object]) -> str:
    """Counts on one line, without what stands below them."""
    return ", ".join(f"{n} {name}" for name, n in counts.items() if isinstance(n, int))


def replay(
    consumer: Annotated[Consumed, typer.Argument(help="feedback, escalation or notifications")],
    topic: Annotated[str, typer.Argument(help="The topic to read again.")],
    offset: Annotated[int, typer.Option(min=0, help="From here on, in every partition.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Let a consumer read a topic again; what it knows already changes nothing."""
    topics = app_roles.CONSUMED[consumer.value]
    if topic not in topics:
        raise typer.BadParameter(f"{consumer.value} reads {', '.join(topics)}", param_hint="topic")
    with resources() as found:
        bounds = found.log.bounds([topic])
        with found.database.transaction() as session:
            now = found.clock.now(session)
            again = offsets.replay(session, consumer.value, bounds, offset)
            audit.note(
                session,
                now,
                whoami(),
                "replay",
                "consumer",
                consumer.value,
                topic=topic,
                offset=offset,
            )
    data = {"consumer": consumer.value, "topic": topic, "offset": offset, "again": again}
    lines = [f"{consumer.value} reads {again} offsets of {topic} again, from {offset} on"]
    answer(data, as_json=as_json, lines=lines)
