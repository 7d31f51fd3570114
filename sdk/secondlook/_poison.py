"""Malformed and tricky events, for every door that events come in by."""

import json
from dataclasses import dataclass
from typing import Any, Literal

Expected = Literal["invalid", "unknown_type", "valid-but-tricky"]
RawHeaders = tuple[tuple[str, bytes], ...]

_TYPE = "secondlook.output.recorded.v1"
_MIB = 1_048_576


@dataclass(frozen=True, slots=True)
class Poison:
    """One record or request body, and what `decode` must make of it."""

    name: str
    raw: bytes
    expected: Expected
    headers: RawHeaders = ()


def _data(**changes: Any) -> dict[str, Any]:
    data = {"output_id": "p-1", "kind": "category", "value": "refund", "confidence": 0.5}
    return {**data, **changes}


def _envelope(data: Any = None, **changes: Any) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": "poison-1",
        "source": "/tools/ticket-categoriser",
        "type": _TYPE,
        "time": "2026-11-21T09:30:00Z",
        "data": _data() if data is None else data,
        **changes,
    }


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _with_data(**changes: Any) -> bytes:
    return _json(_envelope(_data(**changes)))


def _with(**changes: Any) -> bytes:
    return _json(_envelope(**changes))


def _without(*names: str) -> bytes:
    return _json({name: value for name, value in _envelope().items() if name not in names})


def _raw_data(fragment: bytes) -> bytes:
    """An event with a piece of JSON put into its data as it is."""
    return _with_data().replace(b'"confidence": 0.5', fragment)


def _raw_confidence(number: bytes) -> bytes:
    return _raw_data(b'"confidence": ' + number)


def _nested(depth: int) -> bytes:
    return _raw_data(b'"attributes": ' + b'{"a":' * depth + b"1" + b"}" * depth)


def _padded(size: int) -> bytes:
    """A sound event of exactly this many bytes, by white space."""
    raw = _with()
    return raw + b" " * (size - len(raw))


_HEADERS: dict[str, bytes] = {
    "ce_specversion": b"1.0",
    "ce_id": b"poison-1",
    "ce_source": b"/tools/ticket-categoriser",
    "ce_type": _TYPE.encode(),
    "ce_time": b"2026-11-21T09:30:00Z",
    "content-type": b"application/json",
}


def _headers(*missing: str, **changes: bytes) -> RawHeaders:
    kept = {name: value for name, value in _HEADERS.items() if name not in missing}
    return tuple({**kept, **changes}.items())


def _malformed_json() -> list[tuple[str, bytes]]:
    sound = _with()
    return [
        ("empty value", b""),
        ("white space alone", b" \n\t "),
        ("no JSON at all", b"hello"),
        ("a lone zero byte", b"\x00"),
        ("random bytes", bytes(range(256))),
        ("truncated", sound[:-20]),
        ("truncated inside a character", sound.replace(b"refund", "größe".encode())[:-30]),
        ("byte-order mark", b"\xef\xbb\xbf" + sound),
        ("UTF-16", sound.decode().encode("utf-16")),
        ("UTF-32", sound.decode().encode("utf-32")),
        ("Latin-1", sound.replace(b"refund", "größe".encode("latin-1"))),
        ("overlong UTF-8", sound.replace(b"refund", b"\xc0\xaf")),
        ("surrogate in UTF-8", sound.replace(b"refund", b"\xed\xa0\x80")),
        ("trailing comma", sound[:-1] + b",}"),
        ("two documents", sound + sound),
        ("single quotes", sound.replace(b'"', b"'")),
        ("a comment", b"/* hello */" + sound),
        ("gzip", b"\x1f\x8b\x08\x00" + sound),
        ("raw control character", sound.replace(b"refund", b"re\x01fund")),
        ("raw NUL in a text", sound.replace(b"refund", b"re\x00fund")),
        ("nested 1,000 deep", _nested(1_000)),
        ("nested 100,000 deep", _nested(100_000)),
        ("100,000 open brackets", b"[" * 100_000),
        ("a number of 5,000 digits", _raw_confidence(b"1" * 5_000)),
        ("over 1 MiB by one byte", _padded(_MIB + 1)),
        ("a list", _json([_envelope()])),
        ("a string", _json("event")),
        ("null", b"null"),
    ]


