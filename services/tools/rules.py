"""What a tool can be and what it can return. Pure: no database, no web framework."""

from collections.abc import Collection
from enum import StrEnum
from typing import Any, NamedTuple

from secondlook.text import normalised

from services.kit.errors import Problem


class OutputKind(StrEnum):
    """What a tool returns."""

    CATEGORY = "category"
    TEXT = "text"
    FLAG = "flag"
    FIELDS = "fields"


class ToolState(StrEnum):
    """What a tool may do just now."""

    LIVE = "live"
    SHADOW = "shadow"
    FALLBACK = "fallback"
    STOPPED = "stopped"


UNVERSIONED = "unversioned"


def same_value(one: Any, other: Any) -> bool:
    """Whether two values say the same.

    For `fields`, the extracted values count and their confidences do not; a field that a
    person left out was not changed.
    """
    if isinstance(one, dict) and isinstance(other, dict):
        return all(
            name in other and _equal(_plain(other[name]), _plain(said))
            for name, said in one.items()
        )
    return _equal(one, other)


def _equal(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal: to Python alone `true` is also 1."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _plain(field: Any) -> Any:
    """A field's value without its confidence."""
    return field["value"] if isinstance(field, dict) and "value" in field else field


def normal_value(value: Any) -> Any:
    """A JSON value with its texts and names as they are stored and compared."""
    if isinstance(value, str):
        return normalised(value)
    if isinstance(value, dict):
        return {normalised(name): normal_value(inner) for name, inner in value.items()}
    return [normal_value(inner) for inner in value] if isinstance(value, list) else value


def value_problem(
    kind: OutputKind, categories: Collection[str], value: Any, *, pointer: str
) -> Problem | None:
    """Why `value` cannot be the right value for an output of this kind, or None.

    `categories` are those that a category must be one of; empty allows any.
    """
    shapes: dict[OutputKind, tuple[type, str]] = {
        OutputKind.CATEGORY: (str, "a category's name"),
        OutputKind.TEXT: (str, "a text"),
        OutputKind.FLAG: (bool, "true or false"),
        OutputKind.FIELDS: (dict, "an object of fields"),
    }
    shape, words = shapes[kind]
    if not isinstance(value, shape):
        return Problem(pointer, f"it is not {words}", f"Send {words}; the tool returns {kind}.")
    if value == {} or (isinstance(value, str) and not value.strip()):
        return Problem(pointer, "it is empty", "Say what is right.")
    if (
        isinstance(value, str)
        and kind is OutputKind.CATEGORY
        and value not in (categories or [value])
    ):
        return Problem(
            pointer,
            f"'{value[:80]}' is no category of this tool",
            "Use one of the tool's categories, or add it to them first.",
        )
    return None


class VerdictKind(StrEnum):
    """What a reviewer decided."""

    UPHELD = "upheld"
    CORRECTED = "corrected"
    UNDECIDABLE = "undecidable"
    NOT_ACTIONABLE = "not_actionable"


class Trigger(StrEnum):
    """Why a person is needed, and so why a case opened."""

    LOW_CONFIDENCE = "low_confidence"
    DISPUTE = "dispute"
    TOOL_FAILURE = "tool_failure"
    POLICY = "policy"
    AUDIT = "audit"
    UNMATCHED = "unmatched"


NO_EXCEPTION = frozenset({Trigger.AUDIT, Trigger.UNMATCHED})
"""Triggers that do not make an output an exception: it went through, or has not come."""


class Version(NamedTuple):
    """What produced an output, as it was sent; None for what was not said."""

    model: str | None = None
    prompt: str | None = None

    @property
    def label(self) -> str:
        """One name, for eyes alone: two different versions may have the same."""
        return "+".join(part for part in self if part) or UNVERSIONED
