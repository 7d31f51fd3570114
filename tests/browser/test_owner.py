"""An owner works through the queue."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import PHONE, WIDE, axe_violations, focus_is_nowhere, sideways_scroll
from tests.factories import AUDITED, FIELDS, FLAG, TEXT, VALUES
from tests.factories.site import Site

_STATE = 'SELECT state, claimant FROM "case" WHERE id = :id'
_EVENTS = "SELECT string_agg(event, ' ' ORDER BY id) FROM timeline_entry WHERE case_id = :id"


def _focus(page: Page) -> str:
    return str(page.evaluate("document.activeElement.id"))


def test_claim_and_review_by_keyboard_alone(site: Site, visit: Visit) -> None:
    site.clear()
    first, second, third = site.case(), site.case(), site.case()
    with visit(factories.OWNER) as view:
        page = view.open("/queue")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        expect(page.locator(f"#case-{first}")).to_be_visible()
        assert _focus(page) == f"row-{first}-link"
        page.keyboard.press("c")
        expect(page.get_by_role("button", name="Give back")).to_be_visible()
        assert tuple(site.one(_STATE, id=first)) == ("claimed", factories.OWNER)
        assert not focus_is_nowhere(page)
        page.keyboard.press("2")
        expect(page.locator(f"#case-{second}")).to_be_visible()
        expect(page.locator("#done")).to_have_text(f"Case {first} corrected to tax")
        expect(page.locator(f"#row-{first}")).to_have_count(0)
        expect(page.locator(f"#row-{second} [aria-current]")).to_have_count(1)
        expect(page.locator("#counted")).to_have_text("2 cases")
        assert page.url.endswith(f"/c/{second}")
        assert _focus(page) == f"row-{second}-link"
        assert site.verdict(first) == ("corrected", "tax", factories.OWNER)
        page.keyboard.press("1")
        expect(page.locator(f"#case-{third}")).to_be_visible()
        assert site.verdict(second) == ("upheld", None, factories.OWNER)
        assert _focus(page) == f"row-{third}-link"
        page.keyboard.press("/")
        page.keyboard.type("ref")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(third) == ("corrected", "refund", factories.OWNER)


def test_next_case_leaves_the_list_where_it_is(site: Site, visit: Visit) -> None:
    site.clear()
    cases = [site.case() for _ in range(4)]
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{cases[1]}")
        pane, row = page.locator("#case-title"), page.locator(f"#row-{cases[0]}")
        places = pane.bounding_box(), row.bounding_box()
        page.keyboard.press("1")
        expect(page.locator(f"#case-{cases[2]}")).to_be_visible()
        assert (pane.bounding_box(), row.bounding_box()) == places
        assert _focus(page) == "case-title"


def test_review_on_a_phone(site: Site, visit: Visit) -> None:
    site.clear()
    first, second = site.case(), site.case()
    with visit(factories.OWNER, size=PHONE) as view:
        page = view.open("/queue")
        page.locator(f"#row-{first}-link").click()
        expect(page.locator("#case-title")).to_be_in_viewport()
        expect(page.locator(f"#row-{first}")).to_be_hidden()
        assert _focus(page) == "case-title"
        page.get_by_role("button", name="billing").click()
        expect(page.locator(f"#case-{second}")).to_be_visible()
        expect(page.locator("#case-title")).to_be_in_viewport()
        assert _focus(page) == "case-title"
        page.get_by_role("link", name="Back to the queue").click()
        expect(page.locator(f"#row-{second}")).to_be_visible()
    assert site.verdict(first) == ("upheld", None, factories.OWNER)


def test_a_case_is_put_off_by_keyboard_alone(site: Site, visit: Visit) -> None:
    site.clear()
    case, other = site.case(), site.case()
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{case}")
        page.keyboard.press("h")
        expect(page.get_by_label("For how long")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.type("asked the bank")
        page.keyboard.press("Enter")
        expect(page.locator(f"#row-{other}")).to_be_visible()
        assert site.one(_STATE, id=case)[0] == "snoozed"
        page = view.open(f"/c/{case}")
        expect(page.locator("#pause")).to_contain_text("asked the bank")
        assert axe_violations(page) == []
        page.keyboard.press("h")
        expect(page.get_by_role("button", name="Claim")).to_be_visible()
    assert site.one(_STATE, id=case)[0] == "open"


def test_review_without_javascript_and_stay_in_the_same_queue(site: Site, visit: Visit) -> None:
    site.clear()
    first, second = site.case(), site.case()
    with visit(factories.OWNER, javascript=False) as view:
        page = view.open(f"/queue?trigger=low_confidence&tool={factories.TOOL}")
        page.locator(f"#row-{first}-link").click()
        page.get_by_role("searchbox", name="Another category").fill("ref")
        page.get_by_role("button", name="Search").click()
        assert "trigger=low_confidence" in page.url
        page.get_by_role("button", name="refund").click()
        expect(page.locator("#done")).to_have_text(f"Case {first} corrected to refund")
        expect(page.locator(f"#case-{second}")).to_be_visible()
        assert "trigger=low_confidence" in page.url
    assert site.verdict(first) == ("corrected", "refund", factories.OWNER)


def _review(page: Page, tool: str) -> None:
    if tool == TEXT:
        box = page.get_by_role("textbox", name="What the AI wrote")
        expect(box).to_have_value(VALUES[TEXT].replace("\r\n", "\n"))
        box.fill("No.")
        page.get_by_role("button", name="Use this text").click()
    elif tool == FLAG:
        page.get_by_role("button", name="Not raised").click()
    else:
        page.get_by_label("total").fill("130")
        page.get_by_role("button", name="Use these values").click()


@pytest.mark.parametrize(
    ("tool", "value"),
    [
        (TEXT, "No."),
        (FLAG, False),
        (FIELDS, {"number": {"value": "A-17"}, "total": {"value": 130}}),
    ],
)
def test_review_each_kind(site: Site, visit: Visit, script: bool, tool: str, value: Any) -> None:
    site.clear()
    case = site.case(tool)
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/c/{case}")
        _review(page, tool)
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("corrected", value, factories.OWNER)


@pytest.mark.parametrize("tool", [TEXT, FLAG, FIELDS])
def test_uphold_each_kind(site: Site, visit: Visit, tool: str) -> None:
    site.clear()
    case = site.case(tool)
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{case}")
        page.keyboard.press("1")
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("upheld", None, factories.OWNER)


def test_values_of_the_tool_itself_are_refused(site: Site, visit: Visit, script: bool) -> None:
    case = site.case(TEXT)
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/c/{case}")
        page.get_by_role("button", name="Use this text").click()
        expect(page.locator("#problem")).to_contain_text("that is what the tool said")
        assert not (script and focus_is_nowhere(page))
    assert site.verdict(case) == (None, None, None)


def test_case_that_somebody_else_holds_is_kept(site: Site, visit: Visit, script: bool) -> None:
    case = site.case()
    with visit(factories.OWNER, javascript=script) as view, visit(factories.TEAMMATE) as other:
        page = view.open(f"/c/{case}")
        theirs = other.open(f"/c/{case}")
        theirs.keyboard.press("c")
        expect(theirs.get_by_role("button", name="Give back")).to_be_visible()
        page.get_by_role("button", name="tax").click()
        expect(page.locator("#problem")).to_contain_text(factories.TEAMMATE)
        assert not (script and focus_is_nowhere(page))
    assert tuple(site.one(_STATE, id=case)) == ("claimed", factories.TEAMMATE)


def test_claim_note_and_give_back(site: Site, visit: Visit, script: bool) -> None:
    case = site.case()
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/c/{case}")
        page.get_by_role("button", name="Claim").click()
        expect(page.get_by_role("button", name="Give back")).to_be_visible()
        assert tuple(site.one(_STATE, id=case)) == ("claimed", factories.OWNER)
        page.locator("summary", has_text="Note").click()
        page.get_by_role("textbox", name="Note").fill("The customer moved.")
        page.get_by_role("button", name="Add the note").click()
        expect(page.locator(".timeline .note")).to_have_text("The customer moved.")
        assert not (script and focus_is_nowhere(page))
        page.get_by_role("button", name="Give back").click()
        expect(page.get_by_role("button", name="Claim")).to_be_visible()
    assert tuple(site.one(_STATE, id=case)) == ("open", None)
    assert site.one(_EVENTS, id=case) == "opened claimed commented released"


def test_give_to_another_owner(site: Site, visit: Visit, script: bool) -> None:
    case = site.case()
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/c/{case}")
        page.locator("summary", has_text="Give to another owner").click()
        page.get_by_label("New owner").select_option(f"user:{factories.TEAMMATE}")
        page.get_by_role("button", name="Give it over").click()
        expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    owner = 'SELECT owner_person FROM "case" WHERE id = :id'
    assert site.one(owner, id=case) == factories.TEAMMATE


def test_escalate_up_to_the_last_rung(site: Site, visit: Visit, script: bool) -> None:
    case = site.case()
    level = 'SELECT level FROM "case" WHERE id = :id'
    with visit(factories.OWNER, javascript=script) as view:
        for before in range(9):
            page = view.open(f"/c/{case}")
            page.locator("summary", has_text="Escalate").click()
            page.get_by_label("Why").last.fill("It is urgent.")
            with page.expect_response(lambda answer: answer.request.method == "POST"):
                page.get_by_role("button", name="Escalate now").click()
            page.wait_for_load_state()
            if page.locator("#problem").count():
                break
            assert site.one(level, id=case) == before + 1
        expect(page.locator("#problem")).to_contain_text("last rung")


# --- blind ------------------------------------------------------------------------------


def test_blind_case_shows_nothing_of_the_tools_word(site: Site, visit: Visit, script: bool) -> None:
    site.clear()
    secret = "tax" if script else "refund"
    output = site.output(AUDITED, value=secret, confidence=0.9371, alternatives=[])
    case = site.case_of(output)
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open("/queue")
        pages = ["/queue", f"/c/{case}", f"/o/{AUDITED}/{output.replace('%', '%25')}"]
        for path in [*pages, f"/outputs?tool={AUDITED}"]:
            page.goto(site.origin + path)
            offered = f'value="is:{secret}"><span>{secret}</span>'
            assert secret not in page.content().replace(offered, ""), path
            assert not script or "94\u00a0%" not in page.content(), path
        page.goto(f"{site.origin}/c/{case}")
        expect(page.locator("#case-title")).to_have_text("What is right?")
        page.get_by_role("searchbox").fill(secret)
        page.keyboard.press("Enter")
        if not script:
            page.get_by_role("button", name=secret).click()
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
        page.goto(f"{site.origin}/c/{case}")
        expect(page.locator("#case-title")).to_have_text(f"AI said {secret}")
    assert site.verdict(case) == ("upheld", None, factories.OWNER)


def test_word_from_the_helpdesk_comes_while_one_types_and_one_key_agrees(
    site: Site, visit: Visit
) -> None:
    site.clear()
    output = site.output()
    case = site.case_of(output)
    with visit(factories.OWNER) as view:
        page = view.context.new_page()
        page.clock.install()
        page.goto(f"{view.origin}/c/{case}", wait_until="load")
        page.locator("summary", has_text="Note").click()
        page.get_by_label("Note").fill("I am still typing")
        site.say(output, kind="correction", value="refund")
        page.clock.run_for(6_000)
        expect(page.locator("#remarks")).to_contain_text("Rita says: refund")
        page.clock.run_for(1_000)
        expect(page.locator("#live-polite")).to_have_text("Rita says: refund")
        expect(page.get_by_label("Note")).to_have_value("I am still typing")
        expect(page.get_by_label("Note")).to_be_focused()
        assert axe_violations(page) + sideways_scroll(page) == []
        page.locator("#case-title").focus()
        page.keyboard.press("y")
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("corrected", "refund", factories.OWNER)


def test_agree_without_javascript(site: Site, visit: Visit) -> None:
    site.clear()
    output = site.output()
    case = site.case_of(output)
    site.say(output, kind="correction", value="refund")
    with visit(factories.OWNER, javascript=False) as view:
        page = view.open(f"/c/{case}")
        page.get_by_role("button", name="Agree with Rita").click()
        expect(page.get_by_text("Nothing is waiting")).to_be_visible()
    assert site.verdict(case) == ("corrected", "refund", factories.OWNER)


def test_undo_with_one_key(site: Site, visit: Visit) -> None:
    site.clear()
    first, second = site.case(), site.case()
    with visit(factories.OWNER) as view:
        page = view.open(f"/c/{first}")
        page.keyboard.press("2")
        expect(page.locator(f"#case-{second}")).to_be_visible()
        assert axe_violations(page) + sideways_scroll(page) == []
        page.keyboard.press("z")
        expect(page.locator(f"#case-{first}")).to_be_visible()
        expect(page.locator(f"#row-{first}")).to_be_visible()
        assert tuple(site.one(_STATE, id=first)) == ("open", None)
        page.keyboard.press("1")
        expect(page.locator(f"#case-{second}")).to_be_visible()
    assert site.verdict(first) == ("upheld", None, factories.OWNER)


@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
def test_undo_the_last_verdict_of_a_queue(
    site: Site, visit: Visit, script: bool, size: tuple[int, int]
) -> None:
    site.clear()
    case = site.case()
    with visit(factories.OWNER, javascript=script, size=size) as view:
        page = view.open(f"/c/{case}")
        page.get_by_role("button", name="tax").click()
        expect(page.get_by_text(f"Case {case} corrected to tax")).to_be_visible()
        if script:
            assert axe_violations(page) + sideways_scroll(page) == []
        page.get_by_role("button", name="Undo").click()
        expect(page.locator("#case-title")).to_be_visible()
        assert tuple(site.one(_STATE, id=case)) == ("open", None)
        expect(page.locator("#history")).to_contain_text("Verdict taken back")
