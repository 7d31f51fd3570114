"""Push in a real browser: what the page says, and what the worker shows and opens."""

import json

import pytest
from playwright.sync_api import expect

from tests import factories
from tests.browser.conftest import Visit
from tests.factories.site import Site
from tests.notifications.browsers import FakeBrowser
from ui.kit.static_files import FOLDER

_SAID = "[data-push-said]"
_BUTTON = "Allow push on this device"
# Headless Chromium lets nobody show notifications, whatever is granted.
_LET = """
Object.defineProperty(Notification, "permission", { get: () => "default" });
Notification.requestPermission = async () => "granted";
"""
# Nor is it anybody's push service.
_SUBSCRIBE = """
PushManager.prototype.getSubscription = async () => null;
PushManager.prototype.subscribe = async () => ({ toJSON: () => (%s) });
"""


def test_page_without_scripts_says_so(visit: Visit) -> None:
    with visit(factories.REP, javascript=False) as view:
        page = view.open("/account")
        expect(page.locator(_SAID)).to_have_text(
            "Allowing this device takes a browser that runs scripts."
        )
        expect(page.get_by_role("button", name=_BUTTON)).to_be_hidden()


def test_page_says_where_the_browser_does_not_allow_it(visit: Visit) -> None:
    with visit(factories.REP) as view:
        page = view.open("/account")
        expect(page.locator(_SAID)).to_contain_text("does not let Secondlook show notifications")
        expect(page.get_by_role("button", name=_BUTTON)).to_be_hidden()


def test_page_says_where_the_browser_has_no_push(visit: Visit) -> None:
    with visit(factories.REP) as view:
        view.context.add_init_script("delete window.PushManager;")
        page = view.open("/account")
        expect(page.locator(_SAID)).to_contain_text("This browser offers no push here.")
        expect(page.get_by_role("button", name=_BUTTON)).to_be_hidden()


def test_page_says_where_the_push_service_does_not_take_it(site: Site, visit: Visit) -> None:
    with visit(factories.REP) as view:
        view.context.add_init_script(_LET)
        page = view.open("/account")
        page.get_by_role("button", name=_BUTTON).click()
        expect(page.locator(_SAID)).to_contain_text("push service did not take it")
        assert site.one("SELECT count(*) FROM push_device") == 0


def test_allowed_browser_is_listed_and_removed(site: Site, visit: Visit) -> None:
    asked = FakeBrowser("https://push.example.org/send/1").subscription
    keys = {"p256dh": asked.p256dh, "auth": asked.auth}
    answer = json.dumps({"endpoint": asked.endpoint, "keys": keys})
    with visit(factories.REP) as view:
        view.context.add_init_script(_LET)
        view.context.add_init_script(_SUBSCRIBE % answer)
        page = view.open("/account")
        page.get_by_role("button", name=_BUTTON).click()
        expect(
            page.get_by_text("This browser shows from now on what you are told.")
        ).to_be_visible()
        kept = site.rows("SELECT endpoint, p256dh, auth FROM push_device")
        assert [tuple(row) for row in kept] == [tuple(asked)]
        page.get_by_role("button", name="Remove Chrome on Linux").click()
        expect(page.get_by_role("button", name="Remove Chrome on Linux")).to_have_count(0)
        assert site.one("SELECT count(*) FROM push_device") == 0


def test_worker_answers_for_the_whole_site(site: Site, visit: Visit) -> None:
    with visit(factories.REP) as view:
        page = view.open("/account")
        scope = page.evaluate(
            "async () => (await navigator.serviceWorker.register('/push.js')).scope"
        )
        assert scope == f"{site.origin}/"


# What headless Chromium has none of: a page of its own in which it shows notifications.
_RUN = """async ([event, given, tabs]) => {
    const [heard, did] = [{}, []];
    const self = {
        addEventListener: (name, hear) => { heard[name] = hear; },
        registration: { showNotification: async (title, more) => did.push(["show", title, more]) },
        location: { origin: "https://sl.example.org" },
        clients: {
            matchAll: async () =>
                tabs.map((url) => ({ url, focus: () => did.push(["focus", url]) })),
            openWindow: async (url) => did.push(["open", url]),
        },
    };
    %s
    const parts = [];
    const close = () => did.push(["close"]);
    const data = given === null ? null : { json: () => given };
    const notification = { close, data: given };
    heard[event]({ data, notification, waitUntil: (part) => parts.push(part) });
    await Promise.all(parts);
    return did;
}"""
_SITE = "https://sl.example.org"


def run(visit: Visit, event: str, given: object, *tabs: str) -> list[list[object]]:
    """What the worker does about an event."""
    source = (FOLDER / "push-worker.js").read_text()
    with visit(None) as view:
        page = view.open("/sign-in")
        did: list[list[object]] = page.evaluate(_RUN % source, [event, given, list(tabs)])
    return did


def test_worker_shows_what_is_pushed(visit: Visit) -> None:
    said = {"text": "Case 7 waits.", "path": "/c/7", "tag": "t", "id": "msg_1"}
    shown = {"body": "Case 7 waits.", "tag": "t", "renotify": True, "data": {"path": "/c/7"}}
    assert run(visit, "push", said) == [["show", "Secondlook", shown]]


def test_worker_shows_something_where_nothing_is_said(visit: Visit) -> None:
    ((_, _, shown),) = run(visit, "push", None)
    assert isinstance(shown, dict)
    assert (shown["body"], shown["data"]) == ("Something waits for you.", {"path": "/inbox"})


@pytest.mark.parametrize(
    ("path", "does"),
    [
        ("/c/7", ["focus", f"{_SITE}/c/7#notes"]),
        ("/c/8", ["open", f"{_SITE}/c/8"]),
        ("https://elsewhere.example.org/c/7", ["open", f"{_SITE}/inbox"]),
        (None, ["open", f"{_SITE}/inbox"]),
    ],
)
def test_click_focuses_the_tab_or_opens_the_page(
    visit: Visit, path: str | None, does: list[str]
) -> None:
    tabs = (f"{_SITE}/queue", f"{_SITE}/c/7#notes")
    given = None if path is None else {"path": path}
    assert run(visit, "notificationclick", given, *tabs) == [["close"], does]
