"""The owner's queue and the case: claim, judge, next."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.escalation import queries, service
from services.escalation.queries import Filter
from services.escalation.routing import Owner, parse_owner
from services.escalation.rules import OPEN_STATES
from services.feedback import queries as feedback
from services.kit.errors import Conflict, InvalidInput, NotFound, Problem
from services.kit.web.http import encode_cursor, read_cursor
from services.people import queries as people_queries
from services.people.rules import REVIEWERS, Actor, Verb
from services.tools import queries as tool_queries
from services.tools.rules import OutputKind, VerdictKind
from ui.desk import Desk
from ui.templating import wants_fragment
from ui.words import (
    plain,
    read_fields,
    read_text,
    timeline_entries,
    trigger_words,
    value_words,
)

Text = Annotated[str, Form()]
_PAGE = 50
_COUNTED = 1000
_SHOWN_FILTERS = ("tool", "trigger", "overdue", "mine", "state")


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address narrows the queue to."""

    tool: str = ""
    trigger: str = ""
    overdue: str = ""
    mine: str = ""
    state: str = ""

    def filter(self, actor: Actor) -> Filter:
        """As the query takes it."""
        return Filter(
            tool=self.tool or None,
            trigger=self.trigger or None,
            overdue=True if self.overdue else None,
            claimant=actor.email if self.mine else None,
            state=self.state or None,
        )

    def kept(self) -> list[tuple[str, str]]:
        """What a form of its own has to send along."""
        return [(name, getattr(self, name)) for name in _SHOWN_FILTERS if getattr(self, name)]

    def address(self, path: str = "/queue", **changes: str) -> str:
        """A page of this queue, with some of it changed."""
        kept = {name: getattr(self, name) for name in _SHOWN_FILTERS} | changes
        query = urlencode({name: value for name, value in kept.items() if value})
        return f"{path}?{query}" if query else path


def routes(desk: Desk) -> APIRouter:
    """The routes of the queue and of cases."""
    router = APIRouter()
    _add_pages(router, desk)
    _add_work(router, desk)
    _add_other_verbs(router, desk)
    return router


def _asked(request: Request) -> Asked:
    query = request.query_params
    return Asked(**{name: query.get(name, "")[:100] for name in _SHOWN_FILTERS})


# --- pages ------------------------------------------------------------------------------


def _add_pages(router: APIRouter, desk: Desk) -> None:
    @router.get("/queue")
    def queue(
        request: Request, cursor: str | None = None, shown: Annotated[int, Query(ge=0)] = 0
    ) -> Response:
        actor = desk.actor(request, Verb.READ_CASES)
        with desk.transaction() as (session, now):
            asked = _asked(request)
            context = _list_context(session, actor, asked, now=now, cursor=cursor, shown=shown)
        return desk.templates.render(
            request, "pages/queue.html", ["more_rows", "more"], **context, case=None, oob=True
        )

    @router.get("/queue/new")
    def arrivals(request: Request, since: int = 0) -> Response:
        """How many cases have come since the page was shown; nothing moves by itself."""
        actor = desk.actor(request, Verb.READ_CASES)
        asked = _asked(request)
        if not wants_fragment(request):
            return desk.on(request, asked.address())
        with desk.transaction() as (session, _):
            count = queries.newer_than(session, actor, asked.filter(actor), since, most=_COUNTED)
        return desk.templates.render(
            request, "pages/queue.html", "arrivals", count=count, asked=asked, newest=since
        )

    @router.get("/c/{case_id}")
    def case_page(request: Request, case_id: int, q: str = "", done: int = 0) -> Response:
        actor = desk.actor(request, Verb.READ_CASES)
        return _show(desk, request, actor, case_id, query=q, done_id=done)


def _count_context(session: Any, actor: Actor, asked: Asked) -> dict[str, Any]:
    """How long the queue is: all of it that changes beside a case in the pane."""
    total = queries.count(session, actor, asked.filter(actor), most=_COUNTED)
    return {"asked": asked, "total": total, "counted": _COUNTED}


