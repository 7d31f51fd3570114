"""Makes events of what a tool records, decides about outputs, and queues the events.

What a tool hands over may be wrong in any way, and its own work must go on all the same.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from secondlook._arguments import Given, message_of, output_facts, shared_facts
from secondlook._engine import Engine
from secondlook._problems import InvalidEvent, invalid
from secondlook._salvage import failure_of, what_was_wrong
from secondlook._warn import Warner
from secondlook.events import (
    TOOL_ERROR_KINDS,
    Disposition,
    Event,
    Output,
    OutputFailure,
    output_failed,
    output_recorded,
    valid,
)
from secondlook.gate import Decision, decide, decide_output

OnInvalid = Literal["record", "raise"]

# Stands for the tool until the policy has named it; the true source is put in on sending.
_UNNAMED = "unnamed"


class Recorder:
    """Records for a client, and decides by the policy that its engine holds."""

    def __init__(
        self,
        engine: Engine,
        *,
        safe_default: Disposition,
        on_invalid: OnInvalid,
        clock: Callable[[], datetime],
    ) -> None:
        """Put events into `engine`; `clock` answers an aware time."""
        self._engine = engine
        self._safe_default = safe_default
        self._on_invalid = on_invalid
        self._clock = clock
        self._warner = Warner()

    @property
    def tool(self) -> str:
        """The tool's slug, as far as it is known."""
        policy = self._engine.policy
        return policy.tool if policy else _UNNAMED

    def now(self) -> datetime:
        """The time of an event that is recorded now."""
        return self._clock()

    def output(self, given: Given) -> Decision:
        """Decide about an output and queue it, with what was decided.

        Raises:
            InvalidEvent: it breaks the contract or is of another kind than the tool's, and
                `on_invalid` is `raise`.
        """
        try:
            output = valid(Output, **output_facts(given))
            self._require_kind(output)
            decision = self._decide(output)
            decided = {
                "disposition": decision.disposition,
                "policy_revision": decision.policy_revision,
            }
            recorded = output.model_copy(update=decided)
            self._engine.put(output_recorded(self.tool, recorded, time=self._clock()))
        except Exception as error:
            if self._on_invalid == "raise":
                raise
            return self._record_invalid(given, error)
        return decision

    def failure(self, given: Given, *, kind: str, message: object) -> None:
        """Queue an output that failed.

        Raises:
            InvalidEvent: it breaks the contract, and `on_invalid` is `raise`.
        """
        try:
            what = {"kind": kind, "message": message_of(message)}
            failure = valid(OutputFailure, **shared_facts(given), error=what)
            self._engine.put(output_failed(self.tool, failure, time=self._clock()))
        except Exception as error:
            if self._on_invalid == "raise":
                raise
            self._warn(error, "a failed output was not valid and is recorded in part: %s")
            # A text of the tool's own class may compare itself as it likes.
            said = str.__str__(kind) if isinstance(kind, str) else ""
            known = said if said in TOOL_ERROR_KINDS else "error"
            self._record_in_part(given, known, lambda: message_of(message))

    def event(self, make: Callable[[], Event]) -> Event | None:
        """Queue an event; None, and counted as dropped, where it is not valid.

        Raises:
            InvalidEvent: it breaks the contract, and `on_invalid` is `raise`.
        """
        try:
            event = make()
            self._engine.put(event)
        except Exception as error:
            if self._on_invalid == "raise":
                raise
            self._engine.count_dropped()
            self._warn(error, "an event was dropped because it is not valid: %s")
            return None
        return event

    def _decide(self, output: Output) -> Decision:
        policy = self._engine.policy
        if policy is None:
            return Decision(self._safe_default, "no_policy", None)
        age = self._engine.policy_age_seconds if policy.max_stale_seconds else None
        return decide_output(policy, output, age_seconds=age, safe_default=self._safe_default)

    def _require_kind(self, output: Output) -> None:
        """Refuse what the server would refuse later, where nobody would see it any more."""
        policy = self._engine.policy
        if policy is not None and output.kind != policy.kind:
            problem = f"'{policy.tool}' returns {policy.kind}, not {output.kind}"
            raise invalid(("kind",), problem, f"Send {policy.kind}.")

    def _record_invalid(self, given: Given, error: Exception) -> Decision:
        """Record an output that is not valid as one that failed, and send it to a person."""
        self._engine.count_invalid()
        self._warn(error, "an output was not valid and is recorded as a failed one: %s")
        self._record_in_part(given, "invalid", lambda: what_was_wrong(error, given["value"]))
        policy = self._engine.policy
        if policy and policy.state != "live":
            return decide(policy, output_id="", kind=None, value=None, confidence=None)
        return Decision("review", "invalid", policy.revision if policy else None)

    def _record_in_part(self, given: Given, kind: str, message: Callable[[], str]) -> None:
        try:
            failure = failure_of(_facts_that_can_be_read(given), kind=kind, message=message())
            self._engine.put(output_failed(self.tool, failure, time=self._clock()))
        except Exception as error:
            self._engine.count_dropped()
            self._warn(error, "an output that was not valid could not be recorded: %s")

    def _warn(self, error: Exception, message: str) -> None:
        """Log what kind of thing is wrong and where, never the values, which may be private."""
        if isinstance(error, InvalidEvent):
            where = ", ".join(problem.pointer for problem in error.problems)
        else:
            where = type(error).__name__
        self._warner.warn(message, where)


def _facts_that_can_be_read(given: Given) -> Given:
    try:
        return shared_facts(given)
    except Exception:  # an object that raises when it is looked at
        return {"output_id": given["output_id"], "subject": given["subject"]}
