"""The audit log: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.kit import audit
from services.people.rules import Verb
from ui.kit.context import PageContext

EntryId = Annotated[int, Query(ge=1, lt=2**63)]
_PAGE = 50


def router(pages: PageContext) -> APIRouter:
    """The routes of the audit log."""
    routes = APIRouter()

    @routes.get("/audit")
    def entries(request: Request, before: EntryId | None = None) -> Response:
        pages.actor(request, Verb.READ_AUDIT)
        with pages.transaction() as (session, now):
            found = audit.recent(session, before=before, limit=_PAGE)
        more = f"/audit?before={found[-1].id}" if len(found) == _PAGE else ""
        return pages.templates.render(request, "audit/log.html", now=now, entries=found, next=more)

    return routes
