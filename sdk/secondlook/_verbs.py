"""The verbs of a tool: record outputs, failures and corrections."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from secondlook._arguments import AnAlternative, plain
from secondlook._engine import Engine
from secondlook._recorder import OnInvalid, Recorder
from secondlook.events import (
    Channel,
    Correction,
    CorrectionKind,
    Cost,
    Disposition,
    Kind,
    ToolErrorKind,
    Withdrawal,
    correction_recorded,
    correction_withdrawn,
    valid,
)
from secondlook.gate import Decision


class Verbs:
    """What a tool can record. Nothing here waits for the network, and by default nothing raises."""

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
        self._recorder = Recorder(
            engine, safe_default=safe_default, on_invalid=on_invalid, clock=clock
        )

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
            output_id: 1 to 200 bytes, unique among the tool's outputs; the same id again with the
                same facts counts once.
            kind: the tool's: `category`, `text`, `flag` or `fields`.
            value: a category or text; True or False; or `{name: {"value": …, "confidence": …}}`.
            confidence: the tool's own number from 0 to 1, None where it has none.
            input_text, language, url: what the tool was given, cut beyond 64 KiB; a tag such as
                `de`; a web link to it.
            model, prompt, subject: the version of each; the ticket or document that it is about.
            alternatives: other values considered, `(value, confidence)`, at most 20.
            attributes: at most 32 short texts that routing may go by; `requester` names who asked.
            cohort: who uses the tool at this stage of the rollout.
            latency_ms, cost: what it took; a cost is `{"amount": 0.002, "currency": "EUR"}`.
            occurred_at: when, where it was not just now; with an offset from UTC.

        Raises:
            InvalidEvent: with `on_invalid="raise"` alone: a ValueError that names each argument.
                Else the answer is `review`, and the output is recorded as a failed one.
        """
        given = {
            "output_id": output_id,
            "subject": subject,
            "kind": kind,
            "value": value,
            "confidence": confidence,
            "alternatives": alternatives,
            "input_text": input_text,
            "language": language,
            "url": url,
            "attributes": attributes,
            "model": model,
            "prompt": prompt,
            "cohort": cohort,
            "latency_ms": latency_ms,
            "cost": cost,
            "occurred_at": occurred_at,
        }
        return self._recorder.output(given)

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
            InvalidEvent: with `on_invalid="raise"` alone; else as much is recorded as is valid.
        """
        given = {
            "output_id": output_id,
            "subject": subject,
            "input_text": input_text,
            "language": language,
            "url": url,
            "attributes": attributes,
            "model": model,
            "prompt": prompt,
            "cohort": cohort,
            "latency_ms": latency_ms,
            "occurred_at": occurred_at,
        }
        self._recorder.failure(given, kind=kind, message=message)

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
            The id of the correction, with which it can be withdrawn; None where it is not valid.

        Raises:
            InvalidEvent: with `on_invalid="raise"` alone; else the correction is dropped,
                counted and logged.
        """
        facts = {"value": value, "reason": reason, "note": note, "active_seconds": active_seconds}
        return self._correction(output_id, "correction", actor, channel, occurred_at, **facts)

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
        """Record that a person confirms an output; arguments as for `correct`."""
        facts = {"note": note, "active_seconds": active_seconds}
        return self._correction(output_id, "confirmation", actor, channel, occurred_at, **facts)

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
        facts = {"reason": reason, "note": note}
        return self._correction(output_id, "dispute", actor, channel, occurred_at, **facts)

    def withdraw(
        self, output_id: str, *, correction_id: str, actor: str, channel: Channel = "api"
    ) -> None:
        """Take back what `correct`, `confirm` or `dispute` recorded under this id."""
        self._recorder.event(
            lambda: correction_withdrawn(
                self._recorder.tool,
                valid(
                    Withdrawal,
                    output_id=output_id,
                    correction_id=correction_id,
                    actor={"id": actor},
                    channel=channel,
                ),
                time=self._recorder.now(),
            )
        )

    def _correction(
        self,
        output_id: str,
        kind: CorrectionKind,
        actor: str,
        channel: Channel,
        occurred_at: datetime | None,
        **facts: Any,
    ) -> str | None:
        event = self._recorder.event(
            lambda: correction_recorded(
                self._recorder.tool,
                valid(
                    Correction,
                    output_id=output_id,
                    kind=kind,
                    actor={"id": actor},
                    channel=channel,
                    occurred_at=occurred_at,
                    **{name: plain(of) for name, of in facts.items()},
                ),
                time=self._recorder.now(),
            )
        )
        return event.id if event else None
