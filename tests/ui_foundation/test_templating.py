"""Rendering: escaping, strictness, pages and their parts, how numbers and times read."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from tests.ui_foundation.gallery_app import TOKEN, make_test_templates
from tests.ui_foundation.samples import NOW
from ui.kit import formatting, markup
from ui.kit.environment import SHARED
from ui.kit.static_files import StaticFiles
from ui.kit.templating import Templates

_UI = SHARED.parent.parent
_HERE = Path(__file__).parent / "templates"
_TEMPLATES = sorted([*_UI.rglob("*.html"), *_HERE.glob("*.html")])


@pytest.fixture(scope="module")
def templates() -> Templates:
    return make_test_templates(StaticFiles())


def request(path: str = "/parts", method: str = "GET", **headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": raw,
        "scheme": "http",
        "server": ("testserver", 80),
    }
    return Request(scope)


def text(templates: Templates, source: str, **context: Any) -> str:
    return templates.environment.from_string(source).render(context)


def html(response: Response) -> str:
    return bytes(response.body).decode()


def test_undefined_name_fails(templates: Templates) -> None:
    with pytest.raises(UndefinedError):
        text(templates, "{{ nobody }}")
    with pytest.raises(UndefinedError):
        text(templates, "{{ ui.no_such_macro('x') }}")
    with pytest.raises(UndefinedError):
        text(templates, "{{ person.nmae }}", person={"name": "Ana"})


def test_words_of_others_are_escaped_in_every_place(templates: Templates) -> None:
    shown = text(templates, "{{ ui.button(w, title=w) }}{{ ui.badge(w) }}", w="<i>\"'&")
    assert "<i>" not in shown
    assert shown.count("&lt;i&gt;&#34;&#39;&amp;") == 3


def test_marked_phrases_are_escaped_first(templates: Templates) -> None:
    shown = markup.marked("No <b>card</b> & no Card", ["card", "<b>"])
    assert shown == Markup(
        "No <mark>&lt;b&gt;</mark><mark>card</mark>&lt;/b&gt; &amp; no <mark>Card</mark>"
    )


@pytest.mark.parametrize("name", ["style", "onclick", "on_click", "hx_on_click", "a b", "x=y", ""])
def test_attribute_that_a_page_may_not_carry_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="no attribute"):
        markup.attributes({name: "x"})


def test_attributes_leave_out_what_is_false_and_write_true_bare() -> None:
    given = {"hx_get": "/x", "disabled": True, "id": None, "hidden": False, "title": 'a"b'}
    assert markup.attributes(given) == ' hx-get="/x" disabled title="a&#34;b"'


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("/queue?x=1#a", "/queue?x=1#a"),
        ("https://help.example/1", "https://help.example/1"),
        ("mailto:ana@example.com", "mailto:ana@example.com"),
        ("?page=2", "?page=2"),
        ("javascript:alert(1)", None),
        (" java\tscript:alert(1)", None),
        ("data:text/html,x", None),
        ("//evil.example", None),
        ("/\\evil.example", None),
        ("\\\\evil.example", None),
        ("", None),
        (None, None),
    ],
)
def test_only_plain_addresses_pass(url: object, kept: str | None) -> None:
    assert markup.safe_url(url) == kept


@pytest.mark.parametrize("url", ["https://evil.example", "//evil.example", "evil", "mailto:a@b"])
def test_redirect_stays_on_this_site(templates: Templates, url: str) -> None:
    response = templates.redirect(request(), url)
    assert (response.status_code, response.headers["location"]) == (303, "/")


def test_htmx_gets_the_block_and_others_the_page(templates: Templates) -> None:
    page = templates.render(request(), "parts.html", "part", count=1)
    part = templates.render(request(hx_request="true"), "parts.html", "part", count=1)
    assert html(page).startswith("<!doctype html>")
    assert html(part).strip().startswith('<div id="part"')
    assert html(part).strip() in html(page)
    assert page.headers["vary"] == part.headers["vary"] == "HX-Request, Cookie"


@pytest.mark.parametrize(
    "headers",
    [
        {"hx_request": "true", "hx_request_type": "full"},
        {"hx_request": "true", "hx_history_restore_request": "true"},
        {"hx_request": "false"},
    ],
)
def test_whole_page_where_htmx_wants_it(templates: Templates, headers: dict[str, str]) -> None:
    page = templates.render(request(**headers), "parts.html", "part", count=1)
    assert html(page).startswith("<!doctype html>")


def test_several_blocks_come_in_order(templates: Templates) -> None:
    part = templates.render(request(hx_request="true"), "new.html", ["nothing", "new"])
    assert b"3 new, show" in part.body


def test_announcement_travels_as_ascii_json(templates: Templates) -> None:
    words = "Wójcik: kept\r\nSet-Cookie: x " + "y" * 500
    part = templates.render(
        request(hx_request="true"), "parts.html", "part", announce=words, urgent=True, count=1
    )
    told = json.loads(part.headers["hx-trigger"])["announce"]
    assert told == {"words": words[:300], "urgent": True}
    assert part.headers["hx-trigger"].isascii()
    page = templates.render(request(), "parts.html", "part", announce=words, count=1)
    assert "hx-trigger" not in page.headers


def test_page_carries_the_token_for_htmx_and_for_plain_forms(templates: Templates) -> None:
    page = html(templates.render(request(), "parts.html", count=1))
    assert f'hx-headers:inherited=\'{{"X-CSRF-Token": "{TOKEN}"}}\'' in page
    forms = re.findall(r'<form[^>]*method="post".*?</form>', page, re.DOTALL)
    assert forms
    assert all(f'name="csrf_token" value="{TOKEN}"' in form for form in forms)


def test_theme_cookie_is_taken_only_from_known_words(templates: Templates) -> None:
    for theme, shown in (("dark", True), ("light", True), ('"><script>', False)):
        page = bytes(templates.render(request(cookie=f"theme={theme}"), "parts.html", count=1).body)
        assert (b"data-theme=" in page) is shown


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 429, 500, 502, 503])
def test_error_is_a_page_or_a_strip_in_the_notice(templates: Templates, status: int) -> None:
    page = templates.error(request(), status, "Because <b>.")
    strip = templates.error(request(hx_request="true"), status, "Because <b>.")
    assert page.status_code == strip.status_code == status
    assert b"<h1" in page.body
    assert b"Because &lt;b&gt;." in page.body
    assert b'class="strip strip-danger"' in strip.body
    assert strip.headers["hx-retarget"] == "#notice"
    assert json.loads(strip.headers["hx-trigger"])["announce"]["urgent"] is True


def test_rendering_twice_at_once_keeps_requests_apart(templates: Templates) -> None:
    first = templates.render(request("/queue"), "parts.html", count=1)
    second = templates.render(request("/gallery"), "parts.html", count=1)
    assert b'href="/queue" data-key="g q" data-does="Go to queue" aria-current' in first.body
    assert b'href="/queue" data-key="g q" data-does="Go to queue" aria-current' not in second.body


@pytest.mark.parametrize("path", _TEMPLATES, ids=lambda path: path.name)
def test_templates_hold_nothing_that_the_policy_refuses(path: Any) -> None:
    source = path.read_text(encoding="utf-8")
    assert not re.search(r"\|\s*safe\b", source)
    assert "autoescape" not in source
    assert not re.search(
        r"\sstyle=|\son[a-z]+=|hx-on|<script(?![^>]*\ssrc=)|javascript:", source
    ) or (path.name == "gallery.html")


def test_gallery_shows_every_macro(templates: Templates) -> None:
    shown = (_HERE / "gallery.html").read_text(encoding="utf-8")
    macros = "".join(page.read_text(encoding="utf-8") for page in (SHARED / "macros").glob("*"))
    names = templates.environment.globals["ui"].names  # type: ignore[attr-defined]
    missing = [
        name
        for name in names
        if f"ui.{name}(" not in shown and not re.search(rf"[^.]\b{name}\(", macros)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.084, "8.4 %"), (0, "0 %"), (1, "100 %"), (0.00001, "<0.1 %"), (0.99999, ">99.9 %")],
)
def test_format_percent(share: float, words: str) -> None:
    assert formatting.format_percent(share).replace("\xa0", " ") == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
        (90000, "1 d 1 h"),
        (timedelta(days=3), "3 d"),
    ],
)
def test_format_duration(seconds: Any, words: str) -> None:
    assert formatting.format_duration(seconds).replace("\xa0", " ") == words


@pytest.mark.parametrize(
    ("minutes", "level", "words"),
    [
        (-3, "late", "Late 3 min"),
        (0, "late", "Late 0 s"),
        (14, "soon", "14 min"),
        (61, "ok", "1 h"),
    ],
)
def test_format_due(minutes: int, level: str, words: str) -> None:
    told = formatting.format_due(NOW + timedelta(minutes=minutes), NOW, soon_minutes=15)
    assert (told[0], told[1].replace("\xa0", " ")) == (level, words)


def test_format_moments() -> None:
    assert formatting.format_relative(NOW - timedelta(minutes=3), NOW) == "3\xa0min ago"
    assert formatting.format_relative(NOW + timedelta(hours=26), NOW) == "in 1\xa0d"
    assert formatting.format_relative(NOW + timedelta(seconds=9), NOW) == "just now"
    assert (
        formatting.format_absolute(datetime(2026, 3, 1, 9, 5, tzinfo=UTC))
        == "1 Mar 2026, 09:05 UTC"
    )


def test_moment_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        formatting.format_iso(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("value", "words"), [(12480, "12,480"), (0.5, "0.5"), (2.0, "2"), (0, "0")]
)
def test_format_number(value: float, words: str) -> None:
    assert formatting.format_number(value) == words


@pytest.mark.parametrize(
    ("low", "high"), [(0, 0.153), (0, 0), (0.71, 0.98), (0, 98765), (-3, 4), (5, 5)]
)
def test_ticks_cover_the_range_in_few_steps(low: float, high: float) -> None:
    marks = formatting.ticks(low, high)
    assert marks[0] <= low
    assert marks[-1] >= high
    assert 2 <= len(marks) <= 8
    assert marks == sorted(set(marks))


def test_rate_never_stands_without_its_n(templates: Templates) -> None:
    shown = text(templates, "{{ ui.rate(42, 500) }}|{{ ui.rate(0, 0) }}")
    assert re.sub(r"<[^>]+>", "", shown).replace("\xa0", " ") == "8.4 % (42 of 500)|no outputs yet"
    assert "n = 0" in text(templates, "{{ ui.interval(none, none, none, 0) }}")


def test_chart_breaks_its_line_where_nothing_was_measured(templates: Templates) -> None:
    points = [{"label": str(n), "value": None if n == 2 else 0.1, "n": n} for n in range(5)]
    shown = text(templates, "{{ ui.line_chart('C', [{'name': 'A', 'points': p}]) }}", p=points)
    lines = re.findall(r'class="series" d="(M[^"]+)"', shown)
    assert [line.count("M") for line in lines if len(line) > 12] == [2, 2]
    assert "no data" in shown