def _list_context(
    session: Any,
    actor: Actor,
    asked: Asked,
    *,
    now: datetime,
    cursor: str | None = None,
    shown: int = 0,
) -> dict[str, Any]:
    """The rows of the queue and what surrounds them."""
    after = read_cursor(cursor, int)
    found = queries.cases(session, actor, asked.filter(actor), after=after, limit=_PAGE + 1)
    last = found[_PAGE - 1] if len(found) > _PAGE else None
    following = encode_cursor(last.due_at.isoformat(), last.id) if last else None
    shown += min(len(found), _PAGE)
    return {
        **_count_context(session, actor, asked),
        "rows": [_row(case, actor) for case in found[:_PAGE]],
        "shown": shown,
        "next": asked.address(cursor=following, shown=str(shown)) if following else "",
        "newest": queries.newest(session),
        "tools": [tool.slug for tool in tool_queries.visible_tools(session, actor)],
        "now": now,
    }


def _row(case: Any, actor: Actor) -> dict[str, Any]:
    """A case as a row of the list."""
    blind = queries.hidden(case)
    said = "" if blind else value_words(case.value, case.failure)
    corrected = case.verdict_value if case.verdict == VerdictKind.CORRECTED else None
    human = value_words(corrected if corrected is not None else (case.dispute or {}).get("value"))
    return {
        "id": case.id,
        "title": ("Audit: what is right?" if blind else said or "No output"),
        "human": "" if blind else human,
        "text": case.excerpt or ("" if blind else (case.dispute or {}).get("note")) or "",
        "due": case.due_at,
        "confidence": None if blind else case.confidence,
        "meta": (trigger_words(case.trigger), case.tool),
        "claimant": _holder(case, actor),
        "state": "" if case.state in ("open", "claimed") else "inert",
        "verdict": case.verdict,
    }


def _holder(case: Any, actor: Actor) -> str:
    if case.state != "claimed":
        return ""
    return "You are on it" if case.claimant == actor.email else f"{case.claimant} is on it"


def _show(
    desk: Desk,
    request: Request,
    actor: Actor,
    case_id: int,
    *,
    query: str = "",
    done_id: int = 0,
    status: int = 200,
    **more: Any,
) -> Response:
    """The case in the reading pane, with the queue beside it; `done_id` was judged just now."""
    asked, fragment = _asked(request), wants_fragment(request)
    with desk.transaction() as (session, now):
        done = _done_words(session, actor, done_id) if done_id else ""
        case = queries.case_for(session, actor, case_id)
        entries = queries.timeline(session, case)
        tool = tool_queries.tool(session, case.tool)
        owners = _possible_owners(session)
        names = _field_names(session, case, tool)
        objects = queries.objects(session, actor.email, case_id)
        context = (
            _count_context(session, actor, asked)
            if fragment
            else _list_context(session, actor, asked, now=now)
        )
    context |= {
        "case": _case_context(case, tool, query=query, names=names)
        | _standing(case, actor, own_dispute=objects),
        "entries": timeline_entries(entries),
        "owners": owners,
        "problem": "",
        "typed": {},
        "done": done,
        "done_id": done_id,
        "oob": fragment,
        "now": now,
    }
    return desk.templates.render(
        request,
        "pages/queue.html",
        ["pane", "counted"],
        status=status,
        announce=done or str(more.get("problem", "")),
        urgent=not done,
        push_url=asked.address(f"/c/{case_id}"),
        **(context | more),
    )


def _field_names(session: Any, case: Any, tool: Any) -> list[str]:
    """The names of the fields to fill in; on a blind case those that the tool returns at all,
    so that they tell nothing of this output.
    """
    if tool.kind != OutputKind.FIELDS:
        return []
    if case.value is not None and not queries.hidden(case):
        return list(case.value)
    recent = feedback.recent_outputs(session, tool.slug, limit=_PAGE)
    return sorted({name for row in recent for name in row.value or {}})


