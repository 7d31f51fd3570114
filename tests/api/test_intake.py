"""Tools over HTTP: what is taken, what is refused and with which words."""

import json
from typing import Any

import pytest
from secondlook import events, gate
from secondlook.keys import key_hash

from services.kit.clock import DatabaseClock
from services.tools import keys as tool_keys
from tests.factories import TOOL, one, rows, total
from tests.factories.api import Api
from tests.factories.people import OPERATOR
from tests.factories.storage import CASES
from tests.waiting import until


def taken(api: Api) -> int:
    """How many records of tools are on the log."""
    ends = api.resources.log.bounds([events.OUTPUTS, events.CORRECTIONS])
    return sum(held.next for held in ends.values())


def an_output(output_id: str = "o-1", **fields: Any) -> dict[str, Any]:
    return {
        "output_id": output_id,
        "kind": "category",
        "value": "billing",
        "confidence": 0.9,
    } | fields


def post(api: Api, path: str, body: Any, who: str = "tool", **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"Content-Type": "application/json", **api.bearer(who), **headers}
    return api.client.post(path, content=raw, headers=sent)


def test_post_output_answers_the_gate_and_is_stored(api: Api) -> None:
    answer = post(api, "/v1/outputs", [an_output("o-1"), an_output("o-2", confidence=0.1)])
    assert answer.status_code == 202
    results = answer.json()["results"]
    assert [r["disposition"] for r in results] == ["proceed", "review"]
    assert results[1]["reason"] == "low_confidence"
    api.settle()
    database = api.database
    assert rows(database, "SELECT output_id, disposition FROM output ORDER BY 1") == [
        ("o-1", "proceed"),
        ("o-2", "review"),
    ]
    assert one(database, f"SELECT output_id FROM {CASES}") == "o-2"


def test_post_again_is_a_duplicate_and_changes_nothing(api: Api) -> None:
    for _ in range(2):
        assert post(api, "/v1/outputs", an_output()).status_code == 202
    api.settle()
    assert post(api, "/v1/outputs", an_output()).status_code == 202
    api.settle()
    assert total(api.database, "outputs") == 1
    assert total(api.database, "duplicate") == 2


def test_post_other_payload_under_a_known_id_is_409(api: Api) -> None:
    post(api, "/v1/outputs", an_output())
    api.settle()
    answer = post(api, "/v1/outputs", [an_output("o-9"), an_output(value="tax")])
    assert answer.status_code == 409
    assert answer.json()["errors"][0]["pointer"] == "/1/output_id"
    api.settle()
    assert one(api.database, "SELECT count(*) FROM output") == 1


def test_post_events_of_two_outputs_under_one_id_is_409(api: Api) -> None:
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
    refused = post(api, "/v1/events", [first, second])
    assert refused.status_code == 409
    assert refused.json()["errors"][0]["pointer"] == "/1/id"
    assert post(api, "/v1/events", first).status_code == 202
    api.settle()
    assert post(api, "/v1/events", second).status_code == 409
    assert post(api, "/v1/events", first).status_code == 202
    api.settle()
    assert one(api.database, "SELECT count(*) FROM output") == 1


def test_post_two_payloads_under_one_id_is_409(untouched: Api) -> None:
    answer = post(untouched, "/v1/outputs", [an_output(), an_output(value="tax")])
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
def test_post_refuses_with_a_pointer_and_a_hint(
    fields: dict[str, Any], pointer: str, untouched: Api
) -> None:
    answer = post(untouched, "/v1/outputs", [an_output("fine"), an_output(**fields)])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()["errors"][0]
    assert problem["pointer"] == f"/1{pointer}"
    assert problem["problem"]
    assert problem["hint"]


@pytest.mark.parametrize(
    "raw", [b"", b"nonsense", b"[", b"NaN", b'"text"', b"[" * 100_000, b"\xff"]
)
def test_post_nonsense_is_422(raw: bytes, untouched: Api) -> None:
    for path in ("/v1/outputs", "/v1/corrections", "/v1/events"):
        assert post(untouched, path, raw).status_code == 422


