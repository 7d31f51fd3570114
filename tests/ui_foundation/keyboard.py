"""What is pressed, what has the focus, and what is said."""

from playwright.sync_api import Page, expect


def focused(page: Page) -> str:
    """The id of what has the focus."""
    return str(page.evaluate("document.activeElement.id"))


def said(page: Page, words: str, *, urgent: bool = False) -> None:
    region = "#live-assertive" if urgent else "#live-polite"
    expect(page.locator(region)).to_have_text(words)


def press(page: Page, key: str, code: str, **modifiers: bool) -> None:
    """A key of a board that this machine has not."""
    given = {"key": key, "code": code, "bubbles": True, "cancelable": True, **modifiers}
    page.evaluate(
        "(given) => document.body.dispatchEvent(new KeyboardEvent('keydown', given))", given
    )
