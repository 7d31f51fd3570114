"""The verbs of a tool: record outputs, failures and corrections."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from secondlook._arguments import AnAlternative, alternatives_of, plain, some, some_map, tame
from secondlook._engine import Engine
from secondlook._problems import InvalidEvent
from secondlook._warn import Warner
from secondlook.events import (
    Channel,
    Correction,
    CorrectionKind,
    Cost,
    Disposition,
    Event,
    Kind,
    Output,
    OutputFailure,
    ToolErrorKind,
    Withdrawal,
    correction_recorded,
    correction_withdrawn,
    output_failed,
    output_recorded,
    valid,
)
from secondlook.gate import Decision, decide_output

OnInvalid = Literal["raise", "drop"]

_MESSAGE_LENGTH = 4_000
# Stands for the tool until the policy has named it; the true source is put in on sending.
_UNNAMED = "unnamed"


class Verbs:
    """Everything a tool says. Nothing here waits."""

    def __init__(
        self,
        engine: Engine,
        *,
        safe_default: Disposition,
        on_invalid: OnInvalid,
        clock: Callable[[], datetime],
    ) -> None:
        """Put events into `engine`, and decide by its policy; `clock` answers an aware time."""
        self._engine = engine
        self._safe_default = safe_default
        self._on_invalid = on_invalid
        self._clock = clock
        self._warner = Warner()

    def output(
        self,
        output_id: str,
        *,
        kind: Kind,
        value: Any,
        confidence: float | None = None,
        input_text: str | None = None,
        language: str | None = None,
        url: str | None = None,
        model: str | None = None,
        prompt: str | None = None,
        subject: str | None = None,
        alternatives: Sequence[AnAlternative] = (),
        attributes: Mapping[str, str] | None = None,
        cohort: str | None = None,
        latency_ms: float | None = None,
        cost: Cost | Mapping[str, Any] | None = None,
        occurred_at: datetime | None = None,
    ) -> Decision:
        """Record what the tool returned, and learn what to do with it. Never waits.

        Args:
            output_id: 1 to 200 bytes, unique among the tool's outputs. The same id again with
                the same facts counts once, so that a retried job needs no care.
            kind: `category`, `text`, `flag` or `fields`.
            value: a category or text; True or False; or `{name: {"value": …, "confidence": …}}`.
            confidence: the tool's own number from 0 to 1, None where it has none.
            input_text: what the tool was given; beyond 64 KiB it is cut.
            language: the input's language tag, such as `de`.
            url: a web link to the input.
            model, prompt: the version of each.
            subject: the ticket, document or account that it is about.
            alternatives: other values considered, `(value, confidence)`, at most 20.
            attributes: at most 32 short texts that routing may go by; `requester` names who asked.
            cohort: who uses the tool at this stage of the rollout.
            latency_ms, cost: what it took; a cost is `{"amount": 0.002, "currency": "EUR"}`.
            occurred_at: when, where it was not just now; with an offset from UTC.

        Raises:
            InvalidEvent: a ValueError that names each bad argument, unless `on_invalid="drop"`.
        """
        return self._judge(
            lambda: valid(
                Output,
                output_id=output_id,
                subject=subject,
                kind=kind,
                value=plain(value),
                confidence=plain(confidence),
                alternatives=alternatives_of(alternatives),
                input=some(text=tame(input_text), language=language, url=url),
                attributes=some_map(attributes),
                version=some(model=model, prompt=prompt),
                cohort=cohort,
                latency_ms=plain(latency_ms),
                cost=some_map(cost) if cost else None,
                occurred_at=occurred_at,
            )
        )

    def failed(
        self,
        output_id: str,
        *,
        kind: ToolErrorKind = "error",
        message: str = "",
        input_text: str | None = None,
        language: str | None = None,
        url: str | None = None,
        model: str | None = None,
        prompt: str | None = None,
        subject: str | None = None,
        attributes: Mapping[str, str] | None = None,
        cohort: str | None = None,
        latency_ms: float | None = None,
        occurred_at: datetime | None = None,
    ) -> None:
        """Record that the tool returned nothing; a person will look after the input.

        Args:
            output_id: the id that the output would have had.
            kind: `timeout`, `error`, `refused` or `invalid`.
            message: what happened; beyond 4,000 characters it is cut.
            input_text: as for `output`, like everything after it.

        Raises:
            InvalidEvent: as for `output`.
        """
        self._say(
            lambda: output_failed(
                self._tool,
                valid(
                    OutputFailure,
                    output_id=output_id,
                    subject=subject,
                    error={"kind": kind, "message": (tame(message) or "")[:_MESSAGE_LENGTH]},
                    input=some(text=tame(input_text), language=language, url=url),
                    attributes=some_map(attributes),
                    version=some(model=model, prompt=prompt),
                    cohort=cohort,
                    latency_ms=plain(latency_ms),
                    occurred_at=occurred_at,
                ),
                time=self._clock(),
            )
        )

    def correct(
        self,
        output_id: str,
        *,
        value: Any,
        actor: str,
        reason: str | None = None,
        note: str | None = None,
        active_seconds: float | None = None,
        channel: Channel = "api",
        occurred_at: datetime | None = None,
    ) -> str | None:
        """Record a person's replacement for an output's value.

        Args:
            output_id: the output; it may be recorded later than this.
            value: what should stand in its place.
            actor: who says so: an e-mail address or another id.
            reason: why, in a few words.
            note: why, at length.
            active_seconds: how long the person worked on it.
            channel: where the person said it.
            occurred_at: when, where it was not just now; with an offset from UTC.

        Returns:
            The id of the correction, with which it can be withdrawn; None if it was dropped.

        Raises:
            InvalidEvent: as for `output`.
        """
        said = {"reason": reason, "note": note, "active_seconds": plain(active_seconds)}
        return self._word(
            output_id, "correction", actor, channel, occurred_at, value=plain(value), **said
        )

    def confirm(
        self,
        output_id: str,
        *,
        actor: str,
        note: str | None = None,
        active_seconds: float | None = None,
        channel: Channel = "api",
        occurred_at: datetime | None = None,
    ) -> str | None:
        """Record a person's word that an output is right; arguments as for `correct`."""
        said = {"note": note, "active_seconds": plain(active_seconds)}
        return self._word(output_id, "confirmation", actor, channel, occurred_at, **said)

    def dispute(
        self,
        output_id: str,
        *,
        actor: str,
        reason: str | None = None,
        note: str | None = None,
        channel: Channel = "api",
        occurred_at: datetime | None = None,
    ) -> str | None:
        """Record an objection without a replacement; arguments as for `correct`."""
        said = {"reason": reason, "note": note}
        return self._word(output_id, "dispute", actor, channel, occurred_at, **said)

    def withdraw(
        self, output_id: str, *, correction_id: str, actor: str, channel: Channel = "api"
    ) -> None:
        """Take back what `correct`, `confirm` or `dispute` recorded under this id."""
        self._say(
            lambda: correction_withdrawn(
                self._tool,
                valid(
                    Withdrawal,
                    output_id=output_id,
                    correction_id=correction_id,
                    actor={"id": actor},
                    channel=channel,
                ),
                time=self._clock(),
            )
        )

    @property
    def _tool(self) -> str:
        policy = self._engine.policy
        return policy.tool if policy else _UNNAMED

    def _judge(self, make: Callable[[], Output]) -> Decision:
        """Decide about an output and queue it, with what was decided."""
        try:
            output = make()
            decision = self._decide(output)
            decided = output.model_copy(
                update={
                    "disposition": decision.disposition,
                    "policy_revision": decision.policy_revision,
                }
            )
            self._engine.put(output_recorded(self._tool, decided, time=self._clock()))
        except InvalidEvent as error:
            self._bear(error)
            return Decision(self._safe_default, "invalid", None)
        return decision

    def _decide(self, output: Output) -> Decision:
        policy = self._engine.policy
        if policy is None:
            return Decision(self._safe_default, "no_policy", None)
        return decide_output(policy, output, safe_default=self._safe_default)

    def _word(
        self,
        output_id: str,
        kind: CorrectionKind,
        actor: str,
        channel: Channel,
        occurred_at: datetime | None,
        **said: Any,
    ) -> str | None:
        event = self._say(
            lambda: correction_recorded(
                self._tool,
                valid(
                    Correction,
                    output_id=output_id,
                    kind=kind,
                    actor={"id": actor},
                    channel=channel,
                    occurred_at=occurred_at,
                    **said,
                ),
                time=self._clock(),
            )
        )
        return event.id if event else None

    def _say(self, make: Callable[[], Event]) -> Event | None:
        """Queue the event; None where it is not valid and that is to be borne."""
        try:
            event = make()
            self._engine.put(event)
        except InvalidEvent as error:
            self._bear(error)
            return None
        return event

    def _bear(self, error: InvalidEvent) -> None:
        if self._on_invalid == "raise":
            raise error
        self._engine.count_dropped()
        where = ", ".join(problem.pointer for problem in error.problems)
        self._warner.warn("an event was dropped because it is not valid: %s", where)