def test_post_compressed_is_415_and_large_is_413(untouched: Api) -> None:
    answer = post(untouched, "/v1/outputs", an_output(), **{"Content-Encoding": "gzip"})
    assert answer.status_code == 415
    big = b"[" + b" " * (9 * 1024 * 1024) + b"]"
    assert post(untouched, "/v1/outputs", big).status_code == 413


@pytest.mark.parametrize("authorization", [None, "Bearer nonsense", "Basic x"])
def test_post_without_a_live_key_is_401(authorization: str | None, untouched: Api) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    answer = untouched.client.post("/v1/outputs", json=an_output(), headers=headers)
    assert answer.status_code == 401


def test_revoked_key_is_refused(api: Api) -> None:
    """`tests/tools/test_identity.py` says how soon."""
    assert post(api, "/v1/outputs", an_output()).status_code == 202
    with api.database.transaction() as session:
        prefix = api.tool_key.split("_")[1]
        tool_keys.revoke_key(session, prefix, actor=OPERATOR, now=DatabaseClock().now(session))
    until(lambda: post(api, "/v1/outputs", an_output("o-2")).status_code == 401)


def test_post_event_of_another_tool_or_of_ours_is_403(untouched: Api) -> None:
    event = {
        "specversion": "1.0",
        "id": "e-1",
        "source": "/tools/foreign",
        "type": "secondlook.output.recorded.v1",
        "time": "2026-11-16T12:00:00Z",
        "data": an_output(),
    }
    answer = post(untouched, "/v1/events", event)
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
    assert post(untouched, "/v1/events", ours).status_code == 403


def test_post_correction_with_a_key_twice_counts_once(api: Api) -> None:
    post(api, "/v1/outputs", an_output())
    word = {"output_id": "o-1", "kind": "correction", "value": "tax", "actor": {"id": "rep"}}
    for _ in range(3):
        answer = post(api, "/v1/corrections", word, **{"Idempotency-Key": "k-1"})
        assert answer.status_code == 202
    api.settle()
    assert total(api.database, "corrections", "correction") == 1
    found = api.client.get("/v1/outputs/o-1", headers=api.bearer("tool")).json()
    assert found["decided_value"] == "tax"
    assert len(found["corrections"]) == 1


def test_post_correction_to_an_unlisted_category_is_422(untouched: Api) -> None:
    word = {"output_id": "o-1", "kind": "correction", "value": "taxes", "actor": {"id": "rep"}}
    answer = post(untouched, "/v1/corrections", [word])
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/0/value"


