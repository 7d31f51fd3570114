"""The kill switch, tools and people, with and without JavaScript."""

import json
import uuid

from playwright.sync_api import Page, expect
from secondlook import events

from services.kit.clock import DatabaseClock
from services.tools import service as tool_service
from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import PHONE, axe_violations, sideways_scroll
from tests.factories import AUDITOR
from tests.factories.people import OPERATOR
from tests.factories.site import Site

_STATE = "SELECT state FROM gate_policy WHERE tool = :slug ORDER BY revision DESC LIMIT 1"
_PERSON = "SELECT role, active FROM person WHERE email = :email"
_KEYS = "SELECT count(*) FROM api_key WHERE tool = :slug AND revoked_at IS NULL"


def _new() -> str:
    return f"new-{uuid.uuid4().hex[:8]}"


def _changes(site: Site, slug: str) -> list[str]:
    """The states that events on the log or on their way to it tell of a tool."""
    query = "SELECT value FROM outbox WHERE topic = :topic ORDER BY id"
    found = [
        json.loads(bytes(row.value))
        for row in factories.rows(site.database, query, topic=events.TOOLS)
    ]
    return [one["data"]["state"] for one in found if one["data"]["tool"] == slug]


def test_stop_a_tool_and_start_it_again(site: Site, visit: Visit, script: bool) -> None:
    with visit(factories.OWNER, javascript=script) as view:
        page = view.open(f"/health/{factories.TOOL}")
        page.locator("summary", has_text="Stop the tool").click()
        page.get_by_role("button", name="Stop it now").click()
        expect(page.get_by_text("Stopped", exact=True)).to_be_visible()
        assert site.one(_STATE, slug=factories.TOOL) == "stopped"
        assert _changes(site, factories.TOOL)[-1] == "stopped"
        page.locator("summary", has_text="Switch to another state").click()
        page.get_by_label("Live: ").check()
        page.get_by_role("button", name="Switch", exact=True).click()
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
    assert site.one(_STATE, slug=factories.TOOL) == "live"
    assert _changes(site, factories.TOOL)[-2:] == ["stopped", "live"]


def test_register_a_tool_and_turn_its_keys(site: Site, visit: Visit, script: bool) -> None:
    slug = _new()
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open("/tools/new")
        page.get_by_label("Slug").fill("Not a slug")
        page.get_by_label("Categories").fill("billing\ntax")
        page.get_by_role("button", name="Register").click()
        expect(page.locator(".summary")).to_be_visible()
        expect(page.get_by_label("Categories")).to_have_value("billing\ntax")
        page.get_by_label("Slug").fill(slug)
        page.get_by_role("button", name="Register").click()
        expect(page.get_by_text("shown this once")).to_be_visible()
        assert site.one(_STATE, slug=slug) == "live"
        assert site.one(_KEYS, slug=slug) == 1
        page.get_by_role("button", name="Make a key").click()
        expect(page.get_by_text("shown this once")).to_be_visible()
        assert site.one(_KEYS, slug=slug) == 2
        page.get_by_role("button", name="Make a key").click()
        expect(page.get_by_role("alert").filter(has_text="two live keys")).to_be_visible()
        page.get_by_role("button", name="Revoke key").first.click()
        expect(page.get_by_text("revoked")).to_be_visible()
        assert site.one(_KEYS, slug=slug) == 1
        page.get_by_label("Confidence below which").fill("0.55")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
    policy = "SELECT threshold FROM gate_policy WHERE tool = :slug ORDER BY revision DESC LIMIT 1"
    assert float(site.one(policy, slug=slug)) == 0.55


def test_add_change_and_deactivate_a_person(site: Site, visit: Visit, script: bool) -> None:
    name = _new()
    email = f"{name}@example.org"
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open("/people")
        page.locator("#f-slug").fill(name)
        page.get_by_role("button", name="Add a team").click()
        expect(page.locator("#teams").get_by_text(name).first).to_be_visible()
        assert site.one("SELECT active FROM team WHERE slug = :slug", slug=name) is True
        page.get_by_label("E-mail").fill(email)
        page.locator("#f-name").fill(name)
        page.locator("#f-team").select_option(name)
        page.get_by_role("button", name="Add", exact=True).click()
        row = page.get_by_role("row").filter(has_text=email)
        expect(row).to_be_visible()
        assert tuple(site.one(_PERSON, email=email)) == ("rep", True)
        row.locator("summary").click()
        row.get_by_label("Role").select_option("owner")
        row.get_by_role("button", name="Save", exact=True).click()
        expect(row.get_by_text("Owner,")).to_be_visible()
        assert tuple(site.one(_PERSON, email=email)) == ("owner", True)
        row.get_by_role("button", name="Make a sign-in link").click()
        expect(page.get_by_text(f"Sign-in link for {email}")).to_be_visible()
        row.locator("summary").click()
        row.get_by_role("button", name="Deactivate").click()
        expect(row.get_by_text("Inactive")).to_be_visible()
    assert tuple(site.one(_PERSON, email=email)) == ("owner", False)


