"""Tools administration: register, set, give keys."""

from collections.abc import Iterator, Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.kit.durations import parse_duration
from services.kit.errors import ChangedMeanwhile, Conflict, InvalidInput, Problem, SecondlookError
from services.people import queries as people_queries
from services.people.rules import Actor, Verb
from services.tools import keys as tool_keys
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from ui.desk import Desk

_KINDS = (
    ("category", "A category from a list"),
    ("text", "A text that people edit"),
    ("flag", "A flag: raised or not"),
    ("fields", "Extracted fields"),
)
_DAY = 86_400
_NAMES = {
    "name": "Name",
    "team": "Team",
    "threshold": "Threshold",
    "audit_rate": "Audit rate",
    "holdout_rate": "Holdout rate",
    "maturity_seconds": "Age",
    "categories": "Categories",
    "category_thresholds": "Thresholds of categories",
}


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
            found = tool_queries.visible_tools(session, actor)
        return desk.templates.render(request, "pages/tools.html", now=now, tools=found)

    @router.get("/tools/new")
    def new(request: Request) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        return _form(desk, request, actor, {})

    @router.post("/tools/new")
    async def add(request: Request) -> Response:
        form = {name: str(value) for name, value in (await request.form()).items()}
        return await run_in_threadpool(_register, desk, request, form)


_FIRST = {
    "threshold": "0.7",
    "audit_rate": "0.02",
    "holdout_rate": "0.0",
    "maturity": "72h",
    "kind": "category",
}


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
        teams = people_queries.teams(session)
    return desk.templates.render(
        request,
        "pages/tool_new.html",
        status=status,
        form=_FIRST | form,
        errors=errors or {},
        kinds=[{"value": value, "label": label} for value, label in _KINDS],
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _register(desk: Desk, request: Request, form: dict[str, str]) -> Response:
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    try:
        with desk.transaction() as (session, now):
            tool_service.add_tool(
                session,
                form.get("slug", "").strip(),
                name=form.get("name", "").strip() or None,
                kind=_kind(form.get("kind", "")),
                team=form.get("team", ""),
                categories=_lines(form.get("categories", "")),
                threshold=_number(form, "threshold"),
                audit_rate=_number(form, "audit_rate"),
                holdout_rate=_number(form, "holdout_rate"),
                maturity_seconds=_seconds(form),
                actor=actor.id,
                now=now,
            )
            slug = form["slug"].strip()
            key = tool_keys.create_key(session, slug, actor=actor.id, now=now)
    except (InvalidInput, Conflict) as error:
        return _form(desk, request, actor, form, errors=field_errors(error), status=error.status)
    return _show(desk, request, slug, key=key)


def field_errors(error: SecondlookError, *, otherwise: str = "slug") -> dict[str, str]:
    """An error's problems by the field that each is about; `otherwise` where it names none."""
    found = {
        p.pointer.removeprefix("/").split("/")[0]: f"{p.problem}. {p.hint}" for p in error.problems
    }
    return found or {otherwise: error.detail.removeprefix(f"{otherwise}: ")}


def _kind(text: str) -> OutputKind:
    try:
        return OutputKind(text)
    except ValueError:
        raise _wrong("kind", f"'{text[:20]}' is no kind of output", "Choose one") from None


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _number(form: dict[str, str], field: str) -> float:
    number = _float(form.get(field, ""))
    if number is None:
        raise _wrong(field, "it is no number", "Write a share such as 0.7")
    return number


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


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
                tool_queries.tool_for(session, actor, slug)
                key = tool_keys.create_key(session, slug, actor=actor.id, now=now)
        except Conflict as error:
            return _show(desk, request, slug, problem=error.detail, status=409)
        return _show(desk, request, slug, key=key)

    @router.post("/tools/{slug}/keys/{prefix}/revoke")
    def revoke(request: Request, slug: str, prefix: str) -> Response:
        actor = desk.actor(request, Verb.MANAGE_TOOLS)
        with desk.transaction() as (session, now):
            tool_queries.tool_for(session, actor, slug)
            tool_keys.revoke_key(session, prefix, actor=actor.id, now=now)
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
    wanted: Mapping[str, Any] | None = None,
    status: int = 200,
) -> Response:
    """The tool's page; with `wanted`, what of that is something else by now."""
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    with desk.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        keys = tool_queries.keys(session, slug)
        teams = people_queries.teams(session)
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
        errors=errors or _now_otherwise(tool, wanted or {}),
        changed_meanwhile=wanted is not None,
        api_address=desk.api_address(),
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _values(tool: tool_queries.ToolInfo) -> dict[str, Any]:
    """What the form shows before anybody types."""
    present = _present(tool)
    return present | {
        "revision": tool.revision,
        "maturity": _span(tool.maturity_seconds),
        "categories": "\n".join(tool.categories),
        "category_thresholds": _threshold_lines(tool.policy.category_thresholds),
    }