@pytest.mark.parametrize("output_id", ["a/b", "50%", "ä ö", "a?b=c", "../x", "o-1/"])
def test_get_output_whatever_its_id_is(output_id: str, api: Api) -> None:
    from urllib.parse import quote

    assert post(api, "/v1/outputs", an_output(output_id)).status_code == 202
    api.settle()
    path = f"/v1/outputs/{quote(output_id, safe='')}"
    answer = api.client.get(path, headers=api.bearer("tool"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["output"]["output_id"] == output_id


def test_policy_is_signed_and_changes_reach_a_waiting_tool(api: Api) -> None:
    answer = api.client.get("/v1/policy", headers=api.bearer("tool"))
    policy = gate.read_document(answer.content, key_hash(api.tool_key))
    assert (policy.tool, policy.state) == (TOOL, "live")
    etag = {"If-None-Match": answer.headers["etag"], **api.bearer("tool")}
    assert api.client.get("/v1/policy", headers=etag).status_code == 304
    changed = api.client.put(
        f"/v1/tools/{TOOL}", json={"state": "stopped"}, headers=api.bearer("ops.support")
    )
    assert changed.status_code == 200
    again = api.client.get("/v1/policy?wait=5", headers=etag)
    assert gate.read_document(again.content, key_hash(api.tool_key)).state == "stopped"


@pytest.mark.parametrize(
    ("changes", "critical"),
    [
        ({}, ["categories"]),
        (
            {"review_when": [{"id": "vip", "when": {"cohort": "vip"}}]},
            ["categories", "review_when"],
        ),
        ({"max_stale_seconds": 90}, ["categories", "max_stale_seconds"]),
        ({"categories": []}, []),
    ],
    ids=" ".join,
)
def test_policy_names_what_a_reader_must_know(
    changes: dict[str, Any], critical: list[str], api: Api
) -> None:
    who = api.bearer("admin.support")
    body = {"review_when": [], "max_stale_seconds": None, "categories": ["refund"], **changes}
    assert api.client.put(f"/v1/tools/{TOOL}", json=body, headers=who).is_success
    said = api.client.get("/v1/policy", headers=api.bearer("tool")).json()["policy"]
    assert sorted(said.get("critical", [])) == critical
    assert said.keys() >= set(critical)


def test_output_is_answered_under_the_policy_that_it_names(api: Api) -> None:
    who = api.bearer("admin.support")
    assert api.client.put(f"/v1/tools/{TOOL}", json={"threshold": 0.95}, headers=who).is_success
    said = [
        post(api, "/v1/outputs", an_output(f"o-{n}", confidence=0.9, **named)).json()["results"][0]
        for n, named in enumerate([{"policy_revision": 1}, {}, {"policy_revision": 1}])
    ]
    answers = [(one["disposition"], one["policy_revision"]) for one in said]
    assert answers == [("proceed", 1), ("review", 2), ("proceed", 1)]


def test_put_tool_with_a_stale_revision_is_412(api: Api) -> None:
    who = api.bearer("admin.support")
    etag = api.client.get(f"/v1/tools/{TOOL}", headers=who).headers["etag"]
    stale = {**who, "If-Match": etag}
    assert api.client.put(f"/v1/tools/{TOOL}", json={"threshold": 0.8}, headers=stale).is_success
    answer = api.client.put(f"/v1/tools/{TOOL}", json={"threshold": 0.9}, headers=stale)
    assert answer.status_code == 412
    latest = "SELECT threshold FROM gate_policy WHERE tool = :tool ORDER BY revision DESC LIMIT 1"
    assert api.one(latest, tool=TOOL) == 0.8


def test_claim_and_review_over_the_api(api: Api) -> None:
    post(api, "/v1/outputs", an_output(confidence=0.1))
    api.settle()
    owner, lead = api.bearer("owner.support"), api.bearer("lead.support")
    (case,) = api.client.get("/v1/cases", headers=owner).json()["items"]
    path = f"/v1/cases/{case['id']}"
    token = api.client.post(f"{path}/claim", headers=owner).json()["token"]
    lost = api.client.post(f"{path}/claim", headers=lead)
    assert (lost.status_code, lost.json()["holder"]) == (409, "owner.support@example.org")
    body = {"token": token, "verdict": "corrected", "value": "tax"}
    done = api.client.post(f"{path}/verdict", json=body, headers=owner)
    assert done.json()["state"] == "resolved"
    assert [e["event"] for e in done.json()["timeline"]] == ["opened", "claimed", "resolved"]
    api.settle()
    found = api.client.get("/v1/outputs/o-1", headers=api.bearer("tool")).json()
    assert (found["decided_value"], found["overridden"]) == ("tax", True)
    assert found["case"]["state"] == "resolved"


def test_bytes_that_are_no_utf8_are_nobodys_id(api: Api) -> None:
    assert post(api, "/v1/outputs", an_output("x\ufffdy")).status_code == 202
    api.settle()
    tool, owner = api.bearer("tool"), api.bearer("owner.support")
    assert api.client.get("/v1/outputs/x%ef%bf%bdy", headers=tool).status_code == 200
    for path, pointer in (
        ("/v1/outputs/x%ffy", "/path"),
        ("/v1/cases?tool=%ff", "/tool"),
        ("/v1/cases?queue=%ff", "/queue"),
    ):
        refused = api.client.get(path, headers=tool if "outputs" in path else owner)
        pointers = [error["pointer"] for error in refused.json()["errors"]]
        assert (refused.status_code, pointers) == (422, [pointer])


def test_undo_takes_back_the_verdict_that_was_seen_alone(api: Api) -> None:
    post(api, "/v1/outputs", an_output(confidence=0.1))
    api.settle()
    owner, lead = api.bearer("owner.support"), api.bearer("lead.support")

    def decide(verdict: str, who: dict[str, str]) -> Any:
        token = api.client.post("/v1/cases/1/claim", headers=who).json()["token"]
        body = {"token": token, "verdict": verdict, "note": "so it is"}
        return api.client.post("/v1/cases/1/verdict", json=body, headers=who).json()

    def undo(body: Any, who: dict[str, str]) -> Any:
        return api.client.post("/v1/cases/1/undo", json=body, headers=who)

    assert api.client.get("/v1/cases/1", headers=owner).json()["verdict_id"] is None
    first = {"verdict_id": decide("upheld", owner)["verdict_id"]}
    refused = undo({"verdict_id": 1}, owner)
    pointers = [problem["pointer"] for problem in refused.json()["errors"]]
    assert (refused.status_code, pointers) == (422, ["/verdict_id"])
    taken_back = undo(first, owner)
    assert (taken_back.status_code, taken_back.json()["verdict_id"]) == (200, None)
    second = decide("undecidable", owner)
    assert [undo(first, who).status_code for who in (owner, lead)] == [409, 409]
    (listed,) = api.client.get("/v1/cases?state=resolved", headers=lead).json()["items"]
    assert (listed["verdict"], listed["verdict_id"]) == ("undecidable", second["verdict_id"])
    assert undo({"verdict_id": listed["verdict_id"]}, lead).json()["state"] == "open"
    # Whoever does not say which one takes back the one that stands.
    decide("upheld", owner)
    assert undo({}, owner).json()["state"] == "open"


def test_idempotent_verb_answers_the_same_again(api: Api) -> None:
    post(api, "/v1/outputs", an_output(confidence=0.1))
    api.settle()
    owner = api.bearer("owner.support") | {"Idempotency-Key": "c-1"}
    first = api.client.post("/v1/cases/1/comment", json={"note": "hello"}, headers=owner)
    again = api.client.post("/v1/cases/1/comment", json={"note": "hello"}, headers=owner)
    assert first.json() == again.json()
    other = api.client.post("/v1/cases/1/comment", json={"note": "bye"}, headers=owner)
    assert other.status_code == 409
    notes = "SELECT note FROM timeline_entry WHERE event = 'commented'"
    assert [row.note for row in api.rows(notes)] == ["hello"]


def test_rates_carry_n_interval_and_definition(api: Api) -> None:
    post(api, "/v1/outputs", [an_output(f"o-{n}", confidence=0.1 + n / 10) for n in range(9)])
    api.settle()
    found = api.client.get(
        "/v1/rates", params={"tool": TOOL}, headers=api.bearer("lead.support")
    ).json()
    rate = found["exception_rate"]
    assert (rate["numerator"], rate["n"]) == (6, 9)
    assert rate["interval"][0] < rate["value"] < rate["interval"][1]
    assert "audits excluded" in rate["definition"]


def test_tool_with_as_many_categories_as_there_may_be_is_changed_at_once(api: Api) -> None:
    names = [f"Refunds, returns, and other number {n}" for n in range(10_000)]
    body = {"categories": names, "category_thresholds": dict.fromkeys(names, 0.5)}
    answer = api.client.put(f"/v1/tools/{TOOL}", json=body, headers=api.bearer("admin.support"))
    assert answer.status_code == 200, answer.text[:500]
    latest = (
        "SELECT category_thresholds FROM gate_policy WHERE tool = :tool"
        " ORDER BY revision DESC LIMIT 1"
    )
    assert api.one(latest, tool=TOOL) == body["category_thresholds"]
