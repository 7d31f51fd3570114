"""Signing in and out, and what people keep to themselves: password and tokens."""

import secrets
from typing import Annotated, Any
from urllib.parse import quote

import structlog
from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from services.kit.errors import InvalidInput, TooMany
from services.people import access
from services.people import queries as people_queries
from services.people.errors import SignInRefused
from services.people.rules import Actor, Verb
from services.tools.identity import COOKIE, SECURE_COOKIE
from ui.desk import Desk
from ui.templating import local_url

_log = structlog.get_logger()
_VISITOR = "secondlook-visitor"
Text = Annotated[str, Form()]


def address_for(request: Request) -> str:
    """The sign-in page that leads back to what was asked for."""
    asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return f"/sign-in?next={quote(asked)}" if asked != "/" else "/sign-in"


def visitor_token(request: Request) -> str:
    """What proves that a sign-in form is ours before anybody is signed in."""
    known = request.cookies.get(_VISITOR) or request.scope.get(_VISITOR)
    if known is None:
        known = request.scope[_VISITOR] = secrets.token_urlsafe(24)
    return str(known)


def knows_visitor(request: Request, token: str) -> bool:
    """Whether the token is the one of the visitor's cookie."""
    cookie = request.cookies.get(_VISITOR, "")
    return bool(cookie) and secrets.compare_digest(cookie.encode(), token.encode())


def _home(actor: Actor) -> str:
    """Where this person's work begins."""
    if actor.may(Verb.REVIEW):
        return "/queue"
    if actor.may(Verb.READ_NUMBERS):
        return "/health"
    return "/outputs"


def routes(desk: Desk) -> APIRouter:
    """The routes of signing in."""
    router = APIRouter()
    _add_sign_in(router, desk)
    _add_links(router, desk)
    _add_account(router, desk)
    return router


def _add_sign_in(router: APIRouter, desk: Desk) -> None:
    @router.get("/")
    def home(request: Request) -> Response:
        return desk.on(request, _home(desk.signed_in(request).actor))

    @router.get("/sign-in")
    def show(request: Request, next: str = "") -> Response:  # noqa: A002 - the address's word
        return _form(desk, request, next_=next)

    @router.post("/sign-in")
    def sign_in(
        request: Request,
        email: Text = "",
        password: Text = "",
        next: Text = "",  # noqa: A002 - the form's word
    ) -> Response:
        try:
            with desk.transaction() as (session, now):
                access.limit_sign_ins(session, email, _place(request), now=now)
            with desk.transaction() as (session, now):
                secret, actor = access.sign_in(
                    session, email, password, now=now, length=desk.session_length
                )
        except (SignInRefused, TooMany) as error:
            _log.warning("sign-in refused", place=_place(request), status=error.status)
            return _form(
                desk, request, next_=next, email=email, refused=error.detail, status=error.status
            )
        return _enter(desk, request, secret, local_url(next) or _home(actor))

    @router.post("/sign-out")
    def sign_out(request: Request) -> Response:
        secret = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE) or ""
        with desk.transaction() as (session, now):
            access.sign_out(session, secret, now=now)
        response = desk.on(request, "/sign-in")
        response.delete_cookie(SECURE_COOKIE if desk.https else COOKIE)
        return response


def _place(request: Request) -> str:
    """Where a request comes from, as far as we can see."""
    return request.client.host if request.client is not None else "unknown"


def _form(
    desk: Desk,
    request: Request,
    *,
    next_: str,
    email: str = "",
    refused: str = "",
    status: int = 200,
) -> Response:
    response = desk.templates.render(
        request,
        "pages/sign_in.html",
        status=status,
        next=local_url(next_) or "",
        email=email[:254],
        refused=refused,
        links=False,
    )
    token = visitor_token(request)
    response.set_cookie(_VISITOR, token, httponly=True, samesite="lax", secure=desk.https)
    return response


def _enter(desk: Desk, request: Request, secret: str, url: str) -> Response:
    """Give the browser its session, and go where it wanted to go."""
    response = desk.on(request, url)
    response.set_cookie(
        SECURE_COOKIE if desk.https else COOKIE,
        secret,
        max_age=int(desk.session_length.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=desk.https,
        path="/",
    )
    response.delete_cookie(_VISITOR)
    return response


def _add_links(router: APIRouter, desk: Desk) -> None:
    @router.get("/sign-in/{token}")
    def show_link(request: Request, token: str) -> Response:
        """Only shows: mail scanners open links, so the link is spent by the button's POST."""
        response = desk.templates.render(request, "pages/sign_in_link.html", token=token)
        visitor = visitor_token(request)
        response.set_cookie(_VISITOR, visitor, httponly=True, samesite="lax", secure=desk.https)
        return response

    @router.post("/sign-in/{token}")
    def spend_link(request: Request, token: str) -> Response:
        try:
            with desk.transaction() as (session, now):
                secret, actor = access.use_link(session, token, now=now, length=desk.session_length)
        except SignInRefused as error:
            return _form(desk, request, next_="", refused=error.detail, status=error.status)
        return _enter(desk, request, secret, _home(actor))


def _add_account(router: APIRouter, desk: Desk) -> None:
    @router.get("/account")
    def account(request: Request, saved: str = "") -> Response:
        return _account(desk, request, saved=bool(saved))

    @router.post("/account/password")
    def set_password(request: Request, password: Text = "", current: Text = "") -> Response:
        actor = desk.signed_in(request).actor
        try:
            if _must_show_password(desk, request):
                with desk.transaction() as (session, now):
                    access.limit_sign_ins(session, actor.email, _place(request), now=now)
                with desk.transaction() as (session, now):
                    access.require_password(session, actor, current)
            with desk.transaction() as (session, now):
                access.set_password(session, actor.email, password, actor=actor.id, now=now)
                secret, _ = access.sign_in(
                    session, actor.email, password, now=now, length=desk.session_length
                )
        except InvalidInput as error:
            errors = {p.pointer.removeprefix("/"): f"{p.problem}. {p.hint}" for p in error.problems}
            return _account(desk, request, status=422, errors=errors)
        except TooMany as error:
            errors = {"current": error.detail}
            return _account(desk, request, status=error.status, errors=errors)
        return _enter(desk, request, secret, "/account?saved=1")

    @router.post("/account/token")
    def make_token(request: Request) -> Response:
        actor = desk.signed_in(request).actor
        with desk.transaction() as (session, now):
            token = access.create_token(session, actor.email, actor=actor.id, now=now)
        return _account(desk, request, token=token)


def _account(desk: Desk, request: Request, *, status: int = 200, **more: Any) -> Response:
    return desk.templates.render(
        request,
        "pages/account.html",
        status=status,
        actor=desk.signed_in(request).actor,
        must_show=_must_show_password(desk, request),
        **more,
    )


def _must_show_password(desk: Desk, request: Request) -> bool:
    """Whether a new password wants the present one; a sign-in link stands in for it."""
    signed_in = desk.signed_in(request)
    if signed_in.by_link:
        return False
    with desk.transaction() as (session, _):
        return people_queries.person(session, signed_in.actor.email).has_password
