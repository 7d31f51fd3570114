"""The account: it would notice what the handler loses."""

from typing import Any

import pytest
from secondlook import events

from services.app import roles as app_roles
from services.feedback import consumer
from services.insight.account import account
from tests.api.conftest import House
from tests.house import NOON, TOOL, total


def explained(house: House) -> dict[str, Any]:
    bounds = house.resources.log.bounds(["secondlook.outputs", "secondlook.corrections"])
    with house.resources.database.transaction() as session:
        return account(session, bounds, lambda *_: ())


def send(house: House, *output_ids: str) -> None:
    body = [
        {"output_id": one, "kind": "category", "value": "tax", "confidence": 0.9}
        for one in output_ids
    ]
    key = house.bearer("tool")
    assert house.client.post("/v1/outputs", json=body, headers=key).status_code == 202


def test_account_shows_what_a_handler_drops(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    sort = consumer.sort_record

    def forgetful(record: Any, *given: Any) -> None:
        if b"o-lost" not in record.value:
            sort(record, *given)

    monkeypatch.setattr(consumer, "sort_record", forgetful)
    send(house, "o-1", "o-lost", "o-2")
    assert explained(house)["unexplained"] == 3
    house.settle()
    said = explained(house)
    assert (said["received"], said["stored"], said["unexplained"]) == (3, 2, 1)


def test_account_explains_every_event_once_they_are_taken(house: House) -> None:
    send(house, "o-1", "o-2")
    send(house, "o-1")
    house.settle()
    said = explained(house)
    assert (said["received"], said["stored"], said["duplicate"]) == (3, 2, 1)
    assert said["unexplained"] == 0
    assert said["tools"][TOOL]["stored"] == 2


def test_exporter_counts_the_duplicates_that_the_account_counts(house: House) -> None:
    send(house, "o-1")
    send(house, "o-1")
    house.settle()
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
    house.log.take(given)
    house.log.take(given)
    assert total(house.resources.database, "duplicate") == 2
    families = app_roles.make_collector(house.resources).collect()
    (sample,) = (s for f in families for s in f.samples if s.name == "secondlook_duplicates_total")
    assert sample.value == explained(house)["duplicate"] == 1
