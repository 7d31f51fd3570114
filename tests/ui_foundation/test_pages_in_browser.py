"""What pages look like to axe, to narrow windows, to high contrast and to attackers."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Browser

from tests.browser.harness import (
    PHONE,
    Look,
    axe_violations,
    look,
    misshapen,
    serve_app,
    sideways_scroll,
)
from tests.ui_foundation.conftest import PAYLOADS
from tests.ui_foundation.gallery_app import make_app

Looking = Callable[..., AbstractContextManager[Look]]

# What nobody's words may become: elements that load or run, handlers, addresses that run.
_STRANGE = """() => {
    const elements = 'script, iframe, object, embed, img, base, link, style, meta, math, video, '
        + 'audio, hx-partial, marquee, xmp';
    const addresses = ['href', 'src', 'action', 'formaction', 'hx-get', 'hx-post'];
    const runs = ({name, value}) => /^(on|hx-on|data-hx-)/.test(name)
        || ['style', 'srcdoc', 'hx-vals', 'hx-trigger'].includes(name)
        || addresses.includes(name) && /^(?!https:)[a-z]+:|^[\\/][\\/\\\\]/i.test(value.trim());
    return [...document.querySelectorAll('body *')].flatMap((one) => [
        ...(one.matches(elements) ? [one.outerHTML.slice(0, 200)] : []),
        ...[...one.attributes].filter(runs).map(({name, value}) => `${name}=${value}`),
    ]);
}"""

PAGES = (
    "/gallery",
    "/queue",
    "/queue/4821",
    "/sign-in",
    "/sign-in?state=errors",
    "/sign-in?state=refused",
    "/sign-in?state=link",
    "/errors/403",
    "/errors/404",
    "/errors/409",
    "/errors/500",
    "/parts",
)


def test_page_is_accessible_and_fits(looking: Looking) -> None:
    found = {}
    with looking() as view:
        for path in PAGES:
            page = view.open(path)
            found[path] = misshapen(page, every_look=True)
            page.close()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def test_chosen_theme_wins_over_the_systems(looking: Looking) -> None:
    with looking(theme="light") as view:
        page = view.open("/queue")
        paper = "getComputedStyle(document.documentElement).backgroundColor"
        light = page.evaluate(paper)
        page.get_by_role("button", name="Switch between light and dark").click()
        dark = page.evaluate(paper)
        assert (light, dark) == ("rgb(252, 250, 246)", "rgb(18, 21, 26)")
        page.reload()
        assert page.evaluate(paper) == dark
        assert axe_violations(page) == []


@pytest.mark.parametrize("javascript", [True, False], ids=["script", "no-script"])
def test_page_never_scrolls_sideways(looking: Looking, javascript: bool) -> None:
    with looking(javascript=javascript) as view:
        for path in PAGES:
            page = view.open(path)
            for width, height in ((320, 640), (360, 740), (768, 1024)):
                page.set_viewport_size({"width": width, "height": height})
                assert sideways_scroll(page) == [], (path, width)
            page.close()


def test_page_fits_with_longer_words_and_right_to_left(looking: Looking) -> None:
    lengthen = """() => {
        const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
        const texts = [];
        while (walk.nextNode()) if (walk.currentNode.data.trim()) texts.push(walk.currentNode);
        for (const text of texts) text.data += ' ' + 'ö'.repeat(Math.ceil(text.data.length * .4));
    }"""
    with looking(size=PHONE) as view:
        for path in ("/queue", "/queue/4821", "/gallery", "/sign-in"):
            page = view.open(path)
            page.evaluate(lengthen)
            assert sideways_scroll(page) == [], path
            page.evaluate("document.documentElement.dir = 'rtl'")
            assert sideways_scroll(page) == [], path


def test_targets_stay_apart_on_a_phone(looking: Looking) -> None:
    with looking(size=PHONE) as view:
        page = view.open("/queue/4821")
        bar = page.locator(".action-bar").bounding_box()
        assert bar is not None
        assert round(bar["y"] + bar["height"]) == PHONE[1]
        heights = page.locator(".action-bar .choice").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect().height)"
        )
        assert min(heights) >= 48
        page.locator("#main").evaluate("() => scrollTo(0, document.body.scrollHeight)")
        last = page.locator(".timeline li").last.bounding_box()
        assert last is not None
        assert last["y"] + last["height"] <= bar["y"]


def test_motion_and_colours_follow_the_system(looking: Looking) -> None:
    with looking(reduced_motion="reduce", forced_colors="active") as view:
        page = view.open("/gallery")
        assert axe_violations(page) == []
        moving = page.evaluate(
            """() => [...document.querySelectorAll('*')].filter((one) => {
                const style = getComputedStyle(one);
                return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
            }).length"""
        )
        assert moving == 0


def test_print_shows_the_content_alone(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/gallery")
        page.emulate_media(media="print")
        assert page.locator(".top").is_hidden()
        assert page.locator("figure.chart").first.is_visible()


def test_times_are_told_in_the_readers_zone(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/gallery")
        deployed = page.locator("dd time[data-absolute]")
        assert deployed.text_content() == "12 Oct 2026, 15:05"
        page.locator("time[data-due]").first.scroll_into_view_if_needed()
        assert page.locator("time[data-due]").first.get_attribute("data-level") == "late"


@pytest.mark.parametrize("bypass", [False, True], ids=["policy", "no-policy"])
def test_payloads_are_only_ever_text(chromium: Browser, bypass: bool) -> None:
    """Once as people have it, and once with the policy off: escaping alone must do."""
    assert len(PAYLOADS) >= 60
    for start in range(0, len(PAYLOADS), 20):
        part = PAYLOADS[start : start + 20]
        with (
            serve_app(make_app(payloads=part)) as origin,
            look(chromium, origin, name="payloads", bypass_csp=bypass) as view,
        ):
            page = view.open("/payloads")
            open_all = "for (const one of document.querySelectorAll('details')) one.open = true"
            page.evaluate(open_all)
            page.wait_for_timeout(250)
            assert page.evaluate("window.__hit") is None
            assert page.evaluate(_STRANGE) == []
            assert page.locator("#main > div[id^=p]").count() == len(part)
            ours = (f"{origin}/static/", f"{origin}/payloads")
            assert [url for url in view.asked if not url.startswith(ours)] == []
            shown = page.locator("#main .prose").all_text_contents()
            assert [text.split() for text in shown] == [payload.split() for payload in part]


def test_payloads_would_be_noticed(chromium: Browser, origin: str) -> None:
    """The same questions find every kind of hole when somebody makes one."""
    holes = (
        "<img src=x onerror=window.__hit=1>",
        "<a href=javascript:1>x</a>",
        "<a href=//evil.example>x</a>",
        "<p hx-get=/parts hx-trigger=load>x</p>",
        "<p style=color:red>x</p>",
    )
    with look(chromium, origin, bypass_csp=True) as view:
        page = view.open("/parts")
        for hole in holes:
            page.evaluate("hole => { document.getElementById('slow').innerHTML = hole; }", hole)
            assert page.evaluate(_STRANGE) != [], hole
        page.wait_for_function("window.__hit === 1")
        page.close()
    with pytest.raises(AssertionError, match="broke their rules"):
        _break_the_policy(chromium, origin)


def _break_the_policy(chromium: Browser, origin: str) -> None:
    with look(chromium, origin, name="expected") as view:
        page = view.open("/parts")
        page.evaluate("document.getElementById('slow').innerHTML = '<img src=x onerror=alert(1)>'")
        page.wait_for_timeout(100)
