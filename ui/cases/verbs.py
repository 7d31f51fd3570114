"""What people do with a case beside its verdict: claim, give back, note, hand over, escalate."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import queries, service
from services.escalation.rules import Owner, parse_owner
from services.kit.errors import Conflict, InvalidInput, NotAllowed, NotFound, SecondlookError
from services.people.rules import Actor, Verb
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm
from ui.kit.templating import by_htmx


def add_claims(routes: APIRouter, pages: PageContext) -> None:
    """Add claim and release."""

    @routes.post("/c/{case_id}/claim")
    def claim(request: Request, case_id: int) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            with pages.transaction() as (session, now):
                service.claim(session, actor, case_id, lease=pages.lease, now=now)
        except (Conflict, NotAllowed) as error:
            status, said = error.status, error.detail
            return show_case(pages, request, actor, case_id, status=status, problem=said)
        return after_work(pages, request, actor, case_id)

    @routes.post("/c/{case_id}/release")
    def release(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            with pages.transaction() as (session, now):
                service.release(session, actor, case_id, token=form.text("token"), now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return after_work(pages, request, actor, case_id)


def after_work(pages: PageContext, request: Request, actor: Actor, case_id: int) -> Response:
    """The case again: swapped in for htmx, by an address of its own otherwise.

    Where it has another owner by now, and was seen for the claim's sake alone: the queue.
    """
    with pages.transaction() as (session, _):
        try:
            queries.case_for(session, actor, case_id)
        except NotFound:
            return pages.redirect(request, queue_filter(request).address())
    if by_htmx(request):
        return show_case(pages, request, actor, case_id)
    return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))


def add_other_verbs(routes: APIRouter, pages: PageContext) -> None:
    """Add comment, reassign and escalate. What was typed stays where it was not taken."""

    def refused(
        request: Request, actor: Actor, case_id: int, form: Form, error: SecondlookError
    ) -> Response:
        typed, said = form.first_values(), error.detail
        return show_case(
            pages, request, actor, case_id, status=error.status, problem=said, typed=typed
        )

    @routes.post("/c/{case_id}/comment")
    def comment(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        note, token = form.text("note"), form.text("token") or None
        given: dict[str, Any] = {"note": note, "token": token, "lease": pages.lease}
        try:
            with pages.transaction() as (session, now):
                service.comment(session, actor, case_id, now=now, **given)
        except (Conflict, InvalidInput) as error:
            return refused(request, actor, case_id, form, error)
        return after_work(pages, request, actor, case_id)

    @routes.post("/c/{case_id}/reassign")
    def reassign(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        given = {"note": form.text("note") or None, "token": form.text("token") or None}
        try:
            owner = read_owner(form)
            with pages.transaction() as (session, now):
                service.reassign(session, actor, case_id, owner=owner, now=now, **given)
        except (Conflict, InvalidInput) as error:
            return refused(request, actor, case_id, form, error)
        return pages.redirect(request, queue_filter(request).address())

    @routes.post("/c/{case_id}/escalate")
    def escalate(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        note = form.text("note") or None
        try:
            level = form.number("level", -1)
            with pages.transaction() as (session, now):
                service.escalate(session, actor, case_id, level=level, note=note, now=now)
        except (Conflict, InvalidInput) as error:
            return refused(request, actor, case_id, form, error)
        return pages.redirect(request, queue_filter(request).address())


def read_owner(form: Form) -> Owner:
    """The owner that a form names.

    Raises:
        InvalidInput: it names none.
    """
    try:
        return parse_owner(form.text("owner"))
    except ValueError as error:
        raise InvalidInput(str(error)) from None
