"""The browser's session: how it begins, and what proves a form before anybody is signed in."""

import secrets
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from services.kit.errors import NotSignedIn
from services.kit.secrets import token_hash
from services.people import queries as people_queries
from services.people.attempts import DEVICE_LENGTH, Attempt
from services.tools.identity import COOKIE, SECURE_COOKIE, SignedIn
from ui.kit.context import PageContext, browser_session, use_session

_VISITOR = "secondlook-visitor"
_DEVICE, _SECURE_DEVICE = "secondlook-device", "__Host-secondlook-device"
_PATH = "/sign-in"


def address_for(path: str) -> str:
    """The sign-in page that leads back to `path`."""
    return f"{_PATH}?next={quote(path)}" if path not in ("", "/") else _PATH


def visitor_token(request: Request) -> str:
    """What proves that a sign-in form is ours before anybody is signed in."""
    known = request.cookies.get(_VISITOR) or request.scope.get(_VISITOR)
    if known is None:
        known = request.scope[_VISITOR] = secrets.token_urlsafe(24)
    return str(known)


def expected_token(request: Request) -> str:
    """The token that a form of this request has to hold: the session's, or the visitor's.

    Raises:
        NotSignedIn: nobody is signed in, and this is not about signing in.
    """
    session = browser_session(request)
    if session is not None:
        return session.csrf_token
    path = request.url.path
    if path == _PATH or path.startswith(f"{_PATH}/"):
        return request.cookies.get(_VISITOR, "")
    raise NotSignedIn("You are signed out, so nothing was done.")


def attempt_of(pages: PageContext, request: Request, email: str) -> Attempt:
    """Somebody's try to show the password of an account, from where it comes."""
    device = request.cookies.get(_SECURE_DEVICE if pages.https else _DEVICE, "")
    return Attempt(email, pages.addresses.network(request), device)


def remember_device(pages: PageContext, response: Response, secret: str | None) -> None:
    """Give the browser the cookie by which it is known at the next sign-in."""
    if secret is not None:
        response.set_cookie(
            _SECURE_DEVICE if pages.https else _DEVICE,
            secret,
            max_age=int(DEVICE_LENGTH.total_seconds()),
            httponly=True,
            samesite="lax",
            secure=pages.https,
            path="/",
        )


def enter(pages: PageContext, request: Request, secret: str, url: str) -> Response:
    """Give the browser its session, and go where it wanted to go."""
    response = pages.redirect(request, url)
    give_session(pages, response, secret)
    return response


def give_session(pages: PageContext, response: Response, secret: str) -> None:
    """Give the browser the session that has just begun."""
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


def answer_under(pages: PageContext, request: Request, secret: str) -> None:
    """Answer this request as one of the session that has just begun."""
    with pages.transaction() as (session, _):
        found = people_queries.actor_of_session(session, token_hash(secret))
    if found is not None:
        use_session(request, SignedIn(*found))


def remember_visitor(pages: PageContext, request: Request, response: Response) -> None:
    """Give the browser the cookie that the form of this answer goes with."""
    token = visitor_token(request)
    response.set_cookie(_VISITOR, token, httponly=True, samesite="lax", secure=pages.https)
