"""Forms of administration keep what was typed, and what somebody else did meanwhile."""

import html
import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.kit.clock import DatabaseClock
from services.people import service as people_service
from services.people.rules import Role
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests import factories
from tests.factories import TEXT
from tests.factories.people import OPERATOR
from tests.factories.site import Site, open_site
from tests.ui.pages import client_of, post

_TOOL = f"/tools/{factories.TOOL}"
_POLICY = """SELECT threshold, category_thresholds, holdout_rate FROM gate_policy
    WHERE tool = :tool ORDER BY revision DESC LIMIT 1"""
_NAME = "SELECT name FROM tool WHERE slug = :tool"


@pytest.fixture
def site(postgres_url: str) -> Iterator[Site]:
    """A site of this test's own; pages without a browser."""
    with open_site(postgres_url) as opened:
        yield opened


def _change_tool(site: Site, **changes: Any) -> None:
    """Another admin changes the tool, by the API."""
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        tool_service.change_tool(session, factories.TOOL, changes, actor=OPERATOR, now=now)


def _fields(page: str, action: str) -> dict[str, str]:
    """What a browser would send of a form, untouched."""
    form = page.partition(f'action="{action}"')[2].partition("</form>")[0]
    found = re.findall(r'<input type="\w+"(?: name="(\w+)")? value="([^"]*)"(.*?)>', form)
    sent = {name or _named(rest): html.unescape(value) for name, value, rest in found}
    for rest, chosen in re.findall(r'<select(.*?)>.*?value="([^"]*)" selected', form, re.DOTALL):
        sent[_named(rest)] = chosen
    for rest, text in re.findall(r"<textarea(.*?)>\n(.*?)</textarea>", form, re.DOTALL):
        sent[_named(rest)] = html.unescape(text)
    return sent


def _named(attributes: str) -> str:
    found = re.search(r'name="(\w+)"', attributes)
    assert found is not None
    return found[1]


def test_save_a_tool_that_somebody_changed_meanwhile(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get(_TOOL).text, _TOOL)
    _change_tool(site, threshold=0.99)
    refused = post(admin, _TOOL, **{**form, "name": "New name"})
    assert refused.status_code == 409
    assert (site.one(_POLICY, tool=factories.TOOL)[0], site.one(_NAME, tool=factories.TOOL)) == (
        0.99,
        factories.TOOL,
    )
    said = html.unescape(refused.text)
    assert "Somebody changed this tool while you had it open" in said
    assert "Threshold now: 0.99." in said
    assert f"Name now: {factories.TOOL}." in said
    again = _fields(refused.text, _TOOL)
    assert (again["name"], again["threshold"]) == ("New name", "0.7")
    assert post(admin, _TOOL, **{**again, "threshold": "0.99"}).status_code == 303
    assert (site.one(_POLICY, tool=factories.TOOL)[0], site.one(_NAME, tool=factories.TOOL)) == (
        0.99,
        "New name",
    )


def test_mistake_does_not_hide_what_somebody_changed_meanwhile(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get(_TOOL).text, _TOOL)
    _change_tool(site, threshold=0.99)
    refused = post(admin, _TOOL, **{**form, "audit_rate": "little"})
    assert refused.status_code == 422
    mended = {**_fields(refused.text, _TOOL), "audit_rate": "0.1"}
    assert post(admin, _TOOL, **mended).status_code == 409
    assert site.one(_POLICY, tool=factories.TOOL)[0] == 0.99


