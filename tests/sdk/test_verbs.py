"""What a tool calls, and what is recorded by it."""

import logging
import math
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from secondlook import InvalidEvent, Secondlook, keys
from secondlook.events import Actor, Cost, FieldValue, Input, Version, decode, encode
from secondlook.testing import NOON, FakeSecondlook, a_policy


def test_output_records_all_that_it_is_told() -> None:
    look = FakeSecondlook(a_policy())
    decision = look.output(
        "t-1841",
        kind="category",
        value="refund",
        confidence=0.62,
        input_text="Where is my money?",
        language="en",
        url="https://desk.example/1841",
        model="2026-11-01",
        prompt="7",
        subject="ticket-1841",
        alternatives=[("billing", 0.2), {"value": "other"}],
        attributes={"plan": "gold", "requester": "ana"},
        cohort="pilot",
        latency_ms=120,
        cost={"amount": 0.002, "currency": "EUR"},
        occurred_at=datetime(2026, 11, 21, 11, tzinfo=UTC),
    )
    assert decision.review
    (event,) = look.events
    assert decode(encode(event)) == event
    assert (event.source, event.time, event.subject) == (
        "/tools/ticket-categoriser",
        NOON,
        "t-1841",
    )
    (output,) = look.outputs
    assert output.input == Input(
        text="Where is my money?", language="en", url="https://desk.example/1841"
    )
    assert output.version == Version(model="2026-11-01", prompt="7")
    assert [one.value for one in output.alternatives] == ["billing", "other"]
    assert output.cost == Cost(amount=0.002, currency="EUR")
    assert (output.disposition, output.policy_revision) == ("review", 1)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("category", "refund"),
        ("text", "Dear Ana, …"),
        ("flag", False),
        ("fields", {"total": {"value": "12.50", "confidence": 0.9}, "paid": {"value": True}}),
    ],
)
def test_output_takes_every_kind(kind: Any, value: Any) -> None:
    look = FakeSecondlook(a_policy(kind=kind))
    assert look.output("t-1", kind=kind, value=value, confidence=0.9).proceed
    assert decode(encode(look.events[0])) == look.events[0]


def test_the_same_output_again_is_the_same_event() -> None:
    look = FakeSecondlook(a_policy())
    for _ in range(2):
        look.output("t-1", kind="category", value="refund", confidence=0.9)
    first, second = look.events
    assert first.id == second.id


def test_numbers_of_numpy_are_taken() -> None:
    look = FakeSecondlook(a_policy(kind="flag"))
    look.output("t-1", kind="flag", value=np.bool_(True), confidence=np.float32(0.75))
    look.use(a_policy())
    look.output("t-2", kind="category", value=np.str_("refund"), confidence=np.float64(0.5))
    assert [(o.value, o.confidence) for o in look.outputs] == [(True, 0.75), ("refund", 0.5)]


def test_what_users_wrote_never_makes_a_tool_fail() -> None:
    look = FakeSecondlook(a_policy(kind="flag"))
    look.output("t-1", kind="flag", value=True, input_text="a\0b\ud800" + "ü" * 70_000)
    look.failed("t-2", message="\0" + "x" * 9_000, input_text="\udfff")
    text = look.outputs[0].input.text
    assert text.startswith("ab?ü")
    assert 65_530 < len(text.encode()) <= 65_536
    assert len(look.failures[0].error.message) == 4_000
    for event in look.events:
        assert decode(encode(event)) == event


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"output_id": ""}, "/output_id"),
        ({"output_id": "x" * 201}, "/output_id"),
        ({"output_id": 7}, "/output_id"),
        ({"output_id": "\ud800"}, "/output_id"),
        ({"kind": "score"}, "/kind"),
        ({"value": None}, "/value"),
        ({"value": ""}, "/value"),
        ({"value": True}, "/value"),
        ({"value": "a\0"}, "/value"),
        ({"confidence": 1.5}, "/confidence"),
        ({"confidence": math.nan}, "/confidence"),
        ({"confidence": True}, "/confidence"),
        ({"confidence": "0.5"}, "/confidence"),
        ({"confidence": np.float32("nan")}, "/confidence"),
        ({"occurred_at": datetime(2026, 11, 21)}, "/occurred_at"),  # noqa: DTZ001
        ({"url": "javascript:alert(1)"}, "/input/url"),
        ({"alternatives": [("a", 2.0)]}, "/alternatives/0/confidence"),
        ({"alternatives": [(3, None)]}, "/alternatives/0/value"),
        ({"alternatives": [("a", 0.5, 3)]}, "/alternatives/0"),
        ({"alternatives": 5}, "/alternatives"),
        ({"attributes": {"a": 1}}, "/attributes/a"),
        ({"attributes": ["a"]}, "/attributes"),
        ({"value": np.array(["a", "b"])}, "/value"),
        ({"cost": {"amount": 1.0, "currency": "euro"}}, "/cost/currency"),
        ({"latency_ms": -1}, "/latency_ms"),
    ],
)
def test_a_bad_argument_raises_and_is_named(changes: dict[str, Any], pointer: str) -> None:
    look = FakeSecondlook(a_policy())
    facts = {"output_id": "t-1", "kind": "category", "value": "refund", **changes}
    with pytest.raises(ValueError, match=pointer) as caught:
        look.output(**facts)
    assert isinstance(caught.value, InvalidEvent)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]
    assert look.events == []


