"""What people keep to themselves: their password and their tokens, when they are away."""

from functools import partial

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.kit.errors import InvalidInput, TooMany
from services.people import access
from services.people.rules import Actor
from ui.account.absences import add_absences
from ui.account.feeds import add_feeds
from ui.account.notifications import add_routes as add_notifications
from ui.account.push import add_push
from ui.account.show import SAVED, must_show_password, show_account
from ui.kit.context import PageContext
from ui.kit.forms import PostedForm, field_errors
from ui.sign_in.password import PasswordSignIn
from ui.sign_in.session import attempt_of, enter


def router(pages: PageContext) -> APIRouter:
    """The routes of one's own account."""
    routes = APIRouter()
    passwords = PasswordSignIn(pages)

    @routes.get("/account")
    def account(request: Request, saved: str = "") -> Response:
        return show_account(pages, request, saved=SAVED.get(saved, ""))

    @routes.post("/account/password")
    async def set_password(request: Request, form: PostedForm) -> Response:
        password, current = form.text("password"), form.text("current")
        actor = pages.signed_in(request).actor
        try:
            if await run_in_threadpool(must_show_password, pages, request):
                attempt = attempt_of(pages, request, actor.email)
                await passwords.confirm(attempt, lambda: _require_password(pages, actor, current))
            secret = await run_in_threadpool(_set_password, pages, actor, password)
        except InvalidInput as error:
            errors, status = field_errors(error), 422
        except TooMany as error:
            errors, status = {"current": error.detail}, error.status
        else:
            return enter(pages, request, secret, "/account?saved=1")
        return await run_in_threadpool(show_account, pages, request, status=status, errors=errors)

    @routes.post("/account/token")
    def make_token(request: Request) -> Response:
        actor = pages.signed_in(request).actor
        with pages.transaction() as (session, now):
            token = access.create_token(session, actor.email, actor=actor, now=now)
        return show_account(pages, request, token=token)

    add_absences(routes, pages)
    add_feeds(routes, pages)
    add_push(routes, pages)
    add_notifications(routes, pages, partial(show_account, pages))
    return routes


def _require_password(pages: PageContext, actor: Actor, current: str) -> None:
    with pages.transaction() as (session, _):
        access.require_password(session, actor, current)


def _set_password(pages: PageContext, actor: Actor, password: str) -> str:
    """Set it and begin a session under it; answers the session's secret."""
    with pages.transaction() as (session, now):
        access.set_password(session, actor.email, password, actor=actor, now=now)
        length = pages.session_length
        secret, _ = access.sign_in(session, actor.email, password, now=now, length=length)
        return secret
