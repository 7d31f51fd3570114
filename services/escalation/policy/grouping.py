"""Which cases have the same cause. Pure.

A rule groups by facts: cases of one rule, trigger and tool in which all of them are the same have
one cause. So many of them within a window are an incident.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import to_json
from secondlook.conditions import ATTRIBUTE, Facts

from services.kit.documents import wrong
from services.kit.durations import Duration, Unit, parse_duration
from services.tools.rules import Trigger

CONDITION = "condition"
FACTS_TO_GROUP_BY = (
    *("tool", "version", "version.model", "version.prompt", "kind", "language", "cohort"),
    *("predicted.category", "predicted.flag", "failure", CONDITION),
)
"""What cases can have in common, besides attributes: facts of the output, and the review condition
that asked for it."""
_OTHER_NAMES = {"model_version": "version", "error": "failure"}
_MOST_FACTS = 6
_SHOWN = 60
"""Characters of a fact that name a cause; a longer one is told from others by a digest."""


def _fact(name: Any) -> str:
    named = _OTHER_NAMES.get(str(name), str(name))
    if named not in FACTS_TO_GROUP_BY and not named.startswith(ATTRIBUTE):
        problem = f"'{str(name)[:40]}' is nothing that cases can have in common"
        raise wrong(problem, f"Use {', '.join(FACTS_TO_GROUP_BY)} or {ATTRIBUTE}NAME.")
    return named


def _window(value: Any) -> Duration:
    span = value if isinstance(value, Duration) else parse_duration(str(value))
    if span.unit is not Unit.SECONDS or not 0 < span.amount <= _LONGEST_WINDOW:
        raise wrong(f"{span} is no window", "Write elapsed time from 1m to 30d, such as 2h.")
    return span


_LONGEST_WINDOW = 30 * 24 * 3600


class Group(BaseModel):
    """What of a rule's cases is one incident: `incident_at` of the same cause within `window`."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    by: (
        Annotated[
            list[Annotated[str, BeforeValidator(_fact)]],
            Field(min_length=1, max_length=_MOST_FACTS),
        ]
        | None
    ) = None
    """Facts that are the same; where it says none, those that suit the trigger."""
    window: Annotated[Duration, BeforeValidator(_window)] = Duration(2 * 3600)
    incident_at: Annotated[int, Field(strict=True, ge=2, le=1000)] = 10


NOT_GROUPED = Group.model_construct(by=[])
"""What a rule says by `group: none`."""


def _grouping(value: Any) -> Any:
    if value == "none":
        return NOT_GROUPED
    if not isinstance(value, dict | Group):
        problem = f"'{str(value)[:40]}' says of nothing that cases have in common"
        raise wrong(problem, "Write `none`, or a mapping such as {by: [version], incident_at: 10}.")
    return value


Grouping = Annotated[Group, BeforeValidator(_grouping)]
"""How a rule groups."""

BY_TRIGGER: Mapping[str, tuple[str, ...]] = {
    Trigger.POLICY: (CONDITION,),
    Trigger.TOOL_FAILURE: ("failure", "version"),
    Trigger.DISPUTE: ("predicted.category", "version"),
    Trigger.LOW_CONFIDENCE: ("predicted.category",),
}
"""What suits a trigger; an audit is looked at by itself, and what has no output as well."""
_UNASKED = (Trigger.TOOL_FAILURE, Trigger.DISPUTE)
"""What is grouped where no rule says so. The others are there to be judged one by one."""


def grouping_of(said: Group | None, trigger: str) -> Group | None:
    """How the cases of a trigger are grouped, by a rule that said this; None where they are not."""
    by = BY_TRIGGER.get(trigger)
    if by is None or said is NOT_GROUPED:
        return None
    if said is None:
        return Group(by=list(by)) if trigger in _UNASKED else None
    return said if said.by else said.model_copy(update={"by": list(by)})


def cause(group: Group, *, rule: str, trigger: str, tool: str, facts: Facts) -> str:
    """What names the cause of a case, as JSON: of two cases the same where they have one cause."""
    said = {name: _said(name, facts) for name in group.by or ()}
    return to_json({**said, "rule": rule, "trigger": trigger, "tool": tool}).decode()


def _said(name: str, facts: Facts) -> Any:
    if name != "version":
        return _short(facts.get(name))
    # Its two parts, as two versions may have one label.
    parts = [_short(facts.get(part)) for part in ("version.model", "version.prompt")]
    return parts if any(parts) else None


def _short(value: Any) -> str | bool | float | None:
    if value is None or isinstance(value, bool | int | float):
        return value
    words = value if isinstance(value, str) else to_json(value).decode()
    if len(words) <= _SHOWN:
        return words
    return f"{words[:_SHOWN]}… {hashlib.sha256(words.encode()).hexdigest()[:12]}"
