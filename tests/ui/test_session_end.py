"""A session ends while somebody works: nothing that was typed is lost, and nothing is done."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from html import unescape

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from services.kit.clock import DatabaseClock
from services.people import access
from services.tools.identity import COOKIE
from tests import factories
from tests.factories import PASSWORD
from tests.factories.people import OPERATOR
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of
from ui.kit.draft import draft_in
from ui.kit.forms import Form

_NOTES = "SELECT note FROM timeline_entry WHERE case_id = :id AND event = 'commented'"
_TYPED = 'The customer says: "never" \N{EM DASH} <b>\nand again.'
_PAGE_OF_OURS = {"Referer": "http://127.0.0.1/queue?mine=1"}


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@pytest.fixture
def case(site: Site) -> int:
    return site.case()


def _client(site: Site) -> TestClient:
    """An owner whose session has ended while their page was open."""
    client = client_of(site, factories.OWNER)
    client.headers["csrf"] = _token(client.get("/account"))
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        access.sign_out(session, client.cookies[COOKIE], now=now)
    return client


def _token(page: Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def _hidden(page: Response) -> dict[str, str]:
    """The hidden fields of the last form of a page, as a browser would send them."""
    form = re.findall(r"<form.*?</form>", page.text, re.DOTALL)[-1]
    pairs = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return {unescape(name): unescape(value) for name, value in pairs}


def _comment(client: TestClient, case: int, **more: str) -> Response:
    data = {"csrf_token": client.headers["csrf"], "note": _TYPED, "token": "", **more}
    return client.post(f"/c/{case}/comment?mine=1", data=data, headers=_PAGE_OF_OURS)


def _sign_in(client: TestClient, page: Response, password: str = PASSWORD) -> Response:
    data = _hidden(page) | {"email": factories.OWNER, "password": password}
    return client.post("/sign-in", data=data)


def test_typed_text_comes_back_with_the_sign_in_and_is_sent_again(site: Site, case: int) -> None:
    client = _client(site)
    refused = _comment(client, case)
    assert refused.status_code == 401
    assert unescape(refused.text).count(_TYPED) == 1
    assert factories.rows(site.database, _NOTES, id=case) == []
    wrong = _sign_in(client, refused, "not the password")
    assert (wrong.status_code, unescape(wrong.text).count(_TYPED)) == (401, 1)
    again = _sign_in(client, wrong)
    assert again.status_code == 200
    assert _TYPED in unescape(again.text)
    assert factories.rows(site.database, _NOTES, id=case) == []
    assert f'action="/c/{case}/comment?mine=1"' in again.text
    sent = client.post(f"/c/{case}/comment?mine=1", data=_hidden(again))
    assert sent.status_code == 303
    assert site.one(_NOTES, id=case) == _TYPED


def test_one_press_without_text_is_kept_too(site: Site, case: int) -> None:
    client = _client(site)
    press = {"csrf_token": client.headers["csrf"], "choice": "is:tax", "token": ""}
    refused = client.post(f"/c/{case}/verdict", data=press)
    assert (refused.status_code, site.verdict(case)[0]) == (401, None)
    again = _sign_in(client, refused)
    client.post(f"/c/{case}/verdict", data=_hidden(again))
    assert site.verdict(case) == ("corrected", "tax", factories.OWNER)


def test_press_with_nothing_to_keep_leads_back_to_its_page(site: Site, case: int) -> None:
    client = _client(site)
    given = {"csrf_token": client.headers["csrf"]}
    refused = client.post(f"/c/{case}/claim", data=given, headers=_PAGE_OF_OURS)
    assert refused.status_code == 401
    signed_in = _sign_in(client, refused)
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/queue?mine=1")


def test_password_is_never_given_back(site: Site) -> None:
    client = _client(site)
    data = {"csrf_token": client.headers["csrf"], "password": _TYPED, "current": _TYPED}
    for path in ("/account/password", "/sign-in"):
        refused = client.post(path, data=data)
        assert refused.status_code in (401, 403)
        assert _TYPED not in unescape(refused.text)
        assert 'name="draft"' not in refused.text


def test_very_long_text_is_refused_without_being_kept(site: Site, case: int) -> None:
    refused = _comment(_client(site), case, note="x" * 300_000)
    assert refused.status_code == 401
    assert "draft" not in _hidden(refused)


@pytest.mark.parametrize(
    "elsewhere",
    ["https://evil.example/", "//evil.example/", "/\\evil.example", "data:x", "", "/account/token"],
)
def test_draft_goes_to_pages_of_ours_alone(elsewhere: str) -> None:
    assert draft_in(Form([("draft_to", elsewhere), ("draft", "note=x")])) is None
    assert draft_in(Form([("draft_to", "/c/1/comment"), ("draft", "note=x")])) is not None


def test_what_htmx_asks_leaves_the_page_alone(site: Site, case: int) -> None:
    client = _client(site)
    here = f"http://127.0.0.1/c/{case}?mine=1"
    headers = {"HX-Request": "true", "HX-Current-URL": here}
    token = {"X-CSRF-Token": client.headers["csrf"]}
    polled = client.get("/queue/new?since=1", headers=headers)
    pressed = client.post(f"/c/{case}/comment", data={"note": "x"}, headers=headers | token)
    for answer in (polled, pressed):
        assert answer.status_code == 401
        assert "hx-redirect" not in answer.headers
        assert answer.headers["hx-retarget"] == "#notice"
        assert set(json.loads(answer.headers["hx-trigger"])) == {"announce", "keep-drafts"}
        assert f'href="/sign-in?next=/c/{case}%3Fmine%3D1"' in answer.text


def test_page_of_an_earlier_sign_in_gives_back_what_was_typed(site: Site, case: int) -> None:
    client = _client(site)
    client.cookies.set(COOKIE, site.session(factories.OWNER))
    stale = _comment(client, case)
    assert stale.status_code == 403
    assert _TYPED in unescape(stale.text)
    assert factories.rows(site.database, _NOTES, id=case) == []
    assert client.post(f"/c/{case}/comment", data=_hidden(stale)).status_code == 303
    assert site.one(_NOTES, id=case) == _TYPED


def test_session_that_is_over_does_nothing(site: Site) -> None:
    with site.database.transaction() as session:
        now = DatabaseClock().now(session)
        length = timedelta(seconds=0)
        link = access.create_link(
            session, factories.OWNER, actor=OPERATOR, now=now, length=timedelta(hours=1)
        )
        secret, _ = access.use_link(session, link, now=now, length=length)
    client = client_of(site, None)
    client.cookies.set(COOKIE, secret)
    assert client.get("/queue").status_code == 303


@pytest.mark.parametrize(
    "verb", [{"comment": "note"}, {"reassign": "note"}, {"escalate": "note"}], ids=str
)
def test_text_stays_where_a_verb_is_refused(site: Site, case: int, verb: dict[str, str]) -> None:
    (name,) = verb
    client = client_of(site, factories.OWNER)
    wrong = {"comment": {"token": "9999"}, "reassign": {"owner": "nobody"}}.get(name, {})
    data = {"csrf_token": _token(client.get("/account")), "note": _TYPED, "level": "77", **wrong}
    answer = client.post(f"/c/{case}/{name}", data=data)
    assert answer.status_code in (409, 422)
    assert _TYPED in unescape(answer.text)
