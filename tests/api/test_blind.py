"""What a tool said of an audited output is told to nobody who may review it, before the verdict."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from services.escalation import retention, service
from tests.api.test_authorisation import signed_in
from tests.factories import TOOL, Casework, as_batches, correction, output, populate
from tests.factories.api import Api, open_api

READERS = ["owner.support", "lead.support", "ops.support", "auditor.support", "admin.support"]
REVIEWER = "owner.support@example.org"
PAGE = f"/output?tool={TOOL}&id=o-1"
TELLING = {"value", "confidence", "alternatives"}


_ALL_DRAWN = partial(populate, audit_rate=1.0)


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps, with a tool of which every output is drawn for an audit."""
    with open_api(postgres_url, _ALL_DRAWN, pages=True) as opened:
        yield opened


@pytest.fixture
def stored(api: Api) -> Api:
    """An output that is stored and drawn, and whose case is not open yet."""
    feed(api, output("o-1"), correction("o-1", value="refund"))
    assert api.rows("SELECT audit, decided_value FROM output") == [(True, "refund")]
    assert api.one('SELECT count(*) FROM "case"') == 0
    return api


def feed(api: Api, *given: Any) -> None:
    """Feedback alone takes these events."""
    api.log.feed(api.log.feedback, as_batches(api.log.records(given)))


def read(api: Api, who: str) -> Any:
    named = {} if who == "tool" else {"tool": TOOL}
    return api.client.get("/v1/outputs/o-1", params=named, headers=api.bearer(who)).json()


def exported(api: Api) -> list[str]:
    asked = {"params": {"tool": TOOL}, "headers": api.bearer("auditor.support")}
    found = api.client.get("/v1/datasets/corrections", **asked)
    *lines, end = [json.loads(line) for line in found.text.splitlines()]
    assert end == {"end": True, "rows": len(lines)}
    assert not any("audit_pending" in line for line in lines)
    return [line["output_id"] for line in lines]


def shown_in_list(api: Api, who: str) -> bool:
    listed = signed_in(api, who)("GET", f"/outputs?tool={TOOL}").text
    assert "o-1" in listed
    return "Blind: what is right?" not in listed


def is_shown(api: Api, who: str) -> bool:
    """Whether the API tells what the tool said, and what others did; it is both or neither."""
    answer = read(api, who)
    told = [answer["output"].keys() >= TELLING, bool(answer["corrections"])]
    told.append(answer["decided_value"] is not None)
    assert len(set(told)) == 1, answer
    return told[0]


@pytest.mark.parametrize("who", READERS)
def test_answer_is_hidden_before_the_case_is_open(who: str, stored: Api) -> None:
    assert not is_shown(stored, who)
    assert not shown_in_list(stored, who)
    page = signed_in(stored, who)("GET", PAGE)
    assert page.status_code == 404
    assert "Its case is being opened" in page.text
    stored.log.relay()
    assert not is_shown(stored, who)
    assert not shown_in_list(stored, who)
    assert signed_in(stored, who)("GET", PAGE).headers["location"] == "/c/1"


@pytest.mark.parametrize("who", ["rep.support", "tool"])
def test_answer_is_shown_to_who_does_not_review(who: str, stored: Api) -> None:
    assert is_shown(stored, who)
    stored.log.relay()
    assert is_shown(stored, who)


@pytest.mark.parametrize("verdict", ["upheld", "undecidable"])
def test_answer_is_shown_after_the_verdict_and_when_the_case_is_gone(
    verdict: str, stored: Api
) -> None:
    stored.log.relay()
    assert exported(stored) == []
    Casework(stored.database).give_verdict(REVIEWER, 1, verdict, note="seen")
    stored.log.relay()
    purge_cases(stored)
    assert stored.one('SELECT count(*) FROM "case"') == 0
    assert is_shown(stored, "lead.support")
    assert shown_in_list(stored, "lead.support")
    assert signed_in(stored, "lead.support")("GET", PAGE).status_code == 200
    assert exported(stored) == ["o-1"]


def purge_cases(api: Api) -> None:
    """Everything that is decided is closed, and grows old."""
    with api.database.transaction() as session:
        now = api.resources.clock.now(session)
        service.close_resolved(session, now=now, before=now)
        retention.purge_cases(session, before=now + timedelta(1), now=now, limit=10)


def test_export_has_an_audited_output_from_its_verdict_on(stored: Api) -> None:
    feed(stored, output("o-2"), correction("o-2", value="refund"))
    assert exported(stored) == []
    stored.log.relay()
    assert exported(stored) == []
    Casework(stored.database).give_verdict(REVIEWER, 1, "corrected", value="tax")
    stored.log.relay()
    assert exported(stored) == ["o-1"]


@pytest.mark.parametrize("choice", ["is:billing", "is:refund"])
def test_correction_on_the_page_does_not_tell_what_the_tool_said(choice: str, stored: Api) -> None:
    stored.log.relay()
    send = signed_in(stored, "owner.support")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = send("POST", PAGE, content=f"choice={choice}", extra=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/c/1")
    stored.settle()
    assert stored.one("SELECT count(*) FROM correction") == 1
