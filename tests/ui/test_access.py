"""What another team has is not there; what a role may not do is refused; nothing else is said."""

import re
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from tests import factories
from tests.factories import AUDITOR, FOREIGN, OPS
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_THEIRS = "o/0 %"
_OURS = "o/1 %"
_NAVIGATION = {
    factories.REP: ["Outputs"],
    factories.OWNER: ["Queue", "Outputs", "Health", "Schedules"],
    factories.LEAD: ["Queue", "Outputs", "Health", "Schedules", "Routing", "People"],
    OPS: ["Queue", "Outputs", "Health", "Schedules"],
    AUDITOR: ["Queue", "Outputs", "Health", "Schedules", "Audit"],
    factories.ADMIN: [
        *("Queue", "Outputs", "Health", "Schedules", "Routing", "Tools", "People", "Audit"),
    ],
}
_NEEDS = {
    "/queue": "Queue",
    "/outputs": "Outputs",
    "/health": "Health",
    "/schedules": "Schedules",
    "/routing": "Routing",
    "/routing/history": "Routing",
    "/routing/try": "Routing",
    "/routing/propose": "Routing",
    "/tools": "Tools",
    "/tools/new": "Tools",
    f"/tools/{factories.TOOL}": "Tools",
    "/people": "People",
    "/audit": "Audit",
}


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """A site with one case of the other team and one of ours; pages without a browser."""
    with open_site(postgres_url) as opened:
        with at_work(opened):
            opened.case(FOREIGN)
            opened.case()
        yield opened


def _output(tool: str, output_id: str, part: str = "") -> str:
    return f"/output{part}?{urlencode({'tool': tool, 'id': output_id})}"


def _case(site: Site, output_id: str) -> int:
    return int(
        site.one(
            "SELECT case_id FROM case_output WHERE output_id = :id",
            id=output_id,
        )
    )


@pytest.mark.parametrize("address", ["/o/x/a%ffb", "/queue?tool=%ff", "/output?tool=x&id=%ff"])
@pytest.mark.parametrize("email", [factories.OWNER, None])
def test_address_that_is_no_utf8_is_refused(site: Site, email: str | None, address: str) -> None:
    answer = client_of(site, email).get(address)
    assert answer.status_code == 422
    assert "it is no UTF-8" in answer.text


@pytest.mark.parametrize("email", [factories.OWNER, factories.LEAD, factories.REP, OPS])
def test_read_what_another_team_has(site: Site, email: str) -> None:
    client, case = client_of(site, email), _case(site, _THEIRS)
    for path in (
        _output(FOREIGN, _THEIRS),
        f"/outputs?tool={FOREIGN}",
        *([] if email == factories.REP else [f"/c/{case}", f"/health/{FOREIGN}"]),
    ):
        answer = client.get(path)
        assert answer.status_code == 404, path
        assert "Where is my money" not in answer.text
    for path in ("/queue", "/outputs", "/health"):
        assert FOREIGN not in client.get(path).text


def test_do_something_to_what_another_team_has(site: Site) -> None:
    client, case = client_of(site, factories.OWNER), _case(site, _THEIRS)
    before = factories.rows(site.database, 'SELECT * FROM "case" ORDER BY id')
    posts = {
        f"/c/{case}/claim": {},
        f"/c/{case}/release": {"token": "1"},
        f"/c/{case}/verdict": {"choice": "upheld"},
        f"/c/{case}/comment": {"note": "Hello"},
        f"/c/{case}/reassign": {"owner": "team:support"},
        f"/c/{case}/escalate": {"level": "0"},
        f"/health/{FOREIGN}/state": {"state": "stopped"},
        _output(FOREIGN, _THEIRS): {"choice": "keep"},
        _output(FOREIGN, _THEIRS, "/undo"): {"correction": "x"},
    }
    for path, fields in posts.items():
        assert post(client, path, **fields).status_code == 404, path
    assert factories.rows(site.database, 'SELECT * FROM "case" ORDER BY id') == before
    assert site.one("SELECT count(*) FROM correction") == 0
    states = "SELECT string_agg(state, ' ') FROM gate_policy WHERE tool = :tool"
    assert site.one(states, tool=FOREIGN) == "live"


@pytest.mark.parametrize("email", list(_NAVIGATION))
def test_see_and_open_what_the_role_allows_alone(site: Site, email: str) -> None:
    client = client_of(site, email)
    home = client.get(client.get("/").headers["location"])
    assert home.status_code == 200
    shown = re.findall(r'data-does="Go to (\w+)"', home.text)
    assert [label.capitalize() for label in shown] == [*_NAVIGATION[email], "Inbox"]
    for path, label in _NEEDS.items():
        wanted = 200 if label in _NAVIGATION[email] else 403
        assert client.get(path).status_code == wanted, path


