"""The pages as one application: who is asking, what surrounds a page, which area answers."""

from collections.abc import Callable

from fastapi import Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from services.kit.errors import NotSignedIn, SecondlookError
from services.kit.web.bodies import NO_BODY, BodyLimits, BodyRule, CloseUnread
from services.kit.web.problems import install_errors
from services.kit.web.storable import Utf8Addresses, require_storable
from services.notifications import inbox
from services.people.rules import Verb
from ui.account import routes as account
from ui.audit import routes as audit
from ui.cases import routes as cases
from ui.dead_letters import routes as dead_letters
from ui.health import routes as health
from ui.inbox import routes as inbox_area
from ui.kit.context import PageContext, browser_session, use_session
from ui.kit.csrf import CsrfProtection, StalePage
from ui.kit.forms import FORM_BYTES
from ui.kit.security import SecurityHeaders
from ui.kit.shell import NavItem, Person, Shell
from ui.kit.static_files import static_files
from ui.kit.templating import Templates, make_templates, wants_fragment
from ui.outputs import routes as outputs
from ui.people import routes as people
from ui.routing import routes as routing
from ui.schedules import routes as schedules
from ui.sign_in import routes as sign_in
from ui.sign_in.refusals import signed_out, stale_page
from ui.sign_in.session import expected_token, visitor_token
from ui.tools import routes as tools

_AREAS = (
    sign_in,
    account,
    cases,
    inbox_area,
    outputs,
    health,
    tools,
    people,
    schedules,
    routing,
    dead_letters,
    audit,
)
_GZIP_FROM = 1_000
_FORM = BodyRule(FORM_BYTES)


class Sessions:
    """Finds the browser session of each request once, before anything needs it."""

    def __init__(self, app: ASGIApp, *, pages: PageContext) -> None:
        self._app, self._pages = app, pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look the session up, but for static files."""
        if scope["type"] == "http" and not scope["path"].startswith("/static/"):
            await run_in_threadpool(self._find, Request(scope))
        await self._app(scope, receive, send)

    def _find(self, request: Request) -> None:
        found = self._pages.identity.session(request)
        use_session(request, found)
        if found is not None and not wants_fragment(request):
            with self._pages.transaction() as (session, _):
                request.scope[_UNREAD] = inbox.unread(session, found.actor.email)


def make_app(
    make_context: Callable[[Templates], PageContext], *, public_url: str | None
) -> FastAPI:
    """The pages as an application. `make_context` is given the templates that pages share."""
    static = static_files()
    pages = make_context(make_templates(static=static, shell=shell))
    app = FastAPI(
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[
            Depends(require_storable),
            Depends(CsrfProtection(expected_token, public_url=public_url)),
        ],
    )
    app.mount("/static", static, name="static")
    for area in _AREAS:
        app.include_router(area.router(pages), include_in_schema=False)
    app.add_middleware(GZipMiddleware, minimum_size=_GZIP_FROM)
    app.add_middleware(Sessions, pages=pages)
    app.add_middleware(BodyLimits, rule_of=_body_rule)
    app.add_middleware(Utf8Addresses)
    install_errors(app, lambda request, error: _refused(pages, request, error))
    app.add_middleware(CloseUnread)
    app.add_middleware(SecurityHeaders, https=pages.https)
    return app


def _body_rule(method: str, path: str) -> BodyRule:
    """Forms alone are taken, by whatever is posted to; the routes that expect one read it."""
    return _FORM if method == "POST" and not path.startswith("/static/") else NO_BODY


def _refused(pages: PageContext, request: Request, error: SecondlookError) -> Response:
    """An error as a page; where it is about who is signed in, with what was typed."""
    if isinstance(error, NotSignedIn):
        return signed_out(pages, request, error)
    if isinstance(error, StalePage):
        return stale_page(pages, request, error)
    return pages.templates.error(request, error.status, error.detail)


_NAVIGATION: tuple[tuple[Verb, NavItem], ...] = (
    (Verb.READ_CASES, NavItem("Queue", "/queue", "inbox", "g q")),
    (Verb.READ_OUTPUTS, NavItem("Outputs", "/outputs", "search", "g o")),
    (Verb.READ_NUMBERS, NavItem("Health", "/health", "activity", "g h")),
    (Verb.READ_SCHEDULES, NavItem("Schedules", "/schedules", "clock", "g s")),
    (Verb.ROUTE_CASES, NavItem("Routing", "/routing", "arrow-right", "g r")),
    (Verb.MANAGE_TOOLS, NavItem("Tools", "/tools", "settings", "g t")),
    (Verb.MANAGE_SKILLS, NavItem("People", "/people", "users", "g p")),
    (Verb.READ_AUDIT, NavItem("Audit", "/audit", "file-text", "g a")),
)
_UNREAD = "secondlook.unread"
_ACCOUNT = NavItem("Password and tokens", "/account", "key")
_DEAD_LETTERS = NavItem("Dead letters", "/dead-letters", "octagon-x")


def shell(request: Request) -> Shell:
    """What surrounds the content: the places that this person has business in."""
    session = browser_session(request)
    if session is None:
        return Shell(csrf_token=visitor_token(request), home="/sign-in")
    actor = session.actor
    nav = (
        *(item for verb, item in _NAVIGATION if actor.may(verb)),
        NavItem("Inbox", "/inbox", "message-square", "g i", request.scope.get(_UNREAD) or None),
    )
    menu = (_DEAD_LETTERS, _ACCOUNT) if actor.may(Verb.HANDLE_DEAD_LETTERS) else (_ACCOUNT,)
    return Shell(
        csrf_token=session.csrf_token,
        person=Person(actor.name, actor.email, actor.role.value.capitalize()),
        nav=nav,
        home="/",
        menu=menu,
    )
