"""Every malformed event is refused for a reason that helps; every tricky one is taken."""

import time
from collections.abc import Callable
from typing import Any

import pytest
from secondlook import events
from secondlook.testing import POISON, Poison


@pytest.mark.parametrize("poison", POISON, ids=lambda poison: poison.name)
def test_decode_refuses_poison_and_takes_what_is_only_tricky(poison: Poison) -> None:
    if poison.expected == "unknown_type":
        with pytest.raises(events.UnknownEventType):
            events.decode(poison.raw, poison.headers)
    elif poison.expected == "invalid":
        with pytest.raises(events.InvalidEvent) as caught:
            events.decode(poison.raw, poison.headers)
        _assert_helpful(caught.value)
    else:
        event = events.decode(poison.raw, poison.headers)
        assert events.decode(events.encode(event)) == event


def _assert_helpful(error: events.InvalidEvent) -> None:
    assert 1 <= len(error.problems) <= 20
    for problem in error.problems:
        assert problem.pointer == "" or problem.pointer.startswith("/")
        assert problem.problem
        assert problem.hint
        assert str(problem).isprintable()
        assert len(str(problem)) < 400
        assert "will not do" not in problem.problem, "a rule has no words of its own"


def test_corpus_is_large_and_has_unique_names() -> None:
    assert len(POISON) >= 60
    assert len({poison.name for poison in POISON}) == len(POISON)


EVENT = b'{"specversion":"1.0","id":"p","source":"/tools/t","time":"2026-11-21T09:30:00Z",'
OUTPUT = EVENT + b'"type":"secondlook.output.recorded.v1","data":{"output_id":"p","kind":"%s",%s}}'


def _output(kind: bytes, members: bytes) -> bytes:
    return OUTPUT % (kind, members)


def _names(count: int, value: bytes, *, prefix: bytes = b"") -> bytes:
    return b",".join(b'"%s%x":%s' % (prefix, n, value) for n in range(count))


def _alternatives() -> bytes:
    field = b"{" + _names(60, b"1") + b"}"
    value = b'{"value":{' + _names(80, field, prefix=b"f") + b"}}"
    return b'"value":{},"alternatives":[' + b",".join([value] * 20) + b"]"


COSTLY = {
    "bad names of attributes": _output(
        b"category", b'"value":"a","attributes":{' + _names(60_000, b"1", prefix=rb"\u0000") + b"}"
    ),
    "fields that are none": _output(b"fields", b'"value":{' + _names(95_000, b"1") + b"}"),
    "alternatives that are none": _output(
        b"category", b'"value":"a","alternatives":[' + b",".join([b"{}"] * 300_000) + b"]"
    ),
    "unknown members": _output(b"category", b'"value":"a",' + _names(95_000, b"1")),
    "bad extensions": EVENT + _names(90_000, b"1", prefix=b"A") + b"}",
    "unknown members far down": _output(b"fields", _alternatives()),
    "a text of commas": _output(b"category", b'"value":"' + b"," * 900_000 + b'"'),
    "empty lists": _output(b"category", b'"value":[' + b",".join([b"[]"] * 300_000) + b"]"),
}


@pytest.mark.parametrize("name", COSTLY)
def test_no_record_is_costly_to_decode(name: str) -> None:
    raw = COSTLY[name]
    assert 400_000 < len(raw) <= events.EVENT_BYTES
    error, seconds = _refused(lambda: events.decode(raw))
    assert 1 <= len(error.problems) <= 20
    assert seconds <= 0.05


COSTLY_BODIES: dict[str, tuple[Callable[[bytes], Any], bytes]] = {
    "no events": (events.decode_batch, b"[" + b",".join([b"{}"] * 600_000) + b"]"),
    "10,000 that are none": (events.decode_batch, b"[" + b",".join([b"{}"] * 10_000) + b"]"),
    "no outputs": (events.validate_outputs, b"[" + b",".join([b"{}"] * 2_600_000) + b"]"),
    "no corrections": (events.validate_corrections, b"[" + b",".join([b"1"] * 4_000_000) + b"]"),
    "an output of 800,000 names": (
        events.validate_outputs,
        b'[{"attributes":{' + _names(800_000, b"1") + b"}}]",
    ),
    "outputs of 95,000 names": (
        events.validate_outputs,
        b"[" + b",".join([b'{"attributes":{' + _names(85_000, b"1") + b"}}"] * 8) + b"]",
    ),
}


@pytest.mark.parametrize("name", COSTLY_BODIES)
def test_no_body_is_costly_to_read(name: str) -> None:
    read, raw = COSTLY_BODIES[name]
    error, seconds = _refused(lambda: read(raw))
    assert 1 <= len(error.problems) <= 20
    assert seconds <= 0.5


def _refused(read: Callable[[], Any]) -> tuple[events.InvalidEvent, float]:
    """The error, and the CPU seconds that it took: the best of three, for others run as well."""
    took = []
    for _ in range(3):
        begun = time.thread_time()
        with pytest.raises(events.InvalidEvent) as caught:
            read()
        took.append(time.thread_time() - begun)
    return caught.value, min(took)
