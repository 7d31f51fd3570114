"""From the log into feedback's tables: decode, judge, store, count, all in one transaction."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from secondlook import events
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.feedback import service
from services.feedback.rules import Disposition
from services.kit import counts
from services.kit.clock import Clock
from services.kit.consuming import dead_letters, outbox
from services.kit.consuming.dead_letters import Refusal
from services.kit.counts import Count, Counts, hour_of
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, NewRecord, Record
from services.tools.gating import decide
from services.tools.queries import ToolCache, ToolInfo
from services.tools.rules import VerdictKind, value_problem, version_label
from services.tools.service import ensure_versions

NAME = "feedback"
TOPICS = (events.OUTPUTS, events.CORRECTIONS, events.VERDICTS)

Row = dict[str, Any]
Tools = Mapping[str, ToolInfo]
Refused = list[tuple[Record, Refusal]]


@dataclass(slots=True)
class Sorted:
    """A batch by what its records are. Each row carries its record as `record`."""

    outputs: list[Row] = field(default_factory=list)
    corrections: list[Row] = field(default_factory=list)
    withdrawals: list[Row] = field(default_factory=list)
    verdicts: list[Row] = field(default_factory=list)
    refused: Refused = field(default_factory=list)


class FeedbackConsumer:
    """The handler that `secondlook consume feedback` runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._book = ToolCache()

    def __call__(self, session: Session, batches: Sequence[Batch]) -> None:
        """Take everything that these batches hold; afterwards every record is explained."""
        tools = self._book.tools(session)
        now = self._clock.now(session)
        found = Sorted()
        for batch in batches:
            for record in batch.records:
                sort_record(record, tools, found)
        self._store(session, found, tools, shard=_shard(batches), now=now)

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that cannot be stored whatever is done, with the reason."""
        refusal = _refusal_for(error)
        now = self._clock.now(session)
        self._keep(session, [(record, refusal)], shard=record.partition.number, now=now)

    def _store(
        self, session: Session, found: Sorted, tools: Tools, *, shard: int, now: datetime
    ) -> None:
        ensure_versions(session, {(row["tool"], row["version"]) for row in found.outputs})
        tally: Counts = Counts()
        for rows, verb, topic in (
            (found.outputs, service.store_outputs, events.OUTPUTS),
            (found.corrections, service.store_corrections, events.CORRECTIONS),
            (found.withdrawals, service.store_withdrawals, events.CORRECTIONS),
            (found.verdicts, service.store_verdicts, events.VERDICTS),
        ):
            if not rows:
                continue
            records = [row.pop("record") for row in rows]
            taken = verb(session, rows, now=now, shard=shard)
            _explain(taken, topic, tally, hour_of(now))
            by_row = {id(row): record for row, record in zip(rows, records, strict=True)}
            if topic == events.OUTPUTS:
                _compare_gates(taken.stored, tally, hour_of(now))
                _send_again(session, taken, by_row, tools)
            found.refused += [(by_row[id(r)], _conflict(r)) for r in taken.conflicts]
        counts.add(session, tally, shard=shard)
        self._keep(session, found.refused, shard=shard, now=now)

    def _keep(self, session: Session, refused: Refused, *, shard: int, now: datetime) -> None:
        fresh = dead_letters.keep(session, NAME, refused, topic=events.DEAD_LETTERS)
        tally: Counts = Counts()
        for (record, refusal), new in zip(refused, fresh, strict=True):
            place, topic = (refusal.tool or "", hour_of(now)), record.partition.topic
            if new:
                measure = "parked" if refusal.parked else "dead_lettered"
                tally[Count(measure, *place, refusal.reason, topic)] += 1
            else:
                tally[Count("duplicate", *place, "", topic)] += 1
        counts.add(session, tally, shard=shard)


def _shard(batches: Sequence[Batch]) -> int:
    return min(batch.partition.number for batch in batches)


def _explain(taken: service.Taken, topic: str, tally: Counts, hour: datetime) -> None:
    for measure, rows in (("stored", taken.stored), ("duplicate", taken.duplicates)):
        for tool, n in Counter(row["tool"] for row in rows).items():
            tally[Count(measure, tool, hour, "", topic)] += n


def _compare_gates(stored: Sequence[Row], tally: Counts, hour: datetime) -> None:
    """Count the outputs whose gate in the SDK answered otherwise than the server's."""
    for row in stored:
        if row["disposition"] != row["gate_disposition"]:
            tally[Count("gate_disagreements", row["tool"], hour, "", row["disposition"])] += 1


def _send_again(
    session: Session, taken: service.Taken, by_row: Mapping[int, Record], tools: Tools
) -> None:
    """Put onto the log again what escalation may have passed over when it read it first.

    It knew no such tool yet, or no case that waited for the output. Here it is a duplicate
    the next time, so it is sent once.
    """
    early = [
        row for row in taken.stored if tools[row["tool"]].created_at > by_row[id(row)].appended_at
    ]
    records = []
    for row in {id(row): row for row in (*early, *taken.missed)}.values():
        record, key = by_row[id(row)], events.key(row["tool"], row["output_id"])
        records.append(NewRecord(events.OUTPUTS, key, record.value, record.headers))
    if records:
        outbox.enqueue(session, records)


def _conflict(row: Row) -> Refusal:
    problem = Problem(
        "/data/output_id",
        f"the id '{row['output_id'][:80]}', or the event's own, stands for another payload",
        "Give every output and every event an id of its own; what came first stays.",
    )
    return Refusal("conflict", (problem,), row["tool"])


def _refusal_for(error: Exception | str) -> Refusal:
    """The reason for a record that could not be stored."""
    if isinstance(error, IntegrityError):
        problem = Problem("/id", "it clashes with what is stored", "Use an id of its own.")
        return Refusal("conflict", (problem,))
    reason = error if isinstance(error, str) else "cannot_be_stored"
    problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
    return Refusal(reason, (problem,))


