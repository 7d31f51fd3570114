"""A verdict on a case, and the case that comes after it."""

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import lists, service
from services.escalation.cases import Case
from services.escalation.judgement import Opinion
from services.escalation.service import Verdict
from services.kit.database import Session
from services.kit.errors import Conflict, InvalidInput, NotAllowed, Problem
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.rules import VerdictKind
from ui.cases.panel import SETTLE, settled_verdict
from ui.cases.queue_filter import queue_filter
from ui.cases.remarks import AGREE, agreed_verdict
from ui.cases.show import opinion_context, outcome_context, pane_context, render_pane, show_case
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm
from ui.kit.templating import wants_fragment
from ui.kit.values import read_fields, read_text


def add_verdicts(routes: APIRouter, pages: PageContext) -> None:
    """Add the route that verdicts are sent to."""

    @routes.post("/c/{case_id}/verdict")
    def verdict(request: Request, case_id: int, form: PostedForm) -> Response:
        return _give_verdict(pages, request, case_id, form.first_values())


def _give_verdict(
    pages: PageContext, request: Request, case_id: int, form: dict[str, str]
) -> Response:
    """Give the verdict, claiming it first where nobody holds it, and go on to the next one."""
    actor = pages.actor(request, Verb.REVIEW)
    try:
        with pages.transaction() as (session, now):
            case = service.case_for_reviewer(session, actor, case_id, lock=True)
            tool = tool_queries.tool(session, case.tool)
            verdict, value = _read_verdict(session, actor, form, tool.kind.value, case)
            given = service.give_verdict(
                session,
                actor,
                case,
                token=form.get("token") or None,
                lease=pages.lease,
                verdict=verdict,
                value=value,
                note=form.get("note") or None,
                alone=bool(form.get("alone")),
                now=now,
            )
    except (Conflict, NotAllowed) as error:
        status, said = error.status, error.detail
        return show_case(pages, request, actor, case_id, status=status, problem=said, typed=form)
    except InvalidInput as error:
        said = "; ".join(f"{p.problem}. {p.hint}" for p in error.problems) or error.detail
        return show_case(pages, request, actor, case_id, status=422, problem=said, typed=form)
    return _next(pages, request, actor, case, given)


def _read_verdict(
    session: Session, actor: Actor, form: dict[str, str], kind: str, case: Case
) -> tuple[VerdictKind, Any]:
    """The verdict and value that a pressed button stands for."""
    choice = form.get("choice", "")
    if choice.startswith(AGREE):
        return agreed_verdict(session, actor, case, choice.removeprefix(AGREE))
    if choice.startswith(SETTLE):
        return settled_verdict(session, actor, case, choice.removeprefix(SETTLE))
    if choice.startswith("is:"):
        value: Any = choice.removeprefix("is:")
        return VerdictKind.CORRECTED, value == "True" if kind == "flag" else value
    if choice == "corrected":
        read = read_fields if kind == "fields" else read_text
        return VerdictKind.CORRECTED, read(form, case.value)
    try:
        return VerdictKind(choice), None
    except ValueError:
        problem = Problem("/choice", "no verdict was chosen", "Press one of the buttons.")
        raise InvalidInput("choice: no verdict was chosen.", problems=(problem,)) from None


def _outcome(actor: Actor, done: Case, given: Verdict) -> dict[str, Any]:
    if given.id is None:
        return opinion_context(done.id, Opinion(actor.email, given.kind, given.value))
    return outcome_context(done.id, given.kind, given.value, undoable=given.id)


def _next(
    pages: PageContext, request: Request, actor: Actor, done: Case, given: Verdict
) -> Response:
    """The case after this one, else the first that is left, else the queue."""
    asked = queue_filter(request)
    with pages.transaction() as (session, now):
        wanted = asked.filter(actor)
        # The next one in the list: nobody is thrown back to its top while there is one.
        following = lists.next_case(
            session, actor, wanted, after=(done.due_at, done.id)
        ) or lists.next_case(session, actor, wanted)
        if following is not None and wants_fragment(request):
            context = pane_context(request, session, actor, following, now=now)
            context |= _outcome(actor, done, given)
            return render_pane(pages, request, context)
    if following is None:
        return pages.redirect(request, asked.address(done=str(done.id)))
    return pages.redirect(request, asked.address(f"/c/{following.id}", done=str(done.id)))
