"""What a rep says in the helpdesk shows on the open case, and one press agrees."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests import factories
from tests.factories import AUDITED, FIELDS, FLAG, TEXT
from tests.factories.site import Site, at_work, open_site
from tests.ui.pages import client_of, post

_HTMX = {"HX-Request": "true"}


@pytest.fixture(scope="module")
def site(postgres_url: str) -> Iterator[Site]:
    """The product without a browser."""
    with open_site(postgres_url) as opened, at_work(opened):
        yield opened


@pytest.fixture
def client(site: Site) -> TestClient:
    return client_of(site, factories.OWNER)


def _opened(site: Site, tool: str = factories.TOOL, **fields: Any) -> tuple[int, str]:
    """A case and its output."""
    output = site.output(tool, **fields)
    return site.case_of(output), output


def _remarks(client: TestClient, case: int, seen: str = "") -> Response:
    return client.get(f"/c/{case}/remarks?seen={seen}", headers=_HTMX)


def test_correction_shows_on_the_open_case_and_one_press_agrees(
    site: Site, client: TestClient
) -> None:
    case, output = _opened(site)
    assert "says" not in client.get(f"/c/{case}").text
    said = site.say(output, kind="correction", value="tax", note="It asks for VAT.")
    answer = _remarks(client, case)
    assert "<b>Rita</b> says: tax" in answer.text
    assert "It asks for VAT." in answer.text
    assert "Rita says: tax" in answer.headers["hx-trigger"]
    assert "<b>Rita</b> says: tax" in client.get(f"/c/{case}").text
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert site.verdict(case) == ("corrected", "tax", factories.OWNER)


@pytest.mark.parametrize(
    ("tool", "value"),
    [
        (TEXT, "Dear customer,\n\n" + "we did not. " * 40),
        (FLAG, False),
        (FIELDS, {"number": {"value": "A-18"}, "total": {"value": 1}}),
    ],
)
def test_agree_with_each_kind(site: Site, client: TestClient, tool: str, value: Any) -> None:
    case, output = _opened(site, tool)
    said = site.say(output, tool=tool, kind="correction", value=value)
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert site.verdict(case) == ("corrected", value, factories.OWNER)


def test_agree_that_the_tool_is_right(site: Site, client: TestClient) -> None:
    case, output = _opened(site)
    said = site.say(output, kind="confirmation")
    assert "Rita</b> says that it is right" in _remarks(client, case).text
    post(client, f"/c/{case}/verdict", choice=f"agree:{said}", token="")
    assert site.verdict(case) == ("upheld", None, factories.OWNER)


def test_nothing_is_sent_while_nothing_is_new(site: Site, client: TestClient) -> None:
    case, output = _opened(site)
    site.say(output, kind="dispute", reason="two_issues")
    answer = _remarks(client, case)
    assert "Rita</b> objects (two issues)" in answer.text
    assert "agree:" not in answer.text
    seen = answer.text.partition("seen=")[2].partition('"')[0]
    assert _remarks(client, case, seen).status_code == 204


def test_last_word_of_each_person_counts(site: Site, client: TestClient) -> None:
    case, output = _opened(site)
    first = site.say(output, kind="correction", value="refund", minutes=1)
    site.say(output, kind="correction", value="tax", minutes=2)
    site.say(output, kind="correction", value="refund", who="agent-7", minutes=3)
    shown = _remarks(client, case).text
    assert shown.index("agent-7</b> says: refund") < shown.index("Rita</b> says: tax")
    assert shown.count("says:") == 2
    answer = post(client, f"/c/{case}/verdict", choice=f"agree:{first}", token="")
    assert answer.status_code == 422
    assert "taken back meanwhile" in answer.text
    assert site.verdict(case)[0] is None


def test_nobody_agrees_with_themselves(site: Site, client: TestClient) -> None:
    case, output = _opened(site)
    said = site.say(output, kind="correction", value="tax", who=factories.OWNER)
    assert "says" not in _remarks(client, case).text
    assert post(client, f"/c/{case}/verdict", choice=f"agree:{said}").status_code == 422
    assert site.verdict(case)[0] is None


def test_blind_case_shows_nothing_of_what_was_said(site: Site, client: TestClient) -> None:
    case, output = _opened(site, AUDITED, confidence=0.95)
    said = site.say(output, tool=AUDITED, kind="correction", value="tax")
    assert "Rita" not in client.get(f"/c/{case}").text + _remarks(client, case).text
    assert post(client, f"/c/{case}/verdict", choice=f"agree:{said}").status_code == 422
    assert site.verdict(case)[0] is None


def test_reader_cannot_agree(site: Site) -> None:
    case, output = _opened(site)
    site.say(output, kind="correction", value="tax")
    shown = _remarks(client_of(site, factories.OUTSIDER), case)
    assert shown.status_code == 404
    lead = client_of(site, "oscar@example.org")
    assert "agree:" not in _remarks(lead, case).text