def _possible_owners(session: Any) -> list[dict[str, str]]:
    """Who a case can be given to."""
    teams = [
        {"value": f"team:{team.slug}", "label": f"{team.name} (team)"}
        for team in people_queries.teams(session)
        if team.active
    ]
    people = [
        {"value": f"user:{person.email}", "label": person.name}
        for person in people_queries.people(session)
        if person.active and person.role in REVIEWERS
    ]
    return teams + people


def _case_context(case: Any, tool: Any, *, query: str, names: list[str]) -> dict[str, Any]:
    """What the pane shows of a case, whoever looks."""
    blind = queries.hidden(case)
    return {
        **_facts(case, tool),
        **_tools_word(case, blind=blind, names=names),
        "title": _title(case),
        "choices": _choices(case, tool, blind=blind),
        "others": _others(case, tool, blind=blind, query=query),
        "query": query,
    }


def _title(case: Any) -> str:
    if queries.hidden(case):
        return "What is right?"
    if case.failure:
        return "The tool failed"
    if case.value is None:
        return "The tool's output has not come"
    titles = {"text": "Is this text right?", "fields": "Are these values right?"}
    return titles.get(case.kind) or f"AI said {value_words(case.value)}"


def _tools_word(case: Any, *, blind: bool, names: list[str]) -> dict[str, Any]:
    """What the tool said and what was said against it: nothing of it on a blind case."""
    value = None if blind else case.value
    dispute = {} if blind else case.dispute or {}
    return {
        "blind": blind,
        "value": value,
        "fields": [(name, plain((value or {}).get(name))) for name in names],
        "confidence": None if blind else case.confidence,
        "failure": None if blind else case.failure,
        "dispute": {"note": None, "reason": None} | dispute if dispute else {},
        "dispute_value": value_words(dispute.get("value")),
        "disputed_by": case.disputed_by,
        "verdict": case.verdict,
        "verdict_value": value_words(case.verdict_value),
        "verdict_by": case.verdict_by,
        "verdict_note": case.verdict_note,
    }


def _facts(case: Any, tool: Any) -> dict[str, Any]:
    """What holds of a case whoever looks."""
    given = case.input or {}
    return {
        "id": case.id,
        "tool": case.tool,
        "tool_name": tool.name,
        "kind": tool.kind.value,
        "output_id": case.output_id,
        "subject": case.subject,
        "trigger": trigger_words(case.trigger),
        "text": given.get("text") or "",
        "url": given.get("url") or "",
        "language": given.get("language") or "",
        "attributes": case.attributes or {},
        "state": case.state,
        "level": case.level,
        "priority": case.priority,
        "queue": case.queue,
        "rule": case.rule,
        "owner": case.owner_team or case.owner_person,
        "due": case.due_at,
        "open": case.state in OPEN_STATES,
        "overdue": case.overdue_since is not None,
        "opened": case.opened_at,
        "version": case.tool_version,
    }


def _standing(case: Any, actor: Actor, *, own_dispute: bool) -> dict[str, Any]:
    """What this person may do with the case."""
    mine = case.state == "claimed" and case.claimant == actor.email
    free = case.state == "open"
    return {
        "mine": mine,
        "can_judge": actor.may(Verb.REVIEW) and not own_dispute and (free or mine),
        "can_work": actor.may(Verb.REVIEW),
        "own_dispute": own_dispute,
        "claimant": case.claimant,
        "token": str(case.claim_seq) if mine else "",
    }


def _choices(case: Any, tool: Any, *, blind: bool) -> list[dict[str, Any]]:
    """The numbered verdicts: 1 is the tool's word, then what it also considered."""
    if tool.kind == "flag":
        return _flag_choices(case, blind=blind)
    if tool.kind != "category":
        can_uphold = not blind and case.value is not None
        right = {"value": "upheld", "label": "Right as it is", "hint": "change nothing"}
        return [right] if can_uphold else []
    if blind:
        return []
    right = {"value": "upheld", "label": case.value, "hint": "the AI is right"}
    choices = [{**right, "confidence": case.confidence}] if case.value is not None else []
    disputed = (case.dispute or {}).get("value")
    candidates = [disputed] if isinstance(disputed, str) else []
    candidates += [a["value"] for a in case.alternatives or () if a["value"] not in candidates]
    shares = {a["value"]: a.get("confidence") for a in case.alternatives or ()}
    choices += [
        {"value": f"is:{value}", "label": value, "confidence": shares.get(value)}
        for value in candidates[:3]
        if value != case.value and value in tool.categories
    ]
    return choices


