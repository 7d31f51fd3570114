"""Getting in and out: password, link, and what people keep to themselves."""

from playwright.sync_api import expect

from tests import factories
from tests.browser.conftest import Visit
from tests.factories import OPS, PASSWORD
from tests.factories.site import Site

_LIVE = "SELECT count(*) FROM sign_in WHERE person = :email AND ended_at IS NULL"


def test_sign_in_by_password_goes_where_one_wanted(site: Site, visit: Visit, script: bool) -> None:
    before = site.one(_LIVE, email=factories.OWNER)
    with visit(None, javascript=script) as view:
        page = view.open("/queue?trigger=audit")
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        page.get_by_label("E-mail").fill(factories.OWNER)
        page.get_by_label("Password").fill("not this one")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="not right")).to_be_visible()
        expect(page.get_by_label("E-mail")).to_have_value(factories.OWNER)
        assert site.one(_LIVE, email=factories.OWNER) == before
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
        assert page.url.endswith("/queue?trigger=audit")
        assert site.one(_LIVE, email=factories.OWNER) == before + 1
        page.locator(".menu summary").click()
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
        assert site.one(_LIVE, email=factories.OWNER) == before


def test_link_is_spent_by_the_button_alone_and_once(site: Site, visit: Visit, script: bool) -> None:
    path, before = site.link(factories.LEAD), site.one(_LIVE, email=factories.LEAD)
    unused = "SELECT count(*) FROM sign_in_link WHERE person = :email AND used_at IS NULL"
    for _ in range(3):
        with visit(None, javascript=script) as view:
            view.open(path)
    assert site.one(unused, email=factories.LEAD) == 1
    with visit(None, javascript=script) as view:
        page = view.open(path)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
    assert site.one(unused, email=factories.LEAD) == 0
    with visit(None, javascript=script) as view:
        page = view.open(path)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_role("alert").filter(has_text="has been used")).to_be_visible()
    assert site.one(_LIVE, email=factories.LEAD) == before + 1


def test_set_a_password_and_make_a_token(site: Site, visit: Visit, script: bool) -> None:
    hashed = "SELECT coalesce(password_hash, '') FROM person WHERE email = :email"
    before = site.one(hashed, email=OPS)
    with visit(OPS, javascript=script) as view:
        page = view.open("/account")
        page.get_by_label("New password").fill("short")
        page.get_by_role("button", name="Set password").click()
        expect(page.locator(".summary")).to_contain_text("too short")
        assert site.one(hashed, email=OPS) == before
        page.get_by_label("New password").fill("another long password")
        page.get_by_role("button", name="Set password").click()
        expect(page.get_by_text("Your password is set.")).to_be_visible()
        assert site.one(hashed, email=OPS) != before
        # From here on it takes the password that is there to set another.
        changed = site.one(hashed, email=OPS)
        page.get_by_label("Current password").fill("not the password")
        page.get_by_label("New password").fill("a password of somebody else")
        page.get_by_role("button", name="Set password").click()
        expect(page.locator(".summary")).to_contain_text("not your password")
        assert site.one(hashed, email=OPS) == changed
        page.get_by_label("Current password").fill("another long password")
        page.get_by_label("New password").fill("yet another long password")
        page.get_by_role("button", name="Set password").click()
        expect(page.get_by_text("Your password is set.")).to_be_visible()
        assert site.one(hashed, email=OPS) != changed
        page.get_by_role("button", name="Make a token").click()
        expect(page.get_by_text("shown this once")).to_be_visible()
    tokens = "SELECT count(*) FROM personal_token WHERE person = :email AND revoked_at IS NULL"
    assert site.one(tokens, email=OPS) == 1
