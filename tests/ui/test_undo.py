"""A slip of a reviewer is taken back, and a decided case is opened again."""

import re
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import text

from tests import factories
from tests.factories import OPS
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_STATE = 'SELECT state, verdict, verdict_value, claimant FROM "case" WHERE id = :id'
_EVENTS = "SELECT string_agg(event, ' ' ORDER BY id) FROM timeline_entry WHERE case_id = :id"
_PUBLISHED = """SELECT count(*) FROM outbox WHERE topic = 'secondlook.cases'
    AND convert_from(value, 'UTF8')::jsonb->>'type' = 'secondlook.case.undone.v1'
    AND convert_from(value, 'UTF8')::jsonb->'data'->>'case_id' = :id"""
_HAND_OVER = text('UPDATE "case" SET owner_person = :email WHERE id = :id')
_VERDICT_ID = 'SELECT verdict_id FROM "case" WHERE id = :id'
_OPEN = ("open", None, None, None)


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@pytest.fixture
def decided(site: Site) -> int:
    """A case that its owner has decided just now."""
    case = site.case()
    post(client_of(site, factories.OWNER), f"/c/{case}/verdict", choice="is:tax", token="")
    assert site.verdict(case) == ("corrected", "tax", factories.OWNER)
    return case


def undo(site: Site, client: TestClient, case: int) -> Response:
    """Undo, on a page that shows the verdict which the case has now."""
    return post(client, f"/c/{case}/undo", verdict_id=site.one(_VERDICT_ID, id=case) or "")


def shown_verdict(client: TestClient, address: str, case: int) -> str:
    """The verdict that the page's Undo of this case takes back."""
    form = re.compile(
        rf'action="/c/{case}/undo[^>]*>.*?name="verdict_id" value="([^"]+)"', re.DOTALL
    )
    found = form.search(client.get(address).text)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("email", [factories.OWNER, factories.LEAD])
def test_verdict_is_taken_back(site: Site, decided: int, email: str) -> None:
    client = client_of(site, email)
    seen = shown_verdict(client, f"/c/{decided}", decided)
    answer = post(client, f"/c/{decided}/undo", verdict_id=seen)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/c/{decided}")
    assert tuple(site.one(_STATE, id=decided)) == _OPEN
    assert site.one(_EVENTS, id=decided) == "opened claimed resolved undone"
    assert site.one(_PUBLISHED, id=str(decided)) == 1


def test_case_is_due_again_when_it_was_due_before_a_verdict_without_a_claim(site: Site) -> None:
    case = site.case()
    due = site.one('SELECT due_at, claim_due_at FROM "case" WHERE id = :id', id=case)
    client = client_of(site, factories.OWNER)
    post(client, f"/c/{case}/verdict", choice="is:tax", token="")
    undo(site, client, case)
    again = site.one('SELECT due_at, claim_due_at FROM "case" WHERE id = :id', id=case)
    assert again.due_at == again.claim_due_at
    assert timedelta() <= again.due_at - due.due_at < timedelta(minutes=1)


@pytest.mark.parametrize("email", [factories.TEAMMATE, OPS, factories.OUTSIDER])
def test_verdict_of_somebody_else_stands(site: Site, decided: int, email: str) -> None:
    client = client_of(site, email)
    assert f"/c/{decided}/undo" not in client.get(f"/c/{decided}").text
    assert undo(site, client, decided).status_code in (403, 404)
    assert site.verdict(decided) == ("corrected", "tax", factories.OWNER)


def test_undo_twice_is_told_that_there_is_nothing_left(site: Site, decided: int) -> None:
    client = client_of(site, factories.OWNER)
    undo(site, client, decided)
    answer = undo(site, client, decided)
    assert answer.status_code == 409
    assert "only a verdict just given is undone" in answer.text
    assert tuple(site.one(_STATE, id=decided)) == _OPEN


