"""The verbs of people on cases, as the API takes them: one table, for one case and for many."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.orm import Session

from services.escalation import bodies, service
from services.escalation.rules import Owner
from services.people.rules import Actor


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a claim holds, a verdict can be undone, and a case may be paused in all."""

    lease: timedelta
    reopen_window: timedelta
    pause: timedelta


@dataclass(frozen=True, slots=True)
class Work:
    """A case in the hands of somebody, in a transaction."""

    session: Session
    actor: Actor
    case_id: int
    limits: Limits
    now: datetime

    def do(self, verb: Callable[..., Any], **given: Any) -> Any:
        """A verb of `service` on this case."""
        return verb(self.session, self.actor, self.case_id, **given, now=self.now)


@dataclass(frozen=True, slots=True)
class CaseVerb:
    """A verb: what comes with it, and what it does; it answers what the case does not say."""

    body: type[bodies.Body]
    do: Callable[[Work, Any], dict[str, Any] | None]
    says: str


def _claim(work: Work, _body: bodies.EmptyBody) -> dict[str, Any]:
    claim: service.Claim = work.do(service.claim, lease=work.limits.lease)
    return claim._asdict()


def _release(work: Work, body: bodies.ReleaseBody) -> None:
    work.do(service.release, token=body.token)


def _verdict(work: Work, body: bodies.VerdictBody) -> None:
    service.give_verdict(
        work.session,
        work.actor,
        service.case_for_reviewer(work.session, work.actor, work.case_id, lock=True),
        token=body.token,
        lease=work.limits.lease,
        verdict=body.verdict,
        value=body.value,
        note=body.note,
        alone=body.alone,
        now=work.now,
    )


def _reassign(work: Work, body: bodies.ReassignBody) -> None:
    owner = Owner.of(body.owner.kind, body.owner.id)
    work.do(service.reassign, owner=owner, token=body.token, note=body.note)


def _comment(work: Work, body: bodies.CommentBody) -> None:
    work.do(service.comment, note=body.note, token=body.token, lease=work.limits.lease)


def _escalate(work: Work, body: bodies.EscalateBody) -> None:
    work.do(service.escalate, level=body.level, note=body.note)


def _reopen(work: Work, body: bodies.ReopenBody) -> None:
    work.do(service.reopen, note=body.note)


def _undo(work: Work, body: bodies.UndoBody) -> None:
    work.do(service.undo, verdict_id=body.verdict_id, window=work.limits.reopen_window)


def _merge(work: Work, body: bodies.MergeBody) -> None:
    work.do(service.merge, into=body.into)


def _unmerge(work: Work, _body: bodies.EmptyBody) -> None:
    work.do(service.unmerge)


def _wait(work: Work, body: bodies.WaitBody) -> None:
    given = {"token": body.token, "until": body.until, "reason": body.reason}
    work.do(service.wait, **given, limit=work.limits.pause)


def _snooze(work: Work, body: bodies.SnoozeBody) -> None:
    given = {"token": body.token, "until": body.until, "more": body.more, "reason": body.reason}
    work.do(service.snooze, **given, limit=work.limits.pause)


def _wake(work: Work, body: bodies.WakeBody) -> None:
    work.do(service.wake, note=body.note)


VERBS: dict[str, CaseVerb] = {
    "claim": CaseVerb(
        bodies.EmptyBody,
        _claim,
        "Take the case; a second claim by the holder renews it under the same token.",
    ),
    "release": CaseVerb(bodies.ReleaseBody, _release, "Give the case back."),
    "verdict": CaseVerb(bodies.VerdictBody, _verdict, "Review the case under a live claim."),
    "reassign": CaseVerb(bodies.ReassignBody, _reassign, "Make somebody else accountable."),
    "comment": CaseVerb(
        bodies.CommentBody, _comment, "Add to the timeline; with a token it renews the claim."
    ),
    "escalate": CaseVerb(
        bodies.EscalateBody, _escalate, "Move the case to the next rung of its ladder."
    ),
    "wait": CaseVerb(
        bodies.WaitBody,
        _wait,
        "Let the case wait for somebody else; its deadlines stand, and it wakes by itself.",
    ),
    "snooze": CaseVerb(
        bodies.SnoozeBody,
        _snooze,
        "Put the case off until a time, or until so many more of the same cause came.",
    ),
    "wake": CaseVerb(bodies.WakeBody, _wake, "End a pause before its time."),
    "merge": CaseVerb(bodies.MergeBody, _merge, "Make the case part of another one."),
    "unmerge": CaseVerb(
        bodies.EmptyBody, _unmerge, "Take the case out of the one that it is part of."
    ),
    "reopen": CaseVerb(
        bodies.ReopenBody, _reopen, "Begin a new cycle on a case that was resolved or closed."
    ),
    "undo": CaseVerb(
        bodies.UndoBody,
        _undo,
        "Take back the verdict just given: by its reviewer, or by a lead. Of several reviewers one"
        " takes back the opinion they gave.",
    ),
}
