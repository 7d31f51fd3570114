"""CloudEvents at the door: what is known is taken, what a later release may know is parked."""

import json
from typing import Any

import pytest

from tests.factories import TOOL, rows
from tests.factories.api import Api

_BATCH = "application/cloudevents-batch+json"
_LETTERS = "SELECT topic, reason, parked, convert_from(value, 'UTF8') AS value FROM dead_letter"


def an_event(name: str = "e-1", **changes: Any) -> dict[str, Any]:
    """An output of the tool's own."""
    return {
        "specversion": "1.0",
        "id": name,
        "source": f"/tools/{TOOL}",
        "type": "secondlook.output.recorded.v1",
        "time": "2026-11-16T12:00:00Z",
        "data": {"output_id": f"o-{name}", "kind": "category", "value": "tax", "confidence": 0.9},
    } | changes


def post(api: Api, body: Any, kind: str = "application/json", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = {"Content-Type": kind, **api.bearer("tool"), **named}
    return api.client.post("/v1/events", content=raw, headers=sent)


def test_post_of_an_unknown_version_is_parked_as_it_came(api: Api) -> None:
    raw = json.dumps(an_event(type="secondlook.output.recorded.v9", data={"new": 1})).encode()
    answer = post(api, b"  " + raw, "application/cloudevents+json")
    assert answer.status_code == 202
    assert answer.json() == {"accepted": 0, "results": [{"id": "e-1", "result": "parked"}]}
    api.settle()
    (kept,) = rows(api.database, _LETTERS)
    assert kept == ("secondlook.outputs", "unknown_type", True, f"  {raw.decode()}")


def test_post_of_a_batch_parks_entry_by_entry(api: Api) -> None:
    batch = [
        an_event("e-1"),
        an_event("e-2", type="secondlook.correction.recorded.v2"),
        an_event("e-3"),
    ]
    answer = post(api, batch, _BATCH)
    assert answer.status_code == 202
    results = [(r["id"], r["result"]) for r in answer.json()["results"]]
    assert results == [("e-1", "accepted"), ("e-2", "parked"), ("e-3", "accepted")]
    assert answer.json()["accepted"] == 2
    api.settle()
    ids = [row.output_id for row in rows(api.database, "SELECT output_id FROM output ORDER BY 1")]
    assert ids == ["o-e-1", "o-e-3"]
    (kept,) = rows(api.database, _LETTERS)
    assert (kept.topic, json.loads(kept.value)["id"]) == ("secondlook.corrections", "e-2")


def test_post_in_binary_mode_is_parked_with_its_headers(api: Api) -> None:
    answer = post(
        api,
        b'{"new": 1}',
        ce_specversion="1.0",
        ce_id="e%201",
        ce_source=f"/tools/{TOOL}",
        ce_type="secondlook.output.recorded.v9",
        ce_time="2026-11-16T12:00:00Z",
    )
    assert answer.json()["results"] == [{"id": "e 1", "result": "parked"}]
    api.settle()
    (kept,) = rows(api.database, "SELECT value, headers, parked, tool FROM dead_letter")
    assert (bytes(kept.value), kept.parked, kept.tool) == (b'{"new": 1}', True, TOOL)
    assert "ce-type" in [name for name, _ in kept.headers]


@pytest.mark.parametrize(
    ("changes", "status", "pointer"),
    [
        ({"source": "/tools/foreign"}, 403, "/1/source"),
        ({"type": "secondlook.verdict.given.v9"}, 403, "/1/type"),
        ({"type": "secondlook.review.requested.v2"}, 403, "/1/type"),
        ({"id": ""}, 422, "/1/id"),
        ({"id": 7}, 422, "/1/id"),
        ({"type": 7}, 422, "/1/type"),
    ],
)
def test_post_parks_nothing_that_is_not_the_tools_own(
    changes: dict[str, Any], status: int, pointer: str, untouched: Api
) -> None:
    unknown = an_event("e-2", type="secondlook.output.recorded.v9") | changes
    answer = post(untouched, [an_event(), unknown], _BATCH)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer)


@pytest.mark.parametrize("path", ["/v1/events", "/v1/outputs", "/v1/corrections"])
@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "", "x"])
def test_post_of_anything_but_json_is_415_with_a_hint(path: str, kind: str, untouched: Api) -> None:
    sent = {"Content-Type": kind, **untouched.bearer("tool")}
    answer = untouched.client.post(path, content=json.dumps(an_event()).encode(), headers=sent)
    assert answer.status_code == 415
    assert answer.headers["content-type"] == "application/problem+json"
    assert "application/json" in answer.json()["errors"][0]["hint"]


def test_cloudevents_type_belongs_to_events_alone(api: Api) -> None:
    sent = {"Content-Type": _BATCH, **api.bearer("tool")}
    assert api.client.post("/v1/outputs", content=b"[]", headers=sent).status_code == 415
    sent["Content-Type"] = "Application/JSON; charset=utf-8"
    assert api.client.post("/v1/outputs", content=b"[]", headers=sent).status_code == 202


def test_problems_are_told_up_to_twenty_and_counted_beyond(untouched: Api) -> None:
    answer = post(untouched, [an_event(f"e-{n}", surprise=[]) for n in range(100)], _BATCH)
    assert answer.status_code == 422
    assert (len(answer.json()["errors"]), answer.json()["more"]) == (20, 80)
