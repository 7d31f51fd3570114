"""Pages and their blocks for requests, errors as pages, and the way on after a POST."""

import http.client
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, Template
from jinja2_fragments import render_blocks
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ui.kit.environment import Rendering, make_environment, rendering
from ui.kit.markup import local_url, safe_url
from ui.kit.shell import Shell
from ui.kit.static_files import StaticFiles

_ANNOUNCEMENT_LIMIT = 300
_KEEP_DRAFTS: Mapping[str, object] = {"keep-drafts": {}}
"""The page is going to be left: its script keeps what was typed in this tab."""


def _sentence(detail: str, status: int) -> str:
    """`detail` with its full stop; nothing where it only names the status."""
    if detail in (http.client.responses.get(status), ""):
        return ""
    return detail if detail.endswith((".", "!", "?")) else f"{detail}."


_WORTH_RETRYING = frozenset({429, 500, 502, 503, 504})


def _address(request: Request) -> str | None:
    """Where the request can be made again by opening it."""
    url = request.url
    return f"{url.path}?{url.query}".rstrip("?") if request.method == "GET" else None


def by_htmx(request: Request) -> bool:
    """Whether a page's script made the request, and not the browser by itself."""
    return request.headers.get("hx-request") == "true"


def wants_fragment(request: Request) -> bool:
    """Whether htmx asked for a part of the page, not for the page."""
    headers = request.headers
    return (
        by_htmx(request)
        and headers.get("hx-request-type") != "full"
        and "hx-history-restore-request" not in headers
    )


class Templates:
    """Renders pages and their blocks for requests."""

    def __init__(
        self,
        environment: Environment,
        *,
        shell: Callable[[Request], Shell],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.environment = environment
        self._shell = shell
        self._clock = clock

    def render(
        self,
        request: Request,
        template: str,
        block: str | Sequence[str] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        announce: str = "",
        urgent: bool = False,
        push_url: str | None = None,
        events: Mapping[str, object] | None = None,
        now: datetime | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """The whole page, or for htmx only `block` (or several, in order) of it.

        `announce` is read out by screen readers after the swap (`urgent`: at once),
        `push_url` becomes the address and `events` happen on the page, all for htmx alone.
        `now` is the moment that relative times are told from: pass what the view read from
        its clock.
        """
        fragment = block is not None and wants_fragment(request)
        sent = {"Vary": "HX-Request, Cookie", **(headers or {})}
        told = dict(events or {})
        if announce:
            told["announce"] = {"words": announce[:_ANNOUNCEMENT_LIMIT], "urgent": urgent}
        if fragment and told:
            sent["HX-Trigger"] = json.dumps(told)
        if fragment and push_url:
            sent["HX-Push-Url"] = safe_url(push_url) or "false"
        token = rendering.set(
            Rendering(request, self._shell(request), now or self._clock().astimezone(UTC))
        )
        try:
            html = self._html(template, block if fragment else None, context)
        finally:
            rendering.reset(token)
        return HTMLResponse(html, status, headers=sent)

    def _html(
        self, template: str, block: str | Sequence[str] | None, context: dict[str, Any]
    ) -> str:
        if block is None:
            page: Template = self.environment.get_template(template)
            return page.render(context)
        names = [block] if isinstance(block, str) else list(block)
        return render_blocks(self.environment, template, names, context)

    def error(
        self, request: Request, status: int, detail: str = "", *, retry: str | None = None
    ) -> HTMLResponse:
        """An error page; for htmx a strip in the page's notice place, where nothing is lost."""
        way_on = retry or (_address(request) if status in _WORTH_RETRYING else None)
        return self._refusal(request, status, detail, links=[("Try again", way_on, "refresh-cw")])

    def signed_out(self, request: Request, sign_in: str) -> HTMLResponse:
        """For htmx: a strip that says so, beside what was typed; `sign_in` leads back here."""
        return self._refusal(
            request, 401, links=[("Sign in", sign_in, "user")], events=_KEEP_DRAFTS
        )

    def stale(self, request: Request, detail: str, reload: str) -> HTMLResponse:
        """For htmx: the page has to be loaded again at `reload`, and what was typed stays."""
        return self._refusal(
            request, 403, detail, links=[("Reload", reload, "refresh-cw")], events=_KEEP_DRAFTS
        )

    def _refusal(
        self,
        request: Request,
        status: int,
        detail: str = "",
        *,
        links: Sequence[tuple[str, str | None, str]],
        events: Mapping[str, object] | None = None,
    ) -> HTMLResponse:
        title, safe, hint = ERROR_TEXTS.get(status) or ERROR_TEXTS[500 if status >= 500 else 400]
        detail = _sentence(detail, status)
        return self.render(
            request,
            "error.html",
            "strip",
            status=status,
            headers={"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"},
            announce=f"{title}. {detail}".strip(),
            urgent=True,
            events=events,
            error={
                "status": status,
                "title": title,
                "detail": detail,
                "safe": safe,
                "hint": hint,
                "links": [link for link in links if link[1]],
            },
        )

    def redirect(self, request: Request, url: str) -> Response:
        """On to another page of ours after a POST: 303, or for htmx a full navigation."""
        target = local_url(url) or "/"
        if by_htmx(request):
            return Response(status_code=204, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)


# Title, what is safe, what to do: for people, not for those who built it.
ERROR_TEXTS = {
    400: ("That could not be done", "Nothing was changed.", "Go back and try it another way."),
    401: (
        "You are signed out",
        "Nothing was changed, and what you typed is still here.",
        "Sign in, and it is on this page again to be sent.",
    ),
    403: (
        "You may not do this",
        "Nothing was changed.",
        "If you need it for your work, ask an admin of your team.",
    ),
    404: (
        "There is nothing here",
        "",
        "It may have been removed, or it belongs to another team.",
    ),
    409: (
        "Somebody else was first",
        "What they did was kept, and yours was not written over it.",
        "Look at how it is now, then decide again.",
    ),
    413: ("That is too large", "Nothing was changed.", "Send less at once."),
    429: ("That was a bit fast", "Nothing was changed.", "Wait a minute, then try again."),
    500: (
        "Something broke on our side",
        "What was saved before is safe. This last step was not saved.",
        "Try again. If it happens twice, tell whoever runs Secondlook.",
    ),
    503: (
        "Not available just now",
        "What was saved before is safe. This last step was not saved.",
        "Try again in a moment.",
    ),
}


def make_templates(
    *,
    static: StaticFiles,
    shell: Callable[[Request], Shell],
    folders: tuple[Path, ...] = (),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    reload: bool = False,
) -> Templates:
    """Everything a page needs, from the static files and from who is asking."""
    environment = make_environment(static.url, folders=folders, reload=reload)
    return Templates(environment, shell=shell, clock=clock)
