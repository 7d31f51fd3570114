"""Tools over HTTP: what is taken, what is refused and with which words."""

import json
import time
from typing import Any

import pytest
from secondlook import gate
from secondlook.keys import key_hash

from tests.api.conftest import House
from tests.house import TOOL, one, rows, total


def an_output(output_id: str = "o-1", **fields: Any) -> dict[str, Any]:
    return {
        "output_id": output_id,
        "kind": "category",
        "value": "billing",
        "confidence": 0.9,
    } | fields


def post(house: House, path: str, body: Any, who: str = "tool", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **house.bearer(who), **headers}
    return house.client.post(path, content=raw, headers=sent)


def test_post_output_answers_the_gate_and_is_stored(house: House) -> None:
    answer = post(house, "/v1/outputs", [an_output("o-1"), an_output("o-2", confidence=0.1)])
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [r["disposition"] for r in results] == ["proceed", "review"]
    assert results[1]["reason"] == "low_confidence"
    house.settle()
    database = house.resources.database
    assert rows(database, "SELECT output_id, disposition FROM output ORDER BY 1") == [
        ("o-1", "proceed"),
        ("o-2", "review"),
    ]
    assert one(database, 'SELECT output_id FROM "case"') == "o-2"


def test_post_again_is_a_duplicate_and_changes_nothing(house: House) -> None:
    for _ in range(2):
        assert post(house, "/v1/outputs", an_output()).status_code == 202
    house.settle()
    assert post(house, "/v1/outputs", an_output()).status_code == 202
    house.settle()
    assert total(house.resources.database, "outputs") == 1
    assert total(house.resources.database, "duplicate") == 2


def test_post_other_payload_under_a_known_id_is_409(house: House) -> None:
    post(house, "/v1/outputs", an_output())
    house.settle()
    answer = post(house, "/v1/outputs", [an_output("o-9"), an_output(value="tax")])
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["pointer"] == "/1/output_id"
    house.settle()
    assert one(house.resources.database, "SELECT count(*) FROM output") == 1


def test_post_events_of_two_outputs_under_one_id_is_409(house: House) -> None:
    first, second = (
        {
            "specversion": "1.0",
            "id": "e-1",
            "source": f"/tools/{TOOL}",
            "type": "secondlook.output.recorded.v1",
            "time": "2026-11-16T12:00:00Z",
            "data": an_output(name),
        }
        for name in ("o-1", "o-2")
    )
    refused = post(house, "/v1/events", [first, second])
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["pointer"] == "/1/id"
    assert post(house, "/v1/events", first).status_code == 202
    house.settle()
    assert post(house, "/v1/events", second).status_code == 409
    assert post(house, "/v1/events", first).status_code == 202
    house.settle()
    assert one(house.resources.database, "SELECT count(*) FROM output") == 1


def test_post_two_payloads_under_one_id_is_409(house: House) -> None:
    answer = post(house, "/v1/outputs", [an_output(), an_output(value="tax")])
    assert answer.status_code == 409


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"confidence": 1.5}, "/confidence"),
        ({"confidence": True}, "/confidence"),
        ({"output_id": ""}, "/output_id"),
        ({"output_id": "x" * 201}, "/output_id"),
        ({"output_id": "a\u0000b"}, "/output_id"),
        ({"kind": "nonsense"}, "/kind"),
        ({"kind": "text"}, "/kind"),
        ({"value": 3}, "/value"),
        ({"surprise": 1}, "/surprise"),
    ],
)
def test_post_refuses_with_a_pointer_and_a_mend(
    fields: dict[str, Any], pointer: str, house: House
) -> None:
    answer = post(house, "/v1/outputs", [an_output("fine"), an_output(**fields)])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()["errors"][0]
    assert problem["pointer"] == f"/1{pointer}"
    assert problem["problem"]
    assert problem["hint"]
    house.settle()
    assert one(house.resources.database, "SELECT count(*) FROM output") == 0


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"[", b"NaN", b'"text"', b"[" * 100_000, b"\xff"]
)
def test_post_nonsense_is_422(raw: bytes, house: House) -> None:
    for path in ("/v1/outputs", "/v1/corrections", "/v1/events"):
        assert post(house, path, raw).status_code == 422


def test_post_compressed_is_415_and_large_is_413(house: House) -> None:
    answer = post(house, "/v1/outputs", an_output(), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    big = b"[" + b" " * (9 * 1024 * 1024) + b"]"
    assert post(house, "/v1/outputs", big).status_code == 413


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic x"])
def test_post_without_a_live_key_is_401(authorization: str | None, house: House) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = house.client.post("/v1/outputs", json=an_output(), headers=headers)
    assert answer.status_code == 401


def test_revoked_key_is_refused_within_a_second(house: House) -> None:
    from services.kit.clock import DatabaseClock
    from services.tools import keys as tool_keys

    assert post(house, "/v1/outputs", an_output()).status_code == 202
    with house.resources.database.transaction() as session:
        prefix = house.key.split("_")[1]
        tool_keys.revoke_key(session, prefix, actor="test", now=DatabaseClock().now(session))
    time.sleep(1)
    assert post(house, "/v1/outputs", an_output("o-2")).status_code == 401


def test_post_event_of_another_tool_or_of_ours_is_403(house: House) -> None:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/tools/foreign",
        "type": "secondlook.output.recorded.v1",
        "time": "2026-11-16T12:00:00Z",
        "data": an_output(),
    }
    answer = post(house, "/v1/events", event)
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["pointer"] == "/source"
    ours = event | {
        "source": "/secondlook",
        "type": "secondlook.verdict.given.v1",
        "data": {
            "case_id": "1",
            "output_id": "o-1",
            "tool": TOOL,
            "verdict": "upheld",
            "actor": {"id": "x"},
            "blind": False,
            "at": "2026-11-16T12:00:00Z",
        },
    }
    assert post(house, "/v1/events", ours).status_code == 403


