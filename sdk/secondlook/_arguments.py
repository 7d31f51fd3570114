"""Turns what a tool hands over into what the contracts take."""

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from secondlook.events import Alternative
from secondlook.text import ALTERNATIVES, NOTE_LENGTH, TEXT_BYTES

_PAIR = 2

AnAlternative = Alternative | Mapping[str, Any] | tuple[Any, float | None]
Given = dict[str, Any]
"""Arguments by name, as a tool gave them; whether they are sound the contract says."""


def output_facts(given: Given) -> Given:
    """The arguments of `events.Output`."""
    cost = given["cost"]
    return {
        **shared_facts(given),
        "kind": given["kind"],
        "value": plain(given["value"]),
        "confidence": plain(given["confidence"]),
        "alternatives": _alternatives_of(given["alternatives"]),
        "cost": dict(cost) if isinstance(cost, Mapping) else cost,
    }


def shared_facts(given: Given) -> Given:
    """The arguments that `events.Output` and `events.OutputFailure` have in common."""
    attributes = given["attributes"]
    return {
        "output_id": given["output_id"],
        "subject": given["subject"],
        "input": _some(
            text=cleaned(given["input_text"]), language=given["language"], url=given["url"]
        ),
        "attributes": dict(attributes) if isinstance(attributes, Mapping) else attributes,
        "version": _some(model=given["model"], prompt=given["prompt"]),
        "cohort": given["cohort"],
        "latency_ms": plain(given["latency_ms"]),
        "occurred_at": given["occurred_at"],
    }


def plain(value: Any) -> Any:
    """A number, truth value or text of numpy or torch as Python's own."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def cleaned(text: Any) -> Any:
    """A text fit to be stored: what users wrote must not make an output invalid."""
    if not isinstance(text, str):
        return text
    if len(text) <= TEXT_BYTES // 4 and text.isascii() and "\0" not in text:
        return text
    raw = text.replace("\0", "").encode("utf-8", "replace")
    return raw[:TEXT_BYTES].decode("utf-8", "ignore")


def message_of(given: object) -> str:
    """The message of a failure: a text or an error, cut where it is too long.

    What cannot be said, since its own `__str__` fails, is named by its type.
    """
    try:
        said = "" if given is None else str(given)
    except Exception:
        said = type(given).__name__
    return str(cleaned(said))[:NOTE_LENGTH]


def _some(**facts: Any) -> Given | None:
    """The facts, or None where there are none."""
    return facts if any(fact is not None for fact in facts.values()) else None


def _alternatives_of(given: Any) -> Any:
    """Whatever yields alternatives, of which no more are taken than show that they are too many."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | Mapping):
        return given
    return [_alternative(one) for one in islice(given, ALTERNATIVES + 1)]


def _alternative(one: AnAlternative) -> Any:
    if isinstance(one, tuple) and len(one) == _PAIR:
        return {"value": plain(one[0]), "confidence": plain(one[1])}
    return dict(one) if isinstance(one, Mapping) else one