# --- sorting ------------------------------------------------------------------------------


def sort_record(record: Record, tools: Tools, found: Sorted) -> None:
    """Decode one record and put it where it belongs, or among the refused."""
    try:
        event = events.decode(record.value, record.headers)
    except events.UnknownEventType as error:
        problem = Problem("/type", str(error), "Upgrade Secondlook, then retry it.")
        found.refused.append((record, Refusal("unknown_type", (problem,), parked=True)))
        return
    except events.InvalidEvent as error:
        problems = tuple(Problem(p.pointer, p.problem, p.mend) for p in error.problems)
        found.refused.append((record, Refusal("invalid", problems, _tool_of_key(record, tools))))
        return
    refusal = _place(event, record, tools, found)
    if refusal is not None:
        found.refused.append((record, refusal))


def _tool_of_key(record: Record, tools: Tools) -> str | None:
    """The tool that a broken record's key speaks of, if it is one of ours."""
    name = (record.key or b"").partition(b"/")[0].decode(errors="replace")
    return name if name in tools else None


def _place(event: Any, record: Record, tools: Tools, found: Sorted) -> Refusal | None:
    """Put a decoded event into its list, or say why it cannot be used."""
    if isinstance(event, events.VerdictRecorded) and record.partition.topic == events.VERDICTS:
        found.verdicts.append(_verdict_row(event, record))
        return None
    if event.topic != record.partition.topic:
        problem = Problem(
            "/type", f"{event.type} does not belong here", f"Send it to {event.topic}."
        )
        return Refusal("wrong_topic", (problem,))
    tool = tools.get(event.tool)
    if tool is None:
        problem = Problem("/source", f"there is no tool '{event.tool}'", "Register it, then retry.")
        return Refusal("unknown_tool", (problem,))
    if isinstance(event, events.OutputRecorded | events.OutputFailed):
        return _place_output(event, record, tool, found)
    if isinstance(event, events.CorrectionRecorded):
        wrong = _value_refusal(tool, event.data.value)
        if wrong is None:
            found.corrections.append(_correction_row(event, record))
        return wrong
    found.withdrawals.append(_withdrawal_row(event, record))
    return None


def _place_output(event: Any, record: Record, tool: ToolInfo, found: Sorted) -> Refusal | None:
    data = event.data
    if isinstance(event, events.OutputRecorded) and data.kind != tool.kind:
        problem = Problem(
            "/data/kind", f"'{tool.slug}' returns {tool.kind}, not {data.kind}", "Mend the kind."
        )
        return Refusal("invalid", (problem,), tool.slug)
    found.outputs.append(output_row(event, record, tool))
    return None


def _value_refusal(tool: ToolInfo, value: Any) -> Refusal | None:
    if value is None:
        return None
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/data/value")
    return Refusal("invalid", (problem,), tool.slug) if problem is not None else None


def output_row(event: Any, record: Record, tool: ToolInfo) -> Row:
    """An output, or an output failure, as the table holds it."""
    data = event.data
    decision = decide(event, tool, record.appended_at)
    version = data.version
    row: Row = {
        "record": record,
        "tool": tool.slug,
        "output_id": data.output_id,
        "event_id": event.id,
        "digest": events.digest(event).hex(),
        "version": version_label(version.model, version.prompt)
        if version
        else version_label(None, None),
        "subject": data.subject,
        "input": data.input,
        "attributes": data.attributes or None,
        "cohort": data.cohort,
        "latency_ms": data.latency_ms,
        "disposition": decision.disposition,
        "gate_disposition": decision.disposition,
        "gate_reason": decision.reason,
        "policy_revision": decision.policy_revision,
        "audit": decision.audit,
        "inclusion_probability": decision.inclusion_probability or None,
        "occurred_at": data.occurred_at or event.time,
        "kind": tool.kind.value,
    }
    if isinstance(event, events.OutputFailed):
        row |= {"failure": data.error, "gate_reason": "tool_failure"}
    else:
        row |= {
            "value": data.value,
            "confidence": data.confidence,
            "alternatives": data.alternatives or None,
            "cost": data.cost,
            "disposition": data.disposition or decision.disposition,
        }
    if row["disposition"] not in (Disposition.PROCEED, Disposition.FALLBACK):
        row |= {"audit": False, "inclusion_probability": None}
    return row


def _correction_row(event: Any, record: Record) -> Row:
    data = event.data
    return {
        "record": record,
        "tool": event.tool,
        "event_id": event.id,
        "digest": events.digest(event).hex(),
        "output_id": data.output_id,
        "kind": data.kind,
        "value": data.value,
        "reason": data.reason,
        "note": data.note,
        "actor": data.actor.id,
        "active_seconds": data.active_seconds,
        "channel": data.channel,
        "occurred_at": data.occurred_at or event.time,
    }


def _withdrawal_row(event: Any, record: Record) -> Row:
    data = event.data
    return {
        "record": record,
        "tool": event.tool,
        "event_id": event.id,
        "digest": events.digest(event).hex(),
        "output_id": data.output_id,
        "correction_id": data.correction_id,
        "actor": data.actor.id,
    }


def _verdict_row(event: Any, record: Record) -> Row:
    data = event.data
    return {
        "record": record,
        "event_id": event.id,
        "digest": events.digest(event).hex(),
        "tool": data.tool,
        "output_id": data.output_id,
        "case_id": int(data.case_id),
        "verdict": data.verdict,
        "value": data.judged if data.verdict == VerdictKind.UPHELD else data.value,
        "actor": data.actor.id,
        "blind": data.blind,
        "at": data.at,
    }
