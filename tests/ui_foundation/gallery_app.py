"""A small app around the foundation of the pages: the gallery, a queue, errors, sign-in."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from services.kit.errors import SecondlookError
from tests.ui_foundation import samples
from ui.kit.csrf import CsrfProtection, StalePage
from ui.kit.forms import PostedForm
from ui.kit.security import SecurityHeaders
from ui.kit.shell import NavItem, Person, Shell
from ui.kit.static_files import StaticFiles, static_files
from ui.kit.templating import Templates, by_htmx, make_templates

TOKEN = "a-token-of-this-session"
HERE = Path(__file__).parent
_NAV = (
    NavItem("Queue", "/queue", "inbox", "g q", 28),
    NavItem("Outputs", "/outputs", "file-text", "g o"),
    NavItem("Tools", "/gallery", "activity", "g t"),
    NavItem("Admin", "/admin", "settings", "g a"),
)
_SIGN_IN: dict[str, dict[str, Any]] = {
    "": {},
    "errors": {"errors": {"email": "Write your e-mail address", "password": "Write your password"}},
    "refused": {
        "email": "maja.wojcik@example.com",
        "refused": "This e-mail address and password do not belong together.",
    },
    "link": {"link_sent": "maja.wojcik@example.com"},
}


def _shell(request: Request) -> Shell:
    if request.url.path.startswith("/sign-in"):
        return Shell(csrf_token=TOKEN)
    return Shell(
        csrf_token=TOKEN,
        person=Person("Maja Wójcik", "maja.wojcik@example.com", "Owner, Card operations"),
        nav=_NAV,
        home="/queue",
        menu=(NavItem("Keys and tokens", "/keys", "key"),),
    )


def make_test_templates(static: StaticFiles) -> Templates:
    """The templates of the pages and of these tests, at a time that stands still."""
    return make_templates(
        static=static,
        shell=_shell,
        folders=(HERE / "templates",),
        clock=lambda: samples.NOW,
    )


@dataclass
class Gallery:
    """What the pages share: the templates, the cases, what was posted."""

    templates: Templates
    payloads: tuple[str, ...] = ()
    cases: dict[int, dict[str, Any]] = field(
        default_factory=lambda: {one["number"]: one for one in samples.cases(24)}
    )
    posts: list[tuple[Any, Any]] = field(default_factory=list)


def make_app(*, payloads: tuple[str, ...] = ()) -> FastAPI:
    """The app; `payloads` are shown by every macro at `/payloads`."""
    static = static_files()
    gallery = Gallery(make_test_templates(static), payloads)
    csrf = CsrfProtection(lambda _request: TOKEN)
    app = FastAPI(openapi_url=None, dependencies=[Depends(csrf)])
    app.state.gallery = gallery
    app.add_middleware(SecurityHeaders)
    app.mount("/static", static)
    app.include_router(pages)
    app.include_router(queue)

    @app.exception_handler(HTTPException)
    def on_error(request: Request, error: HTTPException) -> Response:
        return gallery.templates.error(request, error.status_code, error.detail)

    @app.exception_handler(SecondlookError)
    def on_refusal(request: Request, error: SecondlookError) -> Response:
        if isinstance(error, StalePage) and by_htmx(request):
            return gallery.templates.stale(request, error.detail, "/parts")
        return gallery.templates.error(request, error.status, error.detail)

    return app


def _gallery(request: Request) -> Gallery:
    gallery: Gallery = request.app.state.gallery
    return gallery


pages = APIRouter()
queue = APIRouter(prefix="/queue")


@pages.get("/gallery")
def gallery(request: Request) -> HTMLResponse:
    """Every component in every state."""
    return _gallery(request).templates.render(
        request,
        "gallery.html",
        choices=samples.choices(),
        finder_options=samples.finder_options(),
        times=samples.times(),
        tools=samples.tools(),
        series=samples.override_series(),
        audited=samples.audited(),
        timeline=samples.timeline(),
    )


@pages.get("/sign-in")
def sign_in(request: Request, state: str = "") -> HTMLResponse:
    """The sign-in page in one of its states."""
    status = 422 if state in ("errors", "refused") else 200
    return _gallery(request).templates.render(
        request, "sign_in/sign_in.html", status=status, **_SIGN_IN[state]
    )


@pages.get("/errors/{status}")
def errors(request: Request, status: int) -> HTMLResponse:
    """The error page of that status."""
    detail = "Case 4821 was resolved by Ben Adeyemi 2 min ago." if status == 409 else ""
    return _gallery(request).templates.error(request, status, detail)


@pages.get("/payloads")
def show_payloads(request: Request) -> HTMLResponse:
    """Every macro, fed with what an attacker would write."""
    gallery = _gallery(request)
    return gallery.templates.render(
        request, "payloads.html", payloads=gallery.payloads, moment=samples.NOW
    )


@pages.get("/slow")
async def slow() -> HTMLResponse:
    """An answer that takes its time."""
    await asyncio.sleep(0.9)
    return HTMLResponse("<p>Slow</p>")


@pages.get("/parts")
def parts(request: Request) -> HTMLResponse:
    """A page of buttons, each with another kind of answer."""
    return _gallery(request).templates.render(request, "parts.html", "part", count=1)


@pages.post("/parts/{what}")
def change_part(request: Request, what: str, form: PostedForm) -> Response:
    """The answer of that button."""
    gallery = _gallery(request)
    gallery.posts.append((what, form.first_values()))
    answers: dict[str, Any] = {"redirect": 303, "broken": 500, "forbidden": 403}
    if what == "redirect":
        return gallery.templates.redirect(request, "/parts")
    if what == "proxy":
        return HTMLResponse("<h1>502 Bad Gateway</h1>", 502)
    if what in answers:
        return gallery.templates.error(request, answers[what])
    if what == "invalid":
        return gallery.templates.render(
            *(request, "parts.html", "part"), status=422, count=422, announce="Not valid"
        )
    return gallery.templates.render(request, "parts.html", "part", count=2, announce="Saved")


def _queue_page(request: Request, number: int | None, block: str | None) -> HTMLResponse:
    gallery = _gallery(request)
    if number is not None and number not in gallery.cases:
        raise HTTPException(404)
    return gallery.templates.render(
        request,
        "queue.html",
        block,
        cases=list(gallery.cases.values()),
        case=None if number is None else gallery.cases[number],
        choices=samples.choices(),
        finder_options=samples.finder_options(),
        timeline=samples.timeline(),
    )


@queue.get("")
def all_cases(request: Request) -> HTMLResponse:
    """The queue with no case open."""
    return _queue_page(request, None, None)


@queue.get("/new")
def new_cases(request: Request) -> HTMLResponse:
    """How many arrived since the page was made."""
    return _gallery(request).templates.render(request, "new.html", "new")


@queue.get("/{number}")
def one_case(request: Request, number: int) -> HTMLResponse:
    """The queue with a case open; for htmx the reading pane."""
    return _queue_page(request, number, "pane")


@queue.post("/{number}/verdict")
async def verdict(request: Request, number: int, form: PostedForm) -> Response:
    """Keep removes the row, anything else leaves it inert, snooze fails."""
    gallery, choice = _gallery(request), form.text("choice")
    gallery.posts.append((number, choice))
    if choice == "snooze":
        raise HTTPException(503)
    if request.headers.get("hx-request") != "true":
        numbers = list(gallery.cases)
        following = numbers[min(numbers.index(number) + 1, len(numbers) - 1)]
        del gallery.cases[number]
        return gallery.templates.redirect(request, f"/queue/{following}")
    await asyncio.sleep(0.15)
    if choice == "keep":
        del gallery.cases[number]
        return gallery.templates.render(
            *(request, "new.html", "nothing"),
            announce=f"Case {number}: kept",
            headers={"HX-Reswap": "delete"},
        )
    gallery.cases[number] |= {"state": "inert", "note": "Resolved by you."}
    return gallery.templates.render(
        *(request, "queue.html", "rows"),
        cases=[gallery.cases[number]],
        case=None,
        announce=f"Case {number}: resolved",
    )
