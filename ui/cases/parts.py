"""A verdict on all that is merged into a case: choose, look at what it does, confirm, undo."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import queries, service
from services.escalation.cases import Listed
from services.escalation.service import Judgement
from services.feedback import queries as feedback
from services.kit.database import Session
from services.kit.errors import InvalidInput, NotFound, Problem, SecondlookError
from services.people.fields import Normalised
from services.people.rules import Actor, Verb
from services.tools.rules import VerdictKind, same_value
from ui.cases.frozen import MOST, unpacked
from ui.cases.parts_view import preview_context
from ui.cases.queue_filter import queue_filter
from ui.cases.show import show_case
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm
from ui.kit.values import format_value


def add_parts(routes: APIRouter, pages: PageContext) -> None:
    """Add the routes of verdicts on all that is merged into a case."""

    @routes.get("/c/{case_id}/parts/verdict")
    def preview(request: Request, case_id: int, choice: Normalised = "") -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        with pages.transaction() as (session, _):
            shown = service.merged_into(session, actor, case_id)[:MOST]
            judgement = _judgement(choice)
            agreed, skipped = _agreed(session, actor, shown, judgement)
            found = service.preview(session, actor, agreed, judgement)
        seen = preview_context(
            choice,
            _words(judgement),
            suited=found.done,
            alone=len(found.alone),
            skipped=skipped | found.skipped,
        )
        return show_case(pages, request, actor, case_id, preview=seen)

    @routes.post("/c/{case_id}/parts/verdict")
    def decide(request: Request, case_id: int, form: PostedForm) -> Response:
        actor = pages.actor(request, Verb.REVIEW)
        try:
            with pages.transaction() as (session, now):
                frozen = unpacked(form.text("cases"))
                shown = service.merged_into(session, actor, case_id, among=frozen)
                judgement = _judgement(form.text("choice"), note=form.text("note") or None)
                agreed, _ = _agreed(session, actor, shown, judgement)
                ids = [case.id for case in agreed]
                found = service.decide(session, actor, ids, judgement, lease=pages.lease, now=now)
        except SecondlookError as error:
            return _refused(pages, request, case_id, error)
        changed = len(frozen) - len(found.done)
        more = {"decided": str(len(found.done)), "changed": str(changed), "at": now.isoformat()}
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}", **more))

    @routes.post("/c/{case_id}/parts/undo")
    def undo(request: Request, case_id: int, form: PostedForm) -> Response:
        actor, window = pages.actor(request, Verb.REVIEW), pages.reopen_window
        try:
            with pages.transaction() as (session, now):
                service.case_for_reviewer(session, actor, case_id)
                at = _moment(form.text("at"))
                service.undo_together(session, actor, case_id, at=at, window=window, now=now)
        except SecondlookError as error:
            return _refused(pages, request, case_id, error)
        return pages.redirect(request, queue_filter(request).address(f"/c/{case_id}"))


def _refused(
    pages: PageContext, request: Request, case_id: int, error: SecondlookError
) -> Response:
    if isinstance(error, NotFound):
        raise error
    actor = pages.actor(request, Verb.REVIEW)
    return show_case(pages, request, actor, case_id, status=error.status, problem=error.detail)


def _agreed(
    session: Session, actor: Actor, shown: Sequence[Listed], judgement: Judgement
) -> tuple[list[Listed], dict[int, str]]:
    """These cases, but for those of which somebody has said that another value is right; and of
    these what they said."""
    said = feedback.decided_values(
        session, [(case.tool, case.output_id) for case in shown if case.output_id is not None]
    )
    agreed, differing = [], {}
    for case in shown:
        value = said.get((case.tool, case.output_id or ""))
        given = case.value if judgement.verdict is VerdictKind.UPHELD else judgement.value
        # What is hidden from the actor is refused for that reason alone.
        silent = case.hidden or not queries.sees(actor, case)
        if silent or value is None or given is None or same_value(value, given):
            agreed.append(case)
        else:
            differing[case.id] = f"Somebody says that {format_value(value)} is right."
    return agreed, differing


def _judgement(choice: str, *, note: str | None = None) -> Judgement:
    """The verdict that a pressed button stands for."""
    if choice.startswith("is:"):
        value: Any = choice.removeprefix("is:")
        flags = {"True": True, "False": False}
        return Judgement(VerdictKind.CORRECTED, flags.get(value, value), note)
    try:
        return Judgement(VerdictKind(choice), None, note)
    except ValueError:
        problem = Problem("/choice", "no verdict was chosen", "Press one of the buttons.")
        raise InvalidInput("choice: no verdict was chosen.", problems=(problem,)) from None


def _moment(text: str) -> datetime:
    """When the verdicts were given that a page offers to undo."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise InvalidInput("This page is too old; open the case again and choose once more.")
    return found


def _words(judgement: Judgement) -> str:
    if judgement.verdict is VerdictKind.CORRECTED:
        return format_value(judgement.value)
    return {
        VerdictKind.UPHELD: "right as it is",
        VerdictKind.UNDECIDABLE: "undecidable",
        VerdictKind.NOT_ACTIONABLE: "not actionable",
    }[judgement.verdict]
