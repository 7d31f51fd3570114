"""Makes events from what they say; the caller brings the time."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import uuid4

from secondlook.events import topics
from secondlook.events.codec import EVENT_BYTES, valid
from secondlook.events.envelope import (
    CaseMoved,
    CorrectionRecorded,
    CorrectionUnmatched,
    CorrectionWithdrawn,
    DisputeRaised,
    DisputeWithdrawn,
    Event,
    OutputFailed,
    OutputRecorded,
    ToolMoved,
    VerdictRecorded,
)
from secondlook.events.models import (
    Actor,
    CaseEvent,
    Correction,
    Dispute,
    Output,
    OutputFailure,
    ToolChanged,
    UnmatchedCorrection,
    VerdictGiven,
    Withdrawal,
    WithdrawnDispute,
)
from secondlook.gate import GatePolicy

E = TypeVar("E", bound=Event)


def output_recorded(
    tool: str, output: Output, *, time: datetime, event_id: str | None = None
) -> OutputRecorded:
    """An output, under an id made from the output's own, so that a resend is known as one."""
    id_ = event_id or _id_from("output", output.output_id)
    return _of_tool(OutputRecorded, topics.OUTPUT_RECORDED, tool, output, id_=id_, time=time)


def output_failed(
    tool: str, failure: OutputFailure, *, time: datetime, event_id: str | None = None
) -> OutputFailed:
    """A failure, under an id made from the output's, so that a resend is known as one."""
    id_ = event_id or _id_from("failure", failure.output_id)
    return _of_tool(OutputFailed, topics.OUTPUT_FAILED, tool, failure, id_=id_, time=time)


def correction_recorded(
    tool: str, correction: Correction, *, time: datetime, event_id: str | None = None
) -> CorrectionRecorded:
    """A correction, under the id given, else a random one."""
    id_ = event_id or str(uuid4())
    return _of_tool(
        CorrectionRecorded, topics.CORRECTION_RECORDED, tool, correction, id_=id_, time=time
    )


def correction_withdrawn(
    tool: str, withdrawal: Withdrawal, *, time: datetime, event_id: str | None = None
) -> CorrectionWithdrawn:
    """The undoing of a correction: one id for each correction, so that twice is once."""
    id_ = event_id or _id_from("withdrawal", withdrawal.correction_id)
    return _of_tool(
        CorrectionWithdrawn, topics.CORRECTION_WITHDRAWN, tool, withdrawal, id_=id_, time=time
    )


def case_event(what: str, *, actor: Actor | str | None = None, **facts: Any) -> CaseMoved:
    """What happened to a case.

    Args:
        what: `opened`, `claimed`, `released`, `escalated`, `reassigned`, `resolved`, `closed`,
            `reopened`, `commented`, `disputed`, `overdue` or `reminded`.
        actor: who did it; None where Secondlook itself did.
        facts: the other fields of `CaseEvent`.
    """
    data = CaseEvent(actor=_actor(actor), **facts)
    return _ours(CaseMoved, f"secondlook.case.{what}.v1", data, time=data.at)


def verdict_given(*, actor: Actor | str, **facts: Any) -> VerdictRecorded:
    """A verdict; `facts` are the other fields of `VerdictGiven`.

    Raises:
        InvalidEvent: they break a rule.
    """
    data = valid(VerdictGiven, actor=_actor(actor), **facts)
    return _ours(VerdictRecorded, topics.VERDICT_GIVEN, data, time=data.at)


def tool_changed(
    policy: GatePolicy, *, time: datetime, actor: Actor | str | None = None
) -> ToolMoved:
    """A tool's gate policy and state as they are now."""
    facts = policy.model_dump(include=set(ToolChanged.model_fields))
    return _ours(
        ToolMoved, topics.TOOL_CHANGED, ToolChanged(actor=_actor(actor), **facts), time=time
    )


def dispute_raised(
    *,
    tool: str,
    correction_id: str,
    correction: Correction,
    output: Output | None,
    time: datetime,
) -> DisputeRaised:
    """A dispute or appeal with as much of its output as fits one event."""
    for facts in _ever_less(output):
        data = Dispute(
            tool=tool,
            output_id=correction.output_id,
            correction_id=correction_id,
            correction=correction,
            output=facts,
        )
        event = _ours(
            DisputeRaised,
            topics.DISPUTE_RAISED,
            data,
            time=time,
            id_=_id_from("dispute", correction_id),
        )
        if len(event.model_dump_json(exclude_none=True).encode()) <= EVENT_BYTES:
            break
    return event


def dispute_withdrawn(
    *, tool: str, output_id: str, correction_id: str, actor: Actor | str, time: datetime
) -> DisputeWithdrawn:
    """Words that were sent on as an objection count no longer."""
    data = WithdrawnDispute(
        tool=tool, output_id=output_id, correction_id=correction_id, actor=_actor(actor)
    )
    return _ours(
        DisputeWithdrawn,
        topics.DISPUTE_WITHDRAWN,
        data,
        time=time,
        id_=_id_from("withdrawn", correction_id),
    )


def correction_unmatched(
    *, tool: str, correction_id: str, correction: Correction, time: datetime
) -> CorrectionUnmatched:
    """A correction whose output has not come."""
    data = UnmatchedCorrection(
        tool=tool,
        output_id=correction.output_id,
        correction_id=correction_id,
        correction=correction,
    )
    return _ours(
        CorrectionUnmatched,
        topics.CORRECTION_UNMATCHED,
        data,
        time=time,
        id_=_id_from("unmatched", correction_id),
    )


def _of_tool(make: type[E], type_: str, tool: str, data: Any, *, id_: str, time: datetime) -> E:
    return make(
        specversion="1.0",
        id=id_,
        source=f"/tools/{tool}",
        type=type_,
        subject=data.output_id,
        time=time,
        data=data,
    )


def _ours(make: type[E], type_: str, data: Any, *, time: datetime, id_: str | None = None) -> E:
    return make(
        specversion="1.0",
        id=id_ or str(uuid4()),
        source="/secondlook",
        type=type_,
        subject=getattr(data, "output_id", None),
        time=time,
        data=data,
    )


def _id_from(purpose: str, name: str) -> str:
    return f"{purpose}-{blake2b(name.encode(), digest_size=16).hexdigest()}"


def _actor(actor: Actor | str | None) -> Any:
    return Actor(id=actor) if isinstance(actor, str) else actor


def _ever_less(output: Output | None) -> Iterator[Output | None]:
    if output is not None:
        yield output
        yield output.model_copy(update={"alternatives": ()})
        yield output.model_copy(update={"alternatives": (), "input": None})
    yield None
