"""Schedules and absences by keyboard, with and without JavaScript."""

import uuid
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from playwright.sync_api import Page, expect

from services.people import schedule_queries
from tests import factories
from tests.browser.conftest import Visit
from tests.factories.site import Site

BERLIN = ZoneInfo("Europe/Berlin")
_MOST_STEPS = 60


def _schedule(site: Site) -> str:
    slug = f"s-{uuid.uuid4().hex[:8]}"
    with site.database.transaction() as session:
        factories.add_schedule(session, slug, factories.TEAMMATE)
    return slug


def _who(site: Site, slug: str, at: datetime) -> str | None:
    with site.database.transaction() as session:
        return schedule_queries.on_duty(session, [slug], at).get(slug)


def _tab_to(page: Page, name: str) -> None:
    """Go on by the keyboard alone until what is called so has the focus."""
    wanted = page.get_by_label(name, exact=True).or_(page.get_by_role("button", name=name)).first
    for _ in range(_MOST_STEPS):
        page.keyboard.press("Tab")
        if wanted.evaluate("one => one === document.activeElement"):
            return
    raise AssertionError(f"'{name}' is not reached by the keyboard")


def test_give_the_duty_for_a_day_and_end_that_by_keyboard(
    site: Site, visit: Visit, script: bool
) -> None:
    # A day of the schedule's, which late in the evening is another one than ours.
    slug, tomorrow = _schedule(site), datetime.now(BERLIN) + timedelta(days=1, hours=1)
    with visit(factories.LEAD, javascript=script) as view:
        page = view.open(f"/schedules/{slug}")
        _tab_to(page, "Who")
        page.keyboard.type("Lea")
        # What a browser takes a date by is its own, and its language's.
        page.get_by_label("Day", exact=True).fill(tomorrow.date().isoformat())
        _tab_to(page, "Give them the duty")
        page.keyboard.press("Enter")
        ends = page.get_by_role("button", name="End the override of Lea")
        expect(ends).to_be_visible()
        assert _who(site, slug, tomorrow) == factories.LEAD
        _tab_to(page, "End the override of Lea")
        page.keyboard.press("Enter")
        expect(page.get_by_text("None now, and none planned.")).to_be_visible()
    assert _who(site, slug, tomorrow) == factories.TEAMMATE


def test_say_that_one_is_away_and_back(site: Site, visit: Visit, script: bool) -> None:
    slug, soon = _schedule(site), datetime.now(UTC) + timedelta(hours=1)
    with visit(factories.TEAMMATE, javascript=script) as view:
        page = view.open("/account")
        page.get_by_label("I am away from").fill(f"{soon - timedelta(hours=2):%Y-%m-%dT%H:%M}")
        page.get_by_label("Until", exact=True).fill(f"{soon + timedelta(hours=2):%Y-%m-%dT%H:%M}")
        page.get_by_label("Stand-in").select_option(factories.LEAD)
        page.get_by_role("button", name="I am away").click()
        back = page.get_by_role("button", name="I am back")
        expect(back).to_be_visible()
        assert _who(site, slug, soon) == factories.LEAD
        back.click()
        expect(back).to_have_count(0)
    assert _who(site, slug, soon) == factories.TEAMMATE


def test_a_mistake_in_a_schedule_is_said_with_its_line(
    site: Site, visit: Visit, script: bool
) -> None:
    slug = _schedule(site)
    with visit(factories.LEAD, javascript=script) as view:
        page = view.open(f"/schedules/{slug}")
        page.locator("summary", has_text="Change").click()
        text = page.get_by_label("Schedule", exact=True)
        text.fill(text.input_value().replace("1w", "fortnightly"))
        page.get_by_role("button", name="Put it into force").click()
        expect(page.locator(".summary")).to_contain_text("'fortnightly' is no length of a turn")
        text = page.get_by_label("Schedule", exact=True)
        text.fill(text.input_value().replace("fortnightly", "2w"))
        page.get_by_role("button", name="Put it into force").click()
        expect(page.get_by_text("2 weeks at a time")).to_be_visible()
