"""What people say of the output that a case is about, while the case is open on a screen."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.escalation import queries
from services.escalation.cases import Case
from services.escalation.rules import OPEN_STATES
from services.feedback import queries as feedback
from services.feedback.rows import Word
from services.kit.database import Session
from services.kit.errors import InvalidInput
from services.people import queries as people_queries
from services.people.rules import Actor, Verb
from services.tools.rules import VerdictKind, same_value
from ui.cases.case_view import standing, why_barred
from ui.cases.queue_filter import queue_filter
from ui.kit.context import PageContext
from ui.kit.forms import invalid_field
from ui.kit.templating import wants_fragment
from ui.kit.values import format_value

AGREE = "agree:"
"""A verdict's choice that names the remark whose value is right."""

_SHOWN = 20
_SAYINGS = {
    "confirmation": "says that it is right",
    "dispute": "objects",
    "appeal": "appeals the verdict",
}


@dataclass(frozen=True, slots=True)
class Remark:
    """What one person said last of the output."""

    id: str
    who: str
    saying: str
    quote: str
    note: str
    at: datetime
    agreeable: bool
    """Whether somebody else can give a verdict by agreeing."""


def remarks(session: Session, actor: Actor, case: Case) -> list[Remark]:
    """What others than the actor said last, the newest first; of a blind case nothing."""
    if case.hidden:
        return []
    words = _words(session, actor, case)[:_SHOWN]
    names = people_queries.names(session, {word.actor for word in words if word.actor})
    return [_remark(word, names) for word in words]


def _words(session: Session, actor: Actor, case: Case) -> Sequence[Word]:
    """Each other person's last word that stands, the newest first."""
    last: dict[str, Word] = {}
    said = feedback.corrections(session, case.tool, case.output_id) if case.output_id else ()
    for word in said:
        if not word.withdrawn and word.actor != actor.email:
            last[word.actor or word.event_id] = word
    return sorted(last.values(), key=lambda word: word.occurred_at, reverse=True)


def _remark(word: Word, names: Mapping[str, str]) -> Remark:
    long = isinstance(word.value, str) and len(word.value) > len(format_value(word.value))
    saying = _SAYINGS.get(word.kind) or ("says:" if long else f"says: {format_value(word.value)}")
    reason = f" ({word.reason.replace('_', ' ')})" if word.reason else ""
    return Remark(
        id=word.event_id,
        who=names.get(word.actor or "") or word.actor or "Somebody",
        saying=saying + reason,
        quote=word.value if long else "",
        note=word.note or "",
        at=word.occurred_at,
        agreeable=word.kind in ("correction", "confirmation"),
    )


def agreed_verdict(
    session: Session, actor: Actor, case: Case, remark_id: str
) -> tuple[VerdictKind, Any]:
    """The verdict that agrees with what somebody said.

    Raises:
        InvalidInput: they took it back, or said something else since.
    """
    words = [] if case.hidden else _words(session, actor, case)
    word = next((w for w in words if w.event_id == remark_id), None)
    if word is None or word.kind not in ("correction", "confirmation"):
        raise _gone()
    if word.kind == "confirmation" or same_value(word.value, case.value):
        return VerdictKind.UPHELD, None
    return VerdictKind.CORRECTED, word.value


def _gone() -> InvalidInput:
    return invalid_field("choice", "that was taken back meanwhile", "Look at the case again")


def remarks_context(session: Session, actor: Actor, case: Case) -> dict[str, Any]:
    """What the part of the page with remarks shows, and how it knows that it is up to date."""
    found = remarks(session, actor, case)
    seen = hashlib.sha256("\n".join(remark.id for remark in found).encode()).hexdigest()[:12]
    live = case.state in OPEN_STATES and not case.hidden
    keyed = next((remark.id for remark in found if remark.agreeable), "")
    return {"remarks": found, "keyed": keyed, "seen": seen, "live": live, "agree": AGREE}


def add_remarks(routes: APIRouter, pages: PageContext) -> None:
    """Add the part of an open case that is asked for again and again."""

    @routes.get("/c/{case_id}/remarks")
    def live(request: Request, case_id: int, seen: str = "") -> Response:
        """What has been said since; nothing where the page shows it all already."""
        actor = pages.actor(request, Verb.READ_CASES)
        asked = queue_filter(request)
        with pages.transaction() as (session, now):
            case = queries.case_for(session, actor, case_id)
            context = remarks_context(session, actor, case)
            barred = why_barred(session, actor, case)
        if not wants_fragment(request):
            return pages.redirect(request, asked.address(f"/c/{case_id}"))
        if context["seen"] == seen:
            return Response(status_code=204)
        newest = context["remarks"][:1]
        return pages.templates.render(
            request,
            "cases/remarks.html",
            "remarks",
            announce=f"{newest[0].who} {newest[0].saying}" if newest else "",
            case={"id": case.id, **standing(case, actor, barred=barred)},
            asked=asked,
            now=now,
            **context,
        )
