"""What follows from the opinions of several reviewers. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from services.tools.rules import VerdictKind, same_value

Json = Any
"""A JSON value."""

MOST = 3
"""Where so many differ, one more would only add another answer."""
_MAJORITY = 2

NEEDS_NOTE = frozenset({VerdictKind.UNDECIDABLE, VerdictKind.NOT_ACTIONABLE})
"""Verdicts that say nothing by themselves to whoever reads them later."""


class Asks(StrEnum):
    """Whom an undecided case waits for."""

    REVIEWER = "reviewer"
    LEAD = "lead"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one of several reviewers said."""

    reviewer: str
    verdict: VerdictKind
    value: Json = None
    note: str | None = None
    counts: bool = True
    """Not where they disputed or corrected the output since."""
    stays: bool = False
    """Whether it cannot be taken back: it was given blind, and all have been shown since."""


class Standing(NamedTuple):
    """Where a case stands by its opinions: exactly one of the two is there."""

    asks: Asks | None
    decided: Opinion | None
    """The last of those that agree."""


def standing(opinions: Sequence[Opinion], *, reviewers: int, tools_value: Json) -> Standing:
    """What follows from the opinions on a case that asks so many reviewers, as they were given.

    Two that agree decide it, once as many were asked as the rule wants. Where they differ up to
    three are asked; where these all differ, a lead is. What does not count is as if unsaid.
    """
    opinions = [one for one in opinions if one.counts]
    if len(opinions) < reviewers:
        return Standing(Asks.REVIEWER, None)
    for opinion in reversed(opinions):
        if sum(agree(opinion, other, tools_value) for other in opinions) >= _MAJORITY:
            return Standing(None, opinion)
    return Standing(Asks.REVIEWER if len(opinions) < MOST else Asks.LEAD, None)


def agree(one: Opinion, other: Opinion, tools_value: Json) -> bool:
    """Whether two opinions come to the same verdict, and to the same value."""
    kind, value = judged(one.verdict, one.value, tools_value)
    other_kind, other_value = judged(other.verdict, other.value, tools_value)
    if kind is not other_kind or kind is not VerdictKind.CORRECTED:
        return kind is other_kind
    first, second = _whole(value, tools_value), _whole(other_value, tools_value)
    return same_value(first, second) and same_value(second, first)


def _whole(value: Json, tools_value: Json) -> Json:
    """Fields with those that a person left out, who changed nothing about them."""
    both = isinstance(value, dict) and isinstance(tools_value, dict)
    return {**tools_value, **value} if both else value


def judged(verdict: VerdictKind, value: Json, tools_value: Json) -> tuple[VerdictKind, Json]:
    """A verdict as it counts: whoever gives the tool's own value upholds it, knowing it or not."""
    if verdict is VerdictKind.CORRECTED and same_value(value, tools_value):
        return VerdictKind.UPHELD, None
    return verdict, value
