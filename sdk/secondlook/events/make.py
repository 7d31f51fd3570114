"""Makes events from what they say; the caller brings the time."""

from collections.abc import Iterator
from datetime import datetime
from hashlib import blake2b
from typing import Any, TypeVar
from uuid import uuid4

from secondlook._values import Trigger
from secondlook.events import topics
from secondlook.events.codec import EVENT_BYTES, valid
from secondlook.events.envelope import (
    CaseMoved,
    CorrectionRecorded,
    CorrectionWithdrawn,
    Event,
    OutputFailed,
    OutputRecorded,
    ReviewBarred,
    ReviewRequested,
    ReviewWithdrawn,
    ToolMoved,
    VerdictRecorded,
    VerdictTakenBack,
)
from secondlook.events.models import (
    Actor,
    CaseEvent,
    Correction,
    GateAnswer,
    Objection,
    Output,
    OutputFailure,
    ReviewBar,
    ReviewedOutput,
    ReviewRequest,
    ReviewWithdrawal,
    ToolChanged,
    VerdictGiven,
    VerdictUndone,
    Withdrawal,
)
from secondlook.gate import GatePolicy

E = TypeVar("E", bound=Event)


def output_recorded(
    tool: str, output: Output, *, time: datetime, event_id: str | None = None
) -> OutputRecorded:
    """An output, under an id made from the output's own, so that a resend is known as one."""
    id_ = event_id or id_from("output", output.output_id)
    return _of_tool(OutputRecorded, topics.OUTPUT_RECORDED, tool, output, id_=id_, time=time)


def output_failed(
    tool: str, failure: OutputFailure, *, time: datetime, event_id: str | None = None
) -> OutputFailed:
    """A failure, under an id made from the output's, so that a resend is known as one."""
    id_ = event_id or id_from("failure", failure.output_id)
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
    """The undoing of a correction: one id for each correction and actor, so that twice is once.

    Somebody who did not say it, and so takes nothing back, does not use up its author's id.
    """
    named = f"{withdrawal.correction_id}/{withdrawal.actor.id}"
    id_ = event_id or id_from("withdrawal", named)
    return _of_tool(
        CorrectionWithdrawn, topics.CORRECTION_WITHDRAWN, tool, withdrawal, id_=id_, time=time
    )


def case_event(what: str, *, actor: Actor | str | None = None, **facts: Any) -> CaseMoved:
    """What happened to a case.

    Args:
        what: `opened`, `claimed`, `released`, `escalated`, `reassigned`, `rerouted`, `reviewed`,
            `divided`, `resolved`, `closed`, `reopened`, `undone`, `commented`, `mentioned`,
            `disputed`, `overdue` or `reminded`.
        actor: who did it; None where Secondlook itself did.
        facts: the other fields of `CaseEvent`.
    """
    data = CaseEvent(actor=_actor(actor), **facts)
    return _ours(CaseMoved, f"secondlook.case.{what}.v1", data, time=data.at)


def verdict_given(
    *, actor: Actor | str, event_id: str | None = None, **facts: Any
) -> VerdictRecorded:
    """A verdict, under the id given; `facts` are the other fields of `VerdictGiven`.

    Raises:
        InvalidEvent: they break a rule.
    """
    data = valid(VerdictGiven, actor=_actor(actor), **facts)
    return _ours(VerdictRecorded, topics.VERDICT_GIVEN, data, time=data.at, id_=event_id)


def verdict_undone(*, actor: Actor | str, verdict_id: str, **facts: Any) -> VerdictTakenBack:
    """A verdict counts no longer; `facts` are the other fields of `VerdictUndone`."""
    data = VerdictUndone(actor=_actor(actor), verdict_id=verdict_id, **facts)
    id_ = id_from("undone", verdict_id)
    return _ours(VerdictTakenBack, topics.VERDICT_UNDONE, data, time=data.at, id_=id_)


def tool_changed(
    policy: GatePolicy,
    *,
    time: datetime,
    actor: Actor | str | None = None,
    team: str | None = None,
) -> ToolMoved:
    """A tool's gate policy and state as they are now, and the team that answers for it."""
    facts = policy.model_dump(include=set(ToolChanged.model_fields))
    data = ToolChanged(actor=_actor(actor), team=team, **facts)
    return _ours(ToolMoved, topics.TOOL_CHANGED, data, time=time)


def review_requested(
    *,
    tool: str,
    output_id: str,
    trigger: Trigger,
    output: ReviewedOutput | None,
    gate: GateAnswer | None = None,
    objection: Objection | None = None,
    time: datetime,
) -> ReviewRequested:
    """A request for a person, with as much of the output as fits one event.

    Its id is made from what it is about, the objection or else the output, so that a request
    that is made again is known as the same.
    """
    about = ("review", output_id) if objection is None else ("objection", objection.correction_id)
    for facts in _ever_less(output):
        data = ReviewRequest(
            tool=tool,
            output_id=output_id,
            trigger=trigger,
            output=facts,
            gate=gate,
            objection=objection,
            at=time,
        )
        event = _ours(
            ReviewRequested,
            topics.REVIEW_REQUESTED,
            data,
            time=time,
            id_=id_from(about[0], f"{tool}/{about[1]}"),
        )
        if facts is None or len(event.model_dump_json(exclude_none=True).encode()) <= EVENT_BYTES:
            break
    return event


def review_withdrawn(
    *, tool: str, output_id: str, correction_id: str, actor: Actor | str, time: datetime
) -> ReviewWithdrawn:
    """An objection that a review was requested for counts no longer."""
    data = ReviewWithdrawal(
        tool=tool, output_id=output_id, correction_id=correction_id, actor=_actor(actor)
    )
    return _ours(
        ReviewWithdrawn,
        topics.REVIEW_WITHDRAWN,
        data,
        time=time,
        id_=id_from("withdrawn", f"{tool}/{correction_id}"),
    )


def review_barred(
    *, tool: str, output_id: str, correction_id: str, actor: Actor | str, time: datetime
) -> ReviewBarred:
    """A reviewer corrected an output themselves, and so does not judge it."""
    data = ReviewBar(
        tool=tool, output_id=output_id, correction_id=correction_id, actor=_actor(actor)
    )
    id_ = id_from("barred", f"{tool}/{correction_id}")
    return _ours(ReviewBarred, topics.REVIEW_BARRED, data, time=time, id_=id_)


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


def id_from(purpose: str, name: str) -> str:
    """The id of an event that is made from what it is about."""
    return f"{purpose}-{blake2b(name.encode(), digest_size=16).hexdigest()}"


def _actor(actor: Actor | str | None) -> Any:
    return Actor(id=actor) if isinstance(actor, str) else actor


def _ever_less(output: ReviewedOutput | None) -> Iterator[ReviewedOutput | None]:
    """The output whole, then with ever less of what can be done without."""
    if output is not None:
        yield output
        yield output.model_copy(update={"alternatives": ()})
        yield output.model_copy(update={"alternatives": (), "input": None})
    yield None
