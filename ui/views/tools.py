"""Tools administration: register, set, give keys."""

from typing import Annotated, Any

from fastapi import APIRouter, Form, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.kit.durations import parse_duration
from services.kit.errors import Conflict, InvalidInput, Problem, SecondlookError
from services.registry import access, queries, service
from services.registry.rules import Actor, OutputKind, Verb
from ui.desk import Desk

Text = Annotated[str, Form()]
_KINDS = (
    ("category", "A category from a list"),
    ("text", "A text that people edit"),
    ("flag", "A flag: raised or not"),
    ("fields", "Extracted fields"),
)
_DAY = 86_400


def routes(desk: Desk) -> APIRouter:
    """The routes of tools administration."""
    router = APIRouter()
    _add_list(router, desk)
    _add_tool(router, desk)
    return router


def _add_list(router: APIRouter, desk: Desk) -> None:
    @router.get("/tools")
    def tools(request: Request) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        with desk.transaction() as (session, now):
            found = queries.visible_tools(session, actor)
        return desk.templates.render(request, "pages/tools.html", now=now, tools=found)

    @router.get("/tools/new")
    def new(request: Request) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        return _form(desk, request, actor, {})

    @router.post("/tools/new")
    async def add(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(_register, desk, request, form)


def _form(
    desk: Desk,
    request: Request,
    _: Actor,
    form: dict[str, str],
    *,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    with desk.transaction() as (session, _now):
        teams = queries.teams(session)
    return desk.templates.render(
        request,
        "pages/tool_new.html",
        status=status,
        form={"threshold": "0.7", "audit_rate": "0.02", "maturity": "72h", "kind": "category"}
        | form,
        errors=errors or {},
        kinds=[{"value": value, "label": label} for value, label in _KINDS],
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _register(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    try:
        with desk.transaction() as (session, now):
            service.add_tool(
                session,
                form.get("slug", "").strip(),
                name=form.get("name", "").strip() or None,
                kind=_kind(form.get("kind", "")),
                team=form.get("team", ""),
                categories=_lines(form.get("categories", "")),
                threshold=_number(form, "threshold"),
                audit_rate=_number(form, "audit_rate"),
                maturity_seconds=_seconds(form),
                actor=actor.id,
                now=now,
            )
            slug = form["slug"].strip()
            key = access.create_key(session, slug, actor=actor.id, now=now)
    except (InvalidInput, Conflict) as error:
        return _form(desk, request, actor, form, errors=field_errors(error), status=error.status)
    return _show(desk, request, slug, key=key)


def field_errors(error: SecondlookError) -> dict[str, str]:
    """An error's problems by the field that each is about."""
    found = {
        p.pointer.removeprefix("/").split("/")[0]: f"{p.problem}. {p.mend}" for p in error.problems
    }
    return found or {"slug": error.detail}


def _kind(text: str) -> OutputKind:
    try:
        return OutputKind(text)
    except ValueError:
        raise _wrong("kind", f"'{text[:20]}' is no kind of output", "Choose one") from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(form: dict[str, str], field: str) -> float:
    try:
        return float(form.get(field, ""))
    except ValueError:
        raise _wrong(field, "it is no number", "Write a share such as 0.7") from None


def _seconds(form: dict[str, str]) -> int:
    try:
        duration = parse_duration(form.get("maturity", ""))
    except ValueError as error:
        raise _wrong("maturity", str(error), "Write 72h") from None
    if duration.business_days:
        raise _wrong("maturity", "business days have no fixed length here", "Write 72h")
    return duration.seconds


def _wrong(field: str, problem: str, mend: str) -> InvalidInput:
    return InvalidInput(problem, problems=(Problem(f"/{field}", problem, mend),))


# --- one tool ---------------------------------------------------------------------------


def _add_tool(router: APIRouter, desk: Desk) -> None:
    @router.get("/tools/{slug}")
    def tool_page(request: Request, slug: str, saved: str = "") -> Response:
        return _show(desk, request, slug, saved=bool(saved))

    @router.post("/tools/{slug}")
    async def change(request: Request, slug: str) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(_change, desk, request, slug, form)

    @router.post("/tools/{slug}/keys")
    def make_key(request: Request, slug: str) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        try:
            with desk.transaction() as (session, now):
                queries.tool_for(session, actor, slug)
                key = access.create_key(session, slug, actor=actor.id, now=now)
        except Conflict as error:
            return _show(desk, request, slug, problem=error.detail, status=409)
        return _show(desk, request, slug, key=key)

    @router.post("/tools/{slug}/keys/{prefix}/revoke")
    def revoke(request: Request, slug: str, prefix: str) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        with desk.transaction() as (session, now):
            queries.tool_for(session, actor, slug)
            access.revoke_key(session, prefix, actor=actor.id, now=now)
        return desk.on(request, f"/tools/{slug}")


def _show(
    desk: Desk,
    request: Request,
    slug: str,
    *,
    key: str = "",
    saved: bool = False,
    problem: str = "",
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    with desk.transaction() as (session, now):
        tool = queries.tool_for(session, actor, slug)
        keys = queries.keys(session, slug)
        teams = queries.teams(session)
    return desk.templates.render(
        request,
        "pages/tool.html",
        status=status,
        now=now,
        tool=tool,
        keys=keys,
        key=key,
        saved=saved,
        problem=problem,
        form=_values(tool) | (form or {}),
        errors=errors or {},
        api_address=desk.api_address(),
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _values(tool: queries.ToolInfo) -> dict[str, Any]:
    """What the form shows before anybody types."""
    return {
        "name": tool.name,
        "team": tool.team,
        "threshold": tool.policy.threshold,
        "audit_rate": tool.policy.audit_rate,
        "maturity": _span(tool.maturity_seconds),
        "categories": "\n".join(tool.categories),
    }


def _span(seconds: int) -> str:
    if seconds and seconds % _DAY == 0:
        return f"{seconds // _DAY}d"
    return f"{seconds // 3600}h" if seconds and seconds % 3600 == 0 else f"{seconds}s"


def _change(desk: Desk, request: Request, slug: str, form: dict[str, str]) -> Response:
    """Save what differs from what there is, so that an untouched form changes nothing."""
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    try:
        with desk.transaction() as (session, now):
            tool = queries.tool_for(session, actor, slug)
            wanted: dict[str, Any] = {
                "name": form.get("name", "").strip(),
                "team": form.get("team", ""),
                "threshold": _number(form, "threshold"),
                "audit_rate": _number(form, "audit_rate"),
                "maturity_seconds": _seconds(form),
                "categories": _lines(form.get("categories", "")),
            }
            present = {
                "name": tool.name,
                "team": tool.team,
                "threshold": tool.policy.threshold,
                "audit_rate": tool.policy.audit_rate,
                "maturity_seconds": tool.maturity_seconds,
                "categories": list(tool.categories),
            }
            changes = {name: value for name, value in wanted.items() if value != present[name]}
            if changes:
                service.change_tool(session, slug, changes, actor=actor.id, now=now)
    except InvalidInput as error:
        return _show(
            desk, request, slug, form=form, errors=field_errors(error), status=error.status
        )
    return desk.on(request, f"/tools/{slug}?saved=1")
