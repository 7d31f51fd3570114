"""The inbox: what one was told, the newest first."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.notifications import inbox
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm

Number = Annotated[int, Query(ge=1, lt=2**63)]
_PAGE = 50


def router(pages: PageContext) -> APIRouter:
    """The routes of one's own inbox."""
    routes = APIRouter()

    @routes.get("/inbox")
    def show(request: Request, before: Number | None = None) -> Response:
        actor = pages.signed_in(request).actor
        with pages.transaction() as (session, now):
            found = inbox.entries(session, actor, before=before, limit=_PAGE)
            unread = inbox.unread(session, actor.email)
        more = f"/inbox?before={found[-1].id}" if len(found) == _PAGE else ""
        return pages.templates.render(
            request, "inbox/inbox.html", now=now, entries=found, unread=unread, next=more
        )

    @routes.post("/inbox/read")
    def read(request: Request, form: PostedForm) -> Response:
        actor = pages.signed_in(request).actor
        number = form.number("id", 0)
        with pages.transaction() as (session, now):
            if number:
                inbox.mark_read(session, actor, [number], now=now)
            else:
                inbox.mark_all_read(session, actor, now=now)
        return pages.redirect(request, "/inbox")

    return routes