def _flag_choices(case: Any, *, blind: bool) -> list[dict[str, Any]]:
    words = {True: "Raised", False: "Not raised"}
    if blind or case.value is None:
        return [{"value": f"is:{flag}", "label": words[flag]} for flag in (True, False)]
    return [
        {"value": "upheld", "label": words[case.value], "hint": "the AI is right"},
        {"value": f"is:{not case.value}", "label": words[not case.value]},
    ]


def _others(case: Any, tool: Any, *, blind: bool, query: str) -> list[dict[str, Any]]:
    """The other categories, narrowed by the search."""
    if tool.kind != "category":
        return []
    offered = {c["value"].removeprefix("is:") for c in _choices(case, tool, blind=blind)}
    offered |= set() if blind else {case.value}
    letters = query.strip().lower()
    return [
        {"value": f"is:{name}", "label": name}
        for name in tool.categories
        if name not in offered and letters in name.lower()
    ]


# --- work -------------------------------------------------------------------------------


def _add_work(router: APIRouter, desk: Desk) -> None:
    @router.post("/c/{case_id}/claim")
    def claim(request: Request, case_id: int) -> Response:
        actor = desk.actor(request, Verb.REVIEW)
        try:
            with desk.transaction() as (session, now):
                service.claim(session, actor, case_id, lease=desk.lease, now=now)
        except Conflict as error:
            return _show(desk, request, actor, case_id, status=409, problem=error.detail)
        return _after_work(desk, request, actor, case_id)

    @router.post("/c/{case_id}/release")
    def release(request: Request, case_id: int, token: Text = "") -> Response:
        actor = desk.actor(request, Verb.REVIEW)
        try:
            with desk.transaction() as (session, now):
                service.release(session, actor, case_id, token=token, now=now)
        except Conflict as error:
            return _show(desk, request, actor, case_id, status=409, problem=error.detail)
        return _after_work(desk, request, actor, case_id)

    @router.post("/c/{case_id}/verdict")
    async def verdict(request: Request, case_id: int) -> Response:
        form = await request.form()
        given = {name: str(value) for name, value in form.items()}
        return await run_in_threadpool(_judge, desk, request, case_id, given)


def _judge(desk: Desk, request: Request, case_id: int, form: dict[str, str]) -> Response:
    """Judge the case, claiming it first where nobody holds it, and go on to the next one."""
    actor = desk.actor(request, Verb.REVIEW)
    try:
        with desk.transaction() as (session, now):
            case = queries.case_for(session, actor, case_id)
            tool = tool_queries.tool(session, case.tool)
            verdict, value = _read_verdict(form, tool.kind.value, case)
            token = form.get("token") or str(
                service.claim(session, actor, case_id, lease=desk.lease, now=now)["token"]
            )
            service.give_verdict(
                session,
                actor,
                case_id,
                token=token,
                verdict=verdict,
                value=value,
                note=form.get("note") or None,
                now=now,
            )
    except Conflict as error:
        return _show(desk, request, actor, case_id, status=409, problem=error.detail)
    except InvalidInput as error:
        said = "; ".join(f"{p.problem}. {p.hint}" for p in error.problems) or error.detail
        return _show(desk, request, actor, case_id, status=422, problem=said, typed=form)
    return _next(desk, request, actor, case)


def _read_verdict(form: dict[str, str], kind: str, case: Any) -> tuple[VerdictKind, Any]:
    """The verdict and value that a pressed button stands for."""
    choice = form.get("choice", "")
    if choice.startswith("is:"):
        value: Any = choice.removeprefix("is:")
        return VerdictKind.CORRECTED, value == "True" if kind == "flag" else value
    if choice == "corrected":
        read = read_fields if kind == "fields" else read_text
        return VerdictKind.CORRECTED, read(form, case.value)
    try:
        return VerdictKind(choice), None
    except ValueError:
        problem = Problem("/choice", "no verdict was chosen", "Press one of the buttons.")
        raise InvalidInput("choice: no verdict was chosen.", problems=(problem,)) from None


