"""A server on a free port and a Chromium that fails a test when a page breaks its own rules."""

import contextlib
import os
import shutil
import socket
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import pytest
import uvicorn
from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from starlette.types import ASGIApp

from tests.waiting import until

FAILURES = Path(__file__).parent / "failures"
WIDE = (1280, 800)
PHONE = (360, 740)
THEMES: tuple[Literal["light"], Literal["dark"]] = ("light", "dark")
WCAG = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
ALL_RULES = {"type": "tag", "values": WCAG}
COLOURS = {"type": "rule", "values": ("color-contrast", "link-in-text-block")}
# The shell is the same engine without the windows, for a third of the work.
_NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
)
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
_WATCH = """
window.__broken = [];
document.addEventListener('securitypolicyviolation', (event) => window.__broken.push(
    `${event.violatedDirective} refused ${event.blockedURI || 'inline'} (${event.sample})`), true);
addEventListener('error', (event) => window.__broken.push(`error ${event.message}`));
addEventListener('unhandledrejection',
    (event) => window.__broken.push(`rejection ${event.reason}`));
"""
# A key pressed before htmx is there posts the form the plain way: right, but not what is tested.
_READY = """() => document.documentElement.dataset.js
    && (!document.querySelector('[hx-get], [hx-post]')
        || document.querySelector('[data-htmx-powered]'))"""


def chromium_path() -> str | None:
    """The Chromium to use: the variable CHROMIUM, or the first that the system has."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named
    return next((found for name in _NAMES if (found := shutil.which(name))), None)


# --- Servers ------------------------------------------------------------------------------


@contextlib.contextmanager
def serve_app(app: ASGIApp, *, port: int = 0) -> Iterator[str]:
    """The app in a thread of this process; gives its address."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="warning", lifespan="on", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        until(lambda: server.started or not thread.is_alive())
        if not server.started:
            raise RuntimeError("the server did not start")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listener.close()


# --- Chromium -----------------------------------------------------------------------------


@contextlib.contextmanager
def launch() -> Iterator[Browser]:
    """Chromium, without anything that it would fetch by itself.

    Raises:
        RuntimeError: when there is none; tests skip before they come here.
    """
    path = chromium_path()
    if path is None:
        raise RuntimeError("no Chromium: install one or set CHROMIUM")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Look:
    """A browser context with the pages opened in it, and what they did wrong."""

    context: BrowserContext
    origin: str
    scripts: bool = True
    asked: list[str] = field(default_factory=list)
    consoles: list[str] = field(default_factory=list)

    def open(self, path: str) -> Page:
        """A page at `path`, loaded, its scripts at work."""
        page = self.context.new_page()
        page.on(
            "console",
            lambda said: self.consoles.append(said.text) if said.type == "error" else None,
        )
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.origin + path, wait_until="load")
        if self.scripts:
            page.wait_for_function(_READY)
        return page

    def broken(self) -> list[str]:
        """Policy violations, script errors and requests to elsewhere, of every open page."""
        own = (self.origin, "data:", "about:")
        found = [f"asked {url}" for url in self.asked if not url.startswith(own)]
        for page in self.context.pages:
            with contextlib.suppress(Exception):
                found += page.evaluate("window.__broken ?? []")
        found += [text for text in self.consoles if "Content Security Policy" in text]
        return found


@contextlib.contextmanager
def look(
    browser: Browser,
    origin: str,
    *,
    theme: Literal["light", "dark"] = "light",
    size: tuple[int, int] = WIDE,
    javascript: bool = True,
    name: str = "page",
    at: datetime | None = None,
    **more: Any,
) -> Iterator[Look]:
    """A context of one theme and size, with its clock standing at `at` if that is given.

    At the end it fails when a page broke the content security policy, threw an error or asked
    another origin. When the test fails, every open page is photographed into `failures/`.
    """
    context = browser.new_context(
        color_scheme=theme,
        viewport={"width": size[0], "height": size[1]},
        java_script_enabled=javascript,
        locale="en-GB",
        timezone_id="Europe/Lisbon",
        **more,
    )
    context.set_default_timeout(10_000)
    if javascript:
        context.add_init_script(_WATCH)
    if at is not None:
        context.clock.set_fixed_time(at)
    looking = Look(context, origin, scripts=javascript)
    try:
        yield looking
        broken = looking.broken()
        assert not broken, f"pages broke their rules: {broken}"
    except BaseException:
        _photograph(context, name)
        raise
    finally:
        context.close()