@pytest.mark.parametrize("state", ["live", "shadow", "fallback", "stopped"])
def test_output_of_another_kind_than_the_tools_is_recorded_as_a_failed_one(state: Any) -> None:
    look = FakeSecondlook(a_policy(state=state), on_invalid="record")
    decision = look.output("t-1", kind="text", value="Dear Ana", confidence=0.99)
    answer = {"live": ("review", "invalid"), "stopped": ("stop", "stopped")}
    expected = answer.get(state, ("fallback", state))
    assert (decision.disposition, decision.reason) == expected
    assert look.outputs == []
    (failure,) = look.failures
    assert (failure.output_id, failure.error.kind) == ("t-1", "invalid")
    assert "/kind: 'ticket-categoriser' returns category, not text" in failure.error.message
    assert '"Dear Ana"' in failure.error.message
    assert look.stats().invalid == 1


def test_output_of_another_kind_raises_where_that_is_asked_for() -> None:
    look = FakeSecondlook(a_policy())
    with pytest.raises(InvalidEvent, match="returns category, not flag") as caught:
        look.output("t-1", kind="flag", value=True)
    assert [problem.pointer for problem in caught.value.problems] == ["/kind"]
    assert look.events == []


def test_output_of_any_kind_is_taken_while_there_is_no_policy() -> None:
    look = FakeSecondlook(None)
    assert look.output("t-1", kind="flag", value=True).reason == "no_policy"
    assert [output.kind for output in look.outputs] == ["flag"]


def test_an_event_over_1_mib_is_refused_to_its_sender(down: Any) -> None:
    look = down.client(on_invalid="raise")
    fields = {f"f{n}": {"value": "x" * 60_000} for n in range(20)}
    with pytest.raises(InvalidEvent, match="1 MiB"):
        look.output("t-1", kind="fields", value=fields)
    assert look.stats().taken == 0
    look.close(0)


def test_people_correct_confirm_dispute_and_withdraw() -> None:
    look = FakeSecondlook(a_policy())
    first = look.correct("t-1", value="billing", actor="ana", active_seconds=4, channel="helpdesk")
    look.confirm("t-2", actor="ana")
    look.dispute("t-3", actor="ana", reason="rude", note="It insults the customer.")
    look.withdraw("t-1", correction_id=first, actor="ana")
    assert [c.kind for c in look.corrections] == ["correction", "confirmation", "dispute"]
    assert look.corrections[0].value == "billing"
    assert look.corrections[0].actor == Actor(id="ana")
    assert look.events[0].id == first
    assert look.events[3].data.correction_id == first
    for event in look.events:
        assert decode(encode(event)) == event


def test_corrected_fields_need_no_wrapping() -> None:
    look = FakeSecondlook(a_policy())
    look.correct("t-1", value={"total": "12.50", "paid": {"value": True}}, actor="ana")
    assert look.corrections[0].value == {
        "paid": FieldValue(value=True),
        "total": FieldValue(value="12.50"),
    }


def test_failed_records_why() -> None:
    look = FakeSecondlook(a_policy())
    look.failed("t-1", kind="timeout", message="no answer in 30 s", model="m", latency_ms=30_000)
    (failure,) = look.failures
    assert (failure.error.kind, failure.error.message) == ("timeout", "no answer in 30 s")


def test_the_fake_changes_its_policy() -> None:
    look = FakeSecondlook()
    assert look.output("t-1", kind="flag", value=True).reason == "no_policy"
    look.use(a_policy(kind="flag", state="stopped"))
    assert look.output("t-2", kind="flag", value=True).stop
    with look as same:
        assert same.flush()


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"url": "ftp://x"}, "url"),
        ({"url": "nonsense"}, "url"),
        ({"url": "http://user:secret@host"}, "url"),
        ({"safe_default": "maybe"}, "safe_default"),
        ({"on_invalid": "ignore"}, "on_invalid"),
        ({"buffer_size": 0}, "buffer_size"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_a_bad_setting_is_refused_at_once(changes: dict[str, Any], named: str) -> None:
    settings = {"url": "http://127.0.0.1:9", "key": keys.generate(), **changes}
    with pytest.raises(ValueError, match=named) as caught:
        Secondlook(**settings)
    assert "secret" not in str(caught.value)


def test_from_env_reads_the_environment(server: Any, tmp_path: Any) -> None:
    kept = tmp_path / "key"
    kept.write_text(server.key + "\n")
    env = {
        "SECONDLOOK_URL": server.url,
        "SECONDLOOK_KEY_FILE": str(kept),
        "SECONDLOOK_SPILL_DIR": str(tmp_path / "spill"),
        "SECONDLOOK_SAFE_DEFAULT": "fallback",
    }
    with Secondlook.from_env(env) as look:
        assert look.wait_for_policy()
        assert (tmp_path / "spill").is_dir()


@pytest.mark.parametrize("missing", ["SECONDLOOK_URL", "SECONDLOOK_KEY"])
def test_from_env_names_what_is_missing(missing: str) -> None:
    env = {"SECONDLOOK_URL": "http://127.0.0.1:9", "SECONDLOOK_KEY": keys.generate()}
    del env[missing]
    with pytest.raises(ValueError, match=missing):
        Secondlook.from_env(env)


def test_the_fake_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    FakeSecondlook(a_policy(kind="flag")).output("t-1", kind="flag", value=True)
    assert caplog.text == ""


def test_failure_whose_error_cannot_be_said_is_named_by_its_type() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    look = FakeSecondlook(a_policy(), on_invalid="record")
    look.failed("t-1", message=Mute())  # type: ignore[arg-type]
    assert [failure.error.message for failure in look.failures] == ["Mute"]