@pytest.mark.parametrize("email", [factories.REP, factories.OWNER, factories.LEAD, OPS, AUDITOR])
def test_do_what_the_role_does_not_allow(site: Site, email: str) -> None:
    client, case = client_of(site, email), _case(site, _OURS)
    reviewers, switches = (factories.OWNER, factories.LEAD), (factories.OWNER, OPS)
    posts = {
        "/tools/new": {"slug": "x"},
        f"/tools/{factories.TOOL}": {"name": "x"},
        f"/tools/{factories.TOOL}/keys": {},
        f"/tools/{factories.TOOL}/keys/x/revoke": {},
        "/people": {"email": "x@example.org"},
        "/people/teams": {"slug": "x"},
        "/people/change": {"email": factories.REP, "role": "admin"},
        "/people/active": {"email": factories.ADMIN, "active": "no"},
        "/people/link": {"email": factories.ADMIN},
    }
    if email not in reviewers:
        posts |= {f"/c/{case}/{verb}": {} for verb in ("claim", "release", "verdict", "comment")}
        posts |= {f"/c/{case}/reassign": {"owner": "team:support"}, f"/c/{case}/escalate": {}}
    if email not in switches:
        posts[f"/health/{factories.TOOL}/state"] = {"state": "stopped"}
    if email != factories.LEAD:
        posts |= {"/schedules": {"slug": "x"}, "/schedules/x/override": {"person": email}}
    if email in (OPS, AUDITOR):
        posts[_output(factories.TOOL, _OURS)] = {"choice": "keep"}
    for path, fields in posts.items():
        assert post(client, path, **fields).status_code == 403, path
    assert site.one('SELECT state FROM "case" WHERE id = :id', id=case) == "open"
    assert site.one("SELECT count(*) FROM api_key") == 0
    assert site.one("SELECT role FROM person WHERE email = :email", email=factories.REP) == "rep"


def test_open_a_page_without_having_signed_in(site: Site) -> None:
    client = client_of(site, None)
    for path in [*_NEEDS, "/account", f"/c/{_case(site, _OURS)}", "/"]:
        answer = client.get(path)
        assert (answer.status_code, answer.headers["location"][:8]) == (303, "/sign-in"), path
    for path in ("/people", f"/c/{_case(site, _OURS)}/claim", _output(factories.TOOL, _OURS)):
        assert client.post(path).status_code == 401, path


def test_post_without_the_pages_token(site: Site) -> None:
    client = client_of(site, factories.OWNER)
    case = _case(site, _OURS)
    assert client.post(f"/c/{case}/claim").status_code == 403
    assert client.post(f"/c/{case}/claim", data={"csrf_token": "guessed"}).status_code == 403
    assert site.one('SELECT state FROM "case" WHERE id = :id', id=case) == "open"


@pytest.mark.parametrize("path", ["/c/0", "/c/99999", f"/c/{2**80}", "/output?tool=x&id=y", "/x"])
def test_open_what_is_not_there(site: Site, path: str) -> None:
    assert client_of(site, factories.OWNER).get(path).status_code == 404


def test_holder_of_a_case_that_climbed_away_gives_it_back(site: Site) -> None:
    with at_work(site):
        case = site.case()
    client = client_of(site, factories.OWNER)
    post(client, f"/c/{case}/claim")
    token = str(site.one('SELECT claim_seq FROM "case" WHERE id = :id', id=case))
    moved = "UPDATE \"case\" SET team = 'other', owner_team = 'other' WHERE id = :id RETURNING id"
    site.one(moved, id=case)
    answer = post(client, f"/c/{case}/release", token=token)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
    assert site.one('SELECT state FROM "case" WHERE id = :id', id=case) == "open"
    assert client.get(f"/c/{case}").status_code == 404


@pytest.mark.parametrize("email", [OPS, AUDITOR, factories.OWNER])
def test_who_reads_cases_sees_no_answer_of_a_blind_one_among_the_outputs(
    site: Site, email: str
) -> None:
    with at_work(site):
        case = site.case(factories.AUDITED, confidence=0.95)
    output_id = site.one("SELECT output_id FROM case_output WHERE case_id = :id", id=case)
    client = client_of(site, email)
    answer = client.get(_output(factories.AUDITED, output_id))
    assert (answer.status_code, answer.headers.get("location")) == (303, f"/c/{case}")
    row = client.get(f"/outputs?tool={factories.AUDITED}").text.partition(output_id)[2]
    said = site.one("SELECT value FROM output WHERE output_id = :id", id=output_id)
    assert str(said) not in row.partition("</tr>")[0]
