"""The page of one's own account."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from starlette.responses import Response

from services.kit.database import Session
from services.notifications.queries import devices_of
from services.people import feeds, ownership, schedule_queries
from services.people import queries as people_queries
from services.people.rotations import moment_in_words
from services.people.rules import Actor, Verb
from ui.account.notifications import as_chosen
from ui.kit.context import PageContext

SAVED = {
    "1": "Your password is set. Every other sign-in of yours has ended.",
    "notifications": "From now on you are told in this way.",
    "push": "This browser shows from now on what you are told.",
    "test": "A test is on its way to you; it is in your inbox, too.",
}
"""What was done, by the word in the address that leads back here."""


@dataclass(frozen=True, slots=True)
class ShownAbsence:
    """An absence that is not over."""

    number: int
    begun: bool
    begin: str
    end: str
    stand_in: str


def show_account(
    pages: PageContext,
    request: Request,
    *,
    status: int = 200,
    form: Mapping[str, str] | None = None,
    **more: Any,
) -> Response:
    """The account of whoever is signed in."""
    actor = pages.signed_in(request).actor
    with pages.transaction() as (session, now):
        absences = _absences(session, actor, ZoneInfo(pages.timezone), now)
        stand_ins = _stand_ins(session, actor)
        reads_schedules = actor.may(Verb.READ_SCHEDULES)
        push = devices_of(session, actor, now=now)
        has_feed = reads_schedules and feeds.has_feed_token(session, actor.email)
    if "told" not in more:
        more["told"] = as_chosen(pages, actor.email)
    return pages.templates.render(
        request,
        "account/account.html",
        status=status,
        actor=actor,
        must_show=must_show_password(pages, request),
        absences=absences,
        stand_ins=stand_ins,
        timezone=pages.timezone,
        reads_schedules=reads_schedules,
        has_feed=has_feed,
        push=push,
        form=form or {},
        **more,
    )


def _absences(session: Session, actor: Actor, zone: ZoneInfo, now: datetime) -> list[ShownAbsence]:
    found = schedule_queries.absences_of(session, actor.email, now)
    names = people_queries.names(session, [one.stand_in for one in found if one.stand_in])
    return [
        ShownAbsence(
            one.id,
            one.begin <= now,
            moment_in_words(one.begin, zone),
            moment_in_words(one.end, zone),
            names.get(one.stand_in, one.stand_in) if one.stand_in else "",
        )
        for one in found
    ]


def _stand_ins(session: Session, actor: Actor) -> list[dict[str, str]]:
    """Who may stand in for somebody: whoever may review, but for them."""
    people = [one for one in ownership.candidates(session) if one.kind == "person"]
    nobody = {"value": "", "label": "Nobody"}
    listed = [{"value": one.id, "label": f"{one.name} ({one.id})"} for one in people]
    return [nobody, *(one for one in listed if one["value"] != actor.email)]


def must_show_password(pages: PageContext, request: Request) -> bool:
    """Whether a new password wants the present one; a sign-in link stands in for it."""
    signed_in = pages.signed_in(request)
    if signed_in.by_link:
        return False
    with pages.transaction() as (session, _):
        return people_queries.person(session, signed_in.actor.email).has_password
