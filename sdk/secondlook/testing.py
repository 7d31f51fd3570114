"""For tests of tools that use Secondlook, and of Secondlook itself."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from secondlook._engine import Engine, Stats, encode_without_source
from secondlook._poison import Poison, corpus
from secondlook._recorder import OnInvalid
from secondlook._verbs import Verbs
from secondlook._verdicts import Verdict
from secondlook.client import Secondlook
from secondlook.events import (
    Actor,
    Correction,
    CorrectionRecorded,
    Disposition,
    Event,
    Output,
    OutputFailed,
    OutputFailure,
    OutputRecorded,
)
from secondlook.gate import GatePolicy

__all__ = [
    "NOON",
    "POISON",
    "TOOL",
    "FakeSecondlook",
    "Poison",
    "a_correction",
    "a_policy",
    "an_output",
]

TOOL = "ticket-categoriser"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

POISON: tuple[Poison, ...] = corpus()
"""Malformed and tricky events, each with what `events.decode` must make of it."""


def an_output(**changes: Any) -> Output:
    """A category output, with the fields that are given changed."""
    facts: dict[str, Any] = {
        "output_id": "t-1841",
        "subject": "ticket-1841",
        "kind": "category",
        "value": "refund",
        "confidence": 0.62,
    }
    return Output(**{**facts, **changes})


def a_correction(**changes: Any) -> Correction:
    """A correction of `an_output()` to `billing`, with the fields that are given changed."""
    facts: dict[str, Any] = {
        "output_id": "t-1841",
        "kind": "correction",
        "actor": Actor(id="ana@example.org"),
    }
    if changes.get("kind", "correction") == "correction":
        facts["value"] = "billing"
    return Correction(**{**facts, **changes})


def a_policy(**changes: Any) -> GatePolicy:
    """A live policy for a `category` tool with the threshold 0.7; the fields given are changed."""
    facts: dict[str, Any] = {
        "tool": TOOL,
        "revision": 1,
        "state": "live",
        "kind": "category",
        "threshold": 0.7,
        "sampling_key": "5e" * 32,
        "effective_at": NOON,
    }
    return GatePolicy(**{**facts, **changes})


class FakeSecondlook(Secondlook):
    """A `Secondlook` that keeps what is recorded, and neither sends nor starts a thread."""

    def __init__(
        self,
        policy: GatePolicy | None = None,
        *,
        safe_default: Disposition = "review",
        on_invalid: OnInvalid = "raise",
        now: datetime = NOON,
    ) -> None:
        """Decide by `policy`; without one, answer the safe default. Events happen at `now`."""
        self._memory = _Memory(policy)
        self.given: list[Verdict] = []
        """The verdicts that `verdicts` answers."""
        Verbs.__init__(
            self,
            self._memory,
            safe_default=safe_default,
            on_invalid=on_invalid,
            clock=lambda: now,
        )

    def verdicts(self, cursor: str | None = None) -> Iterator[Verdict]:
        """The verdicts in `given`, those after the one with this cursor; waits for no more."""
        cursors = [verdict.cursor for verdict in self.given]
        yield from self.given[cursors.index(cursor) + 1 if cursor in cursors else 0 :]

    @property
    def events(self) -> list[Event]:
        """What was recorded, in order."""
        return self._memory.events

    @property
    def outputs(self) -> list[Output]:
        """The outputs among it."""
        return [e.data for e in self.events if isinstance(e, OutputRecorded)]

    @property
    def failures(self) -> list[OutputFailure]:
        """The failures among it."""
        return [e.data for e in self.events if isinstance(e, OutputFailed)]

    @property
    def corrections(self) -> list[Correction]:
        """The corrections, confirmations and disputes among it."""
        return [e.data for e in self.events if isinstance(e, CorrectionRecorded)]

    def use(self, policy: GatePolicy | None, *, age_seconds: float = 0.0) -> None:
        """Decide by another policy from now on, one that was confirmed so long ago."""
        self._memory.held = policy
        self._memory.age_seconds = age_seconds


class _Memory(Engine):
    """An engine that keeps everything."""

    def __init__(self, policy: GatePolicy | None) -> None:
        self.held = policy
        self.age_seconds = 0.0
        self.events: list[Event] = []
        self._dropped = 0
        self._not_valid = 0

    @property
    def policy(self) -> GatePolicy | None:
        return self.held

    @property
    def policy_age_seconds(self) -> float | None:
        return self.age_seconds if self.held else None

    def put(self, event: Event) -> None:
        encode_without_source(event)  # what would not fit is refused here, too
        self.events.append(event)

    def count_dropped(self) -> None:
        self._dropped += 1

    def count_invalid(self) -> None:
        self._not_valid += 1

    def stats(self) -> Stats:
        return Stats(
            taken=len(self.events) + self._dropped,
            queued=0,
            spilled=0,
            sent=len(self.events),
            refused=0,
            dropped=self._dropped,
            invalid=self._not_valid,
            policy_revision=self.held.revision if self.held else None,
            policy_age_seconds=self.policy_age_seconds,
        )

    def wait_for_policy(self, timeout: float) -> bool:
        return self.held is not None

    def flush(self, timeout: float) -> bool:
        return True

    def close(self, timeout: float | None = None) -> bool:
        return True
