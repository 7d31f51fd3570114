"""Turns what a tool hands over into what the contracts take."""

from collections.abc import Mapping
from typing import Any

from secondlook.events import Alternative
from secondlook.text import TEXT_BYTES

_PAIR = 2

AnAlternative = Alternative | Mapping[str, Any] | tuple[Any, float | None]


def some(**facts: Any) -> dict[str, Any] | None:
    """The facts, or None where there are none."""
    return facts if any(fact is not None for fact in facts.values()) else None


def some_map(given: Any) -> Any:
    """A map as a plain dict, and none for None; the contract judges everything else."""
    return dict(given or {}) if isinstance(given, Mapping | None) else given


def plain(value: Any) -> Any:
    """A number, truth value or text of numpy or torch as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def alternatives_of(given: Any) -> Any:
    """Alternatives as dicts or models; the contract judges everything else."""
    return [_alternative(one) for one in given] if isinstance(given, list | tuple) else given


def _alternative(one: AnAlternative) -> Any:
    if isinstance(one, tuple) and len(one) == _PAIR:
        return {"value": plain(one[0]), "confidence": plain(one[1])}
    return dict(one) if isinstance(one, Mapping) else one


def tame(text: str | None) -> str | None:
    """A text fit to be stored. What users wrote must not make a tool fail."""
    if not isinstance(text, str):
        return text
    if len(text) <= TEXT_BYTES // 4 and text.isascii() and "\0" not in text:
        return text
    raw = text.replace("\0", "").encode("utf-8", "replace")
    return raw[:TEXT_BYTES].decode("utf-8", "ignore")
