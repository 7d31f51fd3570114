"""Routing as leads change it: what is in force, what was, what would be."""

from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import Response

from services.escalation.errors import PolicyMovedOn
from services.escalation.policy import revisions
from services.escalation.rules import PolicySource
from services.kit.errors import InvalidInput
from services.people.fields import Named
from services.people.rules import Verb
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm
from ui.routing.propose import (
    Text,
    show_form,
    show_moved_on,
    show_problems,
    show_proposal,
)
from ui.routing.show import show_history, show_overview, show_revision
from ui.routing.trial import show_trial

Number = Annotated[int, Field(ge=1, lt=2**63)]
"""A revision's."""


def router(pages: PageContext) -> APIRouter:
    """The routes of routing."""
    routes = APIRouter()
    _add_reads(routes, pages)
    _add_proposals(routes, pages)
    return routes


def _add_reads(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/routing")
    def overview(request: Request) -> Response:
        return show_overview(pages, request)

    @routes.get("/routing/history")
    def history(request: Request) -> Response:
        return show_history(pages, request)

    @routes.get("/routing/history/{number}")
    def revision(request: Request, number: Named) -> Response:
        return show_revision(pages, request, number)

    @routes.get("/routing/try")
    def trial(request: Request) -> Response:
        return show_trial(pages, request)


def _add_proposals(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/routing/propose")
    def form(request: Request, revision: Number | None = None) -> Response:
        return show_form(pages, request, revision)

    @routes.post("/routing/propose")
    def propose(request: Request, form: PostedForm) -> Response:
        """Check a policy, and show what it would have made of the past."""
        pages.actor(request, Verb.ROUTE_CASES)
        text = _text(form)
        try:
            return show_proposal(pages, request, text)
        except InvalidInput as error:
            return show_problems(pages, request, text, error)

    @routes.post("/routing/put")
    def put(request: Request, form: PostedForm) -> Response:
        """Put it into force, unless another one was put since it was looked at."""
        actor, text = pages.actor(request, Verb.ROUTE_CASES), _text(form)
        try:
            with pages.transaction() as (session, now):
                revisions.put(
                    session,
                    text.content,
                    actor=actor,
                    source=PolicySource.PAGE,
                    upon=text.upon,
                    now=now,
                )
        except PolicyMovedOn as error:
            return show_moved_on(pages, request, text, error)
        except InvalidInput as error:
            return show_problems(pages, request, text, error)
        return pages.redirect(request, "/routing")


def _text(form: Form) -> Text:
    """The policy that was typed, and the revision that it was written upon."""
    # Browsers end lines in their own way, and a policy is compared line by line.
    content = form.text("content").replace("\r\n", "\n")
    return Text(content, form.number("upon", 0))
