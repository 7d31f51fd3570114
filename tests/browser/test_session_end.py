"""A session ends while somebody types: the page stays, and what was typed is sent after all."""

from playwright.sync_api import Page, expect

from services.kit.clock import DatabaseClock
from services.people import access
from services.tools.identity import COOKIE
from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import Look, axe_violations, sideways_scroll
from tests.factories import PASSWORD, TEXT
from tests.factories.site import Site

_NOTES = "SELECT note FROM timeline_entry WHERE case_id = :id AND event = 'commented'"
_TYPED = "Asked the customer, who says it was the second invoice."


def _end_session(site: Site, view: Look) -> None:
    (cookie,) = (one for one in view.context.cookies() if one["name"] == COOKIE)
    with site.database.transaction() as session:
        access.sign_out(session, cookie["value"], now=DatabaseClock().now(session))


def _sign_in(page: Page) -> None:
    page.get_by_label("E-mail").fill(factories.OWNER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def _note(page: Page) -> None:
    page.locator("summary", has_text="Note").click()
    page.get_by_label("Note").fill(_TYPED)


def test_note_is_kept_and_sent_after_signing_in(site: Site, visit: Visit) -> None:
    case = site.case()
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{case}")
        _note(page)
        _end_session(site, view)
        page.get_by_role("button", name="Add the note").click()
        notice = page.locator("#notice")
        expect(notice).to_contain_text("You are signed out")
        expect(page.get_by_label("Note")).to_have_value(_TYPED)
        assert axe_violations(page) + sideways_scroll(page) == []
        assert factories.rows(site.database, _NOTES, id=case) == []
        page.get_by_label("Note").press("End")
        page.keyboard.type(" It is.")
        notice.get_by_role("link", name="Sign in").click()
        _sign_in(page)
        expect(page.locator("#notice")).to_contain_text("back in its place")
        expect(page.get_by_label("Note")).to_have_value(f"{_TYPED} It is.")
        expect(page.get_by_label("Note")).to_be_visible()
        assert axe_violations(page) + sideways_scroll(page) == []
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator("#history")).to_contain_text(f"{_TYPED} It is.")
        assert page.evaluate("sessionStorage.length") == 0
    assert site.one(_NOTES, id=case) == f"{_TYPED} It is."


def test_note_is_kept_and_sent_without_javascript(site: Site, visit: Visit) -> None:
    case = site.case()
    with visit(factories.OWNER, javascript=False) as view:
        page = view.open(f"/c/{case}")
        _note(page)
        _end_session(site, view)
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator("#draft")).to_contain_text(_TYPED)
        _sign_in(page)
        expect(page.locator("#draft")).to_contain_text(_TYPED)
        assert factories.rows(site.database, _NOTES, id=case) == []
        page.get_by_role("button", name="Send it now").click()
        expect(page.locator("#history")).to_contain_text(_TYPED)
    assert site.one(_NOTES, id=case) == _TYPED


def test_polling_does_not_take_the_page_away(site: Site, visit: Visit) -> None:
    site.clear()
    case = site.case(TEXT)
    with visit(factories.OWNER) as view:
        page = view.context.new_page()
        page.clock.install()
        page.goto(f"{view.origin}/c/{case}", wait_until="load")
        box = page.get_by_role("textbox", name="What the AI wrote")
        box.fill(_TYPED)
        _end_session(site, view)
        polls: list[str] = []
        page.on("request", lambda request: polls.append(request.url))
        page.clock.run_for(25_000)
        expect(page.locator("#notice")).to_contain_text("You are signed out")
        expect(box).to_have_value(_TYPED)
        assert page.url.endswith(f"/c/{case}")
        asked = len(polls)
        page.clock.run_for(120_000)
        assert len(polls) == asked
        page.locator("#notice").get_by_role("link", name="Sign in").click()
        _sign_in(page)
        expect(box).to_have_value(_TYPED)
        page.get_by_role("button", name="Use this text").click()
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("corrected", _TYPED, factories.OWNER)


def test_text_is_not_given_to_somebody_else(site: Site, visit: Visit) -> None:
    case = site.case()
    with visit(factories.LEAD) as view:
        page = view.open(f"/c/{case}")
        _note(page)
        _end_session(site, view)
        page.get_by_role("button", name="Add the note").click()
        page.locator("#notice").get_by_role("link", name="Sign in").click()
        _sign_in(page)
        expect(page.locator("#case-title")).to_be_visible()
        assert _TYPED not in page.content()
        assert page.get_by_label("Note").input_value() == ""
        assert page.evaluate("sessionStorage.length") == 0


def test_text_without_a_place_is_shown_to_be_copied(site: Site, visit: Visit) -> None:
    case = site.case()
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{case}")
        _note(page)
        _end_session(site, view)
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator("#notice")).to_contain_text("You are signed out")
        site.clear()
        page.locator("#notice").get_by_role("link", name="Sign in").click()
        _sign_in(page)
        expect(page.locator("#notice")).to_contain_text("no place here any more")
        expect(page.locator("#notice")).to_contain_text(_TYPED)
        assert axe_violations(page) + sideways_scroll(page) == []
