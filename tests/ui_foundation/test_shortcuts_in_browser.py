"""Which keys count as which, on every layout, and how people change that."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import expect

from tests.browser.harness import Look, axe_violations, focus_is_nowhere
from tests.ui_foundation.keyboard import focused, press

Looking = Callable[..., AbstractContextManager[Look]]


def test_keys_rest_while_one_types(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("/")
        assert focused(page) == "finder-input"
        page.keyboard.type("j1kx?")
        assert page.locator("#finder-input").input_value() == "j1kx?"
        assert page.locator("#row-4821").get_attribute("data-state") is None
        assert page.locator("dialog[open]").count() == 0


@pytest.mark.parametrize("keys", ["Control+1", "Alt+1", "Meta+j", "Control+x"])
def test_keys_with_a_modifier_belong_to_the_browser(looking: Looking, keys: str) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press(keys)
        page.wait_for_timeout(60)
        assert page.locator("#row-4821").get_attribute("data-state") is None
        assert page.locator("[name=case]:checked").count() == 0
        assert focus_is_nowhere(page)


def test_digits_count_on_any_layout(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.evaluate(
            "document.body.dispatchEvent(new KeyboardEvent('keydown',"
            " {key: 'é', code: 'Digit2', bubbles: true, cancelable: true}))"
        )
        expect(page.locator("#row-4821")).to_have_attribute("data-state", "inert")


@pytest.mark.parametrize(
    ("down", "go", "tools"),
    [("о", "п", "е"), ("ξ", "γ", "τ"), ("ח", "ע", "א"), ("ت", "ل", "ف")],  # noqa: RUF001
    ids=["Russian", "Greek", "Hebrew", "Arabic"],
)
def test_letters_count_by_their_place_where_another_script_is_typed(
    looking: Looking, down: str, go: str, tools: str
) -> None:
    with looking() as view:
        page = view.open("/queue")
        press(page, down, "KeyJ")
        assert focused(page) == "row-4821-link"
        press(page, go, "KeyG")
        press(page, tools, "KeyT")
        expect(page).to_have_url(view.origin + "/gallery")


def test_signs_count_by_their_place_where_another_script_is_typed(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        press(page, ".", "Slash")
        assert focused(page) != "finder-input"
        press(page, "о", "KeyJ")  # noqa: RUF001
        press(page, ".", "Slash")
        assert focused(page) == "finder-input"


@pytest.mark.parametrize(
    ("key", "code"), [("c", "KeyJ"), ("ö", "KeyJ"), ("é", "KeyX"), ("-", "Slash"), ("Dead", "KeyJ")]
)
def test_letters_count_as_they_are_typed_where_latin_is(
    looking: Looking, key: str, code: str
) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        press(page, key, code)
        assert focus_is_nowhere(page)
        assert page.locator("[name=case]:checked").count() == 0
        press(page, "j", "KeyC")
        assert focused(page).endswith("-link")


def test_capitals_lock_changes_nothing(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        press(page, "J", "KeyJ", modifierCapsLock=True)
        assert focused(page) == "row-4821-link"


def test_alt_graph_counts_as_what_it_types_alone(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        for key, code in (("³", "Digit3"), ("€", "KeyE"), ("о", "KeyJ"), ("/x", "KeyX")):  # noqa: RUF001
            press(page, key, code, modifierAltGraph=True)
        assert page.locator("#row-4821").get_attribute("data-state") is None
        assert focus_is_nowhere(page)
        press(page, "?", "Minus", modifierAltGraph=True, altKey=True, ctrlKey=True)
        expect(page.locator("dialog[open]")).to_have_count(1)


def test_sheet_badges_and_handlers_agree(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        keys = set(
            page.locator("[data-key]").evaluate_all("all => all.map((one) => one.dataset.key)")
        )
        page.keyboard.press("?")
        sheet = page.locator("#shortcuts li input")
        listed = {str(sheet.nth(index).input_value()) for index in range(sheet.count())}
        assert listed == keys
        assert axe_violations(page) == []
        page.keyboard.press("1")
        assert page.locator("#row-4821").get_attribute("data-state") is None
        page.keyboard.press("Escape")
        assert page.locator("dialog[open]").count() == 0
        badges = page.locator("kbd.key").all_text_contents()
        assert set(badges) <= keys


def test_shortcuts_can_be_switched_off_and_stay_off(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue/4821")
        page.keyboard.press("?")
        page.get_by_label("Use single-key shortcuts").uncheck()
        page.reload()
        assert page.locator("kbd.key").first.is_hidden()
        assert page.locator("[aria-keyshortcuts]").count() == 0
        for key in ("j", "1", "x", "?"):
            page.keyboard.press(key)
        page.wait_for_timeout(60)
        assert page.locator("dialog[open]").count() == 0
        assert page.locator("#row-4821").get_attribute("data-state") is None
        page.get_by_role("button", name="Keyboard shortcuts").click()
        page.get_by_label("Use single-key shortcuts").check()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        assert focused(page).endswith("-link")


def test_key_can_be_moved_but_not_onto_another(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("?")
        row = page.get_by_label("Key for: Next row")
        row.fill("k")
        row.press("Tab")
        assert row.input_value() == "j"
        row.fill("n")
        row.press("Tab")
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        assert focus_is_nowhere(page) or not focused(page).endswith("-link")
        page.keyboard.press("n")
        assert focused(page) == "row-4821-link"
        page.keyboard.press("?")
        page.get_by_role("button", name="Put all keys back").click()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        assert focused(page) == "row-4822-link"


def test_junk_in_the_browsers_storage_does_no_harm(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.evaluate("localStorage.setItem('secondlook.keymap', '{junk')")
        page.reload()
        page.keyboard.press("j")
        assert focused(page) == "row-4821-link"


def test_keys_count_as_soon_as_the_sheet_is_closed(looking: Looking) -> None:
    with looking() as view:
        page = view.open("/queue")
        page.keyboard.press("?")
        page.get_by_label("Key for: Next row").focus()
        page.evaluate(
            """() => {
        document.querySelector("#shortcuts").close();
        document.activeElement.dispatchEvent(
            new KeyboardEvent("keydown", {key: "j", code: "KeyJ", bubbles: true}));
    }"""
        )
        assert focused(page) == "row-4821-link"
