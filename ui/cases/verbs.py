"""What people do with a case beside its verdict: claim, give back, note, hand over, escalate."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from services.escalation import queries, service
from services.escalation.routing import Owner, parse_owner
from services.kit.errors import Conflict, InvalidInput, NotFound
from services.registry.rules import Actor, Verb
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.kit.context import PageContext

Text = Annotated[str, Form()]


def add_claims(routes: APIRouter, pages: PageContext) -> None:
    """Add claim and release."""

    @routes.post("/c/{case_id}/claim")
    def claim(request: Request, case_id: int) -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            with pages.transaction() as (session, now):
                service.claim(session, actor, case_id, lease=pages.lease, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return _after_work(pages, request, actor, case_id)

    @routes.post("/c/{case_id}/release")
    def release(request: Request, case_id: int, token: Text = "") -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            with pages.transaction() as (session, now):
                service.release(session, actor, case_id, token=token, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return _after_work(pages, request, actor, case_id)


def _after_work(pages: PageContext, request: Request, actor: Actor, case_id: int) -> Response:
    """The case again: swapped in for htmx, by an address of its own otherwise.

    Where it has another owner by now, and was seen for the claim's sake alone: the queue.
    """
    with pages.transaction() as (session, _):
        try:
            queries.case_for(session, actor, case_id)
        except NotFound:
            return pages.redirect(request, queue_filter(request).address())
    if request.headers.get("hx-request") == "true":
        return show_case(pages, request, actor, case_id)
    return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))


def add_other_verbs(routes: APIRouter, pages: PageContext) -> None:
    """Add comment, reassign and escalate."""

    @routes.post("/c/{case_id}/comment")
    def comment(request: Request, case_id: int, note: Text = "", token: Text = "") -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            with pages.transaction() as (session, now):
                service.comment(
                    session,
                    actor,
                    case_id,
                    note=note,
                    token=token or None,
                    lease=pages.lease,
                    now=now,
                )
        except (Conflict, InvalidInput) as error:
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=error.detail
            )
        return _after_work(pages, request, actor, case_id)

    @routes.post("/c/{case_id}/reassign")
    def reassign(
        request: Request,
        case_id: int,
        owner: Text = "",
        note: Text = "",
        token: Text = "",
    ) -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            chosen: Owner = parse_owner(owner)
        except ValueError as error:
            return show_case(pages, request, actor, case_id, status=422, problem=str(error))
        try:
            with pages.transaction() as (session, now):
                service.reassign(
                    session,
                    actor,
                    case_id,
                    owner=chosen,
                    note=note or None,
                    token=token or None,
                    now=now,
                )
        except (Conflict, InvalidInput) as error:
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=error.detail
            )
        return pages.redirect(request, queue_filter(request).address())

    @routes.post("/c/{case_id}/escalate")
    def escalate(
        request: Request, case_id: int, level: Annotated[int, Form()] = -1, note: Text = ""
    ) -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            with pages.transaction() as (session, now):
                service.escalate(session, actor, case_id, level=level, note=note or None, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return pages.redirect(request, queue_filter(request).address())