def _bad_texts() -> list[tuple[str, bytes]]:
    lone = rb"\ud800"
    return [
        ("NUL in the value", _with_data(value="re\0fund")),
        ("NUL in the output id", _with_data(output_id="p\0")),
        ("NUL in the event id", _with(id="p\0")),
        ("NUL in the input text", _with_data(input={"text": "\0"})),
        ("NUL in an attribute's name", _with_data(attributes={"a\0": "b"})),
        ("NUL in an attribute's value", _with_data(attributes={"a": "\0"})),
        ("NUL in a field's name", _with_data(kind="fields", value={"a\0": {"value": "b"}})),
        ("lone high surrogate", _with().replace(b"refund", lone)),
        ("lone low surrogate", _with().replace(b"refund", rb"\udc00")),
        ("surrogates the wrong way round", _with().replace(b"refund", rb"\udc00\ud800")),
        ("lone surrogate in a name", _with().replace(b'"confidence"', b'"' + lone + b'"')),
        ("output id empty", _with_data(output_id="")),
        ("output id of white space", _with_data(output_id=" \t")),
        ("output id a byte-order mark", _with_data(output_id="\ufeff")),
        ("category of white space", _with_data(value=" \u2003")),
        ("output id of 201 bytes", _with_data(output_id="a" * 201)),
        ("output id of 202 bytes in 101 characters", _with_data(output_id="ö" * 101)),
        ("output id of 9,600 bytes", _with_data(output_id="a" * 9_600)),
        ("output id a number", _with_data(output_id=7)),
        ("category empty", _with_data(value="")),
        ("category of 201 bytes", _with_data(value="a" * 201)),
        ("input text over 64 KiB", _with_data(input={"text": "a" * 65_537})),
        ("input text over 64 KiB in bytes", _with_data(input={"text": "ö" * 32_769})),
        ("link that runs code", _with_data(input={"url": "javascript:alert(1)"})),
    ]


def _bad_numbers() -> list[tuple[str, bytes]]:
    return [
        ("confidence NaN", _raw_confidence(b"NaN")),
        ("confidence Infinity", _raw_confidence(b"Infinity")),
        ("confidence -Infinity", _raw_confidence(b"-Infinity")),
        ("confidence 1e999", _raw_confidence(b"1e999")),
        ("confidence above 1", _raw_confidence(b"1.0000001")),
        ("confidence below 0", _raw_confidence(b"-0.1")),
        ("confidence true", _raw_confidence(b"true")),
        ("confidence in quotes", _raw_confidence(b'"0.5"')),
        ("confidence a list", _raw_confidence(b"[0.5]")),
        ("confidence with a leading zero", _raw_confidence(b"00.5")),
        ("confidence hexadecimal", _raw_confidence(b"0x1")),
        ("latency negative", _with_data(latency_ms=-1)),
        ("latency infinite", _raw_data(b'"latency_ms": 1e400')),
        ("policy revision a fraction", _with_data(policy_revision=1.5)),
        ("policy revision true", _with_data(policy_revision=True)),
        ("policy revision of 20 digits", _with_data(policy_revision=10**19)),
        ("field value of 20 digits", _with_data(kind="fields", value={"a": {"value": 10**19}})),
        (
            "alternative's confidence NaN",
            _raw_data(b'"alternatives": [{"value":"a","confidence":NaN}]'),
        ),
        ("cost negative", _with_data(cost={"amount": -1, "currency": "EUR"})),
    ]


def _bad_shapes() -> list[tuple[str, bytes]]:
    return [
        ("empty object", b"{}"),
        ("data missing", _without("data")),
        ("data null", _json({**_envelope(), "data": None})),
        ("data a text", _with(data=json.dumps(_data()))),
        ("unknown field in data", _with_data(score=0.5)),
        ("unknown field in version", _with_data(version={"name": "m"})),
        ("value missing", _json(_envelope({"output_id": "p-1", "kind": "category"}))),
        ("value a number", _with_data(value=3)),
        ("value a list", _with_data(value=["refund"])),
        ("kind unknown", _with_data(kind="score")),
        ("kind flag, value a text", _with_data(kind="flag", value="true")),
        ("kind fields, value a text", _with_data(kind="fields", value="a")),
        ("field without a value", _with_data(kind="fields", value={"a": {"confidence": 1}})),
        (
            "101 fields",
            _with_data(kind="fields", value={f"f{i}": {"value": ""} for i in range(101)}),
        ),
        ("21 alternatives", _with_data(alternatives=[{"value": "a"}] * 21)),
        ("alternative of another shape", _with_data(alternatives=[{"value": True}])),
        ("33 attributes", _with_data(attributes={f"a{i}": "" for i in range(33)})),
        ("attribute a number", _with_data(attributes={"a": 1})),
        ("attribute nested", _with_data(attributes={"a": {"b": "c"}})),
        ("nested 40 deep", _nested(40)),
        ("disposition unknown", _with_data(disposition="approve")),
        ("correction with no value", _correction(kind="correction")),
        ("dispute with a value", _correction(kind="dispute", value="billing")),
        ("correction by nobody", _correction(kind="dispute", actor=None)),
    ]


