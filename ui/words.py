"""Values and happenings in the words that pages show."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

_TRIGGERS = {
    "low_confidence": "low confidence",
    "dispute": "disputed",
    "tool_failure": "tool failed",
    "policy": "policy",
    "audit": "audit",
    "unmatched": "no output",
}

_EVENTS = {
    "opened": ("Opened", "inbox"),
    "claimed": ("Claimed", "user"),
    "released": ("Released", "undo-2"),
    "commented": ("Commented", "message-square"),
    "reassigned": ("Given to another owner", "users"),
    "escalated": ("Escalated", "arrow-up-right"),
    "overdue": ("Deadline missed", "triangle-alert"),
    "reminded": ("Owner reminded", "clock"),
    "disputed": ("Disputed", "message-square"),
    "resolved": ("Judged", "check"),
    "reopened": ("Opened again", "undo-2"),
    "closed": ("Closed", "check"),
    "output arrived": ("The output arrived", "inbox"),
    "dispute withdrawn": ("Took the objection back", "undo-2"),
    "rung skipped": ("A rung was passed over", "chevron-right"),
}


def trigger_words(trigger: str) -> str:
    """Why a case opened, as people say it."""
    return _TRIGGERS.get(trigger, trigger.replace("_", " "))


def value_words(value: Any, failure: Mapping[str, Any] | None = None) -> str:
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
        shown = (f"{name}: {plain(field)}" for name, field in value.items())
        return ", ".join(shown)[:200]
    return str(value)[:200]


def plain(field: Any) -> str:
    """A field's value as text."""
    inner = _inner(field)
    if inner is None:
        return ""
    return inner if isinstance(inner, str) else json.dumps(inner, ensure_ascii=False)


def _inner(field: Any) -> Any:
    """A field's value without its confidence."""
    return field["value"] if isinstance(field, dict) and "value" in field else field


def read_text(form: Mapping[str, str], said: Any) -> str:
    """The text that was typed; browsers change how lines end, which is no change of the text."""
    typed = form.get("value", "").replace("\r\n", "\n")
    if isinstance(said, str) and typed == said.replace("\r\n", "\n"):
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
    if words == plain(before):
        return before
    if before is None or isinstance(before, str):
        return words
    try:
        return json.loads(words, parse_constant=_no_number)
    except ValueError:
        return words


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number")


def timeline_entries(entries: Sequence[Any]) -> list[dict[str, Any]]:
    """Timeline entries as the macro takes them, the newest first."""
    return [_entry(entry) for entry in reversed(entries)]


def _entry(entry: Any) -> dict[str, Any]:
    words, icon = _EVENTS.get(entry.event, (entry.event.capitalize(), "clock"))
    detail = entry.detail or {}
    if entry.event == "opened":
        words = f"Opened: {trigger_words(detail.get('trigger', ''))}, rule {detail.get('rule')}"
    elif entry.event == "resolved":
        words = f"Judged: {str(detail.get('verdict', '')).replace('_', ' ')}"
    elif entry.event == "overdue":
        words = f"Deadline to {detail.get('clock')} missed"
    elif entry.event in ("escalated", "reassigned") and detail.get("owner"):
        owner = detail["owner"]
        name = owner.get("id") if isinstance(owner, dict) else str(owner).partition(":")[2]
        words = f"{words} to {name}" if entry.event == "escalated" else f"Given to {name}"
    return {
        "at": entry.at,
        "text": words,
        "actor": None if entry.actor == "secondlook" else entry.actor,
        "note": entry.note,
        "icon": icon,
    }
