"""The browser's session: how it begins, and what proves a form before anybody is signed in."""

import secrets
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from services.registry.identity import COOKIE, SECURE_COOKIE
from ui.kit.context import PageContext

_VISITOR = "secondlook-visitor"


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


def network_address(request: Request) -> str:
    """Where a request comes from, as far as we can see."""
    return request.client.host if request.client is not None else "unknown"


def enter(pages: PageContext, request: Request, secret: str, url: str) -> Response:
    """Give the browser its session, and go where it wanted to go."""
    response = pages.redirect(request, url)
    response.set_cookie(
        SECURE_COOKIE if pages.https else COOKIE,
        secret,
        max_age=int(pages.session_length.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=pages.https,
        path="/",
    )
    response.delete_cookie(_VISITOR)
    return response


def remember_visitor(pages: PageContext, request: Request, response: Response) -> None:
    """Give the browser the cookie that the form of this answer goes with."""
    token = visitor_token(request)
    response.set_cookie(_VISITOR, token, httponly=True, samesite="lax", secure=pages.https)