_COMMAS = b"," * 13_000


def _costly() -> list[tuple[str, bytes]]:
    """What is small to send and, unless it is counted first, costly to refuse."""
    numbers = {f"{number:x}": 1 for number in range(95_000)}
    bad_names = {f"\0{number:x}": "" for number in range(60_000)}
    return [
        ("95,000 unknown fields", _with_data(**numbers)),
        ("60,000 bad names of attributes", _with_data(attributes=bad_names)),
        ("250,000 alternatives that are none", _with_data(alternatives=[{}] * 250_000)),
        ("a text of 400,000 quotes that does not end", b'{"a":"' + b'\\"' * 400_000 + _COMMAS),
    ]


def _correction(**changes: Any) -> bytes:
    data = {"output_id": "p-1", "actor": {"id": "ana@example.org"}, **changes}
    return _json(_envelope(data, type="secondlook.correction.recorded.v1"))


def _bad_envelopes() -> list[tuple[str, bytes]]:
    return [
        ("specversion missing", _without("specversion")),
        ("specversion 0.3", _with(specversion="0.3")),
        ("specversion a number", _with(specversion=1.0)),
        ("id missing", _without("id")),
        ("id empty", _with(id="")),
        ("id of 201 bytes", _with(id="a" * 201)),
        ("source missing", _without("source")),
        ("source forged as ours", _with(source="/secondlook")),
        ("source with a path inside", _with(source="/tools/../secondlook")),
        (
            "source of another organisation",
            _with(source="https://example.org/tools/ticket-categoriser"),
        ),
        ("source with capitals", _with(source="/tools/Ticket")),
        ("type missing", _without("type")),
        ("type null", _with(type=None)),
        ("type a number", _with(type=1)),
        ("our type from a tool", _with(type="secondlook.tool.changed.v1")),
        ("subject of another output", _with(subject="p-2")),
        ("time missing", _without("time")),
        ("time without an offset", _with(time="2026-11-21T09:30:00")),
        ("time as seconds since 1970", _with(time="1763717400")),
        ("time as a number", _with(time=1763717400)),
        ("time on 30 February", _with(time="2026-02-30T09:30:00Z")),
        ("time before the year 1 in UTC", _with(time="0001-01-01T00:00:00+14:00")),
        ("time after the year 9999 in UTC", _with(time="9999-12-31T23:59:59-14:00")),
        ("content type XML", _with(datacontenttype="application/xml")),
        ("data in base64", _with(data_base64="eyJvdXRwdXRfaWQiOiJwLTEifQ==")),
        ("data in bad base64", _with(data_base64="%%%")),
        ("extension with capitals", _with(TraceParent="a")),
        ("extension nested", _with(trace={"parent": "a"})),
        ("extension a fraction", _with(sampling=0.5)),
    ]


def _bad_binary() -> list[Poison]:
    data = _json(_data())
    smuggled = data + b',"source":"/tools/another"'
    cases: list[tuple[str, bytes, RawHeaders]] = [
        ("binary, no id", data, _headers("ce_id")),
        ("binary, no time", data, _headers("ce_time")),
        ("binary, no type", data, _headers("ce_type")),
        ("binary, no specversion", data, _headers("ce_specversion")),
        ("binary, empty body", b"", _headers()),
        ("binary, no JSON", b"refund", _headers()),
        ("binary, attributes smuggled in the body", smuggled, _headers()),
        ("binary, header not UTF-8", data, _headers(ce_id=b"\xff\xfe")),
        ("binary, header with NUL", data, _headers(ce_id=b"a\x00")),
        ("binary, header given twice", data, (*_headers(), ("ce_id", b"poison-2"))),
        ("binary, header twice by case", data, (*_headers(), ("CE_ID", b"poison-2"))),
        (
            "binary, content type protobuf",
            data,
            _headers(**{"content-type": b"application/protobuf"}),
        ),
        ("binary, data in a header", b"{}", _headers(ce_data=data)),
        ("binary, structured body", _with(), _headers()),
    ]
    return [Poison(name, raw, "invalid", headers) for name, raw, headers in cases]