def test_untouched_form_changes_nothing(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    _change_tool(site, category_thresholds={"tax": 0.9}, holdout_rate=0.05)
    form = _fields(admin.get(_TOOL).text, _TOOL)
    before = site.one("SELECT revision FROM tool WHERE slug = :tool", tool=factories.TOOL)
    assert post(admin, _TOOL, **form).status_code == 303
    assert site.one("SELECT revision FROM tool WHERE slug = :tool", tool=factories.TOOL) == before


def test_set_thresholds_of_categories_and_the_holdout_rate(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get(_TOOL).text, _TOOL)
    form |= {"categories": "billing\r\ntax\r\na: b", "holdout_rate": "0.05"}
    form["category_thresholds"] = "tax: 0.9\r\n\r\n a: b : 0.5 "
    assert post(admin, _TOOL, **form).status_code == 303
    stored = site.one(_POLICY, tool=factories.TOOL)
    assert (stored.category_thresholds, stored.holdout_rate) == ({"tax": 0.9, "a: b": 0.5}, 0.05)
    shown = _fields(admin.get(_TOOL).text, _TOOL)
    assert shown["category_thresholds"] == "a: b: 0.5\ntax: 0.9"


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("tax: 0.9\nrefnd: 0.8", "line 2: 'refnd' is none of the tool's categories"),
        ("\ntax: 70", "line 2: '70.0' is not between 0 and 1"),
        ("tax", "line 1 is no category with its threshold"),
        ("tax: much", "line 1 is no category with its threshold"),
        (": 0.9", "line 1 is no category with its threshold"),
        ("tax: 0.9\nbilling: 0.8\ntax: 0.7", "line 3: 'tax' stands there twice"),
    ],
)
def test_threshold_of_a_category_that_cannot_be_used_names_its_line(
    site: Site, typed: str, says: str
) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get(_TOOL).text, _TOOL) | {"category_thresholds": typed}
    refused = post(admin, _TOOL, **form)
    assert refused.status_code == 422
    assert says in html.unescape(refused.text)
    assert _fields(refused.text, _TOOL)["category_thresholds"] == typed
    assert site.one(_POLICY, tool=factories.TOOL).category_thresholds == {}


def test_thresholds_of_categories_are_for_tools_that_return_one(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get(f"/tools/{TEXT}").text, f"/tools/{TEXT}")
    assert "category_thresholds" not in form
    assert post(admin, f"/tools/{TEXT}", **{**form, "holdout_rate": "0.1"}).status_code == 303
    assert site.one(_POLICY, tool=TEXT).holdout_rate == 0.1


