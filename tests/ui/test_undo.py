"""A slip of a reviewer is taken back, and a decided case is opened again."""

from collections.abc import Iterator

import pytest

from tests import house
from tests.browser.town import OPS, Town, at_work, resources
from tests.ui.pages import client_of, post

_STATE = 'SELECT state, verdict, verdict_value, claimant FROM "case" WHERE id = :id'
_EVENTS = "SELECT string_agg(event, ' ' ORDER BY id) FROM timeline_entry WHERE case_id = :id"
_PUBLISHED = """SELECT count(*) FROM outbox WHERE topic = 'secondlook.cases'
    AND convert_from(value, 'UTF8')::jsonb->>'type' = 'secondlook.case.reopened.v1'
    AND convert_from(value, 'UTF8')::jsonb->'data'->>'case_id' = :id"""
_OPEN = ("open", None, None, None)


@pytest.fixture(scope="module")
def town(postgres_url: str) -> Iterator[Town]:
    """The product without a browser."""
    with resources(postgres_url) as opened, at_work(opened):
        yield Town(opened)


@pytest.fixture
def decided(town: Town) -> int:
    """A case that its owner has decided just now."""
    case = town.case()
    post(client_of(town, house.OWNER), f"/c/{case}/verdict", choice="is:tax", token="")
    assert town.verdict(case) == ("corrected", "tax", house.OWNER)
    return case


@pytest.mark.parametrize("email", [house.OWNER, house.LEAD])
def test_verdict_is_taken_back(town: Town, decided: int, email: str) -> None:
    client = client_of(town, email)
    assert f"/c/{decided}/undo" in client.get(f"/c/{decided}").text
    answer = post(client, f"/c/{decided}/undo")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/c/{decided}")
    assert tuple(town.one(_STATE, id=decided)) == _OPEN
    assert town.one(_EVENTS, id=decided) == "opened claimed resolved reopened"
    assert town.one(_PUBLISHED, id=str(decided)) == 1


@pytest.mark.parametrize("email", [house.TEAMMATE, OPS, house.OUTSIDER])
def test_verdict_of_somebody_else_stands(town: Town, decided: int, email: str) -> None:
    client = client_of(town, email)
    assert f"/c/{decided}/undo" not in client.get(f"/c/{decided}").text
    assert post(client, f"/c/{decided}/undo").status_code in (403, 404)
    assert town.verdict(decided) == ("corrected", "tax", house.OWNER)


def test_undo_twice_is_told_that_there_is_nothing_left(town: Town, decided: int) -> None:
    client = client_of(town, house.OWNER)
    post(client, f"/c/{decided}/undo")
    answer = post(client, f"/c/{decided}/undo")
    assert answer.status_code == 409
    assert "no verdict to take back" in answer.text
    assert tuple(town.one(_STATE, id=decided)) == _OPEN


def test_undo_stands_beside_the_next_case_and_the_empty_queue(town: Town) -> None:
    town.clear()
    first, second = town.case(), town.case()
    client = client_of(town, house.OWNER)
    following = post(client, f"/c/{first}/verdict", choice="upheld", token="")
    assert following.headers["location"] == f"/c/{second}?done={first}"
    assert f"/c/{first}/undo" in client.get(following.headers["location"]).text
    following = post(client, f"/c/{second}/verdict", choice="upheld", token="")
    assert following.headers["location"] == f"/queue?done={second}"
    page = client.get(following.headers["location"]).text
    assert f"Case {second} upheld" in page
    assert f"/c/{second}/undo" in page


def test_case_is_opened_again_by_a_teammate_with_a_reason(town: Town, decided: int) -> None:
    client = client_of(town, house.TEAMMATE)
    assert post(client, f"/c/{decided}/reopen", note="It was VAT.").status_code == 303
    assert tuple(town.one(_STATE, id=decided)) == _OPEN
    note = "SELECT note FROM timeline_entry WHERE case_id = :id AND event = 'reopened'"
    assert town.one(note, id=decided) == "It was VAT."
    answer = post(client, f"/c/{decided}/reopen", note="It was VAT.")
    assert answer.status_code == 409