def _next(desk: Desk, request: Request, actor: Actor, done: Any) -> Response:
    """The case after this one, else the first that is left, else the queue."""
    asked = _asked(request)
    with desk.transaction() as (session, _):
        wanted = asked.filter(actor)
        # The next one in the list: nobody is thrown back to its top while there is one.
        following = queries.next_case(
            session, actor, wanted, after=(done.due_at, done.id)
        ) or queries.next_case(session, actor, wanted)
    if following is None:
        return desk.on(request, asked.address())
    if wants_fragment(request):
        return _show(desk, request, actor, following, done_id=done.id)
    return desk.on(request, asked.address(f"/c/{following}", done=str(done.id)))


def _done_words(session: Any, actor: Actor, case_id: int) -> str:
    """What became of the case that was judged just now; nothing where it is not to be seen."""
    try:
        case = queries.case_for(session, actor, case_id)
    except NotFound:
        return ""
    if case.verdict == VerdictKind.CORRECTED:
        return f"Case {case_id} corrected to {value_words(case.verdict_value)[:60]}"
    return f"Case {case_id} {str(case.verdict or case.state).replace('_', ' ')}"


def _after_work(desk: Desk, request: Request, actor: Actor, case_id: int) -> Response:
    """The case again: swapped in for htmx, by an address of its own otherwise.

    Where it has another owner by now, and was seen for the claim's sake alone: the queue.
    """
    with desk.transaction() as (session, _):
        try:
            queries.case_for(session, actor, case_id)
        except NotFound:
            return desk.on(request, _asked(request).address())
    if request.headers.get("hx-request") == "true":
        return _show(desk, request, actor, case_id)
    return desk.on(request, _asked(request).address(f"/c/{case_id}"))


def _add_other_verbs(router: APIRouter, desk: Desk) -> None:
    @router.post("/c/{case_id}/comment")
    def comment(request: Request, case_id: int, note: Text = "", token: Text = "") -> Response:
        actor = desk.actor(request, Verb.REVIEW)
        try:
            with desk.transaction() as (session, now):
                service.comment(
                    session,
                    actor,
                    case_id,
                    note=note,
                    token=token or None,
                    lease=desk.lease,
                    now=now,
                )
        except (Conflict, InvalidInput) as error:
            return _show(desk, request, actor, case_id, status=error.status, problem=error.detail)
        return _after_work(desk, request, actor, case_id)

    @router.post("/c/{case_id}/reassign")
    def reassign(
        request: Request,
        case_id: int,
        owner: Text = "",
        note: Text = "",
        token: Text = "",
    ) -> Response:
        actor = desk.actor(request, Verb.REVIEW)
        try:
            chosen: Owner = parse_owner(owner)
        except ValueError as error:
            return _show(desk, request, actor, case_id, status=422, problem=str(error))
        try:
            with desk.transaction() as (session, now):
                service.reassign(
                    session,
                    actor,
                    case_id,
                    owner=chosen,
                    note=note or None,
                    token=token or None,
                    now=now,
                )
        except (Conflict, InvalidInput) as error:
            return _show(desk, request, actor, case_id, status=error.status, problem=error.detail)
        return desk.on(request, _asked(request).address())

    @router.post("/c/{case_id}/escalate")
    def escalate(
        request: Request, case_id: int, level: Annotated[int, Form()] = -1, note: Text = ""
    ) -> Response:
        actor = desk.actor(request, Verb.REVIEW)
        try:
            with desk.transaction() as (session, now):
                service.escalate(session, actor, case_id, level=level, note=note or None, now=now)
        except Conflict as error:
            return _show(desk, request, actor, case_id, status=409, problem=error.detail)
        return desk.on(request, _asked(request).address())