def test_register_a_tool_with_a_holdout_rate(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    form = _fields(admin.get("/tools/new").text, "/tools/new")
    form |= {"slug": "fresh", "kind": OutputKind.FLAG.value, "team": "support"}
    assert post(admin, "/tools/new", **{**form, "holdout_rate": "0.2"}).status_code == 200
    assert site.one(_POLICY, tool="fresh").holdout_rate == 0.2


# --- people -----------------------------------------------------------------------------

_PERSON = """SELECT role, active, ARRAY(SELECT team FROM membership WHERE person = email) AS teams
    FROM person WHERE email = :email"""


def _row(page: str, email: str) -> str:
    """The row of a person."""
    rows = re.findall(r"<tr>.*?</tr>", page, re.DOTALL)
    return next(row for row in rows if f">{email}</span>" in row)


def _change_person(site: Site, email: str, **changes: Any) -> None:
    """Another admin changes somebody."""
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.change_person(session, email, actor=OPERATOR, duties=(), now=now, **changes)


def _sent(row: str, **typed: str | list[str]) -> dict[str, str | list[str]]:
    """What a browser would send of a row's form, with some of it typed otherwise."""
    hidden = re.findall(r'<input type="hidden" name="(seen_\w+|email)" value="([^"]*)"', row)
    checked = re.findall(r'name="team" value="(\S+)" checked', row)
    chosen = re.findall(r'<option value="(\w+)" selected', row)
    fields = {"email", "seen_role", "seen_team"} & {name for name, _ in hidden}
    sent = {name: [value for named, value in hidden if named == name] for name in fields}
    return {**sent, "role": chosen, "team": checked, **typed}


def test_save_a_person_whom_somebody_changed_meanwhile(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    row = _row(admin.get("/people").text, factories.TEAMMATE)
    _change_person(site, factories.TEAMMATE, role=Role.LEAD)
    refused = post(admin, "/people/change", **_sent(row, team=["support", "other"]))
    assert refused.status_code == 409
    assert tuple(site.one(_PERSON, email=factories.TEAMMATE)) == ("lead", True, ["support"])
    assert "Somebody changed this person while you had them open" in refused.text
    again = _row(refused.text, factories.TEAMMATE)
    assert "<details open>" in again
    assert "Role now: Lead." in again
    assert "Teams now: support." in again
    sent = _sent(again)
    assert (sent["role"], sent["team"]) == (["owner"], ["other", "support"])
    assert post(admin, "/people/change", **{**sent, "role": "lead"}).status_code == 303
    role, _, teams = site.one(_PERSON, email=factories.TEAMMATE)
    assert (role, sorted(teams)) == ("lead", ["other", "support"])


@pytest.mark.parametrize(
    ("path", "typed", "control"),
    [
        ("/people/change", {"role": "rep"}, "f-role-"),
        ("/people/change", {"team": "support"}, "f-team-"),
        ("/people/active", {"active": "no"}, "f-active-"),
    ],
    ids=["demote", "move", "deactivate"],
)
def test_last_reviewer_stays_and_the_form_with_them(
    site: Site, path: str, typed: dict[str, str], control: str
) -> None:
    admin = client_of(site, factories.ADMIN)
    row = _row(admin.get("/people").text, factories.OUTSIDER)
    refused = post(admin, path, **_sent(row, **typed))
    assert refused.status_code == 409
    assert tuple(site.one(_PERSON, email=factories.OUTSIDER)) == ("owner", True, ["other"])
    assert "Somebody else was first" not in refused.text
    again = _row(refused.text, factories.OUTSIDER)
    assert "<details open>" in again
    says = html.unescape(again.partition(f'id="{control}')[2].partition("</p>")[0])
    assert "nobody else may review in team 'other'" in says
    assert "Make somebody else a reviewer of team 'other' first." in says
    sent = _sent(again)
    assert {name: sent[name] for name in typed if name in sent} == {
        name: [value] for name, value in typed.items() if name in sent
    }
    assert f'href="#{control}' in refused.text


def test_save_the_same_form_twice(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    sent = _sent(_row(admin.get("/people").text, factories.TEAMMATE), role="lead")
    assert [post(admin, "/people/change", **sent).status_code for _ in "12"] == [303, 303]
    form = {**_fields(admin.get(_TOOL).text, _TOOL), "threshold": "0.8"}
    assert [post(admin, _TOOL, **form).status_code for _ in "12"] == [303, 303]


def test_skills_that_somebody_said_meanwhile(site: Site) -> None:
    lead = client_of(site, factories.LEAD)
    form = {"email": factories.TEAMMATE, "seen_skills": ""}
    assert post(lead, "/people/skills", **form, skills="taxes").status_code == 303
    refused = post(lead, "/people/skills", **form, skills="refunds")
    assert refused.status_code == 409
    again = _row(refused.text, factories.TEAMMATE)
    assert "<details open>" in again
    assert "Skills now: taxes." in again
    assert 'value="refunds"' in again
    assert 'value="taxes"' in again
    form["seen_skills"] = "taxes"
    assert post(lead, "/people/skills", **form, skills="refunds").status_code == 303
    foreign = {"email": factories.OUTSIDER, "skills": "refunds"}
    assert post(lead, "/people/skills", **foreign).status_code == 404


def test_role_that_is_none_is_said_in_the_row(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    sent = _sent(_row(admin.get("/people").text, factories.TEAMMATE), role="king")
    refused = post(admin, "/people/change", **sent)
    assert refused.status_code == 422
    assert "'king' is no role" in html.unescape(_row(refused.text, factories.TEAMMATE))


def test_only_yes_and_no_decide_who_may_sign_in(site: Site) -> None:
    admin = client_of(site, factories.ADMIN)
    for active, status, after in (("off", 422, True), ("no", 303, False), ("yes", 303, True)):
        answer = post(admin, "/people/active", email=factories.REP, active=active)
        assert answer.status_code == status
        query = "SELECT active FROM person WHERE email = :email"
        assert site.one(query, email=factories.REP) is after