@pytest.mark.parametrize("presser", [factories.OWNER, factories.LEAD])
@pytest.mark.parametrize("reviewer", [factories.OWNER, factories.TEAMMATE])
def test_late_undo_leaves_a_verdict_that_was_not_seen(
    site: Site, decided: int, presser: str, reviewer: str
) -> None:
    client = client_of(site, presser)
    seen = shown_verdict(client, f"/c/{decided}", decided)
    undo(site, client_of(site, factories.OWNER), decided)
    again = {"choice": "undecidable", "token": "", "note": "torn"}
    post(client_of(site, reviewer), f"/c/{decided}/verdict", **again)
    answer = post(client, f"/c/{decided}/undo", verdict_id=seen)
    assert answer.status_code == 409
    assert f"{reviewer} has given another verdict since" in answer.text
    assert site.verdict(decided) == ("undecidable", None, reviewer)


def test_verdict_is_taken_back_after_the_owner_left(site: Site) -> None:
    case, gone = site.case(), f"gone-{uuid4()}@example.org"
    with site.database.transaction() as session:
        factories.add_person(session, gone)
    client = client_of(site, factories.OWNER)
    assert post(client, f"/c/{case}/reassign", owner=f"user:{gone}").status_code == 303
    post(client, f"/c/{case}/verdict", choice="is:tax", token="")
    admin = client_of(site, factories.ADMIN)
    assert post(admin, "/people/active", email=gone, active="no").status_code == 303
    answer = undo(site, client, case)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/c/{case}")
    assert tuple(site.one(_STATE, id=case)) == _OPEN
    owner = 'SELECT owner_team FROM "case" WHERE id = :id'
    assert site.one(owner, id=case) == factories.TEAM


def test_reviewer_of_another_team_takes_back_what_they_see_no_longer_then(site: Site) -> None:
    case = site.case()
    owner = client_of(site, factories.OWNER)
    post(owner, f"/c/{case}/reassign", owner=f"user:{factories.OUTSIDER}")
    outsider = client_of(site, factories.OUTSIDER)
    post(outsider, f"/c/{case}/verdict", choice="is:tax", token="")
    assert site.verdict(case) == ("corrected", "tax", factories.OUTSIDER)
    with site.database.transaction() as session:
        session.execute(_HAND_OVER, {"id": case, "email": factories.TEAMMATE})
    answer = undo(site, outsider, case)
    assert (answer.status_code, answer.headers["location"]) == (303, "/queue")
    assert tuple(site.one(_STATE, id=case)) == _OPEN


def test_undo_stands_beside_the_next_case_and_the_empty_queue(site: Site) -> None:
    site.clear()
    first, second = site.case(), site.case()
    client = client_of(site, factories.OWNER)
    following = post(client, f"/c/{first}/verdict", choice="upheld", token="")
    assert following.headers["location"] == f"/c/{second}?done={first}"
    seen = shown_verdict(client, following.headers["location"], first)
    assert seen == site.one(_VERDICT_ID, id=first)
    following = post(client, f"/c/{second}/verdict", choice="upheld", token="")
    assert following.headers["location"] == f"/queue?done={second}"
    assert f"Case {second} upheld" in client.get(following.headers["location"]).text
    seen = shown_verdict(client, following.headers["location"], second)
    assert seen == site.one(_VERDICT_ID, id=second)


def test_case_is_opened_again_by_a_teammate_with_a_reason(site: Site, decided: int) -> None:
    client = client_of(site, factories.TEAMMATE)
    assert post(client, f"/c/{decided}/reopen", note="It was VAT.").status_code == 303
    assert tuple(site.one(_STATE, id=decided)) == _OPEN
    note = "SELECT note FROM timeline_entry WHERE case_id = :id AND event = 'reopened'"
    assert site.one(note, id=decided) == "It was VAT."
    answer = post(client, f"/c/{decided}/reopen", note="It was VAT.")
    assert answer.status_code == 409
