"""What a rep says in the helpdesk shows on the open case, and one press agrees."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests import house
from tests.browser.town import AUDITED, FIELDS, FLAG, TEXT, Town, at_work, resources
from tests.ui.pages import client_of, post

_HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def town(postgres_url: str) -> Iterator[Town]:
    """The product without a browser."""
    with resources(postgres_url) as opened, at_work(opened):
        yield Town(opened)


@pytest.fixture
def client(town: Town) -> TestClient:
    return client_of(town, house.OWNER)


def _opened(town: Town, tool: str = house.TOOL, **fields: Any) -> tuple[int, str]:
    """A case and its output."""
    output = town.output(tool, **fields)
    return town.case_of(output), output


def _remarks(client: TestClient, case: int, seen: str = "") -> Response:
    return client.get(f"/c/{case}/remarks?seen={seen}", headers=_HTMX)


def test_correction_shows_on_the_open_case_and_one_press_agrees(
    town: Town, client: TestClient
) -> None:
    case, output = _opened(town)
    assert "says" not in client.get(f"/c/{case}").text
    said = town.say(output, kind="correction", value="tax", note="It asks for VAT.")
    answer = _remarks(client, case)
    assert "<b>Rita</b> says: tax" in answer.text
    assert "It asks for VAT." in answer.text
    assert "Rita says: tax" in answer.headers["hx-trigger"]
    assert "<b>Rita</b> says: tax" in client.get(f"/c/{case}").text
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert town.verdict(case) == ("corrected", "tax", house.OWNER)


@pytest.mark.parametrize(
    ("tool", "value"),
    [
        (TEXT, "Dear customer,\n\n" + "we did not. " * 40),
        (FLAG, False),
        (FIELDS, {"number": {"value": "A-18"}, "total": {"value": 1}}),
    ],
)
def test_agree_with_each_kind(town: Town, client: TestClient, tool: str, value: Any) -> None:
    case, output = _opened(town, tool)
    said = town.say(output, tool=tool, kind="correction", value=value)
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert town.verdict(case) == ("corrected", value, house.OWNER)


def test_agree_that_the_tool_is_right(town: Town, client: TestClient) -> None:
    case, output = _opened(town)
    said = town.say(output, kind="confirmation")
    assert "Rita</b> says that it is right" in _remarks(client, case).text
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert town.verdict(case) == ("upheld", None, house.OWNER)


def test_nothing_is_sent_while_nothing_is_new(town: Town, client: TestClient) -> None:
    case, output = _opened(town)
    town.say(output, kind="dispute", reason="two_issues")
    answer = _remarks(client, case)
    assert "Rita</b> objects (two issues)" in answer.text
    assert "agree:" not in answer.text
    seen = answer.text.partition("seen=")[2].partition('"')[0]
    assert _remarks(client, case, seen).status_code == 204


def test_last_word_of_each_person_counts(town: Town, client: TestClient) -> None:
    case, output = _opened(town)
    first = town.say(output, kind="correction", value="refund", minutes=1)
    town.say(output, kind="correction", value="tax", minutes=2)
    town.say(output, kind="correction", value="refund", who="agent-7", minutes=3)
    shown = _remarks(client, case).text
    assert shown.index("agent-7</b> says: refund") < shown.index("Rita</b> says: tax")
    assert shown.count("says:") == 2
    answer = post(client, f"/c/{case}/verdict", choice=f"agree:{first}", token="")
    assert answer.status_code == 422
    assert "taken back meanwhile" in answer.text
    assert town.verdict(case)[0] is None


def test_nobody_agrees_with_themselves(town: Town, client: TestClient) -> None:
    case, output = _opened(town)
    said = town.say(output, kind="correction", value="tax", who=house.OWNER)
    assert "says" not in _remarks(client, case).text
    assert post(client, f"/c/{case}/verdict", choice=f"agree:{said}").status_code == 422
    assert town.verdict(case)[0] is None


def test_blind_case_shows_nothing_of_what_was_said(town: Town, client: TestClient) -> None:
    case, output = _opened(town, AUDITED, confidence=0.95)
    said = town.say(output, tool=AUDITED, kind="correction", value="tax")
    assert "Rita" not in client.get(f"/c/{case}").text + _remarks(client, case).text
    assert post(client, f"/c/{case}/verdict", choice=f"agree:{said}").status_code == 422
    assert town.verdict(case)[0] is None


def test_reader_cannot_agree(town: Town) -> None:
    case, output = _opened(town)
    town.say(output, kind="correction", value="tax")
    shown = _remarks(client_of(town, house.OUTSIDER), case)
    assert shown.status_code == 404
    lead = client_of(town, "oscar@example.org")
    assert "agree:" not in _remarks(lead, case).text
