"""Signing in and out."""

import structlog
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from services.kit.errors import SecondlookError, TooMany
from services.people import access, attempts
from services.people.errors import SignInRefused
from services.people.rules import Actor, Verb
from services.tools.identity import COOKIE, SECURE_COOKIE
from ui.kit.context import PageContext
from ui.kit.draft import draft_in
from ui.kit.forms import Form, PostedForm
from ui.kit.markup import local_url
from ui.sign_in.password import Entered, PasswordSignIn
from ui.sign_in.refusals import resend_page, sign_in_page
from ui.sign_in.session import answer_under, attempt_of, enter, remember_device, remember_visitor

_log = structlog.get_logger()


def _home(actor: Actor) -> str:
    """Where this person's work begins."""
    if actor.may(Verb.REVIEW):
        return "/queue"
    if actor.may(Verb.READ_NUMBERS):
        return "/health"
    return "/outputs"


def router(pages: PageContext) -> APIRouter:
    """The routes of signing in."""
    routes = APIRouter()
    _add_sign_in(routes, pages)
    _add_links(routes, pages)
    return routes


def _add_sign_in(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/")
    def home(request: Request) -> Response:
        return pages.redirect(request, _home(pages.signed_in(request).actor))

    @routes.get("/sign-in")
    def show(request: Request, next: str = "") -> Response:  # noqa: A002 - the address's word
        return sign_in_page(pages, request, next_=local_url(next) or "")

    by_password = PasswordSignIn(pages)

    @routes.post("/sign-in")
    async def sign_in(request: Request, form: PostedForm) -> Response:
        attempt = attempt_of(pages, request, form.line("email"))
        try:
            entered = await by_password.enter(attempt, form.text("password"))
        except (SignInRefused, TooMany) as error:
            _log.warning("sign-in refused", network=attempt.network, status=error.status)
            return await run_in_threadpool(_refused, pages, request, form, error)
        return await run_in_threadpool(_entered, pages, request, form, entered)

    @routes.post("/sign-out")
    def sign_out(request: Request) -> Response:
        secret = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE) or ""
        with pages.transaction() as (session, now):
            access.sign_out(session, secret, now=now)
        response = pages.redirect(request, "/sign-in")
        response.delete_cookie(SECURE_COOKIE if pages.https else COOKIE)
        return response


def _refused(pages: PageContext, request: Request, form: Form, error: SecondlookError) -> Response:
    return sign_in_page(
        pages,
        request,
        next_=local_url(form.text("next")) or "",
        email=form.line("email"),
        refused=error.detail,
        draft=draft_in(form),
        status=error.status,
    )


def _entered(pages: PageContext, request: Request, form: Form, entered: Entered) -> Response:
    draft = draft_in(form)
    if draft is not None:
        answer_under(pages, request, entered.secret)
        response = resend_page(pages, request, draft, secret=entered.secret)
    else:
        where = local_url(form.text("next")) or _home(entered.actor)
        response = enter(pages, request, entered.secret, where)
    remember_device(pages, response, entered.device)
    return response


def _add_links(routes: APIRouter, pages: PageContext) -> None:
    @routes.get("/sign-in/{token}")
    def show_link(request: Request, token: str) -> Response:
        """Only shows: mail scanners open links, so the link is spent by the button's POST."""
        response = pages.templates.render(request, "sign_in/link.html", token=token)
        remember_visitor(pages, request, response)
        return response

    @routes.post("/sign-in/{token}")
    def spend_link(request: Request, token: str) -> Response:
        try:
            with pages.transaction() as (session, now):
                secret, actor = access.use_link(
                    session, token, now=now, length=pages.session_length
                )
                attempt = attempt_of(pages, request, actor.email)
                device = attempts.remember_device(session, attempt, now=now)
        except SignInRefused as error:
            return sign_in_page(pages, request, next_="", refused=error.detail, status=error.status)
        response = enter(pages, request, secret, _home(actor))
        remember_device(pages, response, device)
        return response
