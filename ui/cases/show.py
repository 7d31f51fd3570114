"""The queue and one of its cases, as a page or as the parts of it that change."""

from datetime import datetime
from typing import Any

from fastapi import Request
from starlette.responses import Response

from services.escalation import lists, opinions, precedents, queries, service
from services.escalation.cases import Case, Listed
from services.escalation.judgement import Opinion
from services.escalation.precedents import Precedent
from services.escalation.rules import LAST_RESORT, Owner, SubjectKind
from services.feedback import queries as feedback
from services.kit.database import Session
from services.kit.errors import NotFound
from services.kit.web.cursors import encode_cursor, read_cursor
from services.people import ownership
from services.people.rules import Actor
from services.tools import queries as tool_queries
from services.tools.queries import ToolInfo
from services.tools.rules import OutputKind, VerdictKind
from ui.cases.case_view import case_context, may_undo, standing, why_barred
from ui.cases.panel import in_words, panel_context, settle_choices
from ui.cases.parts_view import parts_context, parts_outcome
from ui.cases.queue_filter import QueueFilter, queue_filter
from ui.cases.remarks import remarks_context
from ui.cases.vocabulary import SPANS, cause_words, timeline_entries, trigger_label
from ui.kit.context import PageContext
from ui.kit.templating import wants_fragment
from ui.kit.values import format_value

_PAGE = 50
MOST_COUNTED = 1000


def _count_context(session: Session, actor: Actor, asked: QueueFilter) -> dict[str, Any]:
    """How long the queue is: all of it that changes beside a case in the pane."""
    total = lists.count(session, actor, asked.filter(actor), most=MOST_COUNTED)
    return {"asked": asked, "total": total, "counted": MOST_COUNTED}


def list_context(
    session: Session,
    actor: Actor,
    asked: QueueFilter,
    *,
    now: datetime,
    cursor: str | None = None,
    shown: int = 0,
) -> dict[str, Any]:
    """The rows of the queue and what surrounds them."""
    after = read_cursor(cursor, int)
    found = lists.cases(session, actor, asked.filter(actor), after=after, limit=_PAGE + 1)
    last = found[_PAGE - 1] if len(found) > _PAGE else None
    following = encode_cursor(last.due_at.isoformat(), last.id) if last else None
    shown += min(len(found), _PAGE)
    return {
        **_count_context(session, actor, asked),
        "rows": [_row(case, actor) for case in found[:_PAGE]],
        "shown": shown,
        "next": asked.address(cursor=following, shown=str(shown)) if following else "",
        "newest": lists.newest(session),
        "tools": [tool.slug for tool in tool_queries.visible_tools(session, actor)],
        "now": now,
    }


def _row(case: Listed, actor: Actor) -> dict[str, Any]:
    """A case as a row of the list."""
    if case.subject_kind == SubjectKind.INCIDENT:
        return {**_shared(case, actor), **_of_incident(case)}
    blind = case.hidden
    said = "" if blind else format_value(case.value, case.failure)
    corrected = case.verdict_value if case.verdict == VerdictKind.CORRECTED else None
    human = format_value(corrected if corrected is not None else (case.dispute or {}).get("value"))
    return {
        **_shared(case, actor),
        "title": (_what_is_right(case) if blind else said or "No output"),
        "human": "" if blind else human,
        "text": case.excerpt or ("" if blind else (case.dispute or {}).get("note")) or "",
        "confidence": None if blind else case.confidence,
    }


def _shared(case: Listed, actor: Actor) -> dict[str, Any]:
    return {
        "id": case.id,
        "due": case.due_at,
        "meta": (trigger_label(case.trigger), case.tool),
        "claimant": _holder(case, actor),
        "state": "" if case.state in ("open", "claimed") else "inert",
        "verdict": case.verdict,
    }


def _of_incident(case: Listed) -> dict[str, Any]:
    return {
        "title": f"Incident: {case.children} cases",
        "human": "",
        "text": cause_words(case.cause),
        "confidence": None,
    }


def _what_is_right(case: Listed) -> str:
    return "Blind review: what is right?" if case.reviewers > 1 else "Audit: what is right?"


def _holder(case: Listed, actor: Actor) -> str:
    if case.state != "claimed":
        return ""
    return "You are on it" if case.claimant == actor.email else f"{case.claimant} is on it"


def show_case(
    pages: PageContext,
    request: Request,
    actor: Actor,
    case_id: int,
    *,
    query: str = "",
    done_id: int = 0,
    status: int = 200,
    **more: Any,
) -> Response:
    """The case in the reading pane, with the queue beside it; `done_id` is decided."""
    with pages.transaction() as (session, now):
        case = queries.case_for(session, actor, case_id)
        context = pane_context(request, session, actor, case, query=query, now=now)
        context |= outcome_of(session, actor, done_id)
    return render_pane(pages, request, context | more, status=status)


