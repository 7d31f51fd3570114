"""A case handed on to another team, which knows more of it, with a word of why."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import service
from services.kit.errors import Conflict, InvalidInput
from services.people.rules import Verb
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.cases.verbs import read_owner
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm, invalid_field


def add_handing_on(routes: APIRouter, pages: PageContext) -> None:
    """Add handing on."""

    @routes.post("/c/{case_id}/hand-on")
    def hand_on(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            owner, note = read_owner(form), form.text("note").strip()
            if not note:
                raise invalid_field("note", "it is empty", "Write what the other team should know")
            given = {"note": note, "token": form.text("token") or None}
            with pages.transaction() as (session, now):
                service.reassign(session, actor, case_id, owner=owner, now=now, **given)
        except (Conflict, InvalidInput) as error:
            typed, said = form.first_values(), error.detail
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=said, typed=typed
            )
        return pages.redirect(request, queue_filter(request).address())
