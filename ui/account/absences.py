"""Saying that one is away, and that one is back."""

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import InvalidInput, NotFound
from services.people import absences
from services.people.moments import read_moment
from ui.account.show import show_account
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm, field_errors

_PAGE = "/account#away"


def add_absences(routes: APIRouter, pages: PageContext) -> None:
    """Add going away and coming back."""

    @routes.post("/account/away")
    def go_away(request: Request, form: PostedForm) -> Response:
        actor = pages.signed_in(request).actor
        try:
            begin, end = (
                read_moment(field, form.line(field), pages.timezone) for field in ("from", "until")
            )
            stand_in = form.line("stand_in") or None
            with pages.transaction() as (session, now):
                absences.go_away(
                    session,
                    actor.email,
                    begin=begin,
                    end=end,
                    stand_in=stand_in,
                    actor=actor,
                    duties=pages.duties,
                    now=now,
                )
        except InvalidInput as error:
            typed, errors = form.first_values(), field_errors(error, otherwise="from")
            return show_account(pages, request, form=typed, errors=errors, status=error.status)
        return pages.redirect(request, _PAGE)

    @routes.post("/account/back")
    def come_back(request: Request, form: PostedForm) -> Response:
        actor, number = pages.signed_in(request).actor, form.number("number", 0)
        if not 0 < number < 2**63:
            raise NotFound("There is no such absence of yours.")
        with pages.transaction() as (session, now):
            absences.come_back(
                session,
                actor.email,
                number=number,
                actor=actor,
                duties=pages.duties,
                now=now,
            )
        return pages.redirect(request, _PAGE)
