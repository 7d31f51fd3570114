"""What is merged into a case, as the reading pane shows it, and the verdicts on all of it."""

from collections.abc import Sequence
from typing import Any

from fastapi import Request

from services.escalation import lists, queries
from services.escalation.cases import Case, Listed
from services.escalation.lists import Filter
from services.escalation.rules import OPEN_STATES, CaseState
from services.kit.database import Session
from services.people.rules import Actor, Verb
from services.tools.queries import ToolInfo
from services.tools.rules import OutputKind
from ui.cases.case_view import choices_of, others_of
from ui.cases.frozen import packed
from ui.kit.values import format_value

_SAMPLES = 3
_MOST = 100_000
"""Cases of an incident are counted so far."""


def parts_context(
    session: Session, actor: Actor, case: Case, tool: ToolInfo, *, query: str
) -> dict[str, Any] | None:
    """What is merged into this case: how much, a few of it, what can be said of all."""
    if not case.children:
        return None
    wanted = Filter(incident=case.id, state=CaseState.MERGED)
    samples = lists.cases(session, actor, wanted, limit=_SAMPLES)
    total = lists.count(session, actor, wanted, most=_MOST) if samples else 0
    free = case.state in OPEN_STATES and case.claimant in (None, actor.email)
    return {
        "total": total,
        "decided": case.children - total,
        "samples": [_sample(one) for one in samples],
        "can_decide": bool(samples) and free and actor.may(Verb.REVIEW),
        **(_verdicts(session, tool, samples[0], query=query) if samples else {}),
    }


def _sample(case: Listed) -> dict[str, Any]:
    said = "" if case.hidden else format_value(case.value, case.failure)
    human = "" if case.hidden else format_value((case.dispute or {}).get("value"))
    return {
        "id": case.id,
        "title": said or "No output",
        "human": human,
        "text": case.excerpt or "",
        "due": case.due_at,
    }


def _verdicts(session: Session, tool: ToolInfo, sample: Listed, *, query: str) -> dict[str, Any]:
    """The verdicts to choose from, as they are for the one that is due first."""
    case = queries.case(session, sample.id)
    simple = tool.kind in (OutputKind.CATEGORY, OutputKind.FLAG)
    return {
        "kind": tool.kind.value,
        "choices": [
            # How sure the tool was of one of them says nothing of all.
            {**choice, "confidence": None}
            for choice in (
                choices_of(case, tool, blind=case.hidden) if simple or case.value else ()
            )
        ],
        "others": others_of(case, tool, blind=case.hidden, query=query),
        "query": query,
    }


def preview_context(
    choice: str, words: str, *, suited: Sequence[int], alone: int, skipped: dict[int, str]
) -> dict[str, Any]:
    """What a verdict on all of it would do, before it is given."""
    reasons: dict[str, list[int]] = {}
    for case, why in skipped.items():
        reasons.setdefault(why, []).append(case)
    return {
        "choice": choice,
        "words": words,
        "suited": len(suited),
        "cases": packed(suited),
        "alone": alone,
        "excluded": len(skipped),
        "reasons": [(why, cases[:_SAMPLES], len(cases)) for why, cases in reasons.items()],
    }


def parts_outcome(request: Request) -> dict[str, Any]:
    """What was decided just now, as the address says it."""
    query = request.query_params
    done, changed = (_number(query.get(name, "")) for name in ("decided", "changed"))
    words = f"{done or 0:,} done" + (f", {changed:,} changed since" if changed else "")
    return {"decided": done is not None, "words": words, "at": query.get("at", "")[:40]}


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 8 else None
