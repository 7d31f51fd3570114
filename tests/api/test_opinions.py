"""Nothing tells a reviewer of several what the tool or the others say, before it is decided."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.escalation.policy.read import read as read_policy
from services.people.rules import Role
from tests.api.test_authorisation import signed_in
from tests.factories import TOOL, Delivery, add_person, correction, output
from tests.factories.api import Api, open_api
from tests.factories.routing import SEVERAL

FIRST, SECOND, THIRD = "owner.support", "lead.support", "admin.support"
READERS = [FIRST, SECOND, "ops.support", "auditor.support", THIRD]
TOOLS, SAID, NOTED = "billing", "refund", "because-of-the-receipt"
AWAITED = "until-the-others-see-the-receipt"


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The apps, with a case that two review and that somebody disputes."""
    with open_api(postgres_url, pages=True) as opened:
        opened.log = Delivery(opened.database, read_policy(SEVERAL.format(reviewers=2)))
        said = {"confidence": 0.4321, "alternatives": [{"value": "tax", "confidence": 0.1234}]}
        opened.log.take(
            output("o-1", value=TOOLS, input={"text": "where is it"}, **said),
            correction("o-1", kind="dispute", note="it-is-no-bill"),
        )
        yield opened


def post(api: Api, who: str, verb: str, **body: Any) -> Any:
    return api.client.post(f"/v1/cases/1/{verb}", json=body, headers=api.bearer(who))


def review(api: Api, who: str, **body: Any) -> Any:
    """Claim and judge; answers what the verdict did."""
    claimed = post(api, who, "claim")
    token = claimed.json().get("token", "0")
    return post(api, who, "verdict", **{"token": token, "verdict": "corrected", **body})


def in_an_hour() -> str:
    return (datetime.now(UTC) + timedelta(hours=1)).isoformat()


def everything(api: Api, who: str) -> str:
    """All that somebody can read of the case: answers and pages."""
    asked = {"headers": api.bearer(who)}
    answers = [
        api.client.get("/v1/cases/1", **asked).text,
        api.client.get("/v1/cases", **asked).text,
        api.client.get(f"/v1/outputs/o-1?tool={TOOL}", **asked).text,
        api.client.get(f"/v1/datasets/corrections?tool={TOOL}", **asked).text,
    ]
    browser = signed_in(api, who)
    pages = ["/c/1", "/c/1/remarks", "/queue", f"/outputs?tool={TOOL}", "/inbox"]
    answers += [browser("GET", page).text for page in pages]
    return "\n".join(answers)


# Every category is offered on the page, so the tool's own stands among them.
TELLING = ["0.4321", "43 %", "43%", "0.1234", "it-is-no-bill", "catch-all"]


@pytest.mark.parametrize("who", READERS)
def test_nothing_tells_before_it_is_decided(who: str, api: Api) -> None:
    before = everything(api, who)
    answer = review(api, FIRST, value=SAID, note=NOTED)
    assert answer.status_code == 200
    put_off = post(api, SECOND, "snooze", until=in_an_hour(), reason=AWAITED)
    assert put_off.status_code == 200
    found = everything(api, who)
    told = json.loads(found.splitlines()[0])
    assert told["output"].keys().isdisjoint({"value", "confidence", "alternatives"})
    assert (told["dispute"], told["blind"], told["reviewers"]) == (None, True, 2)
    assert (told["opinions_given"], told["waits_for"]) == (1, "reviewer")
    assert "reviewed" not in [entry["event"] for entry in told["timeline"]]
    if who == FIRST:
        assert [(one["reviewer"], one["value"]) for one in told["opinions"]] == [
            (f"{FIRST}@example.org", SAID)
        ]
    else:
        assert told["opinions"] == []
        assert NOTED not in found
        # The word stands no more often than among the categories to choose from.
        assert found.count(SAID) <= before.count(SAID)
    assert (AWAITED in found) == (who == SECOND), "in the history, as a note of their own"
    assert told["pause_reason"] is None
    for word in TELLING:
        assert word not in found, word


def test_answer_to_an_opinion_does_not_tell_whether_the_tool_said_the_same(api: Api) -> None:
    answer = review(api, FIRST, value=TOOLS).json()
    assert answer["verdict"] is None
    assert [one["verdict"] for one in answer["opinions"]] == ["corrected"]
    assert "upheld" not in json.dumps(answer)


def test_events_tell_who_and_nothing_of_what(api: Api) -> None:
    review(api, FIRST, value=SAID, note=NOTED)
    query = "SELECT convert_from(value, 'UTF8') FROM outbox WHERE topic = 'secondlook.cases'"
    told = "\n".join(row[0] for row in api.rows(query))
    assert "secondlook.case.reviewed.v1" in told
    assert SAID not in told
    assert NOTED not in told


def test_all_is_shown_once_it_is_decided(api: Api) -> None:
    review(api, FIRST, value=SAID, note=NOTED)
    review(api, SECOND, value=SAID)
    told = api.client.get("/v1/cases/1", headers=api.bearer("auditor.support")).json()
    assert [one["reviewer"] for one in told["opinions"]] == [
        f"{FIRST}@example.org",
        f"{SECOND}@example.org",
    ]
    assert told["output"]["value"] == TOOLS
    reviewed = [entry for entry in told["timeline"] if entry["event"] == "reviewed"]
    assert [entry["detail"]["value"] for entry in reviewed] == [SAID, SAID]


def test_lead_who_settles_sees_all_opinions_and_not_the_tools(api: Api) -> None:

    with api.database.transaction() as session:
        add_person(session, "nina@example.org", role=Role.LEAD)
    for who, value in ((FIRST, "tax"), (SECOND, SAID), (THIRD, TOOLS)):
        review(api, who, value=value)
    headers = {"Authorization": f"Bearer {api.token('nina@example.org')}"}
    told = api.client.get("/v1/cases/1", headers=headers).json()
    assert (told["divided"], told["waits_for"], len(told["opinions"])) == (True, "lead", 3)
    assert "value" not in told["output"]
    assert api.client.get("/v1/cases/1", headers=api.bearer("ops.support")).json()["opinions"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"verdict": "undecidable"}, "/note"),
        ({"verdict": "not_actionable"}, "/note"),
        ({"verdict": "undecidable", "note": "  "}, "/note"),
    ],
)
def test_verdict_that_needs_a_note_names_it(api: Api, body: Any, pointer: str) -> None:
    answer = review(api, FIRST, **body)
    assert answer.status_code == 422
    (problem,) = answer.json()["errors"]
    assert problem["pointer"] == pointer
    assert problem["hint"]


def test_second_opinion_of_one_person_is_refused_with_why(api: Api) -> None:
    review(api, FIRST, value=SAID)
    refused = post(api, FIRST, "claim")
    assert refused.status_code == 403
    assert "You gave your opinion" in refused.json()["detail"]


def test_verdict_on_many_that_needs_a_note_is_refused_before_any(api: Api) -> None:
    body = {"verb": "verdict", "ids": [1], "body": {"verdict": "undecidable"}}
    answer = api.client.post("/v1/cases/bulk", json=body, headers=api.bearer(FIRST))
    assert answer.status_code == 422
    assert [problem["pointer"] for problem in answer.json()["errors"]] == ["/body/note"]
    body["body"] = {"verdict": "undecidable", "note": "torn"}
    answer = api.client.post("/v1/cases/bulk", json=body, headers=api.bearer(FIRST))
    assert "Several people review it" in answer.json()["skipped"][0]["why"]
