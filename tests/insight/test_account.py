"""The account: it would notice what the handler loses."""

from typing import Any

import pytest
from secondlook import events

from services.app import roles as app_roles
from services.feedback import consumer
from services.insight.account import account
from tests.factories import NOON, TOOL, total
from tests.factories.api import Api


def explained(api: Api) -> dict[str, Any]:
    bounds = api.resources.log.bounds(["secondlook.outputs", "secondlook.corrections"])
    with api.database.transaction() as session:
        return account(session, bounds, lambda *_: ())


def send(api: Api, *output_ids: str) -> None:
    body = [
        {"output_id": one, "kind": "category", "value": "tax", "confidence": 0.9}
        for one in output_ids
    ]
    key = api.bearer("tool")
    assert api.client.post("/v1/outputs", json=body, headers=key).status_code == 202


def test_account_shows_what_a_handler_drops(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    place = consumer.place

    def forgetful(parsed: Any, *rest: Any) -> Any:
        return place([one for one in parsed if b"o-lost" not in one.record.value], *rest)

    monkeypatch.setattr(consumer, "place", forgetful)
    send(api, "o-1", "o-lost", "o-2")
    assert explained(api)["unexplained"] == 3
    api.settle()
    said = explained(api)
    assert (said["received"], said["stored"], said["unexplained"]) == (3, 2, 1)


def test_account_explains_every_event_once_they_are_taken(api: Api) -> None:
    send(api, "o-1", "o-2")
    send(api, "o-1")
    api.settle()
    said = explained(api)
    assert (said["received"], said["stored"], said["duplicate"]) == (3, 2, 1)
    assert said["unexplained"] == 0
    assert said["tools"][TOOL]["stored"] == 2


def test_exporter_counts_the_duplicates_that_the_account_counts(api: Api) -> None:
    send(api, "o-1")
    send(api, "o-1")
    api.settle()
    given = events.verdict_given(
        case_id="1",
        tool=TOOL,
        output_id="o-1",
        verdict="upheld",
        actor="olga@example.org",
        blind=False,
        trigger="low_confidence",
        at=NOON,
    )
    api.log.take(given)
    api.log.take(given)
    assert total(api.database, "duplicate") == 2
    families = app_roles.make_collector(api.resources).collect()
    (sample,) = (s for f in families for s in f.samples if s.name == "secondlook_duplicates_total")
    assert sample.value == explained(api)["duplicate"] == 1


def test_account_counts_what_escalation_could_not_use_with_its_tool(api: Api) -> None:
    api.log.take(b"no event", topic=events.REVIEWS, key=f"{TOOL}/o-1".encode())
    said = explained(api)
    assert said["tools"][TOOL]["dead_lettered"] == 1
    assert (said["dead_lettered"], said["received"], said["unexplained"]) == (1, 1, 0)
