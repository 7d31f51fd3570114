"""What rules can ask of a case: of one that a review is requested for, and of stored ones."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from secondlook import events
from secondlook.conditions import Facts, facts_of

COLUMNS = """o.kind, o.value, o.confidence, o.model, o.prompt, o.input->>'language' AS language,
    o.cohort, o.failure->>'kind' AS failure, o.attributes"""
"""What a select names of a case's output `o`, in the order of `Said`."""


class Said(NamedTuple):
    """What a case's output says, as far as rules can ask."""

    kind: str | None
    value: Any
    confidence: float | None
    model: str | None
    prompt: str | None
    language: str | None
    cohort: str | None
    failure: str | None
    attributes: Mapping[str, str] | None


def facts(tool: str, trigger: str, said: Said) -> Facts:
    """What rules can ask of a case."""
    return {**facts_of(tool=tool, **said._asdict()), "trigger": trigger}


def facts_of_review(request: events.ReviewRequest) -> Facts:
    """What rules can ask of the case that a review request opens."""
    output = request.output
    if output is None:
        return {**facts_of(tool=request.tool), "trigger": request.trigger}
    known = facts_of(
        tool=request.tool,
        kind=output.kind,
        value=output.value,
        confidence=output.confidence,
        model=output.version.model if output.version else None,
        prompt=output.version.prompt if output.version else None,
        language=output.input.language if output.input else None,
        cohort=output.cohort,
        failure=output.error.kind if output.error else None,
        attributes=output.attributes,
    )
    return {**known, "trigger": request.trigger}