def _photograph(context: BrowserContext, name: str) -> None:
    FAILURES.mkdir(exist_ok=True)
    safe = "".join(letter if letter.isalnum() else "-" for letter in name)[:80]
    for index, page in enumerate(context.pages):
        with contextlib.suppress(Exception):
            path = FAILURES / f"{safe}-{index}.png"
            page.screenshot(path=path, full_page=True, caret="initial")
            print(f"screenshot: {path}", file=sys.stderr)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One Chromium for a module of tests; skipped where there is none, except in CI.

    Import it into a conftest to use it. Module scope, because Playwright keeps an event loop
    running in this thread, which other modules' `asyncio.run` would trip over.
    """
    if chromium_path() is None and os.environ.get("CI") != "true":
        pytest.skip("no Chromium: install one or set CHROMIUM")
    with launch() as browser:
        yield browser


# --- Rules of pages -----------------------------------------------------------------------


def axe_violations(page: Page, *, rules: Mapping[str, object] = ALL_RULES) -> list[str]:
    """What axe finds, one line a node; empty when all is well."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    options = {"runOnly": dict(rules), "resultTypes": ["violations"]}
    broken = page.evaluate("async options => (await axe.run(options)).violations", options)
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:160]} — {node['failureSummary'][:300]}"
        for rule in broken
        for node in rule["nodes"]
    ]


def at_every_width(page: Page) -> Iterator[str]:
    """Show a page wide and narrow, without loading it again; names each."""
    for size in (WIDE, PHONE):
        page.set_viewport_size({"width": size[0], "height": size[1]})
        yield f"{size[0]} px wide"


def misshapen(page: Page, *, turned: bool = False, every_look: bool = False) -> list[str]:
    """What is wrong with a page for axe, or too wide for its window.

    It is looked at narrow in both themes, and wide in one, `turned` in the other; in
    `every_look` in both at both widths.
    """
    found = []
    for number, width in enumerate(at_every_width(page)):
        themes = THEMES if every_look or number else (THEMES[turned],)
        # Themes differ in colours alone, so a second one is asked of nothing else.
        for theme, rules in zip(themes, (ALL_RULES, COLOURS), strict=False):
            page.emulate_media(color_scheme=theme)
            page.evaluate("document.getAnimations().forEach(one => one.finish())")
            found += [f"{theme}, {width}: {wrong}" for wrong in axe_violations(page, rules=rules)]
        found += [f"{width}: {wrong}" for wrong in sideways_scroll(page)]
    return found


def sideways_scroll(page: Page) -> list[str]:
    """The elements that make the page wider than the window, if any do."""
    found: list[str] = page.evaluate(
        """() => {
        const width = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= width) return [];
        const found = [...document.body.querySelectorAll('*')]
            .filter((one) => one.getBoundingClientRect().right > width + 1)
            .map((one) => one.outerHTML.slice(0, 120)).slice(0, 8);
        return found.length ? found : ['the page, by no element of it'];
    }"""
    )
    return found


def focus_is_nowhere(page: Page) -> bool:
    """Whether the keyboard has lost its place: focus returns in the frame after a swap."""
    return bool(
        page.evaluate(
            """async () => {
        const frame = () => new Promise(requestAnimationFrame);
        for (let n = 0; n < 3 && document.activeElement === document.body; n++) await frame();
        return document.activeElement === document.body;
    }"""
        )
    )
