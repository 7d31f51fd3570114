"""Cases that wait: put off for a while, or wake again."""

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import service
from services.kit.durations import parse_seconds
from services.kit.errors import Conflict, InvalidInput, NotAllowed, invalid
from services.people.rules import Verb
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.cases.vocabulary import SPANS
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm


def add_pauses(routes: APIRouter, pages: PageContext) -> None:
    """Add putting off and waking."""

    @routes.post("/c/{case_id}/put-off")
    def put_off(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            with pages.transaction() as (session, now):
                given: dict[str, Any] = {
                    "until": now + _span(form),
                    "reason": form.text("note"),
                    "limit": pages.pause_limit,
                }
                token = form.text("token")
                # Who holds a case lets it wait; else it is put off by its owner.
                if token:
                    service.wait(session, actor, case_id, token=token, now=now, **given)
                else:
                    more = form.number("more", 0) if form.line("more") else None
                    service.snooze(session, actor, case_id, more=more, now=now, **given)
        except (Conflict, InvalidInput, NotAllowed) as error:
            said, typed = error.detail, form.first_values()
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=said, typed=typed
            )
        return pages.redirect(request, queue_filter(request).address())

    @routes.post("/c/{case_id}/wake")
    def wake(request: Request, case_id: int) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            with pages.transaction() as (session, now):
                service.wake(session, actor, case_id, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))


def _span(form: Form) -> timedelta:
    chosen = form.text("span")
    if chosen not in dict(SPANS):
        raise invalid("span", "it is none of those listed", "Choose how long.")
    return timedelta(seconds=parse_seconds(chosen))
