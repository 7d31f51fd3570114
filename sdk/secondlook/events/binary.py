"""CloudEvents in binary mode: the attributes are headers, the body is the data."""

import json
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_to_bytes

from pydantic_core import from_json

from secondlook._problems import invalid

Headers = Mapping[str, str | bytes] | Iterable[tuple[str, str | bytes | None]]

_TELLING = frozenset({"specversion", "id", "source", "type"})


def structured(raw: bytes, headers: Headers) -> bytes:
    """The event as structured JSON; as it is, where the headers don't make it binary mode.

    Raises:
        InvalidEvent: a header is not UTF-8 or given twice, or the body is no JSON.
    """
    attributes, content_type = _read(headers)
    if _TELLING.isdisjoint(attributes) or content_type.startswith("application/cloudevents"):
        return raw
    if content_type:
        attributes["datacontenttype"] = content_type
    attributes.pop("data", None)
    _require_json(raw)
    return json.dumps(attributes)[:-1].encode() + b',"data":' + raw + b"}"


def _read(headers: Headers) -> tuple[dict[str, str], str]:
    """The CloudEvents attributes, and the content type in lower case."""
    attributes: dict[str, str] = {}
    content_type = ""
    for name, value in headers.items() if isinstance(headers, Mapping) else headers:
        lower = name.lower()
        if lower == "content-type":
            content_type = _text("datacontenttype", value).strip().lower()
        elif lower.startswith(("ce_", "ce-")):
            attribute = lower[3:]
            if attribute in attributes:
                raise invalid([attribute], f"the header {lower} is given twice", "Give it once.")
            # Only the HTTP binding writes characters as percent signs and hexadecimal.
            read = _unescaped if lower[2] == "-" else _text
            attributes[attribute] = read(attribute, value)
    return attributes, content_type


def _text(attribute: str, value: str | bytes | None) -> str:
    if isinstance(value, str):
        return value
    try:
        return (value or b"").decode()
    except UnicodeDecodeError:
        raise invalid([attribute], "its header is not UTF-8", "Write headers in UTF-8.") from None


def _unescaped(attribute: str, value: str | bytes | None) -> str:
    """The text of an HTTP header, where all but ASCII is percent signs and hexadecimal.

    Bytes that are no UTF-8 are refused: replaced by another character, they would be equal to
    other such bytes, and one id would become another.
    """
    text = _text(attribute, value)
    if not text.isascii():
        hint = "Write other characters as UTF-8 with percent signs, as in %C3%A9."
        raise invalid([attribute], "its header is not ASCII", hint)
    return _text(attribute, unquote_to_bytes(text))


def _require_json(raw: bytes) -> None:
    # Otherwise a body such as `1,"source":"/tools/other"` could add attributes of its own.
    try:
        from_json(raw)
    except ValueError as error:
        raise invalid(["data"], f"it is no valid JSON: {error}", "Send JSON in UTF-8.") from None
