"""A rep puts an output right, and takes it back."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import focus_is_nowhere
from tests.factories import FIELDS, FLAG, TEXT, VALUES
from tests.factories.site import Site
from tests.waiting import until
from ui.outputs.view import address

_WITHDRAWN = "SELECT count(*) FROM withdrawal WHERE tool = :tool"


def test_correct_and_undo(site: Site, visit: Visit, script: bool) -> None:
    output = site.output(confidence=0.9)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(factories.TOOL, output))
        page.get_by_role("button", name="tax").click()
        expect(page.get_by_text("billing → tax")).to_be_visible()
        assert site.correction(output) == ("correction", "tax", factories.REP)
        decided = "SELECT decided_value FROM output WHERE output_id = :id"
        assert site.one(decided, id=output) == "tax"
        assert not (script and focus_is_nowhere(page))
        before = site.one(_WITHDRAWN, tool=factories.TOOL)
        page.get_by_role("button", name="Undo").click()
        expect(page.get_by_text("Taken back.")).to_be_visible()
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        assert site.one(_WITHDRAWN, tool=factories.TOOL) == before + 1
        assert site.one(decided, id=output) is None
        assert not (script and focus_is_nowhere(page))


def test_correct_and_undo_with_one_key_each(site: Site, visit: Visit) -> None:
    output = site.output(confidence=0.9)
    with visit(factories.REP) as view:
        page = view.open(address(factories.TOOL, output))
        page.keyboard.press("2")
        expect(page.get_by_text("billing → tax")).to_be_visible()
        assert site.correction(output) == ("correction", "tax", factories.REP)
        assert not focus_is_nowhere(page)
        page.keyboard.press("z")
        expect(page.get_by_text("Taken back.")).to_be_visible()
        assert not focus_is_nowhere(page)


def test_correct_to_a_category_that_is_looked_for(site: Site, visit: Visit, script: bool) -> None:
    output = site.output(confidence=0.9)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(factories.TOOL, output))
        page.get_by_role("searchbox", name="Another category").fill("ref")
        page.keyboard.press("Enter")
        if not script:
            expect(page.get_by_role("searchbox")).to_have_value("ref")
            page.get_by_role("button", name="refund").click()
        expect(page.get_by_text("billing → refund")).to_be_visible()
    assert site.correction(output) == ("correction", "refund", factories.REP)


@pytest.mark.parametrize("tool", [factories.TOOL, TEXT, FLAG, FIELDS])
def test_keep(site: Site, visit: Visit, script: bool, tool: str) -> None:
    output = site.output(tool)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(tool, output))
        page.get_by_role("button", name="Keep").click()
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert site.correction(output) == ("confirmation", None, factories.REP)


@pytest.mark.parametrize("tool", [factories.TOOL, TEXT, FLAG, FIELDS])
def test_not_sure_opens_a_case(site: Site, visit: Visit, script: bool, tool: str) -> None:
    output = site.output(tool, confidence=0.95)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(tool, output))
        page.get_by_role("button", name="Not sure").click()
        expect(page.get_by_text("Sent to the owner", exact=True)).to_be_visible()
    assert site.correction(output) == ("dispute", None, factories.REP)
    case = site.case_of(output)
    disputed = 'SELECT disputed_by FROM "case" WHERE id = :id'
    until(lambda: site.one(disputed, id=case) == factories.REP)


def _put_right(page: Page, tool: str) -> None:
    if tool == TEXT:
        box = page.get_by_role("textbox", name="What the AI wrote")
        expect(box).to_have_value(VALUES[TEXT].replace("\r\n", "\n"))
        box.fill("Dear customer,\n\nno.")
        page.get_by_role("button", name="Use my text").click()
    elif tool == FLAG:
        page.get_by_role("button", name="Not raised").click()
    else:
        expect(page.get_by_label("number")).to_have_value("A-17")
        page.get_by_label("total").fill("130")
        page.get_by_role("button", name="Use these values").click()


@pytest.mark.parametrize(
    ("tool", "value"),
    [
        (TEXT, "Dear customer,\n\nno."),
        (FLAG, False),
        (FIELDS, {"number": {"value": "A-17"}, "total": {"value": 130}}),
    ],
)
def test_correct_each_kind(site: Site, visit: Visit, script: bool, tool: str, value: Any) -> None:
    output = site.output(tool)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(tool, output))
        _put_right(page, tool)
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
    assert site.correction(output) == ("correction", value, factories.REP)


@pytest.mark.parametrize("tool", [TEXT, FIELDS])
def test_send_what_the_tool_said_changes_nothing(
    site: Site, visit: Visit, script: bool, tool: str
) -> None:
    output = site.output(tool)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(tool, output))
        page.get_by_role("button", name="Use").click()
        expect(page.get_by_role("alert").filter(has_text="what the AI said").first).to_be_visible()
    assert site.one("SELECT count(*) FROM correction WHERE output_id = :id", id=output) == 0


def test_reason_and_note_go_along(site: Site, visit: Visit, script: bool) -> None:
    output = site.output(confidence=0.9)
    with visit(factories.REP, javascript=script) as view:
        page = view.open(address(factories.TOOL, output))
        page.get_by_text("Say why (optional)").click()
        page.get_by_label("Misread").check()
        page.get_by_label("Note").fill("It asks for VAT.")
        page.get_by_role("button", name="tax").click()
        expect(page.get_by_text("billing → tax")).to_be_visible()
    query = "SELECT reason, note FROM correction WHERE output_id = :id"
    assert tuple(site.one(query, id=output)) == ("misread", "It asks for VAT.")


def test_find_an_output_by_its_id(site: Site, visit: Visit, script: bool) -> None:
    output = site.output(TEXT)
    with visit(factories.REP, javascript=script) as view:
        page = view.open("/outputs")
        page.get_by_label("Tool").select_option(TEXT)
        page.get_by_label("Output id").fill(output)
        page.get_by_role("button", name="Find").click()
        expect(page.get_by_role("heading", level=1)).to_have_text(f"Ticket {output}")
