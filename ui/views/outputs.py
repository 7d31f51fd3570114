"""The rep's page: what the AI said, and one press to put it right."""

from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Form, Request
from secondlook import events
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.escalation import queries as escalation
from services.feedback import queries
from services.kit.errors import InvalidInput, NotFound, Problem
from services.kit.web.http import encode_cursor, read_cursor
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.contracts import refused
from services.tools.rules import same_value, value_problem
from ui.desk import Desk
from ui.words import plain, read_fields, read_text, value_words

Text = Annotated[str, Form()]
_PAGE = 50
_REASONS = (
    ("misread", "Misread"),
    ("two_issues", "Two issues"),
    ("topic_changed", "Topic changed"),
    ("no_category", "No fitting category"),
)
_FIELDS = {"note": "The note: ", "reason": "The reason: "}
_SAID = {"recorded": "Recorded", "late": "Recorded", "undone": "Taken back"}


def routes(desk: Desk) -> APIRouter:
    """The routes of outputs."""
    router = APIRouter()
    _add_list(router, desk)
    _add_page(router, desk)
    _add_words(router, desk)
    return router


def address(tool: str, output_id: str, part: str = "") -> str:
    """The page of an output; ids may hold anything, slashes included."""
    query = urlencode({"tool": tool, "id": output_id})
    return f"/output{part}?{query}"


# --- the list ---------------------------------------------------------------------------


def _add_list(router: APIRouter, desk: Desk) -> None:
    @router.get("/outputs")
    def outputs(
        request: Request,
        tool: str = "",
        cursor: str | None = None,
        id: str = "",  # noqa: A002 - the address's word
    ) -> Response:
        actor = desk.actor(request, Verb.READ_OUTPUTS)
        with desk.transaction() as (session, now):
            tools = tool_queries.visible_tools(session, actor)
            slug = tool or (tools[0].slug if tools else "")
            if slug and slug not in {one.slug for one in tools}:
                raise NotFound(f"There is no tool '{slug[:63]}'.")
            if id.strip():
                return desk.on(request, address(slug, id.strip()))
            before = read_cursor(cursor, str)
            found = (
                queries.recent_outputs(session, slug, before=before, limit=_PAGE + 1)
                if slug
                else []
            )
            blind = (
                escalation.blind_outputs(session, slug, [row.output_id for row in found])
                if actor.may(Verb.REVIEW)
                else set()
            )
        last = found[_PAGE - 1] if len(found) > _PAGE else None
        following = encode_cursor(last.recorded_at.isoformat(), last.output_id) if last else ""
        return desk.templates.render(
            request,
            "pages/outputs.html",
            now=now,
            tools=[{"value": one.slug, "label": one.name} for one in tools],
            tool=slug,
            rows=[_row(row, blind=row.output_id in blind) for row in found[:_PAGE]],
            next=f"/outputs?{urlencode({'tool': slug, 'cursor': following})}" if following else "",
        )


def _row(row: Any, *, blind: bool) -> dict[str, Any]:
    said = "Failed" if row.failed else value_words(row.value)
    return {
        "id": row.output_id,
        "href": address(row.tool, row.output_id),
        "said": "Audit: what is right?" if blind else said,
        "human": value_words(row.decided_value) if row.overridden and not blind else "",
        "text": row.excerpt or "",
        "confidence": None if blind else row.confidence,
        "at": row.recorded_at,
        "meta": (row.disposition, row.subject or row.output_id),
    }


# --- one output -------------------------------------------------------------------------


def _add_page(router: APIRouter, desk: Desk) -> None:
    @router.get("/output")
    def output_page(
        request: Request,
        tool: str,
        id: str,  # noqa: A002 - the address's word
        q: str = "",
        said: str = "",
    ) -> Response:
        actor = desk.actor(request, Verb.READ_OUTPUTS)
        return _show(desk, request, actor, tool, id, query=q, said=said)

    @router.get("/o/{tool}/{output_id:path}")
    def short(request: Request, tool: str, output_id: str) -> Response:
        """The short address, for links in a helpdesk."""
        return desk.on(request, address(tool, output_id))


