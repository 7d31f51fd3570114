"""Cases that are part of another one: merged into it, and taken out again."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import service
from services.kit.errors import InvalidInput, NotFound, SecondlookError
from services.people.rules import Verb
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm


def add_merging(routes: APIRouter, pages: PageContext) -> None:
    """Add merge and unmerge."""

    @routes.post("/c/{case_id}/merge")
    def merge(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.TAKE_OVER)
        try:
            into = form.number("into", 0)
            if into < 1:
                raise InvalidInput("Write the number of the case to merge into.")
            with pages.transaction() as (session, now):
                service.merge(session, actor, case_id, into=into, now=now)
        except SecondlookError as error:
            if isinstance(error, NotFound) and f"case {case_id}." in error.detail:
                raise
            said, typed = error.detail, form.first_values()
            return show_case(pages, request, actor, case_id, status=422, problem=said, typed=typed)
        return pages.redirect(request, queue_filter(request).address(f"/c/{into}"))

    @routes.post("/c/{case_id}/unmerge")
    def unmerge(request: Request, case_id: int) -> Response:
        actor = pages.actor(request, Verb.TAKE_OVER)
        try:
            with pages.transaction() as (session, now):
                service.unmerge(session, actor, case_id, now=now)
        except SecondlookError as error:
            if isinstance(error, NotFound):
                raise
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))
