"""An owner decides many cases of one cause in three actions, and takes it back with one."""

from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import PHONE, misshapen
from tests.factories.site import Site
from tests.waiting import until

_WHOLE = """SELECT coalesce(max(id), 0) FROM "case"
    WHERE subject_kind = 'incident' AND state = 'open'"""
_LEFT = "SELECT count(*) FROM \"case\" WHERE incident = :id AND state = 'merged'"
_TWO = """SELECT o.output_id FROM case_output o JOIN "case" c ON c.id = o.case_id
    WHERE c.incident = :id ORDER BY c.id LIMIT 2"""
_SIZE = 50


@pytest.fixture
def whole(site: Site) -> int:
    """An incident of fifty disputes."""
    site.clear()
    ids = [f"incident-{uuid4().hex[:8]}-{n}" for n in range(_SIZE)]
    other = [{"value": "tax", "confidence": 0.2}]
    site.send(*(factories.output(id_, confidence=0.95, alternatives=other) for id_ in ids))
    said = {"kind": "dispute", "note": "It was a question about money"}
    site.send(*(factories.correction(id_, **said) for id_ in ids))
    until(lambda: site.one(_WHOLE) > 0 and site.one(_LEFT, id=site.one(_WHOLE)) == _SIZE)
    return int(site.one(_WHOLE))


def _press(page: Page, *keys: str) -> int:
    for key in keys:
        page.keyboard.press(key)
    return len(keys)


def test_fifty_cases_in_three_actions(site: Site, visit: Visit, whole: int) -> None:
    with visit(factories.OWNER) as view:
        page = view.open("/queue")
        actions = _press(page, "Enter")
        expect(page.locator(f"#case-{whole}")).to_be_visible()
        actions += _press(page, "2")
        expect(page.locator("#preview")).to_have_text("50 as tax.")
        actions += _press(page, "Enter")
        expect(page.locator("#decided")).to_contain_text("50 done")
        assert actions == 3
        assert site.one(_LEFT, id=whole) == 0
        page.keyboard.press("z")
        expect(page.locator("#decided")).to_have_count(0)
        expect(page.get_by_text("50 cases are merged into this one")).to_be_visible()
        assert site.one(_LEFT, id=whole) == _SIZE


def test_what_differs_is_excluded_and_said_so(site: Site, visit: Visit, whole: int) -> None:
    """Of two somebody has said meanwhile that another value is right."""
    for row in site.rows(_TWO, id=whole):
        site.say(row.output_id, kind="correction", value="refund")
    with visit(factories.OWNER) as view:
        page = view.open("/queue")
        _press(page, "Enter")
        expect(page.locator(f"#case-{whole}")).to_be_visible()
        _press(page, "2")
        expect(page.locator("#preview")).to_have_text("48 as tax; 2 differ, excluded.")
        expect(page.get_by_text("Somebody says that refund is right.")).to_be_visible()
        _press(page, "Enter")
        expect(page.locator("#decided")).to_contain_text("48 done")
        assert site.one(_LEFT, id=whole) == 2


def test_incident_on_a_phone_and_without_a_script(
    site: Site, visit: Visit, whole: int, script: bool
) -> None:
    with visit(factories.OWNER, size=PHONE, javascript=script) as view:
        page = view.open("/queue")
        page.locator(f"#row-{whole}-link").click()
        page.get_by_role("button", name="tax").click()
        expect(page.locator("#preview")).to_have_text("50 as tax.")
        page.get_by_role("button", name="Resolve 50").click()
        expect(page.locator("#decided")).to_contain_text("50 done")
        page.get_by_role("button", name="Undo: 50 done").click()
        expect(page.get_by_text("50 cases are merged into this one")).to_be_visible()


def test_incident_and_preview_are_accessible(visit: Visit, whole: int) -> None:
    with visit(factories.OWNER) as view:
        for path in (f"/c/{whole}", f"/c/{whole}/parts/verdict?choice=is:tax"):
            page = view.open(path)
            assert misshapen(page) == []
            page.close()
