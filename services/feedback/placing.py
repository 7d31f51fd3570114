"""What a decoded event becomes: a row to store, under the gate's decision, or a refusal. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from secondlook import events, gate

from services.feedback.rows import (
    CorrectionRow,
    OutputRow,
    ParsedBatch,
    UndoneVerdictRow,
    VerdictRow,
    WithdrawalRow,
)
from services.feedback.rules import Disposition, stricter, trigger_for
from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Record
from services.tools.gating import OutputEvent, decide, policy_asked
from services.tools.policies import PoliciesFor
from services.tools.queries import ToolInfo
from services.tools.records import ParsedRecord, with_tool
from services.tools.rules import NO_EXCEPTION, value_problem

Tools = Mapping[str, ToolInfo]


class _Undecided(NamedTuple):
    """An output before the gate is asked."""

    parsed: ParsedRecord
    event: OutputEvent
    tool: ToolInfo


def place(parsed: Sequence[ParsedRecord], tools: Tools, policies_for: PoliciesFor) -> ParsedBatch:
    """Put what each record says where it belongs, or among the refused."""
    found, undecided = ParsedBatch(), list[_Undecided]()
    for one in parsed:
        refusal = one.refusal
        if one.event is not None:
            refusal = _place(one, one.event, tools, found, undecided)
        if refusal is not None:
            found.refused.append((one.record, with_tool(refusal, one.record, tools)))
    found.outputs = _decided(undecided, policies_for)
    return found


def _decided(
    undecided: Sequence[_Undecided], policies_for: PoliciesFor
) -> list[tuple[OutputRow, Record]]:
    """Each output with what the gate says of it, under the policy that its tool went by."""
    policies = policies_for(
        [policy_asked(event, tool, one.record.appended_at) for one, event, tool in undecided]
    )
    return [
        (output_row(event, one.digest, tool, decide(event, policy)), one.record)
        for (one, event, tool), policy in zip(undecided, policies, strict=True)
    ]


def _place(
    one: ParsedRecord,
    event: events.AnyEvent,
    tools: Tools,
    found: ParsedBatch,
    undecided: list[_Undecided],
) -> Refusal | None:
    """Put an event into its list, or say why it cannot be used."""
    tool = tools.get(event.tool)
    if tool is None:
        problem = Problem("/source", f"there is no tool '{event.tool}'", "Register it, then retry.")
        return Refusal("unknown_tool", (problem,))
    if isinstance(event, OutputEvent):
        return _place_output(_Undecided(one, event, tool), undecided)
    if isinstance(event, events.CorrectionRecorded):
        return _place_correction(one, event, tool, found)
    if isinstance(event, events.CorrectionWithdrawn):
        found.withdrawals.append((_withdrawal_row(event, one.digest), one.record))
    elif isinstance(event, events.VerdictRecorded):
        found.verdicts.append((_verdict_row(event, one.digest), one.record))
    elif isinstance(event, events.VerdictTakenBack):
        found.undone.append((_undone_row(event, one.digest), one.record))
    return None


def _place_output(output: _Undecided, undecided: list[_Undecided]) -> Refusal | None:
    event, tool = output.event, output.tool
    if isinstance(event, events.OutputRecorded) and event.data.kind != tool.kind:
        kind = event.data.kind
        problem = Problem(
            "/data/kind", f"'{tool.slug}' returns {tool.kind}, not {kind}", f"Send {tool.kind}."
        )
        return Refusal("invalid", (problem,), tool.slug)
    undecided.append(output)
    return None


def _place_correction(
    one: ParsedRecord, event: events.CorrectionRecorded, tool: ToolInfo, found: ParsedBatch
) -> Refusal | None:
    value = event.data.value
    if value is not None:
        problem = value_problem(tool.kind, tool.ever_categories, value, pointer="/data/value")
        if problem is not None:
            return Refusal("invalid", (problem,), tool.slug)
    found.corrections.append((_correction_row(event, one.digest), one.record))
    return None


# --- rows -------------------------------------------------------------------------------


def output_row(
    event: OutputEvent, digest: str, tool: ToolInfo, decision: gate.Decision
) -> OutputRow:
    """An output, or an output failure, as the table holds it, with what the gate decided.

    Its version still lacks the number that it is counted under.
    """
    data = event.data
    failed = isinstance(event, events.OutputFailed)
    said = None if isinstance(data, events.OutputFailure) else data.disposition
    disposition = stricter(said, decision)
    trigger = trigger_for(disposition=disposition, decision=decision, failed=failed)
    unseen = disposition in (Disposition.PROCEED, Disposition.FALLBACK)
    row: OutputRow = {
        "tool": tool.slug,
        "output_id": data.output_id,
        "event_id": event.id,
        "digest": digest,
        "version": 0,
        "model": data.version.model if data.version else None,
        "prompt": data.version.prompt if data.version else None,
        "subject": data.subject,
        "kind": tool.kind.value,
        "input": data.input,
        "attributes": data.attributes or None,
        "cohort": data.cohort,
        "latency_ms": data.latency_ms,
        "disposition": said or decision.disposition,
        "gate_disposition": decision.disposition,
        "gate_reason": decision.reason,
        "condition": decision.condition,
        "policy_revision": decision.policy_revision,
        "audit": decision.audit and unseen,
        "inclusion_probability": (decision.inclusion_probability or None) if unseen else None,
        "trigger": trigger,
        "exception": trigger if trigger not in NO_EXCEPTION else None,
        "occurred_at": data.occurred_at or event.time,
    }
    if isinstance(data, events.OutputFailure):
        row["failure"] = data.error
    else:
        row |= {
            "value": data.value,
            "confidence": data.confidence,
            "alternatives": data.alternatives or None,
            "cost": data.cost,
        }
    return row


def _correction_row(event: events.CorrectionRecorded, digest: str) -> CorrectionRow:
    data = event.data
    return {
        "tool": event.tool,
        "event_id": event.id,
        "digest": digest,
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


def _withdrawal_row(event: events.CorrectionWithdrawn, digest: str) -> WithdrawalRow:
    data = event.data
    return {
        "tool": event.tool,
        "event_id": event.id,
        "digest": digest,
        "output_id": data.output_id,
        "correction_id": data.correction_id,
        "actor": data.actor.id,
    }


def _verdict_row(event: events.VerdictRecorded, digest: str) -> VerdictRow:
    data = event.data
    value: Any = data.upheld_value if data.verdict == "upheld" else data.value
    return {
        "event_id": event.id,
        "digest": digest,
        "tool": data.tool,
        "output_id": data.output_id,
        "case_id": int(data.case_id),
        "verdict": data.verdict,
        "value": value,
        "actor": data.actor.id,
        "blind": data.blind,
        "at": data.at,
    }


def _undone_row(event: events.VerdictTakenBack, digest: str) -> UndoneVerdictRow:
    data = event.data
    return {
        "event_id": event.id,
        "digest": digest,
        "tool": data.tool,
        "output_id": data.output_id,
        "verdict_id": data.verdict_id,
    }
