"""The keyboard, focus after swaps, what is said, and life without JavaScript."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Route, expect

from tests.browser.harness import PHONE, Look, axe_violations, focus_is_nowhere
from tests.ui_foundation.keyboard import focused, said

Looking = Callable[..., AbstractContextManager[Look]]


def test_j_and_k_move_and_enter_opens(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("j")
        assert focused(page) == "row-4821-link"
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        assert focused(page) == "row-4822-link"
        page.keyboard.press("Enter")
        expect(page.locator("#pane h2").first).to_have_text("Case 4822")
        expect(page).to_have_url(view.origin + "/queue/4822")
        assert page.locator("#rows [aria-current=true]").count() == 1
        assert not focus_is_nowhere(page)
        page.go_back()
        expect(page.locator("#pane")).to_contain_text("Choose a case")


def test_x_and_star_select(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("j")
        page.keyboard.press("x")
        assert page.locator("[name=case]:checked").count() == 1
        page.keyboard.press("*")
        assert page.locator("[name=case]:checked").count() == 24
        said(page, "24 selected")
        page.keyboard.press("*")
        assert page.locator("[name=case]:checked").count() == 0


def test_one_key_resolves_and_goes_on(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        page.route("**/verdict", hold)
        page.keyboard.press("2")
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "saving")
        expect(page.locator("#row-4821 [data-note]")).to_have_text("Saving…")
        expect(page.locator("#pane h2").first).to_have_text("Case 4822")
        held[0].continue_()
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "inert")
        said(page, "Case 4821: resolved")
        assert focused(page) == "row-4822-link"


def test_removed_row_hands_focus_to_the_next(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4822")
        page.keyboard.press("1")
        expect(page.locator("#row-4822")).to_have_count(0)
        expect(page.locator("#pane h2").first).to_have_text("Case 4823")
        said(page, "Case 4822: kept")
        assert focused(page) == "row-4823-link"


def test_failed_save_brings_the_row_back_without_taking_focus(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("h")
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "error")
        expect(page.locator("#row-4821 [data-note]")).to_have_text("Not saved.")
        expect(page.locator("#notice .strip-danger")).to_be_visible()
        said(page, "Not available just now.", urgent=True)
        assert focused(page) == "row-4822-link"
        assert axe_violations(page) == []


def test_server_gone_says_so_and_offers_another_try(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/parts")
        view.context.set_offline(True)
        page.locator("#do-save").click()
        expect(page.locator("#notice")).to_contain_text("could not reach")
        said(page, "Not saved: Secondlook could not be reached.", urgent=True)
        view.context.set_offline(False)
        page.get_by_role("button", name="Try again").click()
        expect(page.locator("output")).to_have_text("2")
        expect(page.locator("#notice")).to_be_empty()
        view.consoles.clear()


@pytest.mark.parametrize(
    ("what", "count", "notice"),
    [
        ("save", "2", ""),
        ("invalid", "422", ""),
        ("forbidden", "1", "You may not do this"),
        ("broken", "1", "Something broke on our side"),
        ("proxy", "1", "could not reach"),
    ],
)
def test_answer_lands_where_it_belongs(
    looking: Looking, what: str, count: str, notice: str
) -> None:
    with looking() as view:
        page = view.open("/parts")
        page.locator(f"#do-{what}").focus()
        page.keyboard.press("Enter")
        if notice:
            expect(page.locator("#notice")).to_contain_text(notice)
        expect(page.locator("output")).to_have_text(count)
        assert focused(page) == f"do-{what}"
        assert page.locator("h1").count() == 1


def test_redirect_after_htmx_is_a_real_navigation(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/parts")
        with page.expect_navigation():
            page.locator("#do-redirect").click()
        expect(page.locator("output")).to_have_text("1")


def test_slow_answer_shows_as_busy_after_a_while(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/parts")
        soon_after = """() => new Promise((resolve) => {
            document.getElementById('do-slow').click();
            setTimeout(() => resolve(document.getElementById('slow').ariaBusy), 100);
        })"""
        assert page.evaluate(soon_after) is None
        expect(page.locator("#slow")).to_have_attribute("aria-busy", "true", timeout=700)
        expect(page.locator("#slow")).to_have_text("Slow")
        expect(page.locator("#slow")).not_to_have_attribute("aria-busy", "true")


def test_two_presses_post_once(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/parts")
        posts: list[str] = []
        page.on("request", lambda sent: posts.append(sent.url) if sent.method == "POST" else None)
        page.evaluate("for (let n = 0; n < 3; n += 1) document.getElementById('do-save').click()")
        expect(page.locator("output")).to_have_text("2")
        page.evaluate(
            "() => { const one = document.getElementById('do-plain'); one.click(); one.click(); }"
        )
        page.wait_for_load_state()
        page.wait_for_timeout(100)
        assert [url.rpartition("/")[2] for url in posts] == ["save", "redirect"]


def test_finder_narrows_and_enter_takes_the_first(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("/")
        page.keyboard.type("pin")
        visible = page.locator("[data-option]:visible")
        expect(visible).to_have_count(1)
        said(page, "1 category")
        page.keyboard.press("Enter")
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "inert")


def test_finder_answers_to_arrows_and_says_when_nothing_fits(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("/")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        assert page.evaluate("document.activeElement.value") == "refund_not_showing_up"
        page.keyboard.press("ArrowUp")
        page.keyboard.press("ArrowUp")
        assert focused(page) == "finder-input"
        page.keyboard.type("zzz")
        expect(page.locator("[data-none]")).to_be_visible()
        page.keyboard.press("Enter")
        assert page.locator("#row-4821").get_attribute("data-state") is None


def test_g_then_a_letter_goes_places(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("g")
        page.keyboard.press("t")
        expect(page).to_have_url(view.origin + "/gallery")


def test_nothing_of_a_ticket_stays_in_the_browser(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("2")
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "inert")
        kept = page.evaluate(
            "JSON.stringify([{...localStorage}, {...sessionStorage}, history.state])"
        )
        assert "card" not in kept.lower()


def test_arrivals_wait_and_move_nothing(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        for _ in range(3):
            page.keyboard.press("j")
            page.keyboard.press("x")
        page.evaluate("scrollTo(0, 40)")
        where = (
            "[scrollY, document.getElementById('row-4821').offsetTop, document.activeElement.id]"
        )
        before = page.evaluate(where)
        expect(page.locator("#new-rows")).to_contain_text("3 new, show", timeout=3000)
        assert page.evaluate(where) == before
        assert page.locator("[name=case]:checked").count() == 3


def test_polling_that_fails_shows_the_page_as_stale(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        view.context.set_offline(True)
        expect(page.locator("[data-stale]")).to_be_visible(timeout=4000)
        view.context.set_offline(False)
        expect(page.locator("[data-stale]")).to_be_hidden(timeout=4000)
        view.consoles.clear()


def test_menu_closes_on_escape_and_outside(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        menu = page.locator(".top details.menu")
        menu.locator("summary").click()
        assert axe_violations(page) == []
        page.keyboard.press("Escape")
        assert menu.get_attribute("open") is None
        menu.locator("summary").click()
        page.locator("h1").click()
        assert menu.get_attribute("open") is None


def test_error_summary_takes_focus_and_leads_to_the_field(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/sign-in?state=errors")
        assert page.evaluate("document.activeElement.className") == "summary"
        page.get_by_role("link", name="Write your password").click()
        assert focused(page) == "f-password"
        described = page.locator("#f-password").get_attribute("aria-describedby")
        assert page.locator(f"#{described}").text_content() == "Error: Write your password"


def test_skip_link_is_first_and_works(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        assert focused(page) == "main"


@pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["wide", "phone"])
def test_case_is_resolved_without_javascript(looking: Looking, size: tuple[int, int]) -> None:
    with looking(javascript=False, size=size) as view:
        page = view.open("/queue")
        page.locator("#row-4821-link").click()
        page.get_by_role("button", name="Lost or stolen card").first.click()
        assert page.url == view.origin + "/queue/4822"
        assert page.locator("#row-4821").count() == 0
        assert page.locator("kbd.key").first.is_hidden()
        assert page.locator(".js-only").first.is_hidden()


def test_finder_and_confirmation_work_without_javascript(looking: Looking) -> None:
    with looking(javascript=False) as view:
        page = view.open("/queue/4822")
        page.locator("#finder-input").fill("pin")
        page.get_by_role("button", name="Search").click()
        assert page.url == view.origin + "/queue/4822?q=pin"
        page.get_by_role("button", name="Change PIN").click()
        assert page.url == view.origin + "/queue/4823"
        page = view.open("/gallery")
        confirm = page.locator("details.confirm")
        assert confirm.get_by_role("button", name="Stop it now").is_hidden()
        confirm.locator("summary").click()
        assert confirm.get_by_role("button", name="Stop it now").is_visible()
