"""Every page of every role: accessible, within its window, true to the content policy."""

from datetime import timedelta
from typing import Any

import pytest

from services.escalation import service as escalation
from services.escalation.policy import revisions
from services.kit.clock import DatabaseClock
from services.notifications.service import allow_push
from services.people import absences, schedules, skills
from services.people import service as people_service
from services.people.rules import Role
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests import factories
from tests.browser.conftest import Visit
from tests.browser.harness import PHONE, at_every_width, misshapen, sideways_scroll
from tests.factories import AUDITED, AUDITOR, FIELDS, FLAG, OPS, TEXT, Casework
from tests.factories.people import OPERATOR
from tests.factories.site import Site
from tests.notifications.browsers import FakeBrowser
from ui.outputs.view import address

# Each takes the focus as it opens, which scrolls parts of the page below the bar at its top.
_OPEN_ALL = """async () => {
    for (const one of document.querySelectorAll('main details')) one.open = true
    await new Promise(opened => setTimeout(opened, 50))
    scrollTo(0, 0)
}"""
VISITORS = (
    *(factories.OWNER, factories.TEAMMATE, factories.LEAD, factories.REP, factories.ADMIN),
    *(OPS, AUDITOR, None),
)
_ALWAYS, _HOLES = "always", "with-holes"
_LONG = "a-category-with-a-very-long-name-that-nobody-would-want-to-read-aloud-twice"


@pytest.fixture(scope="module")
def paths(site: Site) -> list[tuple[str | None, str]]:
    """Who looks at what."""
    cases = [site.case(tool) for tool in (factories.TOOL, TEXT, FLAG, FIELDS)]
    blind = [site.case(AUDITED, confidence=0.95), site.case(value=_LONG)]
    paused, part, whole = site.case(), site.case(), site.case()
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        lead = factories.actor_of(session, factories.LEAD)
        until, limit = now + timedelta(hours=5), timedelta(days=1)
        given = {"until": until, "reason": "waits for the bank", "limit": limit, "now": now}
        escalation.snooze(session, lead, paused, **given)
        escalation.merge(session, lead, part, into=whole, now=now)
    several, divided = _several(site)
    outputs = [address(tool, site.output(tool)) for tool in (factories.TOOL, TEXT, FLAG, FIELDS)]
    owner = ["/queue", "/queue?trigger=policy", "/inbox", *(f"/c/{case}" for case in cases + blind)]
    admin = ["/tools", "/tools/new", f"/tools/{factories.TOOL}", "/people", "/audit", "/account"]
    wanted: list[tuple[str | None, str]] = [(factories.OWNER, path) for path in owner]
    wanted += [(factories.REP, path) for path in ["/outputs", "/inbox", *outputs, "/nowhere"]]
    wanted += [(OPS, path) for path in ("/health", f"/health/{factories.TOOL}", outputs[1])]
    wanted += [(factories.LEAD, f"/c/{case}") for case in (paused, part, whole, several, divided)]
    wanted += [(factories.OWNER, f"/c/{case}") for case in (several, divided)]
    wanted += [(AUDITOR, f"/c/{cases[1]}"), (AUDITOR, outputs[3])]
    wanted += [(factories.ADMIN, path) for path in admin]
    wanted += [(who, path) for who, path in _schedules(site)]
    wanted += [(factories.LEAD, path) for path in _routing(site)]
    return [*wanted, (None, "/sign-in"), (None, site.link(factories.REP))]


def _several(site: Site) -> tuple[int, int]:
    """A case with one opinion of two, and one whose reviewers all differ."""
    cases = site.case(), site.case()
    asks_two = 'UPDATE "case" SET reviewers = 2, blind = true WHERE id = :id RETURNING id'
    said = {factories.OWNER: "tax", factories.TEAMMATE: "refund", factories.ADMIN: "billing"}
    for case, people in zip(cases, (1, 3), strict=True):
        site.one(asks_two, id=case)
        for who, value in list(said.items())[:people]:
            Casework(site.database).give_verdict(
                who, case, "corrected", value=value, note=f"{value}, as the letter says"
            )
    return cases


def _schedules(site: Site) -> list[tuple[str, str]]:
    """A schedule with somebody always there, and one with holes, an override and an absence."""
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        factories.add_schedule(session, _ALWAYS, factories.OWNER, factories.TEAMMATE, every="1d")
        factories.add_schedule(session, _HOLES, factories.TEAMMATE, every="12h")
        span: Any = {"actor": OPERATOR, "now": now}
        end = now + timedelta(days=1)
        schedules.override(session, _HOLES, factories.LEAD, begin=now, end=end, **span)
        span |= {"begin": end, "end": end + timedelta(days=3), "stand_in": None}
        absences.go_away(session, factories.TEAMMATE, **span)
        asked = FakeBrowser("https://push.example.org/1").subscription
        teammate = factories.actor_of(session, factories.TEAMMATE)
        given = {"user_agent": "Firefox/140.0", "allowed": (), "actor": teammate}
        allow_push(session, asked, **given, now=now)
    paths = ["/schedules", f"/schedules/{_ALWAYS}", f"/schedules/{_HOLES}"]
    return [(factories.LEAD, path) for path in (*paths, "/people")] + [
        (factories.TEAMMATE, "/account"),
        (AUDITOR, f"/schedules/{_HOLES}"),
    ]