def test_post_correction_with_a_key_twice_counts_once(house: House) -> None:
    post(house, "/v1/outputs", an_output())
    word = {"output_id": "o-1", "kind": "correction", "value": "tax", "actor": {"id": "rep"}}
    for _ in range(3):
        answer = post(house, "/v1/corrections", word, **{"Idempotency-Key": "k-1"})
        assert answer.status_code == 202
    house.settle()
    assert total(house.resources.database, "corrections", "correction") == 1
    found = house.client.get("/v1/outputs/o-1", headers=house.bearer("tool")).json()
    assert found["decided_value"] == "tax"
    assert len(found["corrections"]) == 1


def test_post_correction_to_an_unlisted_category_is_422(house: House) -> None:
    word = {"output_id": "o-1", "kind": "correction", "value": "taxes", "actor": {"id": "rep"}}
    answer = post(house, "/v1/corrections", [word])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/0/value"


@pytest.mark.parametrize("output_id", ["a/b", "50%", "ä ö", "a?b=c", "../x", "o-1/"])
def test_get_output_whatever_its_id_is(output_id: str, house: House) -> None:
    from urllib.parse import quote

    assert post(house, "/v1/outputs", an_output(output_id)).status_code == 202
    house.settle()
    path = f"/v1/outputs/{quote(output_id, safe='')}"
    answer = house.client.get(path, headers=house.bearer("tool"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["output_id"] == output_id


def test_policy_is_signed_and_changes_reach_a_waiting_tool(house: House) -> None:
    answer = house.client.get("/v1/policy", headers=house.bearer("tool"))
    policy = gate.read_document(answer.content, key_hash(house.key))
    assert (policy.tool, policy.state) == (TOOL, "live")
    etag = {"If-None-Match": answer.headers["etag"], **house.bearer("tool")}
    assert house.client.get("/v1/policy", headers=etag).status_code == 304
    changed = house.client.put(
        f"/v1/tools/{TOOL}", json={"state": "stopped"}, headers=house.bearer("ops.support")
    )
    assert changed.status_code == 200
    again = house.client.get("/v1/policy?wait=5", headers=etag)
    assert gate.read_document(again.content, key_hash(house.key)).state == "stopped"


def test_put_tool_with_a_stale_revision_is_412(house: House) -> None:
    who = house.bearer("admin.support")
    etag = house.client.get(f"/v1/tools/{TOOL}", headers=who).headers["etag"]
    stale = {**who, "If-Match": etag}
    assert house.client.put(f"/v1/tools/{TOOL}", json={"threshold": 0.8}, headers=stale).is_success
    answer = house.client.put(f"/v1/tools/{TOOL}", json={"threshold": 0.9}, headers=stale)
    assert answer.status_code == 412


def test_claim_judge_over_the_api(house: House) -> None:
    post(house, "/v1/outputs", an_output(confidence=0.1))
    house.settle()
    owner, lead = house.bearer("owner.support"), house.bearer("lead.support")
    (case,) = house.client.get("/v1/cases", headers=owner).json()["items"]
    path = f"/v1/cases/{case['id']}"
    token = house.client.post(f"{path}/claim", headers=owner).json()["token"]
    lost = house.client.post(f"{path}/claim", headers=lead)
    assert (lost.status_code, lost.json()["holder"]) == (409, "owner.support@example.org")
    body = {"token": token, "verdict": "corrected", "value": "tax"}
    done = house.client.post(f"{path}/verdict", json=body, headers=owner)
    assert done.json()["state"] == "resolved"
    assert [e["event"] for e in done.json()["timeline"]] == ["opened", "claimed", "resolved"]
    house.settle()
    found = house.client.get("/v1/outputs/o-1", headers=house.bearer("tool")).json()
    assert (found["decided_value"], found["overridden"]) == ("tax", True)
    assert found["case"]["state"] == "resolved"


def test_idempotent_verb_answers_the_same_again(house: House) -> None:
    post(house, "/v1/outputs", an_output(confidence=0.1))
    house.settle()
    owner = house.bearer("owner.support") | {"Idempotency-Key": "c-1"}
    first = house.client.post("/v1/cases/1/comment", json={"note": "hello"}, headers=owner)
    again = house.client.post("/v1/cases/1/comment", json={"note": "hello"}, headers=owner)
    assert first.json() == again.json()
    other = house.client.post("/v1/cases/1/comment", json={"note": "bye"}, headers=owner)
    assert other.status_code == 409


def test_rates_carry_n_interval_and_definition(house: House) -> None:
    post(house, "/v1/outputs", [an_output(f"o-{n}", confidence=0.1 + n / 10) for n in range(9)])
    house.settle()
    found = house.client.get(
        "/v1/rates", params={"tool": TOOL}, headers=house.bearer("lead.support")
    ).json()
    rate = found["exception_rate"]
    assert (rate["numerator"], rate["n"]) == (6, 9)
    assert rate["interval"][0] < rate["value"] < rate["interval"][1]
    assert "audits excluded" in rate["definition"]
