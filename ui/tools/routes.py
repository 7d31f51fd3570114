"""Tools administration: register, set, give keys."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import ChangedMeanwhile, Conflict, InvalidInput
from services.people import queries as people_queries
from services.people.fields import Named
from services.people.rules import Verb
from services.tools import keys as tool_keys
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm, field_errors
from ui.tools.conditions import (
    FIELD,
    ConditionRow,
    condition_rows,
    conditions_of,
    read_conditions,
    row_errors,
    typed_rows,
    with_errors,
)
from ui.tools.form import (
    errors_by_line,
    format_span,
    read_kind,
    read_number,
    read_revision,
    read_seconds,
    threshold_lines,
    wanted_changes,
)

_KINDS = (
    ("category", "A category from a list"),
    ("text", "A text that people edit"),
    ("flag", "A flag: raised or not"),
    ("fields", "Extracted fields"),
)
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


def router(pages: PageContext) -> APIRouter:
    """The routes of tools administration."""
    routes = APIRouter()
    _add_list(routes, pages)
    _add_tool(routes, pages)
    return routes


def _add_list(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/tools")
    def tools(request: Request) -> Response:
        actor = pages.actor(request, Verb.MANAGE_TOOLS)
        with pages.transaction() as (session, now):
            found = tool_queries.visible_tools(session, actor)
        return pages.templates.render(request, "tools/list.html", now=now, tools=found)

    @routes.get("/tools/new")
    def new(request: Request) -> Response:
        pages.actor(request, Verb.MANAGE_TOOLS)
        return _form(pages, request, {})

    @routes.post("/tools/new")
    def add(request: Request, form: PostedForm) -> Response:
        return _register(pages, request, form)


_FIRST = {
    "threshold": "0.7",
    "audit_rate": "0.02",
    "holdout_rate": "0.0",
    "maturity": "72h",
    "kind": "category",
}


def _form(
    pages: PageContext,
    request: Request,
    form: dict[str, str],
    *,
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    with pages.transaction() as (session, _now):
        teams = people_queries.teams(session)
    return pages.templates.render(
        request,
        "tools/register.html",
        status=status,
        form=_FIRST | form,
        errors=errors or {},
        kinds=[{"value": value, "label": label} for value, label in _KINDS],
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _register(pages: PageContext, request: Request, form: Form) -> Response:
    actor = pages.actor(request, Verb.MANAGE_TOOLS)
    try:
        with pages.transaction() as (session, now):
            tool_service.add_tool(
                session,
                form.line("slug"),
                name=form.line("name") or None,
                kind=read_kind(form),
                team=form.line("team"),
                categories=form.lines("categories"),
                threshold=read_number(form, "threshold"),
                audit_rate=read_number(form, "audit_rate"),
                holdout_rate=read_number(form, "holdout_rate"),
                maturity_seconds=read_seconds(form),
                actor=actor,
                now=now,
            )
            key = tool_keys.create_key(session, form.line("slug"), actor=actor, now=now)
    except (InvalidInput, Conflict) as error:
        typed, errors = form.first_values(), field_errors(error)
        return _form(pages, request, typed, errors=errors, status=error.status)
    return _show(pages, request, form.line("slug"), key=key)


# --- one tool ---------------------------------------------------------------------------


def _add_tool(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/tools/{slug}")
    def tool_page(request: Request, slug: Named, saved: str = "") -> Response:
        return _show(pages, request, slug, saved=bool(saved))

    @routes.post("/tools/{slug}")
    def change(request: Request, slug: Named, form: PostedForm) -> Response:
        return _change(pages, request, slug, form)

    @routes.post("/tools/{slug}/review-when")
    def change_conditions(request: Request, slug: Named, form: PostedForm) -> Response:
        return _change_conditions(pages, request, slug, form)

    @routes.post("/tools/{slug}/keys")
    def make_key(request: Request, slug: Named) -> Response:
        actor = pages.actor(request, Verb.MANAGE_TOOLS)
        try:
            with pages.transaction() as (session, now):
                tool_queries.tool_for(session, actor, slug)
                key = tool_keys.create_key(session, slug, actor=actor, now=now)
        except Conflict as error:
            return _show(pages, request, slug, problem=error.detail, status=409)
        return _show(pages, request, slug, key=key)

    @routes.post("/tools/{slug}/keys/{prefix}/revoke")
    def revoke(request: Request, slug: Named, prefix: Named) -> Response:
        actor = pages.actor(request, Verb.MANAGE_TOOLS)
        with pages.transaction() as (session, now):
            tool_queries.tool_for(session, actor, slug)
            tool_keys.revoke_key(session, prefix, actor=actor, now=now)
        return pages.redirect(request, f"/tools/{slug}")


def _show(
    pages: PageContext,
    request: Request,
    slug: str,
    *,
    key: str = "",
    saved: bool = False,
    problem: str = "",
    form: dict[str, str] | None = None,
    errors: dict[str, str] | None = None,
    wanted: Mapping[str, Any] | None = None,
    rows: Sequence[ConditionRow] | None = None,
    status: int = 200,
) -> Response:
    """The tool's page; with `wanted`, what of that is something else by now, with `rows` the
    review conditions as they were typed.
    """
    actor = pages.actor(request, Verb.MANAGE_TOOLS)
    with pages.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        keys = tool_queries.keys(session, slug)
        teams = people_queries.teams(session)
    return pages.templates.render(
        request,
        "tools/tool.html",
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
        rows=[*(condition_rows(tool) if rows is None else rows), ConditionRow()],
        row_errors=row_errors(rows or ()),
        in_force=condition_rows(tool) if FIELD in (wanted or {}) else None,
        api_address=pages.api_address(),
        teams=[{"value": team.slug, "label": team.name} for team in teams if team.active],
    )


def _values(tool: tool_queries.ToolInfo) -> dict[str, Any]:
    """What the form shows before anybody types."""
    present = _present(tool)
    return present | {
        "revision": tool.revision,
        "maturity": format_span(tool.maturity_seconds),
        "categories": "\n".join(tool.categories),
        "category_thresholds": threshold_lines(tool.policy.category_thresholds),
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
    wanted = {name: value for name, value in wanted.items() if name in _NAMES}
    shown = _values(tool) | {"maturity_seconds": format_span(tool.maturity_seconds)}
    said = {name: ", ".join(str(shown[name]).split("\n")) for name in _differing(tool, wanted)}
    return {
        name.removesuffix("_seconds"): f"{_NAMES[name]} now: {words[:300] or 'none'}."
        for name, words in said.items()
    }


def _change(pages: PageContext, request: Request, slug: str, form: Form) -> Response:
    """Save what was typed, unless the tool is no longer what the form was filled with."""
    actor = pages.actor(request, Verb.MANAGE_TOOLS)
    try:
        wanted = wanted_changes(form)
        with pages.transaction() as (session, now):
            changes = _differing(tool_queries.tool_for(session, actor, slug), wanted)
            if changes:
                tool_service.change_tool(
                    session,
                    slug,
                    changes,
                    actor=actor,
                    now=now,
                    if_revision=read_revision(form),
                )
    except InvalidInput as error:
        typed, errors = form.first_values(), errors_by_line(error, form)
        return _show(pages, request, slug, form=typed, errors=errors, status=error.status)
    except ChangedMeanwhile:
        # The next attempt is of somebody who has seen what it is now.
        typed = {k: value for k, value in form.first_values().items() if k != "revision"}
        return _show(pages, request, slug, form=typed, wanted=wanted, status=409)
    return pages.redirect(request, f"/tools/{slug}?saved=1")


def _change_conditions(pages: PageContext, request: Request, slug: str, form: Form) -> Response:
    """Save the review conditions, unless the tool is no longer what the form was filled with."""
    actor = pages.actor(request, Verb.MANAGE_TOOLS)
    rows = [row for row in typed_rows(form) if not row.blank]
    try:
        wanted = {FIELD: read_conditions(rows)}
        with pages.transaction() as (session, now):
            tool = tool_queries.tool_for(session, actor, slug)
            if wanted[FIELD] != conditions_of(tool):
                seen = read_revision(form)
                tool_service.change_tool(
                    session, slug, wanted, actor=actor, now=now, if_revision=seen
                )
    except InvalidInput as error:
        marked = with_errors(rows, error)
        problem = "" if row_errors(marked) else error.detail
        return _show(pages, request, slug, rows=marked, problem=problem, status=error.status)
    except ChangedMeanwhile:
        return _show(pages, request, slug, rows=rows, wanted=wanted, status=409)
    return pages.redirect(request, f"/tools/{slug}?saved=1")