def pane_context(
    request: Request,
    session: Session,
    actor: Actor,
    case: Case,
    *,
    query: str = "",
    now: datetime,
) -> dict[str, Any]:
    """All that is shown of the case in the reading pane and beside it, but what was done before."""
    asked, fragment = queue_filter(request), wants_fragment(request)
    tool = tool_queries.tool(session, case.tool)
    names = _field_names(session, case, tool)
    barred = why_barred(session, actor, case)
    panel = opinions.panel(session, actor, case)
    parts = parts_context(session, actor, case, tool, query=query)
    waiting = bool(parts and parts["total"])
    beside = (
        _count_context(session, actor, asked)
        if fragment
        else list_context(session, actor, asked, now=now)
    )
    return {
        **beside,
        **remarks_context(session, actor, case),
        **panel_context(session, panel),
        "case": case_context(case, tool, query=query, names=names, settling=settle_choices(panel))
        | standing(case, actor, barred=barred, panel=panel, has_parts=waiting),
        "entries": timeline_entries(queries.timeline(session, case, reader=actor.email)),
        "owners": (owners := _possible_owners(session)),
        "teams": _other_teams(owners, case),
        "similar": [_precedent(one) for one in precedents.similar(session, actor, case)],
        "parts": parts,
        "left_alone": service.left_alone(session, actor, case),
        "preview": None,
        "outcome": parts_outcome(request),
        "spans": [{"value": span, "label": words} for span, words in SPANS],
        "problem": "",
        "typed": {},
        "oob": fragment,
        "now": now,
    }


def _precedent(one: Precedent) -> dict[str, Any]:
    """A similar case as a line: what it was found to be."""
    said = format_value(one.value) if one.value is not None else ""
    return {"id": one.id, "verdict": one.verdict, "value": said, "at": one.resolved_at}


def render_pane(
    pages: PageContext, request: Request, context: dict[str, Any], *, status: int = 200
) -> Response:
    """The page, or the pane alone where only that is asked for."""
    return pages.templates.render(
        request,
        "cases/queue.html",
        ["pane", "counted"],
        status=status,
        announce=context["done"] or str(context["problem"]),
        urgent=not context["done"],
        push_url=context["asked"].address(f"/c/{context['case']['id']}"),
        **context,
    )


def _field_names(session: Session, case: Case, tool: ToolInfo) -> list[str]:
    """The names of the fields to fill in; on a blind case those that the tool returns at all,
    so that they tell nothing of this output.
    """
    if tool.kind != OutputKind.FIELDS:
        return []
    if case.value is not None and not case.hidden:
        return list(case.value)
    recent = feedback.recent_outputs(session, tool.slug, limit=_PAGE)
    return sorted({name for row in recent for name in row.value or {}})


def _possible_owners(session: Session) -> list[dict[str, str]]:
    """Who a case can be given to."""
    return [
        {"value": f"team:{one.id}", "label": f"{one.name} (team)"}
        if one.kind == "team"
        else {"value": f"user:{one.id}", "label": one.name}
        for one in ownership.candidates(session)
    ]


def _other_teams(owners: list[dict[str, str]], case: Case) -> list[dict[str, str]]:
    """The teams that a case can be handed on to."""
    left_out = {str(Owner("team", case.team)), str(LAST_RESORT)}
    return [
        one for one in owners if one["value"].startswith("team:") and one["value"] not in left_out
    ]


def outcome_of(session: Session, actor: Actor, case_id: int) -> dict[str, Any]:
    """What became of the case that got its verdict just now, and the id to undo that by.

    Nothing where there is none, or it is not to be seen.
    """
    try:
        case = queries.case_for(session, actor, case_id)
    except NotFound:
        return {"done": "", "done_id": 0, "done_verdict_id": None}
    yours = _own_opinion(session, actor, case)
    if yours is not None:
        return opinion_context(case_id, yours)
    undoable = case.verdict_id if may_undo(actor, case) else None
    outcome = case.verdict or case.state
    return outcome_context(case_id, outcome, case.verdict_value, undoable=undoable)


def _own_opinion(session: Session, actor: Actor, case: Case) -> Opinion | None:
    """What the actor said of a case that is not decided yet."""
    found = opinions.panel(session, actor, case) if case.verdict is None else None
    return found.yours if found is not None else None


def opinion_context(case_id: int, said: Opinion) -> dict[str, Any]:
    """That somebody's opinion on a case is kept, and can be taken back."""
    words = f"Your opinion on case {case_id}: {in_words(said)[:60]}"
    return {"done": words, "done_id": case_id, "done_verdict_id": "opinion"}


def outcome_context(
    case_id: int, outcome: str, value: Any, *, undoable: str | None
) -> dict[str, Any]:
    """That a case got this verdict or is in this state; `undoable` is the verdict's id."""
    words = outcome.replace("_", " ")
    if outcome == VerdictKind.CORRECTED:
        words = f"corrected to {format_value(value)[:60]}"
    return {"done": f"Case {case_id} {words}", "done_id": case_id, "done_verdict_id": undoable}
