"""What is decided about an output. Pure: no database, no web framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from secondlook import events
from secondlook.gate import Decision

from services.tools.rules import Trigger, VerdictKind, same_value

TOOLS_TOPICS = (events.OUTPUTS, events.CORRECTIONS)
"""The topics that tools write: every record of theirs is accounted for."""


class Disposition(StrEnum):
    """The gate's answer."""

    PROCEED = "proceed"
    REVIEW = "review"
    FALLBACK = "fallback"
    STOP = "stop"


def stricter(said: str | None, decision: Decision) -> str:
    """What the tool went by; where it proceeded against the gate, the gate's answer."""
    return decision.disposition if said in (None, Disposition.PROCEED) else said


def trigger_for(*, disposition: str, decision: Decision, failed: bool) -> Trigger | None:
    """Why an output needs a person, or None where it does not.

    `disposition` is what it went by. A tool that is stopped or on fallback does not have its
    outputs used, and a held-out ticket is handled without the tool: nobody needs to look.
    """
    if failed:
        return Trigger.TOOL_FAILURE
    if disposition == Disposition.REVIEW:
        return Trigger.POLICY if decision.reason == "policy" else Trigger.LOW_CONFIDENCE
    unseen = disposition in (Disposition.PROCEED, Disposition.FALLBACK)
    return Trigger.AUDIT if decision.audit and unseen else None


class CorrectionKind(StrEnum):
    """What a person said of an output."""

    CORRECTION = "correction"
    CONFIRMATION = "confirmation"
    DISPUTE = "dispute"
    APPEAL = "appeal"


class DecidedBy(StrEnum):
    """Whose word the decided value rests on."""

    CORRECTION = "correction"
    CONFIRMATION = "confirmation"
    VERDICT = "verdict"


@dataclass(frozen=True, slots=True)
class SaidWord:
    """A correction or confirmation that stands (not withdrawn)."""

    kind: CorrectionKind
    value: Any
    occurred_at: datetime
    event_id: str


@dataclass(frozen=True, slots=True)
class GivenVerdict:
    """A verdict on the output's case; `value` is what the reviewer says is right."""

    verdict: VerdictKind
    value: Any
    at: datetime


@dataclass(frozen=True, slots=True)
class Truth:
    """What is decided about an output: nothing yet, or a value and whose word it is."""

    value: Any = None
    decided_by: DecidedBy | None = None
    decided_at: datetime | None = None
    overridden: bool | None = None


UNDECIDED = Truth()


def decide(output_value: Any, words: Sequence[SaidWord], verdicts: Sequence[GivenVerdict]) -> Truth:
    """The decided truth of one output, whatever the order in which the words arrived.

    The newest verdict that settles the value (`upheld`, `corrected`) wins over every
    correction; without one the newest correction or confirmation stands. Disputes and
    appeals object without settling anything, and so do `undecidable` and
    `not_actionable`. An output is overridden when the decided value is not its own: a
    verdict that upholds, too, where the reviewer was shown another payload of this id,
    which was refused here.
    """
    settled = [v for v in verdicts if v.verdict in (VerdictKind.UPHELD, VerdictKind.CORRECTED)]
    if settled:
        last = max(settled, key=lambda v: v.at)
        upheld = last.verdict is VerdictKind.UPHELD
        if upheld and (last.value is None or same_value(last.value, output_value)):
            return Truth(output_value, DecidedBy.VERDICT, last.at, overridden=False)
        changed = not same_value(last.value, output_value)
        return Truth(last.value, DecidedBy.VERDICT, last.at, changed)
    settling = [
        w for w in words if w.kind in (CorrectionKind.CORRECTION, CorrectionKind.CONFIRMATION)
    ]
    if not settling:
        return UNDECIDED
    newest = max(settling, key=lambda w: (w.occurred_at, w.event_id))
    if newest.kind is CorrectionKind.CONFIRMATION:
        return Truth(output_value, DecidedBy.CONFIRMATION, newest.occurred_at, overridden=False)
    changed = not same_value(newest.value, output_value)
    return Truth(newest.value, DecidedBy.CORRECTION, newest.occurred_at, overridden=changed)
