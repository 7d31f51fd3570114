"""The values of outputs: shown as text, and read from what somebody typed."""

import json
from collections.abc import Mapping
from typing import Any

from secondlook.text import normalised


def format_value(value: Any, failure: Mapping[str, Any] | None = None) -> str:
    """A value of any kind as one short line; empty where there is none.

    A value with nothing in it is one all the same, and says so.
    """
    if failure:
        return f"Failed: {failure.get('kind', 'error')}"
    if value is None:
        return ""
    if value == {} or (isinstance(value, str) and not value.strip()):
        return "Empty"
    if isinstance(value, bool):
        return "Raised" if value else "Not raised"
    if isinstance(value, dict):
        shown = (f"{name}: {format_field(field)}" for name, field in value.items())
        return ", ".join(shown)[:200]
    return str(value)[:200]


def format_field(field: Any) -> str:
    """A field's value as text."""
    inner = _inner(field)
    if inner is None:
        return ""
    return inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


def _inner(field: Any) -> Any:
    """A field's value without its confidence."""
    return field["value"] if isinstance(field, dict) and "value" in field else field


def read_text(form: Mapping[str, str], said: Any) -> str:
    """The text that was typed.

    Browsers change how lines end, and forms how letters are composed: neither is an edit.
    """
    typed = form.get("value", "").replace("\r\n", "\n")
    if isinstance(said, str) and typed == normalised(said).replace("\r\n", "\n"):
        return said
    return typed


def read_fields(form: Mapping[str, str], said: Any) -> dict[str, Any]:
    """The fields that were typed, as values of the type that the tool's have.

    An empty field that the tool did not return either is none.
    """
    known = said if isinstance(said, dict) else {}
    typed = {
        name.removeprefix("field."): words
        for name, words in form.items()
        if name.startswith("field.")
    }
    return {
        name: {"value": _as_before(words, _inner(known.get(name)))}
        for name, words in typed.items()
        if words or name in known
    }


def _as_before(words: str, before: Any) -> Any:
    """`words` as the type of what was there: a number stays one."""
    if words == normalised(format_field(before)):
        return before
    if before is None or isinstance(before, str):
        return words
    try:
        return json.loads(words, parse_constant=_no_number)
    except ValueError:
        return words


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")
