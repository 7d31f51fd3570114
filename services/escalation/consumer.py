"""From the log into cases: whatever the gate, a dispute, a failure or a policy rule calls for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from secondlook import events, gate
from sqlalchemy.orm import Session

from services.escalation import opening, queries, service
from services.escalation.opening import Router, Wanted
from services.escalation.rules import Trigger, trigger_for
from services.kit.clock import Clock
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.consuming.runner import UNREADABLE
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.tools.gating import decide
from services.tools.queries import ToolCache, ToolInfo
from services.tools.rules import version_label

NAME = "escalation"
TOPICS = (events.OUTPUTS, events.DISPUTES)

Tools = Mapping[str, ToolInfo]


@dataclass(slots=True)
class Sorted:
    """A batch by what it does to cases."""

    wanted: list[Wanted] = field(default_factory=list)
    withdrawn: list[events.WithdrawnDispute] = field(default_factory=list)
    quiet: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Outputs that call for no case, by tool and id."""


class EscalationConsumer:
    """The handler that `secondlook consume escalation` runs.

    What it cannot read on the tools' topics it leaves to feedback, which keeps every
    dead letter of those topics; a record is refused by one room only.
    """

    def __init__(self, clock: Clock, router: Router) -> None:
        self._clock = clock
        self._router = router
        self._book = ToolCache()

    def __call__(self, session: Session, batches: Sequence[Batch]) -> None:
        """Open a case for each output of these batches that calls for one."""
        tools = self._book.tools(session)
        now = self._clock.now(session)
        shard = min(batch.partition.number for batch in batches)
        found = Sorted()
        for batch in batches:
            for record in batch.records:
                self._sort(record, tools, found)
        known = opening.open_cases(
            session, self._router, found.wanted, tools=tools, now=now, shard=shard
        )
        for one in known:
            add_to_case(session, one, now=now, shard=shard)
        _fill_in(session, found.quiet, tools, now=now, shard=shard)
        for said in found.withdrawn:
            service.withdraw_dispute(session, said, now=now)

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that no case can be made of, with the reason."""
        if error == UNREADABLE and record.partition.topic == events.OUTPUTS:
            return
        reason = error if isinstance(error, str) else "cannot_open_case"
        problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
        refused = [(record, Refusal(reason, (problem,)))]
        dead_letters.keep(session, NAME, refused, topic=events.DEAD_LETTERS)

    def _sort(self, record: Record, tools: Tools, found: Sorted) -> None:
        try:
            event = events.decode(record.value, record.headers)
        except (events.InvalidEvent, events.UnknownEventType):
            return
        tool = tools.get(event.tool)
        if tool is None or event.topic != record.partition.topic:
            return
        if isinstance(event, events.DisputeRaised | events.CorrectionUnmatched):
            found.wanted.append(_of_dispute(event))
        elif isinstance(event, events.DisputeWithdrawn):
            found.withdrawn.append(event.data)
        elif isinstance(event, events.OutputFailed) or (
            isinstance(event, events.OutputRecorded) and event.data.kind == tool.kind
        ):
            one = self._of_output(event, record, tool)
            if one is not None:
                found.wanted.append(one)
            else:
                found.quiet[event.tool, event.data.output_id] = event

    def _of_output(self, event: Any, record: Record, tool: ToolInfo) -> Wanted | None:
        decision = decide(event, tool, record.appended_at)
        said = getattr(event.data, "disposition", None)
        failed = isinstance(event, events.OutputFailed)
        trigger = trigger_for(
            disposition=_stricter(said, decision),
            reason=decision.reason,
            failed=failed,
            audit=decision.audit,
        )
        if trigger in (None, Trigger.AUDIT) and self._router.has_review_rules:
            hit = self._router.policy_hit(_as_wanted(event, tool, Trigger.POLICY))
            if hit is not None:
                return _as_wanted(event, tool, Trigger.POLICY, note=f"policy {hit}")
        return _as_wanted(event, tool, trigger) if trigger is not None else None


def _stricter(said: str | None, decision: gate.Decision) -> str:
    """What the tool went by; where it proceeded against the gate, the gate's answer."""
    return decision.disposition if said in (None, "proceed") else said


def _as_wanted(event: Any, tool: ToolInfo, trigger: Trigger, *, note: str | None = None) -> Wanted:
    data = event.data
    version = data.version
    return Wanted(
        tool=tool.slug,
        output_id=data.output_id,
        version=version_label(*((version.model, version.prompt) if version else (None, None))),
        trigger=trigger,
        kind=tool.kind.value,
        value=getattr(data, "value", None),
        confidence=getattr(data, "confidence", None),
        alternatives=getattr(data, "alternatives", None) or None,
        input=_plain(data.input),
        attributes=data.attributes or None,
        subject=data.subject,
        cohort=data.cohort,
        failure=_plain(getattr(data, "error", None)),
        note=note,
    )


def _plain(model: Any) -> dict[str, Any] | None:
    """A contract's model as a mapping without absent fields."""
    return model.model_dump(exclude_none=True) if model is not None else None


def _of_dispute(event: Any) -> Wanted:
    """The case that an objection, or a correction without its output, calls for."""
    data = event.data
    said = data.correction
    output = getattr(data, "output", None)
    version = output.version if output is not None else None
    disputed = isinstance(event, events.DisputeRaised)
    return Wanted(
        tool=data.tool,
        output_id=data.output_id,
        version=version_label(*((version.model, version.prompt) if version else (None, None))),
        trigger=Trigger.DISPUTE if disputed else Trigger.UNMATCHED,
        kind=output.kind if output is not None else None,
        value=output.value if output is not None else None,
        confidence=output.confidence if output is not None else None,
        alternatives=(output.alternatives or None) if output is not None else None,
        input=_plain(output.input) if output is not None else None,
        attributes=(output.attributes or None) if output is not None else None,
        subject=output.subject if output is not None else None,
        dispute={
            "id": data.correction_id,
            **said.model_dump(
                mode="json",
                exclude_none=True,
                include={"kind", "value", "reason", "note", "channel"},
            ),
            "actor": said.actor.id,
        },
        disputed_by=said.actor.id,
        note=said.note,
    )


def add_to_case(session: Session, one: Wanted, *, now: datetime, shard: int) -> None:
    """An output that has a case already gives another reason for one.

    A dispute of a case that was judged begins a new cycle; an output that comes after its
    correction was found unmatched fills in what the case did not know. Everything else
    (a second delivery, say) changes nothing.
    """
    if one.trigger in (Trigger.DISPUTE, Trigger.UNMATCHED):
        service.add_dispute(session, one, now=now, shard=shard)
    else:
        service.fill_in(session, one, now=now, shard=shard)


def _fill_in(
    session: Session,
    quiet: Mapping[tuple[str, str], Any],
    tools: Tools,
    *,
    now: datetime,
    shard: int,
) -> None:
    """Tell cases that were opened without their output what it is, where it came after all."""
    if not quiet:
        return
    for key in sorted(queries.awaiting(session, quiet.keys())):
        one = _as_wanted(quiet[key], tools[key[0]], Trigger.UNMATCHED)
        service.fill_in(session, one, now=now, shard=shard)
