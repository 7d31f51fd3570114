"""Keeps what is sound of an output that breaks the contract, so that a person still sees it."""

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any
from uuid import uuid4

from secondlook._problems import InvalidEvent, show
from secondlook.events import OutputFailure, valid
from secondlook.text import (
    ATTRIBUTES,
    ID_BYTES,
    NAME_LENGTH,
    NOTE_LENGTH,
    SHORT_LENGTH,
    identifier,
    storable,
)

_MOST_ROUNDS = 5
# Python refuses to write more than 4,300 digits in tens, and takes long before that.
_DECIMAL_BITS = 4096


def what_was_wrong(error: Exception, value: Any) -> str:
    """The message of the failed output: each bad argument, and what the tool had returned."""
    if isinstance(error, InvalidEvent):
        wrong = "; ".join(f"{one.pointer or 'the output'}: {one.problem}" for one in error.problems)
    else:
        wrong = type(error).__name__
    return f"The output breaks the contract: {wrong}. Its value: {show(value)}"[:NOTE_LENGTH]


def failure_of(facts: Mapping[str, Any], *, kind: str, message: str) -> OutputFailure:
    """A failed output with as many of the facts as are sound.

    Args:
        facts: arguments of `OutputFailure`, sound or not; `input` and `version` are dicts.
        kind: the kind of the error, one of `TOOL_ERROR_KINDS`.
        message: what happened.
    """
    kept = {
        **facts,
        "output_id": _id_from(facts.get("output_id")),
        "attributes": _sound_attributes(facts.get("attributes")),
        "error": {"kind": kind, "message": message},
    }
    for _ in range(_MOST_ROUNDS):
        try:
            return valid(OutputFailure, **kept)
        except InvalidEvent as error:
            for problem in error.problems:
                _leave_out(kept, problem.pointer)
    return valid(OutputFailure, output_id=kept["output_id"], error=kept["error"])


def _id_from(given: Any) -> str:
    """The id as a text that fits; the same one for the same text, for a resend to be known."""
    name = identifier(_as_text(given)) if isinstance(given, str | int) else ""
    if not name:
        return f"invalid-{uuid4()}"
    raw = name.encode("utf-8", "surrogatepass")
    if len(raw) <= ID_BYTES and storable(name):
        return name
    return f"invalid-{blake2b(raw, digest_size=16).hexdigest()}"


def _as_text(given: Any) -> Any:
    """A number as text, in sixteens where it is too long to be written in tens."""
    if isinstance(given, int) and given.bit_length() > _DECIMAL_BITS:
        return hex(given)
    return str(given) if isinstance(given, int | float) else given


def _sound_attributes(given: Any) -> dict[str, str]:
    if not isinstance(given, Mapping):
        return {}
    texts = {name: _as_text(of) for name, of in given.items()}
    sound = [
        (name, text)
        for name, text in texts.items()
        if _is_sound(name, NAME_LENGTH) and name and _is_sound(text, SHORT_LENGTH)
    ]
    return dict(sound[:ATTRIBUTES])


def _is_sound(text: Any, length: int) -> bool:
    return isinstance(text, str) and len(text) <= length and storable(text)


def _leave_out(facts: dict[str, Any], pointer: str) -> None:
    """Leave out the fact at a place, or all of what it is a part of."""
    name, _, rest = pointer[1:].partition("/")
    part = facts.get(name)
    if isinstance(part, dict) and rest in part:
        facts[name] = {key: value for key, value in part.items() if key != rest}
    else:
        facts.pop(name, None)