def _show(
    desk: Desk,
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
    with desk.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        row = queries.output(session, slug, output_id)
        words = queries.corrections(session, slug, output_id)
        case = escalation.case_of_output(session, slug, output_id)
    if case is not None and escalation.hidden(case) and actor.may(Verb.REVIEW):
        return desk.on(request, f"/c/{case.id}")
    return desk.templates.render(
        request,
        "pages/output.html",
        "answer",
        status=status,
        now=now,
        announce=problem or _SAID.get(said, ""),
        urgent=bool(problem),
        output=_output_context(row, tool, words, actor, query),
        case=case.id if case is not None and actor.may(Verb.READ_CASES) else None,
        may_correct=actor.may(Verb.CORRECT),
        said=said,
        reasons=[{"value": value, "label": label} for value, label in _REASONS],
        problem=problem,
        typed=typed or {},
    )


def _output_context(
    row: Any, tool: Any, words: list[Any], actor: Actor, query: str
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
        "said": value_words(row.value),
        "failed": (row.failure or {}).get("kind", ""),
        "confidence": row.confidence,
        "text": (row.input or {}).get("text", ""),
        "url": (row.input or {}).get("url", ""),
        "language": (row.input or {}).get("language", ""),
        "subject": row.subject,
        "version": row.version,
        "disposition": row.disposition,
        "recorded": row.recorded_at,
        "decided_by": row.decided_by,
        "decided": value_words(decided),
        "overridden": row.overridden,
        "last": mine[-1] if mine else None,
        "last_words": _word(mine[-1], row) if mine else "",
        "words": [_entry(word) for word in reversed(words)],
        "choices": _choices(row, tool),
        "others": _others(row, tool, query),
        "query": query,
        "fields": {name: plain(field) for name, field in (row.value or {}).items()}
        if tool.kind == "fields"
        else {},
    }


def _word(word: Any, row: Any) -> str:
    """What this person said last, as the undo strip says it."""
    if word.kind == "correction":
        return f"{value_words(row.value)} → {value_words(word.value)}"
    return {
        "confirmation": f"{value_words(row.value)} is right",
        "dispute": "Sent to the owner",
        "appeal": "Appeal sent",
    }[word.kind]


def _entry(word: Any) -> dict[str, Any]:
    said = {
        "correction": f"Corrected to {value_words(word.value)}",
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


def _choices(row: Any, tool: Any) -> list[dict[str, Any]]:
    """1 always means that the AI is right; then what it also considered."""
    if row.failure:
        return []
    short = value_words(row.value) if tool.kind in ("category", "flag") else "It is right"
    keep = {"value": "keep", "label": "Keep", "hint": short}
    if tool.kind == "flag":
        return [keep, {"value": f"is:{not row.value}", "label": value_words(not row.value)}]
    if tool.kind != "category":
        return [keep]
    others = [
        {"value": f"is:{a['value']}", "label": a["value"], "confidence": a.get("confidence")}
        for a in (row.alternatives or [])[:3]
        if a["value"] in tool.categories and a["value"] != row.value
    ]
    return [keep, *others]


def _others(row: Any, tool: Any, query: str) -> list[dict[str, str]]:
    if tool.kind != "category":
        return []
    offered = {c["value"].removeprefix("is:") for c in _choices(row, tool)} | {row.value}
    letters = query.strip().lower()
    return [
        {"value": f"is:{name}", "label": name}
        for name in tool.categories
        if name not in offered and letters in name.lower()
    ]


# --- words ------------------------------------------------------------------------------


def _add_words(router: APIRouter, desk: Desk) -> None:
    @router.post("/output")
    async def say(request: Request, tool: str, id: str) -> Response:  # noqa: A002 - the address's word
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(_say, desk, request, tool, id, form)

    @router.post("/output/undo")
    def undo(request: Request, tool: str, id: str, correction: Text = "") -> Response:  # noqa: A002
        actor = desk.actor(request, Verb.CORRECT)
        with desk.transaction() as (session, now):
            tool_queries.tool_for(session, actor, tool)
            words = queries.corrections(session, tool, id)
        if not any(w.event_id == correction and w.actor == actor.email for w in words):
            raise NotFound("There is nothing of yours to undo here.")
        data = events.Withdrawal(
            output_id=id,
            correction_id=correction,
            actor=events.Actor(id=actor.email),
            channel="ui",
        )
        desk.say([events.correction_withdrawn(tool, data, time=now)])
        shown = desk.wait(lambda session: _is_withdrawn(session, tool, id, correction))
        return _again(desk, request, actor, tool, id, "undone" if shown else "late")


def _say(desk: Desk, request: Request, slug: str, output_id: str, form: dict[str, str]) -> Response:
    """Record what the person pressed, and show it once it is stored."""
    actor = desk.actor(request, Verb.CORRECT)
    with desk.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        row = queries.output(session, slug, output_id)
    try:
        kind, value = _read_choice(form, tool, row)
        data = _correction(output_id, kind, value, form, actor=actor, now=now)
    except InvalidInput as error:
        said = "; ".join(_in_words(p) for p in error.problems)
        return _show(desk, request, actor, slug, output_id, status=422, problem=said, typed=form)
    event = events.correction_recorded(slug, data, time=now)
    desk.say([event])
    shown = desk.wait(lambda session: _is_stored(session, slug, output_id, event.id))
    return _again(desk, request, actor, slug, output_id, "recorded" if shown else "late")


def _correction(
    output_id: str, kind: str, value: Any, form: dict[str, str], *, actor: Actor, now: datetime
) -> events.Correction:
    """What the person said, as the contract takes it.

    Raises:
        InvalidInput: the value or the note breaks one of the contract's limits.
    """
    try:
        return events.valid(
            events.Correction,
            output_id=output_id,
            kind=kind,
            value=value,
            reason=form.get("reason") or None,
            note=form.get("note", "").strip().replace("\r\n", "\n") or None,
            actor=events.Actor(id=actor.email),
            channel="ui",
            occurred_at=now,
        )
    except events.InvalidEvent as error:
        raise refused(error) from None


def _read_choice(form: dict[str, str], tool: Any, row: Any) -> tuple[Any, Any]:
    """The kind of word and its value that a pressed button stands for."""
    choice = form.get("choice", "")
    if choice == "keep":
        return "confirmation", None
    if choice == "unsure":
        return "dispute", None
    if choice.startswith("is:"):
        value: Any = choice.removeprefix("is:")
        value = value == "True" if tool.kind == "flag" else value
    elif choice == "text":
        value = read_text(form, row.value)
    elif choice == "fields":
        value = read_fields(form, row.value)
    else:
        raise _invalid("choice", "nothing was chosen", "Press one of the buttons")
    problem = value_problem(tool.kind, tool.categories, value, pointer="/choice")
    if problem is not None:
        raise InvalidInput(problem.problem, problems=(problem,))
    if same_value(value, row.value):
        raise _invalid("choice", "that is what the AI said", "Press Keep if it is right")
    return "correction", value


def _in_words(problem: Problem) -> str:
    """A problem on the page: its pointer only where it is in what was typed beside the value."""
    field = problem.pointer.removeprefix("/")
    return f"{_FIELDS.get(field, '')}{problem.problem}. {problem.hint}"


def _invalid(field: str, problem: str, mend: str) -> InvalidInput:
    return InvalidInput(problem, problems=(Problem(f"/{field}", problem, mend),))


def _again(
    desk: Desk, request: Request, actor: Actor, slug: str, output_id: str, said: str
) -> Response:
    if request.headers.get("hx-request") == "true":
        return _show(desk, request, actor, slug, output_id, said=said)
    return desk.on(request, f"{address(slug, output_id)}&said={quote(said)}")


def _is_stored(session: Any, tool: str, output_id: str, event_id: str) -> bool:
    return any(w.event_id == event_id for w in queries.corrections(session, tool, output_id))


def _is_withdrawn(session: Any, tool: str, output_id: str, event_id: str) -> bool:
    words = queries.corrections(session, tool, output_id)
    return any(w.event_id == event_id and w.withdrawn for w in words)
