"""Bytes to events and back."""

import contextlib
from hashlib import blake2b
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, FailFast, Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from secondlook import _structure
from secondlook._lists import read_each
from secondlook._problems import UnknownEventType, invalid, refusal, unknown_type
from secondlook.events.binary import Headers, structured
from secondlook.events.envelope import AnyEvent, Event
from secondlook.events.models import Correction, Output

EVENT_BYTES = 1_048_576
"""The most bytes of one event."""
BATCH_ENTRIES = 1_000
"""The most entries of one plain HTTP body."""
BATCH_EVENTS = 10_000
"""The most events of one batch."""

M = TypeVar("M", bound=BaseModel)

_OneEvent = Annotated[AnyEvent, Field(discriminator="type")]
_event: TypeAdapter[AnyEvent] = TypeAdapter(_OneEvent)
# A list stops at its first bad entry; what is wrong with the others is asked one by one then.
_events: TypeAdapter[list[AnyEvent]] = TypeAdapter(
    Annotated[list[_OneEvent], Field(max_length=BATCH_EVENTS), FailFast()]
)
_output: TypeAdapter[Output] = TypeAdapter(Output)
_outputs: TypeAdapter[list[Output]] = TypeAdapter(
    Annotated[list[Output], Field(max_length=BATCH_ENTRIES), FailFast()]
)
_correction: TypeAdapter[Correction] = TypeAdapter(Correction)
_corrections: TypeAdapter[list[Correction]] = TypeAdapter(
    Annotated[list[Correction], Field(max_length=BATCH_ENTRIES), FailFast()]
)

# The gate at the server's edge may fill these in, and a resend must still count as the same.
FILLED_IN = {"disposition", "policy_revision"}
DIGEST_BYTES = 16


def decode(raw: bytes, headers: Headers = ()) -> AnyEvent:
    """The event of one record or one request, in structured or in binary mode.

    Args:
        raw: the record's value or the request's body.
        headers: `ce_…` of Kafka or `ce-…` of HTTP make it binary mode; others don't matter.

    Raises:
        InvalidEvent: it breaks a rule of the contracts.
        UnknownEventType: its type, or the version of it, is not known here.
    """
    _check_size(raw)
    if headers:
        raw = structured(raw, headers)
    _structure.require_sparse(raw)
    try:
        return _event.validate_json(raw)
    except ValidationError as error:
        type_ = unknown_type(error)
        if type_ is not None:
            raise UnknownEventType(type_) from None
        raise refusal(error, is_event=True) from None


def decode_batch(raw: bytes) -> list[AnyEvent]:
    """The events of an `application/cloudevents-batch+json` body, at most 10,000.

    Raises:
        InvalidEvent: any of them breaks a rule; the pointers start with the position, `/3/data`.
        UnknownEventType: all are sound but for types that are not known here; names the first.
            `split` gives the entries one by one, for those to be parked.
    """
    return _read_list(raw, _event, _events, most=BATCH_EVENTS, are_events=True)


def split(raw: bytes, *, most: int = BATCH_EVENTS) -> list[bytes]:
    """The entries of a JSON list, each as it was written.

    Raises:
        InvalidEvent: it is no list, or has more entries than `most`; an entry is over 1 MiB.
    """
    return _structure.split(raw, most=most, most_bytes=EVENT_BYTES)


def valid(model: type[M], **facts: Any) -> M:
    """A model of these facts.

    Raises:
        InvalidEvent: they break a rule.
    """
    try:
        return model(**facts)
    except ValidationError as error:
        raise refusal(error) from None


def encode(event: Event) -> bytes:
    """The event as structured JSON.

    Raises:
        InvalidEvent: it is over 1 MiB.
    """
    raw = event.model_dump_json(exclude_none=True).encode()
    _check_size(raw)
    return raw


def digest(event: Event) -> bytes:
    """16 bytes that are equal for events that say the same.

    Covers the type and the data; not the envelope, nor how the JSON was written, nor the
    disposition and policy revision.
    """
    data = to_json(event.data, exclude=FILLED_IN, exclude_none=True)
    return blake2b(event.type.encode() + b"\n" + data, digest_size=DIGEST_BYTES).digest()


def validate_outputs(raw: bytes) -> list[Output]:
    """The outputs of a plain body: one, or a list of up to 1,000.

    Raises:
        InvalidEvent: with pointers such as `/confidence`, or `/3/confidence` in a list.
    """
    return _validate(raw, _output, _outputs)


def validate_corrections(raw: bytes) -> list[Correction]:
    """The corrections of a plain body: one, or a list of up to 1,000.

    Raises:
        InvalidEvent: with pointers such as `/kind`, or `/3/kind` in a list.
    """
    return _validate(raw, _correction, _corrections)


def _validate(raw: bytes, one: TypeAdapter[M], many: TypeAdapter[list[M]]) -> list[M]:
    if raw.lstrip(b" \t\r\n").startswith(b"["):
        return _read_list(raw, one, many, most=BATCH_ENTRIES)
    _check_size(raw)
    _structure.require_sparse(raw)
    try:
        return [one.validate_json(raw)]
    except ValidationError as error:
        raise refusal(error) from None


def _read_list(
    raw: bytes,
    one: TypeAdapter[M],
    many: TypeAdapter[list[M]],
    *,
    most: int,
    are_events: bool = False,
) -> list[M]:
    """Read a list at once where it is short and sound, else entry by entry."""
    if len(raw) <= EVENT_BYTES and not _structure.is_crowded(raw):
        with contextlib.suppress(ValidationError):
            return many.validate_json(raw)
    return read_each(split(raw, most=most), one.validate_json, are_events=are_events)


def _check_size(raw: bytes) -> None:
    if len(raw) > EVENT_BYTES:
        raise invalid((), f"it has {len(raw):,} bytes", f"Send at most {EVENT_BYTES:,}.")