def _routing(site: Site) -> list[str]:
    """A policy in force with a rule that is only tried, another one before it, and a trial."""
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        lead = factories.actor_of(session, factories.LEAD)
        for content in (factories.POLICY, factories.POLICY.replace("  - id: taxes", _TRIED)):
            number = revisions.put(session, content, actor=lead, now=now)
    trial = f"/routing/try?tool={factories.TOOL}&trigger=dispute&value=tax&confidence=0.2"
    return [
        *("/routing", "/routing/history", f"/routing/history/{number}", "/routing/propose"),
        *("/routing/try", trial),
    ]


_TRIED = """  - {id: tried, mode: monitor, when: {confidence: {lt: 0.1}}, owner: {team: support}}
  - id: taxes"""


@pytest.mark.parametrize("who", VISITORS)
def test_page_is_accessible_and_fits(
    who: str | None, paths: list[tuple[str | None, str]], visit: Visit
) -> None:
    found = {}
    with visit(who) as view:
        for number, path in enumerate(path for email, path in paths if email == who):
            page = view.open(path)
            page.evaluate(_OPEN_ALL)
            found[path] = misshapen(page, turned=number % 2 == 1)
            page.close()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
    assert found


def test_nobody_is_left_out(paths: list[tuple[str | None, str]]) -> None:
    assert {email for email, _ in paths} == set(VISITORS)


# Where the bar of navigation, its current item and the page stand.
_BAR = """() => {
    const [bar, item] = ['.nav', '.nav [aria-current]'].map(
        one => document.querySelector(one).getBoundingClientRect());
    return {cut: Math.max(0, bar.left - item.left, item.right - Math.min(bar.right, innerWidth)),
        moved: document.querySelector('.nav').scrollLeft, down: scrollY};
}"""
_LETS_GO = "() => document.querySelector('.nav').getAnimations().length === 0"
_SWIPE = "() => { document.querySelector('.nav').scrollLeft = 0 }"


def test_current_item_of_the_navigation_is_in_view_on_a_phone(visit: Visit) -> None:
    """Without a script, and from then on it is whoever swipes that moves it."""
    with visit(factories.ADMIN, size=PHONE, reduced_motion="reduce") as view:
        for path in ("/queue", "/schedules", "/people", "/audit"):
            page = view.open(path)
            stands = page.evaluate(_BAR)
            assert (stands["cut"], stands["down"]) == (0, 0), path
        assert stands["moved"] > 0
        page.wait_for_function(_LETS_GO)
        page.evaluate(_SWIPE)
        assert page.evaluate(_BAR)["moved"] == 0
    with visit(factories.ADMIN, size=PHONE, javascript=False) as view:
        assert view.open("/audit").evaluate(_BAR)["cut"] == 0


@pytest.fixture(scope="module")
def longest(site: Site) -> str:
    """A person, a team and a tool with the longest names that there are; the person's address."""
    email, name = f"{'l' * 60}@example.org", "W" * 200
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.add_team(session, "longest", name=name, actor=OPERATOR, now=now)
        people_service.add_person(
            session, email, name=name, role=Role.ADMIN, teams=["longest"], actor=OPERATOR, now=now
        )
        skills.change_skills(session, email, skills=["s" * 63], actor=OPERATOR, now=now)
        tool_service.add_tool(
            session,
            "longest",
            name=name,
            kind=OutputKind.TEXT,
            team="longest",
            maturity_seconds=0,
            actor=OPERATOR,
            now=now,
        )
    return email


def test_longest_names_fit(longest: str, site: Site, visit: Visit) -> None:
    with site.database.transaction() as session:
        factories.add_schedule(session, "l" * 63, longest, team="longest")
    longest_schedule = f"/schedules/{'l' * 63}"
    paths = (
        "/people",
        "/schedules",
        longest_schedule,
        "/account",
        "/tools",
        "/tools/longest",
        "/tools/new",
        "/health",
        "/health/longest",
    )
    found = {}
    with visit(longest) as view:
        for path in (*paths, "/outputs?tool=longest", "/queue", f"/c/{site.case()}", "/audit"):
            page = view.open(path)
            page.evaluate(_OPEN_ALL)
            found[path] = [wrong for _ in at_every_width(page) for wrong in sideways_scroll(page)]
            page.close()
    assert {path: wrong for path, wrong in found.items() if wrong} == {}
