"""A small app around the foundation of the pages: the gallery, a queue, errors, sign-in."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from tests.ui_foundation import samples
from ui.security import CsrfProtection, SecurityHeaders
from ui.static_files import StaticFiles
from ui.templating import FOLDER, NavItem, Person, Shell, Templates, make_templates

TOKEN = "a-token-of-this-session"  # noqa: S105
HERE = Path(__file__).parent


def _shell(request: Request) -> Shell:
    if request.url.path.startswith("/sign-in"):
        return Shell(csrf_token=TOKEN)
    return Shell(
        csrf_token=TOKEN,
        person=Person("Maja Wójcik", "maja.wojcik@example.com", "Owner, Card operations"),
        nav=(
            NavItem("Queue", "/queue", "inbox", "g q", 28),
            NavItem("Outputs", "/outputs", "file-text", "g o"),
            NavItem("Tools", "/gallery", "activity", "g t"),
            NavItem("Admin", "/admin", "settings", "g a"),
        ),
        home="/queue",
        menu=(NavItem("Keys and tokens", "/keys", "key"),),
    )


def make_app(*, payloads: tuple[str, ...] = ()) -> FastAPI:
    """The app; `payloads` are shown by every macro at `/payloads`."""
    static = StaticFiles()
    templates = make_templates(
        static=static,
        shell=_shell,
        folders=(FOLDER, HERE / "templates"),
        clock=lambda: samples.NOW,
    )
    app = FastAPI(openapi_url=None)
    state: dict[int, dict[str, Any]] = {one["number"]: one for one in samples.cases(24)}
    app.state.posts = []

    def refuse(request: Request, status: int, detail: str) -> Response:
        return templates.error(request, status, detail)

    app.add_middleware(
        CsrfProtection, check=lambda _request, token: token == TOKEN, refuse=refuse
    )
    app.add_middleware(SecurityHeaders)
    app.mount("/static", static)

    @app.exception_handler(HTTPException)
    def on_error(request: Request, error: HTTPException) -> Response:
        return templates.error(request, error.status_code, error.detail)

    _add_pages(app, templates, payloads)
    _add_queue(app, templates, state)
    return app


def _add_pages(app: FastAPI, templates: Templates, payloads: tuple[str, ...]) -> None:
    @app.get("/gallery")
    def gallery(request: Request) -> HTMLResponse:
        now = samples.NOW
        return templates.render(
            request,
            "pages/gallery.html",
            choices=samples.choices(),
            finder_options=samples.finder_options(),
            times={
                "late": now - samples.timedelta(minutes=3),
                "soon": now + samples.timedelta(minutes=14),
                "later": now + samples.timedelta(hours=5),
                "long_ago": now - samples.timedelta(days=40),
            },
            tools=samples.tools(),
            series=samples.override_series(),
            audited=samples.audited(),
            timeline=samples.timeline(),
        )

    @app.get("/sign-in")
    def sign_in(request: Request, state: str = "") -> HTMLResponse:
        context: dict[str, Any] = {"email": "maja.wojcik@example.com" if state else ""}
        if state == "errors":
            context |= {"email": "", "errors": {"email": "Write your e-mail address", "password": "Write your password"}}
        elif state == "refused":
            context["refused"] = "This e-mail address and password do not belong together."
        elif state == "link":
            context["link_sent"] = "maja.wojcik@example.com"
        return templates.render(request, "pages/sign_in.html", status=422 if state in ("errors", "refused") else 200, **context)

    @app.get("/errors/{status}")
    def errors(request: Request, status: int) -> HTMLResponse:
        return templates.error(request, status, "Case 4821 was resolved by Ben Adeyemi 2 min ago." if status == 409 else "")

    @app.get("/payloads")
    def show_payloads(request: Request) -> HTMLResponse:
        return templates.render(request, "payloads.html", payloads=payloads, moment=samples.NOW)

    @app.get("/slow")
    async def slow() -> HTMLResponse:
        await asyncio.sleep(0.9)
        return HTMLResponse("<p>Slow</p>")

    @app.get("/parts")
    def parts(request: Request) -> HTMLResponse:
        return templates.render(request, "parts.html", "part", announce="Part changed", count=1)

    @app.post("/parts/{what}")
    async def change_part(request: Request, what: str) -> Response:
        form = await request.form()
        app.state.posts.append((what, sorted(form)))
        if what == "redirect":
            return templates.redirect(request, "/parts")
        if what == "invalid":
            return templates.render(request, "parts.html", "part", status=422, count=422, announce="Not valid", urgent=True)
        if what == "broken":
            return templates.error(request, 500)
        if what == "proxy":
            return HTMLResponse("<h1>502 Bad Gateway</h1>", 502)
        if what == "forbidden":
            return templates.error(request, 403)
        return templates.render(request, "parts.html", "part", count=2, announce="Saved")


def _add_queue(app: FastAPI, templates: Templates, state: dict[int, dict[str, Any]]) -> None:
    def page(request: Request, number: int | None, block: str | None) -> HTMLResponse:
        if number is not None and number not in state:
            raise HTTPException(404)
        return templates.render(
            request,
            "queue.html",
            block,
            cases=list(state.values()),
            case=None if number is None else state[number],
            choices=samples.choices(),
            finder_options=samples.finder_options(),
            timeline=samples.timeline(),
        )

    @app.get("/queue")
    def queue(request: Request) -> HTMLResponse:
        return page(request, None, None)

    @app.get("/queue/new")
    def new_cases(request: Request) -> HTMLResponse:
        return HTMLResponse(str(templates.environment.from_string("{{ ui.new_rows(3, '/queue') }}").render()))

    @app.get("/queue/{number}")
    def case(request: Request, number: int) -> HTMLResponse:
        return page(request, number, "pane")

    @app.post("/queue/{number}/verdict")
    async def verdict(request: Request, number: int, choice: Annotated[str, Form()]) -> Response:
        app.state.posts.append((number, choice))
        if choice == "snooze":
            raise HTTPException(503)
        numbers = list(state)
        following = numbers[min(numbers.index(number) + 1, len(numbers) - 1)]
        if request.headers.get("hx-request") != "true":
            state.pop(number)
            return templates.redirect(request, f"/queue/{following}")
        await asyncio.sleep(0.15)
        if choice == "keep":
            state.pop(number)
            return templates.render(request, "empty.html", "nothing", announce=f"Case {number}: kept", headers={"HX-Reswap": "delete"})
        done = state[number] | {"state": "inert", "note": "Resolved by you."}
        state[number] = done
        return templates.render(request, "queue.html", "rows", cases=[done], case=None, announce=f"Case {number}: resolved")
