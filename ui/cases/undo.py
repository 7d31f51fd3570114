"""Taking a verdict back, and opening a decided case again."""

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import queries, service
from services.escalation.errors import MovedOn
from services.escalation.rules import CaseState
from services.kit.errors import Conflict, InvalidInput, NotAllowed
from services.people.rules import Actor, Verb
from ui.cases.case_view import may_undo
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm


def undo_verdict(session: Any, actor: Actor, case_id: int, *, now: datetime) -> None:
    """Take a verdict back: the case is open again, as if it had not been given.

    Raises:
        NotAllowed: somebody else gave it, and the actor is no lead.
        MovedOn: there is none to take back any more.
    """
    case = queries.case_for(session, actor, case_id)
    if case.state != CaseState.RESOLVED:
        raise MovedOn(f"The case is {case.state}; there is no verdict to take back.")
    if not may_undo(actor, case):
        raise NotAllowed("Whoever gave a verdict takes it back, or a lead, until the case closes.")
    reopen_case(session, actor, case_id, note=None, now=now)


def reopen_case(
    session: Any, actor: Actor, case_id: int, *, note: str | None, now: datetime
) -> None:
    """Open a decided case again for another verdict.

    Raises:
        MovedOn: it is open by now.
    """
    queries.case_for(session, actor, case_id)
    if not service.reopen(session, case_id, actor=actor.id, note=note, now=now):
        raise MovedOn("The case is open again already.")


def add_undo(routes: APIRouter, pages: PageContext) -> None:
    """Add undo and reopen."""

    @routes.post("/c/{case_id}/undo")
    def undo(request: Request, case_id: int) -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        try:
            with pages.transaction() as (session, now):
                undo_verdict(session, actor, case_id, now=now)
        except Conflict as error:
            return show_case(pages, request, actor, case_id, status=409, problem=error.detail)
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))

    @routes.post("/c/{case_id}/reopen")
    def reopen(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.JUDGE)
        note = form.text("note") or None
        try:
            with pages.transaction() as (session, now):
                reopen_case(session, actor, case_id, note=note, now=now)
        except (Conflict, InvalidInput) as error:
            typed, said = form.first_values(), error.detail
            return show_case(
                pages, request, actor, case_id, status=error.status, problem=said, typed=typed
            )
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))
