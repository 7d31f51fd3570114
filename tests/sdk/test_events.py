"""Events: round trips, digests, pointers, modes and topics."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from secondlook import events, text
from secondlook.events import (
    CaseEvent,
    Correction,
    GateAnswer,
    InvalidEvent,
    Objection,
    Output,
    OutputFailure,
    ReviewedOutput,
    UnknownEventType,
    Withdrawal,
)
from secondlook.testing import NOON, TOOL, a_correction, a_policy, an_output

plain = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
ids = plain.map(text.identifier).filter(bool)
shares = st.floats(0, 1)
numbers = st.one_of(st.integers(-(2**53) + 1, 2**53 - 1), st.floats(-1e15, 1e15))
scalars = st.one_of(plain, st.booleans(), numbers)
field_values = st.fixed_dictionaries({"value": scalars}, optional={"confidence": shares})
fields = st.dictionaries(ids, field_values, max_size=5)
moments = st.datetimes(timezones=st.just(UTC))
values = {"category": ids, "text": plain, "flag": st.booleans(), "fields": fields}


@st.composite
def outputs(draw: st.DrawFn) -> Output:
    kind = draw(st.sampled_from(events.KINDS))
    value = values[kind]
    alternative = st.fixed_dictionaries({"value": value}, optional={"confidence": shares})
    optional = {
        "subject": ids,
        "confidence": st.one_of(st.none(), shares),
        "alternatives": st.lists(alternative, max_size=3),
        "input": st.fixed_dictionaries({}, optional={"text": plain}),
        "attributes": st.dictionaries(ids, plain, max_size=4),
        "version": st.fixed_dictionaries({}, optional={"model": plain, "prompt": plain}),
        "cohort": plain,
        "latency_ms": st.floats(0, 1e6),
        "cost": st.just({"amount": 0.1, "currency": "EUR"}),
        "occurred_at": moments,
        "disposition": st.sampled_from(events.DISPOSITIONS),
        "policy_revision": st.integers(0, 9_999),
    }
    facts = draw(st.fixed_dictionaries({"output_id": ids, "value": value}, optional=optional))
    return Output(kind=kind, **facts)


@st.composite
def corrections(draw: st.DrawFn) -> Correction:
    kind = draw(st.sampled_from(events.CORRECTION_KINDS))
    shapes = st.one_of(plain, st.booleans(), fields, st.dictionaries(ids, scalars, max_size=4))
    value = draw(shapes) if kind == "correction" else None
    return Correction(output_id=draw(ids), kind=kind, value=value, actor={"id": draw(ids)})


def event_of(output: Output) -> events.OutputRecorded:
    return events.output_recorded(TOOL, output, time=NOON)


@given(outputs(), moments)
def test_an_output_reads_as_it_was_written(output: Output, time: datetime) -> None:
    event = events.output_recorded(TOOL, output, time=time)
    again = events.decode(events.encode(event))
    assert again == event
    assert events.digest(again) == events.digest(event)
    assert events.validate_outputs(output.model_dump_json().encode()) == [output]


@given(corrections())
def test_a_correction_reads_as_it_was_written(correction: Correction) -> None:
    event = events.correction_recorded(TOOL, correction, time=NOON)
    assert events.decode(events.encode(event)) == event
    assert events.validate_corrections(correction.model_dump_json().encode()) == [correction]


@given(outputs())
def test_both_modes_say_the_same(output: Output) -> None:
    event = event_of(output)
    data = output.model_dump_json(exclude_none=True).encode()
    kafka = [
        ("ce_specversion", b"1.0"),
        ("ce_id", event.id.encode()),
        ("ce_source", event.source.encode()),
        ("ce_type", event.type.encode()),
        ("ce_time", b"2026-11-21T12:00:00Z"),
        ("ce_subject", output.output_id.encode()),
        ("content-type", b"application/json"),
    ]
    assert events.decode(data, kafka) == event


def test_http_headers_are_unescaped_and_any_case_of_name_will_do() -> None:
    event = event_of(an_output(output_id="größe/1"))
    headers = {
        "CE-SpecVersion": "1.0",
        "CE-Id": event.id,
        "ce-source": event.source,
        "ce-type": event.type,
        "ce-time": "2026-11-21T12:00:00Z",
        "ce-subject": "gr%C3%B6%C3%9Fe%2F1",
        "Content-Type": "application/json; charset=utf-8",
        "Host": "127.0.0.1",
    }
    found = events.decode(event.data.model_dump_json().encode(), headers)
    assert found.subject == "größe/1"
    assert found.data == event.data


def test_structured_mode_goes_by_the_content_type() -> None:
    event = event_of(an_output())
    headers = [("content-type", b"application/cloudevents+json"), ("ce_id", b"other")]
    assert events.decode(events.encode(event), headers) == event


@given(outputs(), st.randoms())
def test_digest_is_blind_to_how_it_is_written(output: Output, random: Any) -> None:
    event = event_of(output)
    parsed = json.loads(events.encode(event))
    again = events.decode(json.dumps(_shuffled(parsed, random), indent=2).encode())
    assert events.digest(again) == events.digest(event)
    assert len(events.digest(event)) == 16


def test_digest_is_blind_to_numbers_of_equal_value_and_to_nulls() -> None:
    raw = events.encode(event_of(an_output(confidence=0.5)))
    other = raw.replace(b'"confidence":0.5', b'"confidence":0.50e0,"cohort":null,"attributes":{}')
    assert other != raw
    assert events.digest(events.decode(other)) == events.digest(events.decode(raw))


def test_digest_is_blind_to_the_envelope_and_to_what_the_server_fills_in() -> None:
    bare = event_of(an_output())
    filled = events.output_recorded(
        TOOL,
        an_output(disposition="review", policy_revision=7),
        time=NOON + timedelta(days=1),
        event_id="another",
    )
    assert events.digest(bare) == events.digest(filled)


@pytest.mark.parametrize(
    "changes",
    [
        {"value": "other"},
        {"confidence": 0.63},
        {"confidence": None},
        {"subject": None},
        {"occurred_at": NOON},
        {"attributes": {"a": "b"}},
        {"kind": "text"},
    ],
)
def test_digest_sees_every_fact(changes: dict[str, Any]) -> None:
    assert events.digest(event_of(an_output())) != events.digest(event_of(an_output(**changes)))


def test_digest_sees_the_type() -> None:
    failure = OutputFailure(output_id="t", error={"kind": "error"})
    one = events.output_failed(TOOL, failure, time=NOON)
    other = one.model_copy(update={"type": "another"})
    assert events.digest(one) != events.digest(other)


def test_an_unknown_type_is_told_from_a_bad_one() -> None:
    raw = events.encode(event_of(an_output()))
    with pytest.raises(UnknownEventType) as caught:
        events.decode(raw.replace(b"recorded.v1", b"recorded.v2"))
    assert caught.value.type == "secondlook.output.recorded.v2"


def test_headers_that_are_no_utf_8_are_refused_and_not_made_equal() -> None:
    event = event_of(an_output())
    for written in ("%FF", "%C3", "gr\u00f6\u00dfe"):
        headers = {"ce-specversion": "1.0", "ce-id": written, "ce-type": event.type}
        with pytest.raises(InvalidEvent) as caught:
            events.decode(event.data.model_dump_json().encode(), headers)
        assert [problem.pointer for problem in caught.value.problems] == ["/id"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b'{"output_id":"a","kind":"dispute","value":"x","actor":{"id":"b"}}', "/value"),
        (b'{"output_id":"a","kind":"correction","actor":{"id":"b"}}', "/value"),
        (b'[{"output_id":"a","kind":"dispute"}]', "/0/actor"),
        (b'{"output_id":"a","kind":"correction","value":{"x":[]},"actor":{"id":"b"}}', "/value/x"),
        (b'{"output_id":"a","kind":"like","actor":{"id":"b"}}', "/kind"),
    ],
)
def test_bad_corrections_are_pointed_at(body: bytes, pointer: str) -> None:
    with pytest.raises(InvalidEvent) as caught:
        events.validate_corrections(body)
    assert [problem.pointer for problem in caught.value.problems] == [pointer]


def test_ids_of_events_follow_from_what_they_are_about() -> None:
    first, second = event_of(an_output()), event_of(an_output(value="other"))
    assert first.id == second.id
    assert first.id.startswith("output-")
    failure = OutputFailure(output_id="t-1841", error={"kind": "error"})
    assert events.output_failed(TOOL, failure, time=NOON).id.startswith("failure-")
    said = [events.correction_recorded(TOOL, a_correction(), time=NOON).id for _ in range(2)]
    assert said[0] != said[1]
    back = Withdrawal(output_id="t-1841", correction_id=said[0], actor={"id": "ana"})
    taken = [events.correction_withdrawn(TOOL, back, time=NOON).id for _ in range(2)]
    assert taken[0] == taken[1]


def test_times_become_utc() -> None:
    local = datetime(2026, 11, 21, 13, tzinfo=timezone(timedelta(hours=1)))
    assert event_of(an_output(occurred_at=local)).data.occurred_at == NOON
    assert an_output(occurred_at=local).occurred_at.tzinfo is UTC
    raw = events.encode(event_of(an_output())).replace(b"12:00:00Z", b"07:00:00-05:00")
    assert events.decode(raw).time.isoformat() == "2026-11-21T12:00:00+00:00"


def _case(**changes: Any) -> events.CaseMoved:
    facts = {
        "case_id": "c-1",
        "output_id": "t-1841",
        "tool": TOOL,
        "trigger": "audit",
        "queue": "support",
        "owner": {"kind": "team", "id": "support"},
        "state": "open",
        "level": 0,
        "at": NOON,
    }
    return events.case_event("opened", **{**facts, **changes})


def a_review(**changes: Any) -> events.ReviewRequested:
    facts: dict[str, Any] = {
        "tool": TOOL,
        "output_id": "t-1841",
        "trigger": "dispute",
        "output": ReviewedOutput(kind="category", value="refund"),
        "gate": GateAnswer(disposition="review", reason="policy", condition="vip"),
        "time": NOON,
    }
    return events.review_requested(**{**facts, **changes})


def an_objection(**changes: Any) -> Objection:
    return Objection(correction_id="x", correction=a_correction(**changes))


def test_our_own_events_read_as_they_were_written() -> None:
    made = [
        _case(actor="ana", due_at=NOON),
        events.verdict_given(
            actor="ana",
            case_id="c-1",
            output_id="t-1841",
            tool=TOOL,
            verdict="corrected",
            value="billing",
            blind=True,
            at=NOON,
        ),
        events.tool_changed(a_policy(), time=NOON, actor="ana"),
        a_review(objection=an_objection(kind="dispute")),
        a_review(output=None, trigger="unmatched", objection=an_objection()),
        events.review_withdrawn(
            tool=TOOL, output_id="t-1841", correction_id="x", actor="ana", time=NOON
        ),
    ]
    for event in made:
        assert events.decode(events.encode(event)) == event
        assert event.source == "/secondlook"
        assert event.tool == TOOL
        assert event.topic in {topic.name for topic in events.TOPICS}
    assert [event.key for event in made[:2]] == [b"ticket-categoriser/t-1841"] * 2
    assert made[2].key == b"ticket-categoriser"


def test_a_change_of_a_tool_does_not_tell_how_audits_are_drawn() -> None:
    event = events.tool_changed(a_policy(), time=NOON)
    assert a_policy().sampling_key.encode() not in events.encode(event)


@pytest.mark.parametrize("what", ["opened", "claimed", "released", "commented", "reopened"])
def test_case_events_have_a_type_each(what: str) -> None:
    event = _case()
    assert isinstance(event.data, CaseEvent)
    named = events.case_event(what, **{**event.data.model_dump(), "actor": None})
    assert named.type == f"secondlook.case.{what}.v1"


def test_a_review_of_a_huge_output_is_trimmed_to_fit() -> None:
    value = "x" * 60_000
    large = ReviewedOutput(
        kind="text", value=value, alternatives=[{"value": value}] * 14, input={"text": value}
    )
    event = a_review(output=large)
    assert len(events.encode(event)) <= events.EVENT_BYTES
    assert event.data.output == large
    fields = {f"f{n}": {"value": value} for n in range(17)}
    huge = ReviewedOutput(kind="fields", value=fields)
    event = a_review(output=huge, objection=an_objection(value={f"f{n}": value for n in range(3)}))
    assert len(events.encode(event)) <= events.EVENT_BYTES
    assert event.data.output is None


def test_every_type_has_one_topic() -> None:
    carried = [type_ for topic in events.TOPICS for type_ in topic.types]
    known = [
        type_
        for made in get_args(events.AnyEvent)
        for type_ in get_args(made.model_fields["type"].annotation)
    ]
    assert sorted(carried) == sorted(known)
    assert len(set(known)) == len(known)
    assert set(events.TOOL_EVENT_TYPES) < set(carried)
    assert {t.name for t in events.TOPICS if t.compacted} == {"secondlook.tools"}
    keyed = [t.partitions for t in events.TOPICS if t.types and not t.compacted]
    assert len(set(keyed)) == 1


def test_key_takes_any_id() -> None:
    assert events.key("tool", "a/b%ü") == "tool/a/b%ü".encode()


def test_a_problem_never_shows_more_than_80_characters() -> None:
    raw = events.encode(event_of(an_output())).replace(b"0.62", b'"' + b"secret " * 500 + b'"')
    with pytest.raises(InvalidEvent) as caught:
        events.decode(raw)
    (problem,) = caught.value.problems
    assert len(problem.problem) < 120


def _shuffled(value: Any, random: Any) -> Any:
    if isinstance(value, list):
        return [_shuffled(one, random) for one in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    random.shuffle(names)
    return {name: _shuffled(value[name], random) for name in names}
