"""Reads of what reviewers say, as numbers are made of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic_core import to_json
from sqlalchemy.orm import Session

from services.escalation import queries as escalation
from services.escalation.queries import GivenLabel
from services.measurement.agreement import Agreement, Label, agreement
from services.tools.queries import ToolInfo
from services.tools.rules import OutputKind, VerdictKind

WINDOW = timedelta(days=90)
"""As far back numbers look, unless they are told otherwise."""


def labels(
    session: Session, *, now: datetime, window: timedelta = WINDOW, tool: str | None = None
) -> Mapping[str, list[Label]]:
    """What reviewers of the same cases said within the window, by tool."""
    found: dict[str, list[Label]] = {}
    for row in escalation.labels(session, since=now - window, tool=tool):
        said = Label((row.case_id, row.cycle), row.reviewer, _label(row))
        found.setdefault(row.tool, []).append(said)
    return found


def _label(row: GivenLabel) -> str:
    """An opinion in a word that is another one's where they say the same."""
    if row.verdict in (VerdictKind.UPHELD, VerdictKind.CORRECTED):
        return _words(row.value)
    return row.verdict


def _words(value: Any) -> str:
    return value if isinstance(value, str) else to_json(_plain(value)).decode()


def _plain(value: Any) -> Any:
    """A value without the confidences of its fields, in one order."""
    if not isinstance(value, dict):
        return value
    fields = sorted(value.items())
    return {
        name: one["value"] if isinstance(one, dict) and "value" in one else one
        for name, one in fields
    }


def labels_of(
    session: Session, tool: ToolInfo, *, now: datetime, window: timedelta = WINDOW
) -> list[Label]:
    """What reviewers of a tool's cases said within the window."""
    return labels(session, now=now, window=window, tool=tool.slug).get(tool.slug, [])


def agreement_of(tool: ToolInfo, said: Sequence[Label]) -> Agreement:
    """How far a tool's reviewers agree. It takes its time: ask when no transaction waits for it."""
    return agreement(said, list(tool.categories) if tool.kind is OutputKind.CATEGORY else [])
