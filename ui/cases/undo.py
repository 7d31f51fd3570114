"""Taking a verdict back, and opening a decided case again."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import service
from services.kit.errors import Conflict, InvalidInput
from services.people.rules import Verb
from ui.cases.show import show_case
from ui.cases.verbs import after_work
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm


def add_undo(routes: APIRouter, pages: PageContext) -> None:
    """Add undo and reopen."""

    @routes.post("/c/{case_id}/undo")
    def undo(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        seen, window = form.text("verdict_id"), pages.reopen_window
        try:
            with pages.transaction() as (session, now):
                service.undo(session, actor, case_id, verdict_id=seen, window=window, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return after_work(pages, request, actor, case_id)

    @routes.post("/c/{case_id}/reopen")
    def reopen(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        note = form.text("note") or None
        try:
            with pages.transaction() as (session, now):
                service.reopen(session, actor, case_id, note=note, now=now)
        except (Conflict, InvalidInput) as error:
            typed, said = form.first_values(), error.detail
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=said, typed=typed
            )
        return after_work(pages, request, actor, case_id)
