"""Pages and fragments from templates: one environment, one way to render, words for numbers."""

import http.client
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from jinja2_fragments import render_blocks
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ui.static_files import StaticFiles
from ui.words import plain

FOLDER = Path(__file__).parent / "templates"
THEMES = ("light", "dark")
_NBSP = "\N{NO-BREAK SPACE}"
_ANNOUNCEMENT_LIMIT = 300


# --- What every page needs ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NavItem:
    """One place in the top bar. `key` is its shortcut (`g q`), `count` what waits there."""

    label: str
    href: str
    icon: str
    key: str = ""
    count: int | None = None


@dataclass(frozen=True, slots=True)
class Person:
    """Who is signed in, as the top bar says it."""

    name: str
    email: str
    role: str


@dataclass(frozen=True, slots=True)
class Shell:
    """What surrounds the content of a page, for one request."""

    csrf_token: str = ""
    person: Person | None = None
    nav: tuple[NavItem, ...] = ()
    home: str = "/"
    sign_out: str = "/sign-out"
    menu: tuple[NavItem, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class _Rendering:
    """The request being answered, for globals that macros read."""

    request: Request
    shell: Shell
    now: datetime


_rendering: ContextVar[_Rendering] = ContextVar("rendering")


# --- Words for numbers and times ----------------------------------------------------------


def number_words(value: float) -> str:
    """`12480` → `12,480`; fractions keep at most two decimals."""
    if isinstance(value, float) and not value.is_integer():
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return f"{int(value):,}"


def percent_words(share: float, digits: int = 1) -> str:
    """`0.084` → `8.4 %`. Never says 0 or 100 % of what is only nearly so."""
    shown = f"{share * 100:.{digits}f}"
    smallest = 10**-digits
    if share > 0 and float(shown) == 0:
        shown = f"<{smallest:.{digits}f}"
    elif share < 1 and float(shown) == 100:
        shown = f">{100 - smallest:.{digits}f}"
    if share in (0, 1):
        shown = f"{share * 100:.0f}"
    return f"{shown}{_NBSP}%"


def duration_words(span: timedelta | float) -> str:
    """The one or two largest units: `40 s`, `14 min`, `2 h 5 min`, `3 d 4 h`."""
    seconds = int(abs(span.total_seconds() if isinstance(span, timedelta) else span))
    if seconds < 60:
        return f"{seconds}{_NBSP}s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not hours:
        return f"{minutes}{_NBSP}min"
    large, small = (
        (f"{days}{_NBSP}d", f"{hours % 24}{_NBSP}h" if hours % 24 else "")
        if days
        else (f"{hours}{_NBSP}h", f"{minutes % 60}{_NBSP}min" if minutes % 60 else "")
    )
    return f"{large} {small}".rstrip()


def coarse_words(seconds: float) -> str:
    """The largest unit alone: what changes least while one looks at it."""
    whole = int(abs(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= size:
            return f"{whole // size}{_NBSP}{unit}"
    return f"{whole}{_NBSP}s"


def relative_words(moment: datetime, now: datetime) -> str:
    """`just now`, `3 min ago`, `in 2 h`. `ui/static/app.js` says the same words."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 60:
        return "just now"
    return f"in {coarse_words(seconds)}" if seconds > 0 else f"{coarse_words(seconds)} ago"


def due_words(due_at: datetime, now: datetime, soon: timedelta) -> tuple[str, str]:
    """Level (`late`, `soon`, `ok`) and words (`Late 3 min`, `14 min`)."""
    seconds = (due_at - now).total_seconds()
    if seconds <= 0:
        return "late", f"Late {coarse_words(seconds)}"
    return "soon" if seconds <= soon.total_seconds() else "ok", coarse_words(seconds)


def absolute_words(moment: datetime) -> str:
    """`21 Nov 2026, 14:05 UTC`; the browser rewrites it in the reader's own zone."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%b %Y, %H:%M} UTC"


def iso_words(moment: datetime) -> str:
    """The moment for machines."""
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone cannot be shown")
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """Round values that cover `low` to `high` in about `count` steps."""
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    size = 10.0 ** math.floor(math.log10(raw))
    step = next(size * m for m in (1, 2, 2.5, 5, 10) if size * m >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * index, 10) for index in range(first, max(last, first + 1) + 1)]


# --- Attributes and addresses -------------------------------------------------------------

_ATTRIBUTE = re.compile(r"[a-z][a-z0-9:._-]*")
_URL_ATTRIBUTES = {"href", "src", "action", "formaction", "hx-get", "hx-post", "hx-push-url"}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def safe_url(url: object) -> str | None:
    """`url` where a browser may be sent there; nothing for any scheme but http(s), mailto."""
    text = re.sub(r"[\x00-\x20\x7f]+", "", str(url or ""))
    if not text or text.startswith(("//", "\\", "/\\")):
        return None
    if _SCHEME.match(text) and not text.lower().startswith(("http://", "https://", "mailto:")):
        return None
    return text


def local_url(url: object) -> str | None:
    """`url` where it stays on this site: a path. For redirects and `next=`."""
    text = safe_url(url)
    return text if text is not None and text.startswith("/") else None


def attributes(mapping: Mapping[str, object]) -> Markup:
    """HTML attributes from a macro's spare keywords, `hx_get` for `hx-get`.

    None and False leave an attribute out, True writes it bare. `style` and `on…` do not
    exist here: the content security policy would refuse them.
    """
    parts = []
    for key, value in mapping.items():
        name = key.strip("_").replace("_", "-")
        if not _ATTRIBUTE.fullmatch(name) or name == "style" or name.startswith(("on", "hx-on")):
            raise ValueError(f"'{key}' is no attribute that a page may carry")
        if value is None or value is False:
            continue
        shown = (safe_url(value) or "#") if name in _URL_ATTRIBUTES else value
        parts.append(Markup(" {}").format(name) if shown is True else _pair(name, shown))
    return Markup("").join(parts)


def _pair(name: str, value: object) -> Markup:
    return Markup(' {}="{}"').format(name, value)


def marked(text: object, phrases: Sequence[str] = ()) -> Markup:
    """`text` with `phrases` marked, both escaped first."""
    plain = str(text)
    wanted = sorted({phrase for phrase in phrases if phrase}, key=len, reverse=True)
    if not wanted:
        return Markup("{}").format(plain)
    pieces = re.split("(" + "|".join(map(re.escape, wanted)) + ")", plain, flags=re.IGNORECASE)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if index % 2 else Markup("{}").format(piece)
        for index, piece in enumerate(pieces)
    )


# --- The environment ----------------------------------------------------------------------


class Macros:
    """`ui.button(…)` in every template, block and macro, without an import to forget.

    Jinja runs no import of a page when only a block of it is rendered, so an imported
    namespace would be missing just there.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._home: dict[str, str] = {}

    def collect(self) -> None:
        """Learn which file holds which macro.

        Raises:
            ValueError: when two files define the same name.
        """
        for name in sorted(self._environment.list_templates(filter_func=_is_macro_file)):
            module = self._environment.get_template(name).module
            for macro in vars(module):
                if macro.startswith("_"):
                    continue
                if macro in self._home:
                    raise ValueError(f"macro '{macro}' is in {self._home[macro]} and {name}")
                self._home[macro] = name

    def __getattr__(self, macro: str) -> Any:
        home = self.__dict__.get("_home", {}).get(macro)
        if home is None:
            raise AttributeError(macro)
        return getattr(self._environment.get_template(home).module, macro)

    @property
    def names(self) -> tuple[str, ...]:
        """Every macro there is."""
        return tuple(sorted(self._home))


def _is_macro_file(name: str) -> bool:
    return name.startswith("macros/")


def _words_now() -> datetime:
    return _rendering.get().now


def _due(due_at: datetime, soon_minutes: float = 15) -> tuple[str, str]:
    return due_words(due_at, _words_now(), timedelta(minutes=soon_minutes))


def _theme() -> str:
    chosen = _rendering.get().request.cookies.get("theme", "")
    return chosen if chosen in THEMES else ""


# Pages of one thing, and the place in the top bar that they belong to.
_BELONGS = (("/c/", "/queue/"), ("/output", "/outputs"))


def _is_current(href: str) -> bool:
    path = _rendering.get().request.url.path
    for start, place in _BELONGS:
        if path.startswith(start) and not path.startswith(place):
            path = place
    return path == href or (href != "/" and path.startswith(href.rstrip("/") + "/"))


def make_environment(
    static_url: Callable[[str], str], *, folders: Sequence[Path] = (FOLDER,), reload: bool = False
) -> Environment:
    """Always escaping, strict about what is undefined, with the macros as `ui`."""
    environment = Environment(
        loader=FileSystemLoader([str(folder) for folder in folders]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=reload,
    )
    environment.filters.update(
        number=number_words,
        percent=percent_words,
        duration=duration_words,
        relative=lambda moment: relative_words(moment, _words_now()),
        absolute=absolute_words,
        iso=iso_words,
        safe_url=safe_url,
        attributes=attributes,
        marked=marked,
        field_words=plain,
    )
    macros = Macros(environment)
    environment.globals.update(
        ui=macros,
        static=static_url,
        ticks=ticks,
        due_of=_due,
        frame=lambda: _rendering.get().shell,
        now=_words_now,
        theme=_theme,
        is_current=_is_current,
    )
    macros.collect()
    return environment


# --- Rendering ----------------------------------------------------------------------------


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


def wants_fragment(request: Request) -> bool:
    """Whether htmx asked for a part of the page, not for the page."""
    headers = request.headers
    return (
        headers.get("hx-request") == "true"
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
        now: datetime | None = None,
        **context: Any,
    ) -> HTMLResponse:
        """The whole page, or for htmx only `block` (or several, in order) of it.

        `announce` is read out by screen readers after the swap (`urgent`: at once) and
        `push_url` becomes the address, both for htmx alone. `now` is the moment that
        relative times are told from: pass what the view read from its clock.
        """
        fragment = block is not None and wants_fragment(request)
        sent = {"Vary": "HX-Request, Cookie", **(headers or {})}
        if fragment and announce:
            words = announce[:_ANNOUNCEMENT_LIMIT]
            sent["HX-Trigger"] = json.dumps({"announce": {"words": words, "urgent": urgent}})
        if fragment and push_url:
            sent["HX-Push-Url"] = safe_url(push_url) or "false"
        token = _rendering.set(
            _Rendering(request, self._shell(request), now or self._clock().astimezone(UTC))
        )
        try:
            html = self._html(template, block if fragment else None, context)
        finally:
            _rendering.reset(token)
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
        detail = _sentence(detail, status)
        title, safe, mend = ERROR_WORDS.get(status) or ERROR_WORDS[500 if status >= 500 else 400]
        return self.render(
            request,
            "pages/error.html",
            "strip",
            status=status,
            headers={"HX-Retarget": "#notice", "HX-Reswap": "innerHTML"},
            announce=f"{title}. {detail}".strip(),
            urgent=True,
            error={
                "status": status,
                "title": title,
                "detail": detail,
                "safe": safe,
                "mend": mend,
                "retry": retry or (_address(request) if status in _WORTH_RETRYING else None),
            },
        )

    def redirect(self, request: Request, url: str) -> Response:
        """On to another page of ours after a POST: 303, or for htmx a full navigation."""
        target = local_url(url) or "/"
        if request.headers.get("hx-request") == "true":
            return Response(status_code=204, headers={"HX-Redirect": target})
        return RedirectResponse(target, 303)


# Title, what is safe, what to do. Words for people, not for those who built it.
ERROR_WORDS = {
    400: ("That could not be done", "Nothing was changed.", "Go back and try it another way."),
    401: ("Sign in first", "Nothing was changed.", "Sign in, then open this page again."),
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
    folders: Sequence[Path] = (FOLDER,),
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    reload: bool = False,
) -> Templates:
    """Everything a page needs, from the static files and from who is asking."""
    environment = make_environment(static.url, folders=folders, reload=reload)
    return Templates(environment, shell=shell, clock=clock)


__all__ = [
    "ERROR_WORDS",
    "Macros",
    "NavItem",
    "Person",
    "Shell",
    "Templates",
    "attributes",
    "local_url",
    "make_environment",
    "make_templates",
    "safe_url",
    "wants_fragment",
]
