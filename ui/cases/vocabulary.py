"""Triggers and timeline entries in the words that pages show."""

from collections.abc import Sequence
from typing import Any

from pydantic_core import from_json

from services.escalation.queries import TimelineRow
from ui.kit.values import format_value

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
    "rerouted": ("Routed anew", "arrow-right"),
    "escalated": ("Escalated", "arrow-up-right"),
    "waiting": ("Waits", "clock"),
    "snoozed": ("Put off", "clock"),
    "woken": ("Woke", "inbox"),
    "merged": ("Merged", "layers"),
    "unmerged": ("Taken out again", "layers"),
    "joined": ("Another case was merged into it", "layers"),
    "left": ("A case was taken out of it", "layers"),
    "overdue": ("Deadline missed", "triangle-alert"),
    "reminded": ("Owner reminded", "clock"),
    "disputed": ("Disputed", "message-square"),
    "reviewed": ("Opinion given", "check"),
    "divided": ("The reviewers differ: a lead settles it", "users"),
    "opinion taken back": ("Opinion taken back", "undo-2"),
    "mentioned": ("Mentioned", "message-square"),
    "resolved": ("Verdict given", "check"),
    "undone": ("Verdict taken back", "undo-2"),
    "reopened": ("Opened again", "undo-2"),
    "closed": ("Closed", "check"),
    "output arrived": ("The output arrived", "inbox"),
    "dispute withdrawn": ("Took the objection back", "undo-2"),
    "rung skipped": ("A rung was passed over", "chevron-right"),
    "unassigned": ("Given to nobody of the team", "users"),
}


_BASES = {
    "opinions": ", as the opinions agree",
    "adjudication": ", settled by a lead",
    "alone": ", decided by a lead alone",
}
"""What the verdict of a case with several reviewers follows from."""


SPANS = (
    ("1h", "1 hour"),
    ("4h", "4 hours"),
    ("1d", "1 day"),
    ("3d", "3 days"),
    ("7d", "1 week"),
)
"""How long a case can be put off by one choice."""


def trigger_label(trigger: str) -> str:
    """Why a case opened, as people say it."""
    return _TRIGGERS.get(trigger, trigger.replace("_", " "))


_IN_COMMON = {
    "predicted.category": "AI said",
    "predicted.flag": "AI said",
    "failure": "failed by",
}


def cause_words(cause: str | None) -> str:
    """What cases of a cause have in common, in words; empty where it is only their rule."""
    if cause is None:
        return ""
    said = from_json(cause)
    facts = [(name, value) for name, value in said.items() if name not in _BESIDE]
    return ", ".join(f"{_fact(name)} {_words(value)}" for name, value in facts if value is not None)


_BESIDE = ("rule", "trigger", "tool")


def _fact(fact: str) -> str:
    return _IN_COMMON.get(fact, fact.removeprefix("attributes."))


def _words(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(str(part) for part in value if part is not None)
    return format_value(value)


def timeline_entries(entries: Sequence[TimelineRow]) -> list[dict[str, Any]]:
    """Timeline entries as the macro takes them, the newest first."""
    return [_entry(entry) for entry in reversed(entries)]


def _entry(entry: TimelineRow) -> dict[str, Any]:
    words, icon = _EVENTS.get(entry.event, (entry.event.capitalize(), "clock"))
    detail = entry.detail or {}
    if entry.event == "opened":
        words = f"Opened: {trigger_label(detail.get('trigger', ''))}"
        words += f", rule {detail['rule']}" if detail.get("rule") else ""
    elif entry.event == "resolved":
        words = f"Verdict: {str(detail.get('verdict', '')).replace('_', ' ')}"
        words += _BASES.get(detail.get("by", ""), "")
    elif entry.event == "reviewed" and detail.get("verdict"):
        said = format_value(detail["value"]) or str(detail["verdict"]).replace("_", " ")
        words = f"Opinion: {said}" + (" (taken back)" if detail.get("taken_back") else "")
    elif entry.event == "mentioned":
        words = f"Mentioned {', '.join(detail.get('people', ()))}"
    elif entry.event == "overdue":
        words = f"Deadline to {detail.get('clock')} missed"
    elif entry.event == "joined" and detail.get("cases", 1) > 1:
        words = f"{detail['cases']} cases were merged into it"
    elif entry.event in ("merged", "unmerged"):
        number = detail.get("into") or detail.get("from")
        words = f"Merged into case {number}" if entry.event == "merged" else f"Out of case {number}"
    elif entry.event in ("escalated", "reassigned") and detail.get("owner"):
        name = detail["owner"]["id"]
        words = f"{words} to {name}" if entry.event == "escalated" else f"Given to {name}"
    elif entry.event == "rerouted" and detail.get("to"):
        to = detail["to"]
        words = f"Routed anew by rule {to['rule']} of revision {to['revision']}, to {to['owner']}"
    return {
        "at": entry.at,
        "text": words,
        "actor": None if entry.actor == "secondlook" else entry.actor,
        "note": entry.note,
        "icon": icon,
    }
