"""Dead letters: events that could not be used, with all that is known of them."""

import json
import re
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.kit.consuming.dead_letters import DeadLetterRow
from services.kit.errors import InvalidInput
from services.people.rules import Actor, Verb
from services.tools import dead_letters
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm, field_errors, invalid_field

_PAGE = 50
# So that a press is answered in seconds: a hundred are discarded in each.
_STEPS = 100
_SHOWN_BYTES = 64 * 1024
# Control characters, and those that turn the direction of what follows them.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
After = Annotated[int, Query(ge=0, lt=2**63)]


def router(pages: PageContext) -> APIRouter:
    """The routes of dead letters."""
    routes = APIRouter()
    _add_reads(routes, pages)
    _add_acts(routes, pages)
    return routes


def _add_reads(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/dead-letters")
    def waiting(request: Request, after: After = 0, everything: str = "") -> Response:
        actor = pages.actor(request, Verb.HANDLE_DEAD_LETTERS)
        with pages.transaction() as (session, now):
            found = dead_letters.waiting(
                session, actor, after=after, limit=_PAGE + 1, everything=bool(everything)
            )
        following = found[_PAGE - 1].id if len(found) > _PAGE else None
        more = {"after": following} | ({"everything": "1"} if everything else {})
        return pages.templates.render(
            request,
            "dead_letters/list.html",
            now=now,
            dead_letters=found[:_PAGE],
            everything=bool(everything),
            next=f"/dead-letters?{urlencode(more)}" if following else "",
        )

    @routes.get("/dead-letters/{number}")
    def one(request: Request, number: int) -> Response:
        return _show(pages, request, number)


def _add_acts(routes: APIRouter, pages: PageContext) -> None:
    @routes.post("/dead-letters/{number}/retry")
    def retry(request: Request, number: int) -> Response:
        actor = pages.actor(request, Verb.HANDLE_DEAD_LETTERS)
        with pages.transaction() as (session, now):
            dead_letters.retry(session, actor, number, now=now)
        return pages.redirect(request, f"/dead-letters/{number}")

    @routes.post("/dead-letters/{number}/discard")
    def discard(request: Request, number: int, form: PostedForm) -> Response:
        actor, reason = pages.actor(request, Verb.HANDLE_DEAD_LETTERS), form.line("reason")
        try:
            if not reason:
                raise invalid_field("reason", "it is empty", "Say why nobody needs it.")
            if form.text("alike"):
                _discard_alike(pages, actor, number, reason)
                return pages.redirect(request, "/dead-letters")
            with pages.transaction() as (session, now):
                dead_letters.discard(session, actor, number, reason=reason, now=now)
        except InvalidInput as error:
            errors = field_errors(error, otherwise="reason")
            return _show(pages, request, number, reason=reason, errors=errors, status=422)
        return pages.redirect(request, f"/dead-letters/{number}")


def _discard_alike(pages: PageContext, actor: Actor, number: int, reason: str) -> None:
    """Discard what waits of the same tool for the same reason, in steps, up to a limit a press."""
    with pages.transaction() as (session, _):
        seen = dead_letters.one(session, actor, number)
        if seen.tool is None:
            raise invalid_field("reason", "no tool is known of it", "Discard it alone.")
        which = dead_letters.match(session, actor, tool=seen.tool, reason=seen.reason)
    for _step in range(_STEPS):
        with pages.transaction() as (session, now):
            done = dead_letters.discard_matching(session, actor, which, reason=reason, now=now)
        if not done:
            return
        which = which.beyond(done)


def _show(
    pages: PageContext,
    request: Request,
    number: int,
    *,
    reason: str = "",
    errors: dict[str, str] | None = None,
    status: int = 200,
) -> Response:
    actor = pages.actor(request, Verb.HANDLE_DEAD_LETTERS)
    with pages.transaction() as (session, now):
        found = dead_letters.one(session, actor, number)
    value = bytes(found.value)
    return pages.templates.render(
        request,
        "dead_letters/dead_letter.html",
        status=status,
        now=now,
        dead_letter=found,
        state=_state(found),
        text=readable(value),
        size=len(value),
        cut=len(value) > _SHOWN_BYTES,
        key=bytes(found.key or b"").decode(errors="backslashreplace"),
        record_headers=[(name, str(text)) for name, text in found.headers or ()],
        reason=reason,
        errors=errors or {},
    )


def _state(found: DeadLetterRow) -> str:
    if found.discarded_at:
        return "discarded"
    if found.retried_at:
        return "retried"
    return "parked" if found.parked else "waiting"


def readable(value: bytes) -> str:
    """The bytes as text: JSON with its lines broken, what nobody could see as escapes."""
    shown = value[:_SHOWN_BYTES]
    try:
        text = json.dumps(json.loads(shown), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        text = shown.decode(errors="backslashreplace")
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)
