"""The rep's pages: the list of outputs, and one output to put right with one press."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import queries as escalation
from services.feedback import queries
from services.feedback.queries import OutputListed
from services.kit.errors import NotFound
from services.kit.web.cursors import encode_cursor, read_cursor
from services.people.fields import Named, Normalised
from services.people.rules import Verb
from services.tools import queries as tool_queries
from ui.kit.context import PageContext
from ui.kit.values import format_value
from ui.outputs.corrections import add_corrections
from ui.outputs.view import address, show_output

_PAGE = 50


def router(pages: PageContext) -> APIRouter:
    """The routes of outputs."""
    routes = APIRouter()
    _add_list(routes, pages)
    _add_page(routes, pages)
    add_corrections(routes, pages)
    return routes


def _add_list(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/outputs")
    def outputs(
        request: Request,
        tool: Named = "",
        cursor: str | None = None,
        id: Named = "",  # noqa: A002 - the address's word
    ) -> Response:
        actor = pages.actor(request, Verb.READ_OUTPUTS)
        with pages.transaction() as (session, now):
            tools = tool_queries.visible_tools(session, actor)
            slug = tool or (tools[0].slug if tools else "")
            if slug and slug not in {one.slug for one in tools}:
                raise NotFound(f"There is no tool '{slug[:63]}'.")
            if id:
                return pages.redirect(request, address(slug, id))
            before = read_cursor(cursor, str)
            found = (
                queries.recent_outputs(session, slug, before=before, limit=_PAGE + 1)
                if slug
                else []
            )
            blind = (
                escalation.blind_outputs(
                    session, slug, {row.output_id: row.audit_pending for row in found}
                )
                if actor.may(Verb.READ_CASES)
                else set()
            )
        last = found[_PAGE - 1] if len(found) > _PAGE else None
        following = encode_cursor(last.recorded_at.isoformat(), last.output_id) if last else ""
        return pages.templates.render(
            request,
            "outputs/list.html",
            now=now,
            tools=[{"value": one.slug, "label": one.name} for one in tools],
            tool=slug,
            rows=[_row(row, blind=row.output_id in blind) for row in found[:_PAGE]],
            next=f"/outputs?{urlencode({'tool': slug, 'cursor': following})}" if following else "",
        )


def _row(row: OutputListed, *, blind: bool) -> dict[str, Any]:
    said = "Failed" if row.failure else format_value(row.value)
    return {
        "id": row.output_id,
        "href": address(row.tool, row.output_id),
        "said": "Blind: what is right?" if blind else said,
        "human": format_value(row.decided_value) if row.overridden and not blind else "",
        "text": row.excerpt or "",
        "confidence": None if blind else row.confidence,
        "at": row.recorded_at,
        "meta": (row.disposition, row.subject or row.output_id),
    }


def _add_page(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/output")
    def output_page(
        request: Request,
        tool: Named,
        id: Named,  # noqa: A002 - the address's word
        q: Normalised = "",
        said: str = "",
    ) -> Response:
        actor = pages.actor(request, Verb.READ_OUTPUTS)
        return show_output(pages, request, actor, tool, id, query=q, said=said)

    @routes.get("/o/{tool}/{output_id:path}")
    def short(request: Request, tool: Named, output_id: Named) -> Response:
        """The short address, for links in a helpdesk."""
        return pages.redirect(request, address(tool, output_id))
