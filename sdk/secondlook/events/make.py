"""Makes events from what they say; the caller brings the time."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from secondlook.events.codec import EVENT_BYTES
from secondlook.events.envelope import (
    CaseMoved,
    CorrectionRecorded,
    CorrectionUnmatched,
    CorrectionWithdrawn,
    DisputeRaised,
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
)
from secondlook.gate import GatePolicy


def output_recorded(
    tool: str, output: Output, *, time: datetime, event_id: str | None = None
) -> OutputRecorded:
    """An output, under an id made from the output's own, so that a resend is known as one."""
    return OutputRecorded(
        id=event_id or _id_from("output", output.output_id),
        source=f"/tools/{tool}",
        subject=output.output_id,
        time=time,
        data=output,
    )


def output_failed(
    tool: str, failure: OutputFailure, *, time: datetime, event_id: str | None = None
) -> OutputFailed:
    """A failure, under an id made from the output's, so that a resend is known as one."""
    return OutputFailed(
        id=event_id or _id_from("failure", failure.output_id),
        source=f"/tools/{tool}",
        subject=failure.output_id,
        time=time,
        data=failure,
    )


def correction_recorded(
    tool: str, correction: Correction, *, time: datetime, event_id: str | None = None
) -> CorrectionRecorded:
    """A correction, under the id given, else a random one."""
    return CorrectionRecorded(
        id=event_id or str(uuid4()),
        source=f"/tools/{tool}",
        subject=correction.output_id,
        time=time,
        data=correction,
    )


def correction_withdrawn(
    tool: str, withdrawal: Withdrawal, *, time: datetime, event_id: str | None = None
) -> CorrectionWithdrawn:
    """The undoing of a correction: one id for each correction, so that twice is once."""
    return CorrectionWithdrawn(
        id=event_id or _id_from("withdrawal", withdrawal.correction_id),
        source=f"/tools/{tool}",
        subject=withdrawal.output_id,
        time=time,
        data=withdrawal,
    )


def case_event(what: str, *, actor: Actor | str | None = None, **facts: Any) -> CaseMoved:
    """What happened to a case.

    Args:
        what: `opened`, `claimed`, `released`, `escalated`, `reassigned`, `resolved`, `closed`,
            `reopened` or `commented`.
        actor: who did it; None where Secondlook itself did.
        facts: the other fields of `CaseEvent`.
    """
    data = CaseEvent(actor=_actor(actor), **facts)
    return CaseMoved(
        id=str(uuid4()),
        type=f"secondlook.case.{what}.v1",  # type: ignore[arg-type]  # checked by the model
        subject=data.output_id,
        time=data.at,
        data=data,
    )


def verdict_given(*, actor: Actor | str, **facts: Any) -> VerdictRecorded:
    """A verdict; `facts` are the other fields of `VerdictGiven`."""
    data = VerdictGiven(actor=_actor(actor), **facts)
    return VerdictRecorded(id=str(uuid4()), subject=data.output_id, time=data.at, data=data)


def tool_changed(
    policy: GatePolicy, *, time: datetime, actor: Actor | str | None = None
) -> ToolMoved:
    """A tool's gate policy and state as they are now."""
    facts = policy.model_dump(include=set(ToolChanged.model_fields))
    data = ToolChanged(actor=_actor(actor), **facts)
    return ToolMoved(id=str(uuid4()), time=time, data=data)


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
        event = DisputeRaised(
            id=_id_from("dispute", correction_id),
            subject=correction.output_id,
            time=time,
            data=data,
        )
        if len(event.model_dump_json(exclude_none=True).encode()) <= EVENT_BYTES:
            break
    return event


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
    return CorrectionUnmatched(
        id=_id_from("unmatched", correction_id),
        subject=correction.output_id,
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
