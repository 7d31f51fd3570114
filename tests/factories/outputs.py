"""Events of a tool and of those who use it."""

from datetime import UTC, datetime, timedelta
from typing import Any

from secondlook import events

from tests.factories.people import REP
from tests.factories.tools import TOOL

NOON = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)


def output(
    output_id: str,
    *,
    tool: str = TOOL,
    value: Any = "billing",
    confidence: float | None = 0.9,
    **fields: Any,
) -> Any:
    """An output of the tool."""
    data = events.Output(
        output_id=output_id,
        kind=fields.pop("kind", "category"),
        value=value,
        confidence=confidence,
        **fields,
    )
    return events.output_recorded(tool, data, time=NOON)


def failure(output_id: str) -> Any:
    """An output that failed."""
    error = events.ToolError(kind="timeout", message="took too long")
    data = events.OutputFailure(output_id=output_id, error=error)
    return events.output_failed(TOOL, data, time=NOON)


def correction(
    output_id: str,
    *,
    kind: str = "correction",
    value: Any = None,
    minutes: float = 1,
    event_id: str | None = None,
    who: str = REP,
    **fields: Any,
) -> Any:
    """A correction, or another kind of it, said `minutes` after noon."""
    data = events.Correction(
        output_id=output_id,
        kind=kind,  # type: ignore[arg-type]
        value=value,
        actor=events.Actor(id=who),
        occurred_at=NOON + timedelta(minutes=minutes),
        **fields,
    )
    return events.correction_recorded(TOOL, data, time=NOON, event_id=event_id)


def withdrawal(correction_id: str, output_id: str, *, who: str = REP) -> Any:
    """The withdrawal of somebody's correction."""
    said = events.Withdrawal(
        output_id=output_id, correction_id=correction_id, actor=events.Actor(id=who)
    )
    return events.correction_withdrawn(TOOL, said, time=NOON)
