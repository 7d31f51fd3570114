"""A small house for tests: one team, its people, a tool, and hands to put events in."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.consumer import EscalationConsumer
from services.escalation.opening import Router
from services.escalation.routing import RoutingPolicy
from services.feedback.consumer import FeedbackConsumer
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.eventlog.port import Batch, Partition, Record
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rules import Actor, Role
from services.tools import service as tool_service
from services.tools.rules import OutputKind

TOOL = "categoriser"
CATEGORIES = ["billing", "refund", "tax"]
OWNER, TEAMMATE, LEAD, REP, OUTSIDER, ADMIN = (
    f"{name}@example.org" for name in ("olga", "tim", "lea", "rita", "otto", "ada")
)
_TEAMS = {OUTSIDER: ["other"], ADMIN: []}
_ROLES = {OWNER: Role.OWNER, TEAMMATE: Role.OWNER, LEAD: Role.LEAD, REP: Role.REP}
NOON = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)


def furnish(database: Database, *, kind: OutputKind = OutputKind.CATEGORY, **tool: Any) -> None:
    """Two teams, six people and one tool of the team `support`."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        for team in ("support", "other"):
            people_service.add_team(session, team, name=None, actor="test", now=now)
        for email in (OWNER, TEAMMATE, LEAD, REP, OUTSIDER, ADMIN):
            role = _ROLES.get(email, Role.ADMIN if email == ADMIN else Role.OWNER)
            people_service.add_person(
                session,
                email,
                name=email.partition("@")[0].title(),
                role=role,
                teams=_TEAMS.get(email, ["support"]),
                actor="test",
                now=now,
            )
        tool_service.add_tool(
            session,
            TOOL,
            kind=kind,
            team="support",
            actor="test",
            now=now,
            **{
                "categories": CATEGORIES if kind is OutputKind.CATEGORY else (),
                "threshold": 0.7,
                "maturity_seconds": 0,
                **tool,
            },
        )


def person(session: Session, email: str) -> Actor:
    """Somebody of the house."""
    found = people_queries.actor(session, email)
    assert found is not None
    return found


def output(
    output_id: str, *, value: Any = "billing", confidence: float | None = 0.9, **fields: Any
) -> Any:
    """An output event of the tool."""
    data = events.Output(
        output_id=output_id,
        kind=fields.pop("kind", "category"),
        value=value,
        confidence=confidence,
        **fields,
    )
    return events.output_recorded(TOOL, data, time=NOON)


def failure(output_id: str) -> Any:
    """An output failure of the tool."""
    error = events.ToolError(kind="timeout", message="took too long")
    data = events.OutputFailure(output_id=output_id, error=error)
    return events.output_failed(TOOL, data, time=NOON)


def correction(
    output_id: str,
    *,
    kind: str = "correction",
    value: Any = None,
    minutes: int = 1,
    event_id: str | None = None,
    who: str = REP,
    **fields: Any,
) -> Any:
    """A correction event, said `minutes` after noon."""
    data = events.Correction(
        output_id=output_id,
        kind=kind,  # type: ignore[arg-type]
        value=value,
        actor=events.Actor(id=who),
        occurred_at=NOON + timedelta(minutes=minutes),
        **fields,
    )
    return events.correction_recorded(TOOL, data, time=NOON, event_id=event_id)


def withdrawal(correction_id: str, output_id: str, *, who: str = REP) -> Any:
    """A withdrawal event of somebody's correction."""
    said = events.Withdrawal(
        output_id=output_id, correction_id=correction_id, actor=events.Actor(id=who)
    )
    return events.correction_withdrawn(TOOL, said, time=NOON)


class Log:
    """Hands records to consumers as the log would: topic by topic, offsets rising."""

    def __init__(self, database: Database, policy: RoutingPolicy | None = None) -> None:
        self._database = database
        self._next: dict[str, int] = {}
        self.feedback = FeedbackConsumer(DatabaseClock())
        self.escalation = EscalationConsumer(DatabaseClock(), Router(policy))

    def records(self, given: Iterable[Any], topic: str | None = None) -> list[Record]:
        """Records of events, or of raw bytes for `topic`."""
        made = []
        for one in given:
            raw = isinstance(one, bytes)
            name = topic or one.topic
            offset = self._next.get(name, 0)
            self._next[name] = offset + 1
            value = one if raw else events.encode(one)
            key = b"" if raw else one.key
            made.append(Record(Partition(name, 0), offset, key, value, (), datetime.now(UTC)))
        return made

    def take(self, *given: Any, topic: str | None = None) -> None:
        """Both consumers take these events, each in one transaction."""
        batches = as_batches(self.records(given, topic))
        self.feed(self.feedback, batches)
        self.feed(self.escalation, batches)
        self.relay()

    def feed(self, consumer: Any, batches: Sequence[Batch]) -> None:
        """One consumer takes batches of the topics that it reads."""
        read = (
            (events.OUTPUTS, events.CORRECTIONS, events.VERDICTS)
            if consumer is self.feedback
            else (events.OUTPUTS, events.DISPUTES)
        )
        wanted = [batch for batch in batches if batch.partition.topic in read]
        if wanted:
            with self._database.transaction() as session:
                consumer(session, wanted)

    def relay(self) -> None:
        """What is in the outbox goes to the consumers that read it, until nothing is left."""
        with self._database.transaction() as session:
            sent = session.execute(
                text(
                    "UPDATE outbox SET sent_at = now() WHERE sent_at IS NULL"
                    " RETURNING id, topic, key, value"
                )
            ).all()
        if not sent:
            return
        records = [
            Record(Partition(r.topic, 0), r.id, bytes(r.key), bytes(r.value), (), datetime.now(UTC))
            for r in sorted(sent, key=lambda row: row.id)
        ]
        batches = as_batches(records)
        self.feed(self.feedback, batches)
        self.feed(self.escalation, batches)
        self.relay()


def as_batches(records: Sequence[Record]) -> list[Batch]:
    """Records of any topics as one batch a partition."""
    by_partition: dict[Partition, list[Record]] = {}
    for record in records:
        by_partition.setdefault(record.partition, []).append(record)
    return [
        Batch(partition, found[0].offset, found[-1].offset + 1, found)
        for partition, found in by_partition.items()
    ]


def rows(database: Database, query: str, **parameters: Any) -> list[Any]:
    """What raw SQL finds."""
    with database.transaction() as session:
        return list(session.execute(text(query), parameters))


def one(database: Database, query: str, **parameters: Any) -> Any:
    """The single value that raw SQL finds."""
    (row,) = rows(database, query, **parameters)
    return row[0] if len(row) == 1 else row


def total(database: Database, measure: str, label: str | None = None) -> int:
    """A count over all time."""
    return int(
        one(
            database,
            "SELECT coalesce(sum(n), 0) FROM total_count WHERE measure = :measure"
            " AND (CAST(:label AS text) IS NULL OR label = :label)",
            measure=measure,
            label=label,
        )
    )
