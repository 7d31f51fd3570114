"""The pages: who is asking, what surrounds every page, and which view answers."""

from collections.abc import Callable
from pathlib import Path

from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import NotSignedIn, SecondlookError
from services.kit.web.http import install_errors, require_storable_form
from services.people.rules import Verb
from services.tools.identity import Identity
from ui.desk import Desk, session_of
from ui.security import CsrfProtection, SecurityHeaders
from ui.static_files import StaticFiles
from ui.templating import NavItem, Person, Shell, Templates, make_templates
from ui.views import cases, health, outputs, people, sign_in, tools

_STATIC = Path(__file__).parent / "static"
_GZIP_FROM = 1_000


class Sessions:
    """Finds the browser session of each request once, before anything needs it."""

    def __init__(self, app: ASGIApp, *, identity: Identity) -> None:
        self._app, self._identity = app, identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look the session up, but for static files."""
        if scope["type"] == "http" and not scope["path"].startswith("/static/"):
            request = Request(scope)
            scope["secondlook.session"] = await run_in_threadpool(self._identity.session, request)
        await self._app(scope, receive, send)


def make_app(make_desk: Callable[[Templates], Desk], *, public_url: str | None) -> FastAPI:
    """The pages as an application. `make_desk` is given the templates that pages share."""
    static = StaticFiles(_STATIC)
    desk = make_desk(make_templates(static=static, shell=shell))
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(require_storable_form)],
    )
    app.mount("/static", static, name="static")
    for view in (sign_in, cases, outputs, health, tools, people):
        app.include_router(view.routes(desk), include_in_schema=False)
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_FROM)
    app.add_middleware(
        CsrfProtection,
        check=_knows_token,
        public_origin=public_url,
        refuse=desk.templates.error,
    )
    app.add_middleware(Sessions, identity=desk.identity)
    install_errors(app, lambda request, error: _refused(desk, request, error))
    app.add_middleware(SecurityHeaders, https=desk.https)
    return app


def _knows_token(request: Request, token: str) -> bool:
    """Whether the token is that of the session, or of the visitor who is signing in."""
    session = session_of(request)
    if session is not None:
        return token == session.csrf_token
    return sign_in.knows_visitor(request, token)


def _refused(desk: Desk, request: Request, error: SecondlookError) -> Response:
    """An error as a page; where a page needs somebody, the way to sign in and back."""
    if isinstance(error, NotSignedIn) and request.method == "GET":
        return desk.on(request, sign_in.address_for(request))
    return desk.templates.error(request, error.status, error.detail)


_NAVIGATION: tuple[tuple[Verb, NavItem], ...] = (
    (Verb.READ_CASES, NavItem("Queue", "/queue", "inbox", "g q")),
    (Verb.READ_OUTPUTS, NavItem("Outputs", "/outputs", "search", "g o")),
    (Verb.READ_NUMBERS, NavItem("Health", "/health", "activity", "g h")),
    (Verb.MANAGE_TOOLS, NavItem("Tools", "/tools", "settings", "g t")),
    (Verb.MANAGE_PEOPLE, NavItem("People", "/people", "users", "g p")),
    (Verb.READ_AUDIT, NavItem("Audit", "/audit", "file-text", "g a")),
)


def shell(request: Request) -> Shell:
    """What surrounds the content: the places that this person has business in."""
    session = session_of(request)
    if session is None:
        return Shell(csrf_token=sign_in.visitor_token(request), home="/sign-in")
    actor = session.actor
    nav = tuple(item for verb, item in _NAVIGATION if actor.may(verb))
    return Shell(
        csrf_token=session.csrf_token,
        person=Person(actor.name, actor.email, actor.role.value.capitalize()),
        nav=nav,
        home="/",
        menu=(NavItem("Password and tokens", "/account", "key"),),
    )
