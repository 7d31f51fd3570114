"""How one is told: by mail or in the inbox alone, at once or gathered, and when not."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import InvalidInput
from services.notifications import queries, rules
from services.notifications import service as notifications
from services.notifications.service import Wanted
from ui.kit.context import PageContext
from ui.kit.forms import Form, PostedForm, field_errors

_DIGESTS = {0: "At once", 15: "Every 15 minutes", 60: "Every hour", rules.DAY_MINUTES: "At 8:00"}
_MAIL = "mail."

Page = Callable[..., Response]
"""Answers the account's page; what is named is shown on it."""


def add_routes(routes: APIRouter, pages: PageContext, page: Page) -> None:
    """The routes of one's own notifications."""

    @routes.post("/account/notifications")
    def choose(request: Request, form: PostedForm) -> Response:
        actor = pages.signed_in(request).actor
        wanted = _wanted(form)
        try:
            with pages.transaction() as (session, now):
                notifications.choose(session, wanted, actor=actor, now=now)
        except InvalidInput as error:
            return page(request, status=422, errors=field_errors(error), told=_as_typed(wanted))
        return pages.redirect(request, "/account?saved=notifications#notifications")

    @routes.post("/account/notifications/test")
    def test(request: Request) -> Response:
        actor = pages.signed_in(request).actor
        with pages.transaction() as (session, now):
            notifications.tell_oneself(session, actor=actor, now=now)
        return pages.redirect(request, "/account?saved=test#notifications")


def _wanted(form: Form) -> Wanted:
    return Wanted(
        mailed=[name.removeprefix(_MAIL) for name, _ in form.pairs() if name.startswith(_MAIL)],
        digest_minutes=form.line("digest_minutes"),
        quiet_from=form.line("quiet_from"),
        quiet_until=form.line("quiet_until"),
        timezone=form.line("timezone"),
        pushed="pushed" in form,
    )


def as_chosen(pages: PageContext, email: str) -> dict[str, Any]:
    """What somebody chose, as the form shows it."""
    with pages.transaction() as (session, _):
        choice = queries.choice(session, email)
    chosen = Wanted(
        mailed=[what.value for what in rules.CHOOSABLE if what.value not in choice.not_mailed],
        digest_minutes=str(choice.digest_minutes),
        quiet_from=f"{choice.quiet_from:%H:%M}" if choice.quiet_from else "",
        quiet_until=f"{choice.quiet_until:%H:%M}" if choice.quiet_until else "",
        timezone=choice.timezone,
        pushed=choice.pushed,
    )
    return _as_typed(chosen)


def _as_typed(wanted: Wanted) -> dict[str, Any]:
    return {
        "mails": [
            {
                "name": _MAIL + what.value,
                "label": rules.IN_WORDS[what],
                "checked": what.value in wanted.mailed,
            }
            for what in rules.CHOOSABLE
        ],
        "pushed": wanted.pushed,
        "digests": [{"value": minutes, "label": said} for minutes, said in _DIGESTS.items()],
        "digest_minutes": wanted.digest_minutes,
        "quiet_from": wanted.quiet_from,
        "quiet_until": wanted.quiet_until,
        "timezone": wanted.timezone,
    }