def _present(tool: tool_queries.ToolInfo) -> dict[str, Any]:
    """What the form changes, as it is."""
    return {
        "name": tool.name,
        "team": tool.team,
        "threshold": tool.policy.threshold,
        "audit_rate": tool.policy.audit_rate,
        "holdout_rate": tool.policy.holdout_rate,
        "maturity_seconds": tool.maturity_seconds,
        "categories": list(tool.categories),
        "category_thresholds": dict(tool.policy.category_thresholds),
    }


def _differing(tool: tool_queries.ToolInfo, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What is wanted otherwise than it is, so that an untouched form changes nothing."""
    present = _present(tool)
    return {name: value for name, value in wanted.items() if value != present[name]}


def _now_otherwise(tool: tool_queries.ToolInfo, wanted: Mapping[str, Any]) -> dict[str, str]:
    """For each field that was typed otherwise, what it is now."""
    shown = _values(tool) | {"maturity_seconds": _span(tool.maturity_seconds)}
    said = {name: ", ".join(str(shown[name]).splitlines()) for name in _differing(tool, wanted)}
    return {
        name.removesuffix("_seconds"): f"{_NAMES[name]} now: {words[:300] or 'none'}."
        for name, words in said.items()
    }


def _span(seconds: int) -> str:
    if seconds and seconds % _DAY == 0:
        return f"{seconds // _DAY}d"
    return f"{seconds // 3600}h" if seconds and seconds % 3600 == 0 else f"{seconds}s"


def _change(desk: Desk, request: Request, slug: str, form: dict[str, str]) -> Response:
    """Save what was typed, unless the tool is no longer what the form was filled with."""
    actor = desk.actor(request, Verb.MANAGE_TOOLS)
    try:
        wanted = _wanted(form)
        with desk.transaction() as (session, now):
            changes = _differing(tool_queries.tool_for(session, actor, slug), wanted)
            if changes:
                tool_service.change_tool(
                    session,
                    slug,
                    changes,
                    actor=actor.id,
                    now=now,
                    if_revision=_revision(form),
                )
    except InvalidInput as error:
        errors = _errors_by_line(error, form)
        return _show(desk, request, slug, form=form, errors=errors, status=error.status)
    except ChangedMeanwhile:
        # The next attempt is of somebody who has seen what it is now.
        typed = {name: value for name, value in form.items() if name != "revision"}
        return _show(desk, request, slug, form=typed, wanted=wanted, status=409)
    return desk.on(request, f"/tools/{slug}?saved=1")


def _wanted(form: dict[str, str]) -> dict[str, Any]:
    """What was typed, as the registry takes it; lists where the form has them."""
    wanted: dict[str, Any] = {
        "name": form.get("name", "").strip(),
        "team": form.get("team", ""),
        "threshold": _number(form, "threshold"),
        "audit_rate": _number(form, "audit_rate"),
        "holdout_rate": _number(form, "holdout_rate"),
        "maturity_seconds": _seconds(form),
    }
    if "categories" in form:
        wanted["categories"] = _lines(form["categories"])
    if _THRESHOLDS in form:
        wanted[_THRESHOLDS] = _thresholds(form[_THRESHOLDS])
    return wanted


def _revision(form: dict[str, str]) -> int | None:
    """The revision that the form was filled with; none that ever was where it is no number."""
    text = form.get("revision")
    if text is None:
        return None
    return int(text) if text.isascii() and text.isdigit() and len(text) < 18 else 0


# --- thresholds of categories, one a line -----------------------------------------------

_THRESHOLDS = "category_thresholds"


def _threshold_lines(thresholds: Mapping[str, float]) -> str:
    return "\n".join(f"{name}: {share}" for name, share in sorted(thresholds.items()))


def _read_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, category and threshold; a category's own name may hold colons."""
    for number, line in enumerate(text.splitlines(), start=1):
        name, _, share = line.rpartition(":")
        if line.strip():
            yield number, name.strip(), share.strip()


def _thresholds(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for number, name, typed in _read_lines(text):
        share = _float(typed)
        if not name or share is None:
            problem = f"line {number} is no category with its threshold"
            raise _wrong(_THRESHOLDS, problem, "Write one such as refund: 0.9")
        if name in found:
            problem = f"line {number}: '{name[:40]}' stands there twice"
            raise _wrong(_THRESHOLDS, problem, "List each category once")
        found[name] = share
    return found


def _errors_by_line(error: SecondlookError, form: dict[str, str]) -> dict[str, str]:
    """The errors by field; what is wrong with a category's threshold names its line."""
    errors = field_errors(error)
    for problem in error.problems:
        field, _, category = problem.pointer.removeprefix("/").partition("/")
        for number, name, _ in _read_lines(form.get(field, "")) if category else ():
            if name[:40] == category:
                errors[field] = f"line {number}: {errors[field]}"
    return errors
