"""One tool's bad day: it is turned away, and all others go on."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from services.feedback import admission
from services.kit.database import Database
from services.kit.web.problems import PROBLEM
from tests.factories import TOOL, rows
from tests.factories.api import Api, open_api
from tests.factories.installation import populate
from tests.waiting import until

_KEEP = text("""
INSERT INTO dead_letter (consumer, topic, partition, "offset", key, value, tool, parked, reason,
    received_at)
SELECT 'feedback', 'secondlook.outputs', 0, n, '', '', :tool, false, 'conflict', now()
FROM generate_series(1, :count) n""")
_DISCARD = text(
    "UPDATE dead_letter SET discarded_at = now(), discarded_by = 'x', discard_reason = 'x'"
)


def _send(api: Api, who: str, path: str = "/v1/outputs") -> Any:
    sent = {"Content-Type": "application/json", **api.bearer(who)}
    return api.client.post(path, content=b"[]", headers=sent)


def _with_dead_letters(database: Database) -> None:
    populate(database)
    with database.transaction() as session:
        session.execute(_KEEP, {"tool": TOOL, "count": 10_001})


@pytest.fixture
def fresh(postgres_url: str) -> Any:
    with open_api(postgres_url) as opened:
        yield opened


@pytest.fixture
def api(postgres_url: str) -> Any:
    with open_api(postgres_url, _with_dead_letters) as opened:
        yield opened


def test_tool_over_its_limit_is_turned_away_until_somebody_dealt_with_it(api: Api) -> None:
    for path in ("/v1/outputs", "/v1/corrections", "/v1/events"):
        refused = _send(api, "tool", path)
        assert refused.status_code == 429
        assert refused.headers["content-type"] == PROBLEM
        assert int(refused.headers["retry-after"]) >= 30
        assert "dead-letters list" in json.loads(refused.content)["detail"]
        assert _send(api, "foreign tool", path).status_code == 202
    with api.database.transaction() as session:
        session.execute(_DISCARD)
    until(lambda: _send(api, "tool").status_code == 202)


def test_tool_that_sends_more_than_can_be_stored_waits_and_others_do_not(
    fresh: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_BACKLOG": 50, "_MUCH": 20, "_LATELY_SECONDS": 1e9}.items():
        monkeypatch.setattr(admission, name, value)
    accepted: list[str] = []

    def send(who: str, count: int = 1) -> Any:
        said = [
            {"output_id": f"{who}-{n}", "kind": "category", "value": "tax", "confidence": 0.9}
            for n in range(len(accepted), len(accepted) + count)
        ]
        sent = {"Content-Type": "application/json", **fresh.bearer(who)}
        answer = fresh.client.post("/v1/outputs", content=json.dumps(said).encode(), headers=sent)
        if answer.status_code == 202:
            accepted.extend(one["output_id"] for one in said)
        return answer

    until(lambda: send("tool", 25).status_code == 429)
    refused = send("tool")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert "of yours" in json.loads(refused.content)["detail"]
    assert send("foreign tool", 5).status_code == 202
    fresh.settle()
    until(lambda: send("tool").status_code == 202)
    fresh.settle()
    known = rows(fresh.database, "SELECT output_id FROM output")
    kept = rows(fresh.database, "SELECT count(*) FROM dead_letter")
    assert len(known) + kept[0][0] == len(accepted)