def test_lead_says_what_people_can_do(site: Site, visit: Visit, script: bool) -> None:
    with visit(factories.LEAD, javascript=script, size=PHONE) as view:
        page = view.open("/people")
        assert page.get_by_text(factories.OUTSIDER).count() == 0
        for admins in ("Add a person", "Sign-in link", "Deactivate"):
            assert page.get_by_text(admins).count() == 0
        row = page.get_by_role("row").filter(has_text=factories.TEAMMATE)
        row.locator("summary").click()
        row.get_by_label("Skills").fill("refunds, Tax law")
        row.get_by_role("button", name="Save the skills").click()
        page.locator(".summary").get_by_role("link").filter(has_text="'Tax law'").click()
        expect(row.get_by_label("Skills")).to_be_focused()
        expect(row.get_by_label("Skills")).to_have_value("refunds, Tax law")
        _require_accessible(page, script=script)
        row.get_by_label("Skills").fill(" refunds,tax-law ,")
        row.get_by_role("button", name="Save the skills").click()
        expect(row.get_by_text("Skills: refunds, tax-law")).to_be_visible()
        row.locator("summary").click()
        row.get_by_label("Skills").fill("")
        row.get_by_role("button", name="Save the skills").click()
        expect(row.get_by_text("Skills: ")).to_have_count(0)


def test_tool_that_somebody_changed_meanwhile(site: Site, visit: Visit, script: bool) -> None:
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open(f"/tools/{factories.TOOL}")
        with site.database.transaction() as session:
            now = DatabaseClock().now(session)
            high = 0.98 if script else 0.99
            tool_service.change_tool(
                session, factories.TOOL, {"threshold": high}, actor=OPERATOR, now=now
            )
        page.get_by_label("Share of silent outputs").fill("0.3" if script else "0.4")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("alert").filter(has_text="Somebody changed this")).to_be_visible()
        expect(page.get_by_label("Share of silent outputs")).to_have_value(
            "0.3" if script else "0.4"
        )
        page.get_by_role("link", name=f"Threshold now: {high}.").click()
        expect(page.get_by_label("Confidence below which")).to_be_focused()
        _require_accessible(page, script=script)
        page.get_by_label("Confidence below which").fill(str(high))
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
    policy = """SELECT threshold, audit_rate FROM gate_policy WHERE tool = :slug
        ORDER BY revision DESC LIMIT 1"""
    assert tuple(site.one(policy, slug=factories.TOOL)) == (high, 0.3 if script else 0.4)


def test_set_the_threshold_of_a_category(site: Site, visit: Visit, script: bool) -> None:
    share = 0.91 if script else 0.92
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open(f"/tools/{factories.TOOL}")
        page.get_by_label("Thresholds of single").fill(f"tax: {share}\nrefnd: 0.8")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".summary")).to_contain_text("line 2: 'refnd'")
        expect(page.get_by_label("Thresholds of single")).to_have_value(f"tax: {share}\nrefnd: 0.8")
        _require_accessible(page, script=script)
        page.get_by_label("Thresholds of single").fill(f"tax: {share}")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("Saved.")).to_be_visible()
    stored = """SELECT category_thresholds->>'tax' FROM gate_policy WHERE tool = :slug
        ORDER BY revision DESC LIMIT 1"""
    assert float(site.one(stored, slug=factories.TOOL)) == share


def test_clause_that_cannot_be_read_is_named_beside_its_condition(
    site: Site, visit: Visit, script: bool
) -> None:
    revision = "SELECT revision FROM tool WHERE slug = :slug"
    before = site.one(revision, slug=factories.TOOL)
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open(f"/tools/{factories.TOOL}")
        page.get_by_label("Condition id").last.fill("torn")
        clauses = f"#{page.get_by_label('Clauses').last.get_attribute('id')}"
        page.locator(clauses).fill("attributes.vip: [yes")
        page.get_by_role("button", name="Set the conditions").click()
        page.locator(".summary a").click()
        expect(page.locator(clauses)).to_be_focused()
        expect(page.locator(clauses)).to_have_value("attributes.vip: [yes")
        expect(page.locator(f"{clauses}-error")).to_contain_text("Write clauses such as")
        _require_accessible(page, script=script)
    assert site.one(revision, slug=factories.TOOL) == before


def test_last_reviewer_of_a_team_stays(site: Site, visit: Visit, script: bool) -> None:
    with visit(factories.ADMIN, javascript=script) as view:
        page = view.open("/people")
        row = page.get_by_role("row").filter(has_text=factories.OUTSIDER)
        row.locator("summary").click()
        row.get_by_label("Role").select_option("rep")
        row.get_by_role("button", name="Save", exact=True).click()
        expect(row.get_by_text("nobody else may review in team 'other'")).to_be_visible()
        expect(row.get_by_label("Role")).to_have_value("rep")
        page.locator(".summary a").click()
        expect(row.get_by_label("Role")).to_be_focused()
        _require_accessible(page, script=script)
        row.get_by_role("button", name="Deactivate").click()
        expect(row.get_by_text("nobody else may review in team 'other'")).to_be_visible()
        _require_accessible(page, script=script)
    assert tuple(site.one(_PERSON, email=factories.OUTSIDER)) == ("owner", True)


def _require_accessible(page: Page, *, script: bool) -> None:
    if script:
        # What is scrolled under the header is too near to its links to be pressed there.
        page.evaluate("scrollTo(0, 0)")
        assert axe_violations(page) + sideways_scroll(page) == []


def test_auditor_reads_who_did_what(site: Site, visit: Visit, script: bool) -> None:
    with visit(AUDITOR, javascript=script) as view:
        expect(view.open("/audit").get_by_role("row")).not_to_have_count(0)
        page = view.open("/audit?before=12")
        expect(
            page.get_by_role("row").filter(has_text="add person rita@example.org").first
        ).to_be_visible()
