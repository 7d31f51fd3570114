"""Routing changed by a lead, with and without JavaScript, and by the keyboard alone."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from services.escalation.policy import revisions
from services.kit.clock import DatabaseClock
from tests.browser.conftest import Visit
from tests.browser.harness import misshapen
from tests.factories import LEAD, OTHER_TEAM, POLICY, TOOL, actor_of
from tests.factories.site import Site

TO_OTHERS = POLICY.replace("{team: support, priority: P3,", f"{{team: {OTHER_TEAM}, priority: P2,")
_OPEN_ALL = "for (const one of document.querySelectorAll('main details')) one.open = true"
_MOST_STEPS = 40


@pytest.fixture(autouse=True)
def _policy(site: Site) -> None:
    """The tests' policy is in force, and a case has been opened."""
    put(site, POLICY)
    site.case()


def put(site: Site, content: str) -> int:
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        return revisions.put(session, content, actor=actor_of(session, LEAD), now=now)


def in_force(site: Site) -> str:
    query = "SELECT content FROM routing_policy ORDER BY revision DESC LIMIT 1"
    return str(site.one(query))


def _tab_to(page: Page, name: str) -> None:
    """Go on by the keyboard alone until what is called so has the focus."""
    wanted = (
        page.get_by_label(name, exact=True)
        .or_(page.get_by_role("button", name=name, exact=True))
        .or_(page.get_by_role("link", name=name, exact=True))
    )
    for _ in range(_MOST_STEPS):
        page.keyboard.press("Tab")
        if wanted.evaluate_all("all => all.includes(document.activeElement)"):
            return
    raise AssertionError(f"'{name}' is not reached by the keyboard")


def test_propose_correct_and_put_by_keyboard(site: Site, visit: Visit, script: bool) -> None:
    with visit(LEAD, javascript=script) as view:
        page = view.open("/routing")
        _tab_to(page, "Change it")
        page.keyboard.press("Enter")
        text = page.get_by_label("Policy", exact=True)
        text.fill(TO_OTHERS.replace("P1", "P9"))
        _tab_to(page, "Check it, and try it on the past")
        page.keyboard.press("Enter")
        wrong = page.locator(".summary")
        expect(wrong).to_contain_text("line 8: rule 'taxes'")
        expect(wrong.locator("li.wrong")).to_have_text("8    priority: P9")
        expect(wrong).to_be_focused()
        text = page.get_by_label("Policy", exact=True)
        text.fill(text.input_value().replace("P9", "P1"))
        text.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("would have gone to another team")).to_be_visible()
        assert in_force(site) == POLICY
        page.evaluate(_OPEN_ALL)
        if script:
            assert misshapen(page) == []
        _tab_to(page, "Put it into force")
        page.keyboard.press("Enter")
        page.wait_for_url("**/routing")
        expect(page.get_by_text("Every other case goes to other")).to_be_visible()
    assert in_force(site) == TO_OTHERS


def test_what_somebody_else_put_meanwhile_is_shown(site: Site, visit: Visit, script: bool) -> None:
    with visit(LEAD, javascript=script) as view:
        page = view.open("/routing/propose")
        page.get_by_label("Policy", exact=True).fill(TO_OTHERS)
        page.get_by_role("button", name="Check it, and try it on the past").click()
        second = put(site, POLICY.replace("P1", "P2"))
        page.get_by_role("button", name="Put it into force").click()
        said = page.get_by_text(f"Somebody put revision {second} of the routing policy")
        expect(said).to_be_visible()
        expect(page.locator("#theirs ins")).to_have_text("    priority: P2")
        page.evaluate(_OPEN_ALL)
        if script:
            assert misshapen(page) == []
        page.get_by_role("button", name="Put it into force").click()
        page.wait_for_url("**/routing")
    assert in_force(site) == TO_OTHERS


def test_try_an_output_by_keyboard(site: Site, visit: Visit, script: bool) -> None:
    with visit(LEAD, javascript=script) as view:
        page = view.open("/routing/try")
        _tab_to(page, "Why a case opens")
        page.keyboard.type("disp")
        _tab_to(page, "Tool")
        page.keyboard.type(TOOL.title())
        page.get_by_label("What it says").fill("tax")
        page.get_by_label("Confidence").fill("0.2")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="It goes to Lea")).to_be_visible()
        expect(page.get_by_label("What it says")).to_have_value("tax")
        assert "trigger=dispute" in page.url


def test_a_file_is_read_into_the_text(site: Site, visit: Visit, tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(TO_OTHERS)
    with visit(LEAD) as view:
        page = view.open("/routing/propose")
        page.get_by_label("A file of yours").set_input_files(file)
        text = page.get_by_label("Policy", exact=True)
        expect(text).to_have_value(TO_OTHERS)
        expect(text).to_be_focused()
        page.get_by_role("button", name="Check it, and try it on the past").click()
        expect(page.get_by_text("It is sound.")).to_be_visible()
