"""Bodies of many events, outputs or corrections: taken whole, or refused with every place."""

import json

import pytest
from secondlook import events
from secondlook.events import EVENT_BYTES, InvalidEvent, Output, UnknownEventType
from secondlook.events.codec import split
from secondlook.testing import NOON, TOOL, an_output


def event_of(output: Output) -> events.OutputRecorded:
    return events.output_recorded(TOOL, output, time=NOON)


def test_a_batch_names_every_bad_entry() -> None:
    sound = events.encode(event_of(an_output()))
    bad = sound.replace(b"0.62", b"62")
    worse = sound.replace(b'"refund"', b"17").replace(b"/tools/", b"/tool/")
    with pytest.raises(InvalidEvent) as caught:
        events.decode_batch(b"[" + b",".join([sound, bad, sound, worse]) + b"]")
    assert [problem.pointer for problem in caught.value.problems] == [
        "/1/data/confidence",
        "/3/source",
        "/3/data/value",
    ]


def test_a_batch_is_refused_for_a_bad_entry_before_an_unknown_one() -> None:
    sound = events.encode(event_of(an_output()))
    later = sound.replace(b"recorded.v1", b"recorded.v2")
    with pytest.raises(UnknownEventType) as unknown:
        events.decode_batch(b"[" + sound + b"," + later + b"]")
    assert unknown.value.pointer == "/1/type"
    with pytest.raises(InvalidEvent) as invalid:
        events.decode_batch(b"[" + later + b"," + sound.replace(b"0.62", b"2") + b"]")
    assert "/1/data/confidence" in [problem.pointer for problem in invalid.value.problems]


def test_an_unknown_type_beside_a_bad_entry_is_no_problem_of_its_own() -> None:
    sound = events.encode(event_of(an_output()))
    later, bad = sound.replace(b"recorded.v1", b"recorded.v2"), sound.replace(b"0.62", b"2")
    with pytest.raises(InvalidEvent) as caught:
        events.decode_batch(b"[" + later + b"," + bad + b"]")
    assert [problem.pointer for problem in caught.value.problems] == ["/1/data/confidence"]


def test_a_batch_is_taken_apart_as_it_was_written() -> None:
    entries = [b'{"a": [1, "]"]}', b'"x\\"]"', b"1e5", b"[[]]", '"gr\u00f6\u00dfe"'.encode()]
    assert split(b" [ " + b" ,\n".join(entries) + b"\t] ") == entries
    assert split(b"[]") == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}", b"[", b"[1", b"[1,", b"[1]]", b"[1]2", b"\xff[]", b"\xef\xbb\xbf[]"],
)
def test_what_is_no_list_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidEvent, match=r"no list|no valid JSON"):
        split(raw)
    with pytest.raises(InvalidEvent):
        events.decode_batch(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[1,]",
        b"[,1]",
        b'["]',
        b"[1 2]",
        b"[{]",
        b"[\xff]",
        b"[" * 100_000,
        b"[" + b"1" * 9_999 + b"}",
    ],
)
def test_a_list_with_an_entry_that_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidEvent):
        events.decode_batch(raw)
    with pytest.raises(InvalidEvent):
        events.validate_outputs(raw)


def test_beyond_20_problems_are_counted() -> None:
    with pytest.raises(InvalidEvent, match="and 34 more") as caught:
        events.validate_corrections(b"[" + b",".join([b"{}"] * 18) + b"]")
    assert [problem.pointer for problem in caught.value.problems[:4]] == [
        "/0/output_id",
        "/0/kind",
        "/0/actor",
        "/1/output_id",
    ]
    assert (len(caught.value.problems), caught.value.more) == (20, 34)


def test_a_batch_bounds_each_event() -> None:
    output = an_output(kind="fields", value={f"f{n}": {"value": "x" * 60_000} for n in range(18)})
    large = event_of(output).model_dump_json(exclude_none=True).encode()
    small = events.encode(event_of(an_output()))
    with pytest.raises(InvalidEvent) as caught:
        events.decode_batch(b"[" + small + b"," + large + b"]")
    assert [problem.pointer for problem in caught.value.problems] == ["/1"]
    with pytest.raises(InvalidEvent, match="1,048,576"):
        events.encode(event_of(output))


@pytest.mark.parametrize("raw", [b"[]", b" [ ] "])
def test_an_empty_list_is_a_list(raw: bytes) -> None:
    assert events.decode_batch(raw) == []
    assert events.validate_outputs(raw) == []


def test_plain_bodies_are_one_or_a_list_of_up_to_1000() -> None:
    one = an_output().model_dump_json().encode()
    assert events.validate_outputs(b" \n" + one) == [an_output()]
    assert len(events.validate_outputs(b"[" + b",".join([one] * 1_000) + b"]")) == 1_000
    with pytest.raises(InvalidEvent, match="over 1,000 entries"):
        events.validate_outputs(b"[" + b",".join([one] * 1_001) + b"]")


@pytest.mark.parametrize("text", ["x" * (EVENT_BYTES - 2), "\n" * (EVENT_BYTES // 2 - 1)])
def test_a_text_as_long_as_an_event_is_an_entry(text: str) -> None:
    written = json.dumps(text)
    assert len(written) == EVENT_BYTES
    assert split(f"[1, {written}, 2]".encode())[1] == written.encode()


@pytest.mark.parametrize(
    "text",
    [
        "x" * (EVENT_BYTES - 1),
        "x" * 3 * EVENT_BYTES,
        "\n" * (EVENT_BYTES // 2),
        "\n" * EVENT_BYTES,
        "\n" + "x" * EVENT_BYTES,
    ],
)
def test_a_longer_text_is_refused_by_its_place(text: str) -> None:
    with pytest.raises(InvalidEvent, match="/1: it is over 1 MiB"):
        split(json.dumps([1, text, 2]).encode())