def _unknown_types() -> list[Poison]:
    data = _json(_data())
    future = _TYPE.replace(".v1", ".v2")
    return [
        Poison("a later version", _with(type=future), "unknown_type"),
        Poison("a version far off", _with(type=_TYPE.replace(".v1", ".v10")), "unknown_type"),
        Poison("another vendor's type", _with(type="com.example.thing"), "unknown_type"),
        Poison("an empty type", _with(type=""), "unknown_type"),
        Poison(
            "a later version of other shape", _json({"type": future, "data": 7}), "unknown_type"
        ),
        Poison("binary, a later version", data, "unknown_type", _headers(ce_type=future.encode())),
    ]


def _tricky() -> list[Poison]:
    cases: list[tuple[str, bytes, RawHeaders]] = [
        ("exactly 1 MiB", _padded(_MIB), ()),
        ("a name given twice: the last holds", _raw_data(b'"confidence":0.1,"confidence":0.9'), ()),
        ("confidence null", _raw_confidence(b"null"), ()),
        ("confidence 0", _raw_confidence(b"0"), ()),
        ("confidence 1", _raw_confidence(b"1"), ()),
        ("confidence -0.0", _raw_confidence(b"-0.0"), ()),
        ("confidence 5e-324", _raw_confidence(b"5e-324"), ()),
        ("collections null", _with_data(alternatives=None, attributes=None), ()),
        ("backslash and u0000 as plain characters", _with_data(value="\\u0000"), ()),
        ("output id of 200 bytes", _with_data(output_id="ö" * 100), ()),
        ("output id with slash, per cent, quote", _with_data(output_id="a/b%2F'\"\\"), ()),
        ("output id with a line break", _with_data(output_id="a\nb\r\n"), ()),
        ("output id that looks like a path", _with_data(output_id="../../etc/passwd"), ()),
        ("paired surrogates", _with().replace(b"refund", rb"\ud83d\ude00"), ()),
        ("byte-order mark before the category", _with_data(value="\ufeffrefund"), ()),
        (
            "decomposed letters",
            _with_data(output_id="gro\u0308\u00dfe", value="gro\u0308\u00dfe"),
            (),
        ),
        ("white space around the output id", _with_data(output_id=" p-1\r\n"), ()),
        ("line separators", _with_data(input={"text": "a\u2028b\u2029c\u0085d"}), ()),
        ("an address in capitals", _correction(kind="dispute", actor={"id": "Ana@X.org"}), ()),
        ("right-to-left marks", _with_data(value="\u202erefund\u202c"), ()),
        ("noncharacters", _with_data(value="\ufffe\uffff"), ()),
        ("markup in the value", _with_data(value="<script>alert(1)</script>"), ()),
        ("a formula in the value", _with_data(value="=cmd|' /C calc'!A0"), ()),
        ("a text of 64 KiB", _with_data(input={"text": "a" * 65_536}), ()),
        ("an empty text", _with_data(kind="text", value=""), ()),
        ("time with a far offset", _with(time="2026-11-21T09:30:00.123456789+14:00"), ()),
        ("time of long ago", _with(time="0001-01-01T00:00:00Z"), ()),
        ("extensions", _with(traceparent="00-ab", sequence=7, sampled=True), ()),
        ("binary mode", _json(_data()), _headers()),
        ("a structured event with stray headers", _with(), (("ce_note", b"a"), ("x", b"\xff"))),
    ]
    return [Poison(name, raw, "valid-but-tricky", headers) for name, raw, headers in cases]


def corpus() -> tuple[Poison, ...]:
    """All cases; the names are unique."""
    groups = [
        _malformed_json(),
        _bad_texts(),
        _bad_numbers(),
        _bad_shapes(),
        _bad_envelopes(),
        _costly(),
    ]
    invalid = [Poison(name, raw, "invalid") for group in groups for name, raw in group]
    return (*invalid, *_bad_binary(), *_unknown_types(), *_tricky())
