"""The owner's queue and the case: claim, review, next."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.escalation import lists
from services.people.fields import Normalised
from services.people.rules import Verb
from ui.cases.handing_on import add_handing_on
from ui.cases.merging import add_merging
from ui.cases.parts import add_parts
from ui.cases.pauses import add_pauses
from ui.cases.queue_filter import queue_filter
from ui.cases.remarks import add_remarks
from ui.cases.show import MOST_COUNTED, list_context, outcome_of, show_case
from ui.cases.undo import add_undo
from ui.cases.verbs import add_claims, add_other_verbs
from ui.cases.verdicts import add_verdicts
from ui.kit.context import PageContext
from ui.kit.templating import wants_fragment


def router(pages: PageContext) -> APIRouter:
    """The routes of the queue and of cases."""
    routes = APIRouter()
    _add_pages(routes, pages)
    add_claims(routes, pages)
    add_verdicts(routes, pages)
    add_remarks(routes, pages)
    add_undo(routes, pages)
    add_other_verbs(routes, pages)
    add_handing_on(routes, pages)
    add_pauses(routes, pages)
    add_merging(routes, pages)
    add_parts(routes, pages)
    return routes


def _add_pages(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/queue")
    def queue(
        request: Request,
        cursor: str | None = None,
        shown: Annotated[int, Query(ge=0)] = 0,
        done: int = 0,
    ) -> Response:
        actor = pages.actor(request, Verb.READ_CASES)
        with pages.transaction() as (session, now):
            asked = queue_filter(request)
            context = list_context(session, actor, asked, now=now, cursor=cursor, shown=shown)
            context |= outcome_of(session, actor, done)
        return pages.templates.render(
            request, "cases/queue.html", ["more_rows", "more"], **context, case=None, oob=True
        )

    @routes.get("/queue/new")
    def arrivals(request: Request, since: int = 0) -> Response:
        """How many cases have come since the page was shown; nothing moves by itself."""
        actor = pages.actor(request, Verb.READ_CASES)
        asked = queue_filter(request)
        if not wants_fragment(request):
            return pages.redirect(request, asked.address())
        with pages.transaction() as (session, _):
            count = lists.newer_than(session, actor, asked.filter(actor), since, most=MOST_COUNTED)
        return pages.templates.render(
            request, "cases/queue.html", "arrivals", count=count, asked=asked, newest=since
        )

    @routes.get("/c/{case_id}")
    def case_page(request: Request, case_id: int, q: Normalised = "", done: int = 0) -> Response:
        actor = pages.actor(request, Verb.READ_CASES)
        return show_case(pages, request, actor, case_id, query=q, done_id=done)
