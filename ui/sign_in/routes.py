"""Signing in and out."""

import structlog
from fastapi import APIRouter, Request
from starlette.responses import Response

from services.kit.errors import TooMany
from services.people import access
from services.people.errors import SignInRefused
from services.people.rules import Actor, Verb
from services.tools.identity import COOKIE, SECURE_COOKIE
from ui.kit.context import PageContext
from ui.kit.draft import draft_in
from ui.kit.forms import PostedForm
from ui.kit.markup import local_url
from ui.sign_in.refusals import resend_page, sign_in_page
from ui.sign_in.session import answer_under, enter, network_address, remember_visitor

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

    @routes.post("/sign-in")
    def sign_in(request: Request, form: PostedForm) -> Response:
        email, draft, place = form.line("email"), draft_in(form), network_address(request)
        next_ = local_url(form.text("next")) or ""
        try:
            with pages.transaction() as (session, now):
                access.limit_sign_ins(session, email, place, now=now)
            with pages.transaction() as (session, now):
                secret, actor = access.sign_in(
                    session, email, form.text("password"), now=now, length=pages.session_length
                )
        except (SignInRefused, TooMany) as error:
            _log.warning("sign-in refused", place=place, status=error.status)
            return sign_in_page(
                pages,
                request,
                next_=next_,
                email=email,
                refused=error.detail,
                draft=draft,
                status=error.status,
            )
        if draft is not None:
            answer_under(pages, request, secret)
            return resend_page(pages, request, draft, secret=secret)
        return enter(pages, request, secret, next_ or _home(actor))

    @routes.post("/sign-out")
    def sign_out(request: Request) -> Response:
        secret = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE) or ""
        with pages.transaction() as (session, now):
            access.sign_out(session, secret, now=now)
        response = pages.redirect(request, "/sign-in")
        response.delete_cookie(SECURE_COOKIE if pages.https else COOKIE)
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
        except SignInRefused as error:
            return sign_in_page(pages, request, next_="", refused=error.detail, status=error.status)
        return enter(pages, request, secret, _home(actor))
