"""What a person says of an output: a correction, a confirmation, a dispute, or a step back."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from secondlook import events
from secondlook.text import identifier
from starlette.responses import Response

from services.escalation import queries as escalation
from services.feedback import queries
from services.feedback.queries import OutputWhole
from services.kit.database import Session
from services.kit.errors import Conflict, InvalidInput, NotFound, Problem, TooMany, Unavailable
from services.people.fields import Named
from services.people.rules import Actor, Verb
from services.tools import queries as tool_queries
from services.tools.contracts import refused
from services.tools.queries import ToolInfo
from services.tools.rules import same_value, value_problem
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm
from ui.kit.values import read_fields, read_text
from ui.outputs.view import address, hidden, is_hidden_from, show_output

_FIELDS = {"note": "The note: ", "reason": "The reason: "}


_NOT_NOW = (Conflict, TooMany, Unavailable)
"""Why something could not be put onto the log, for whoever pressed the button to read."""


def add_corrections(routes: APIRouter, pages: PageContext) -> None:
    """Add the routes that take corrections and withdrawals."""

    @routes.post("/output")
    def record(request: Request, tool: Named, id: Named, form: PostedForm) -> Response:  # noqa: A002 - the address's word
        return _record(pages, request, tool, id, form.first_values())

    @routes.post("/output/undo")
    def undo(request: Request, tool: Named, id: Named, form: PostedForm) -> Response:  # noqa: A002
        correction = form.text("correction")
        actor = pages.actor(request, Verb.CORRECT)
        with pages.transaction() as (session, now):
            tool_queries.tool_for(session, actor, tool)
            said = queries.correction(session, tool, id, correction)
        if said is None or said.actor != actor.email:
            raise NotFound("There is nothing of yours to undo here.")
        data = events.Withdrawal(
            output_id=id,
            correction_id=correction,
            actor=events.Actor(id=actor.email),
            channel="ui",
        )
        try:
            pages.publish([events.correction_withdrawn(tool, data, time=now)])
        except _NOT_NOW as error:
            said_why, status = error.detail, error.status
            return show_output(pages, request, actor, tool, id, status=status, problem=said_why)
        shown = pages.wait_until(lambda session: _is_withdrawn(session, tool, id, correction))
        return _again(pages, request, actor, tool, id, "undone" if shown else "late")


def _record(
    pages: PageContext, request: Request, slug: str, output_id: str, form: dict[str, str]
) -> Response:
    """Record what the person pressed, and show it once it is stored."""
    actor = pages.actor(request, Verb.CORRECT)
    with pages.transaction() as (session, now):
        tool = tool_queries.tool_for(session, actor, slug)
        row = queries.output(session, slug, output_id)
        case = escalation.case_of_output(session, slug, output_id)
    # What is refused, and what is not, would tell a reviewer what the tool said.
    if is_hidden_from(actor, row, case):
        return hidden(pages, request, case)
    try:
        kind, value = _read_choice(form, tool, row)
        data = _correction(output_id, kind, value, form, actor=actor, now=now)
    except InvalidInput as error:
        said = "; ".join(_in_words(p) for p in error.problems)
        return show_output(
            pages, request, actor, slug, output_id, status=422, problem=said, typed=form
        )
    event = events.correction_recorded(slug, data, time=now)
    try:
        pages.publish([event])
    except _NOT_NOW as error:
        said, status = error.detail, error.status
        return show_output(
            pages, request, actor, slug, output_id, status=status, problem=said, typed=form
        )
    shown = pages.wait_until(lambda session: _is_stored(session, slug, output_id, event.id))
    return _again(pages, request, actor, slug, output_id, "recorded" if shown else "late")


def _correction(
    output_id: str, kind: str, value: Any, form: dict[str, str], *, actor: Actor, now: datetime
) -> events.Correction:
    """What the person said, as the contract takes it.

    Raises:
        InvalidInput: the value or the note breaks one of the contract's limits.
    """
    try:
        return events.valid(
            events.Correction,
            output_id=output_id,
            kind=kind,
            value=value,
            reason=form.get("reason") or None,
            note=identifier(form.get("note", "")).replace("\r\n", "\n") or None,
            actor=events.Actor(id=actor.email),
            channel="ui",
            occurred_at=now,
        )
    except events.InvalidEvent as error:
        raise refused(error) from None


def _read_choice(form: dict[str, str], tool: ToolInfo, row: OutputWhole) -> tuple[str, Any]:
    """The kind of word and its value that a pressed button stands for."""
    choice = form.get("choice", "")
    if choice == "keep":
        return "confirmation", None
    if choice == "unsure":
        return "dispute", None
    if choice.startswith("is:"):
        value: Any = choice.removeprefix("is:")
        value = value == "True" if tool.kind == "flag" else value
    elif choice == "text":
        value = read_text(form, row.value)
    elif choice == "fields":
        value = read_fields(form, row.value)
    else:
        raise _invalid("choice", "nothing was chosen", "Press one of the buttons")
    problem = value_problem(tool.kind, tool.categories, value, pointer="/choice")
    if problem is not None:
        raise InvalidInput(problem.problem, problems=(problem,))
    if same_value(value, row.value):
        raise _invalid("choice", "that is what the AI said", "Press Keep if it is right")
    return "correction", value


def _in_words(problem: Problem) -> str:
    """A problem on the page: its pointer only where it is in what was typed beside the value."""
    field = problem.pointer.removeprefix("/")
    return f"{_FIELDS.get(field, '')}{problem.problem}. {problem.hint}"


def _invalid(field: str, problem: str, hint: str) -> InvalidInput:
    return InvalidInput(problem, problems=(Problem(f"/{field}", problem, hint),))


def _again(
    pages: PageContext, request: Request, actor: Actor, slug: str, output_id: str, said: str
) -> Response:
    if request.headers.get("hx-request") == "true":
        return show_output(pages, request, actor, slug, output_id, said=said)
    return pages.redirect(request, f"{address(slug, output_id)}&said={quote(said)}")


def _is_stored(session: Session, tool: str, output_id: str, event_id: str) -> bool:
    return queries.correction(session, tool, output_id, event_id) is not None


def _is_withdrawn(session: Session, tool: str, output_id: str, event_id: str) -> bool:
    said = queries.correction(session, tool, output_id, event_id)
    return said is not None and said.withdrawn
