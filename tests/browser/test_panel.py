"""Several reviewers of one case, by keyboard alone."""

from playwright.sync_api import expect

from tests import factories
from tests.browser.conftest import Visit
from tests.factories import Casework
from tests.factories.site import Site

_SEVERAL = 'UPDATE "case" SET reviewers = 2, blind = true WHERE id = :id RETURNING id'


def a_case(site: Site) -> int:
    site.clear()
    case = site.case()
    site.one(_SEVERAL, id=case)
    return case


def test_opinion_is_given_and_taken_back_by_keyboard(site: Site, visit: Visit) -> None:
    case = a_case(site)
    following = site.case()
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{case}")
        expect(page.locator("#panel")).to_contain_text("Nobody has given an opinion yet")
        page.keyboard.press("/")
        page.keyboard.type("ref")
        page.keyboard.press("Enter")
        expect(page.locator(f"#case-{following}")).to_be_visible()
        expect(page.locator("#done")).to_have_text(f"Your opinion on case {case}: refund")
        given = "SELECT count(*) FROM opinion WHERE case_id = :id AND taken_back_at IS NULL"
        assert site.one(given, id=case) == 1
        page.keyboard.press("z")
        expect(page.locator(f"#case-{case}")).to_be_visible()
        assert site.one(given, id=case) == 0


def test_lead_settles_by_one_key(site: Site, visit: Visit) -> None:
    case = a_case(site)
    said = {factories.OWNER: "tax", factories.TEAMMATE: "refund", factories.ADMIN: "billing"}
    for who, value in said.items():
        Casework(site.database).give_verdict(who, case, "corrected", value=value)
    with visit(factories.LEAD) as view:
        page = view.open(f"/c/{case}")
        expect(page.get_by_role("region", name="Opinion of Olga")).to_contain_text("tax")
        page.keyboard.press("2")
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("corrected", "refund", factories.LEAD)


def test_note_is_asked_for_before_it_is_sent(site: Site, visit: Visit, script: bool) -> None:
    site.clear()
    case = site.case()
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/c/{case}")
        if script:
            page.keyboard.press("u")
        else:
            page.locator("summary", has_text="Undecidable").click()
        note = page.get_by_label("What is missing")
        expect(note).to_be_visible()
        if script:
            expect(note).to_be_focused()
        note.fill("the photo is missing")
        page.get_by_role("button", name="Undecidable").click()
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("undecidable", None, factories.OWNER)
