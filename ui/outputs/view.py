"""One output as its page shows it, and the page itself."""

from typing import Any
from urllib.parse import urlencode

from fastapi import Request
from secondlook.conditions import version_label
from starlette.responses import Response

from services.escalation import queries as escalation
from services.escalation.cases import Case, hides_answer
from services.feedback import queries
from services.feedback.queries import OutputWhole
from services.feedback.rows import Word
from services.kit.errors import NotFound
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.queries import ToolInfo
from ui.kit.context import PageContext
from ui.kit.values import format_field, format_value

_REASONS = (
    ("misread", "Misread"),
    ("two_issues", "Two issues"),
    ("topic_changed", "Topic changed"),
    ("no_category", "No fitting category"),
)
_ANNOUNCED = {"recorded": "Recorded", "late": "Recorded", "undone": "Taken back"}


def address(tool: str, output_id: str, part: str = "") -> str:
    """The page of an output; ids may hold anything, slashes included."""
    query = urlencode({"tool": tool, "id": output_id})
    return f"/output{part}?{query}"


def show_output(
    pages: PageContext,
    request: Request,
    actor: Actor,
    slug: str,
    output_id: str,
    *,
    query: str = "",
    said: str = "",
    status: int = 200,
    problem: str = "",
    typed: dict[str, str] | None = None,
) -> Response:
    with pages.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        row = queries.output(session, slug, output_id)
        words = queries.corrections(session, slug, output_id)
        case = escalation.case_of_output(session, slug, output_id)
    if is_hidden_from(actor, row, case):
        return hidden(pages, request, case)
    return pages.templates.render(
        request,
        "outputs/output.html",
        "answer",
        status=status,
        now=now,
        announce=problem or _ANNOUNCED.get(said, ""),
        urgent=bool(problem),
        output=_output_context(row, tool, words, actor, query),
        case=case.id if case is not None and actor.may(Verb.READ_CASES) else None,
        may_correct=actor.may(Verb.CORRECT),
        said=said,
        reasons=[{"value": value, "label": label} for value, label in _REASONS],
        problem=problem,
        typed=typed or {},
    )


def is_hidden_from(actor: Actor, row: OutputWhole, case: Case | None) -> bool:
    """Whether this person must not be shown what the tool said."""
    return actor.may(Verb.READ_CASES) and hides_answer(case, audit_pending=row.audit_pending)


def hidden(pages: PageContext, request: Request, case: Case | None) -> Response:
    """Instead of an output whose answer is hidden: its case.

    Raises:
        NotFound: the case is not opened yet.
    """
    if case is None:
        raise NotFound("This output was drawn for an audit. Its case is being opened.")
    return pages.redirect(request, f"/c/{case.id}")


def _output_context(
    row: OutputWhole, tool: ToolInfo, words: list[Word], actor: Actor, query: str
) -> dict[str, Any]:
    standing = [word for word in words if not word.withdrawn]
    mine = [word for word in standing if word.actor == actor.email]
    decided = row.decided_value if row.decided_by else None
    return {
        "id": row.output_id,
        "tool": tool.slug,
        "tool_name": tool.name,
        "kind": tool.kind.value,
        "value": row.value,
        "said": format_value(row.value),
        "failed": (row.failure or {}).get("kind", ""),
        "confidence": row.confidence,
        "text": (row.input or {}).get("text", ""),
        "url": (row.input or {}).get("url", ""),
        "language": (row.input or {}).get("language", ""),
        "subject": row.subject,
        "version": version_label(row.model, row.prompt),
        "disposition": row.disposition,
        "recorded": row.recorded_at,
        "decided_by": row.decided_by,
        "decided": format_value(decided),
        "overridden": row.overridden,
        "last": mine[-1] if mine else None,
        "last_words": _word(mine[-1], row) if mine else "",
        "words": [_entry(word) for word in reversed(words)],
        "choices": _choices(row, tool),
        "others": _others(row, tool, query),
        "query": query,
        "fields": {name: format_field(field) for name, field in (row.value or {}).items()}
        if tool.kind == "fields"
        else {},
    }


def _word(word: Word, row: OutputWhole) -> str:
    """What this person said last, as the undo strip says it."""
    if word.kind == "correction":
        return f"{format_value(row.value)} → {format_value(word.value)}"
    return {
        "confirmation": f"{format_value(row.value)} is right",
        "dispute": "Sent to the owner",
        "appeal": "Appeal sent",
    }[word.kind]


def _entry(word: Word) -> dict[str, Any]:
    said = {
        "correction": f"Corrected to {format_value(word.value)}",
        "confirmation": "Confirmed",
        "dispute": "Not sure: sent to the owner",
        "appeal": "Appealed the verdict",
    }[word.kind]
    return {
        "at": word.occurred_at,
        "text": f"{said}, taken back" if word.withdrawn else said,
        "actor": word.actor,
        "note": word.note,
        "icon": "undo-2" if word.withdrawn else "check",
    }


def _choices(row: OutputWhole, tool: ToolInfo) -> list[dict[str, Any]]:
    """1 always means that the AI is right; then what it also considered."""
    if row.failure:
        return []
    short = format_value(row.value) if tool.kind in ("category", "flag") else "It is right"
    keep = {"value": "keep", "label": "Keep", "hint": short}
    if tool.kind == "flag":
        return [keep, {"value": f"is:{not row.value}", "label": format_value(not row.value)}]
    if tool.kind != "category":
        return [keep]
    others = [
        {"value": f"is:{a['value']}", "label": a["value"], "confidence": a.get("confidence")}
        for a in (row.alternatives or [])[:3]
        if a["value"] in tool.categories and a["value"] != row.value
    ]
    return [keep, *others]


def _others(row: OutputWhole, tool: ToolInfo, query: str) -> list[dict[str, str]]:
    if tool.kind != "category":
        return []
    offered = {c["value"].removeprefix("is:") for c in _choices(row, tool)} | {row.value}
    letters = query.strip().lower()
    return [
        {"value": f"is:{name}", "label": name}
        for name in tool.categories
        if name not in offered and letters in name.lower()
    ]
