"""Bytes to events and back."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Annotated, Any, NoReturn, TypeVar

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from secondlook._problems import (
    InvalidEvent,
    Problem,
    UnknownEventType,
    has_unknown_type,
    invalid,
    pointer,
    problems_of,
)
from secondlook.events.binary import Headers, structured
from secondlook.events.envelope import AnyEvent, Event
from secondlook.events.models import Correction, Output

EVENT_BYTES = 1_048_576
"""The most bytes of one event."""
BATCH_ENTRIES = 1_000
"""The most entries of one plain HTTP body."""

M = TypeVar("M", bound=BaseModel)

_OneEvent = Annotated[AnyEvent, Field(discriminator="type")]
_event: TypeAdapter[AnyEvent] = TypeAdapter(_OneEvent)
_events: TypeAdapter[list[AnyEvent]] = TypeAdapter(list[_OneEvent])
_output: TypeAdapter[Output] = TypeAdapter(Output)
_outputs: TypeAdapter[list[Output]] = TypeAdapter(
    Annotated[list[Output], Field(max_length=BATCH_ENTRIES)]
)
_correction: TypeAdapter[Correction] = TypeAdapter(Correction)
_corrections: TypeAdapter[list[Correction]] = TypeAdapter(
    Annotated[list[Correction], Field(max_length=BATCH_ENTRIES)]
)

# The gate at the server's edge may fill these in, and a resend must still count as the same.
_FILLED_IN = {"disposition", "policy_revision"}


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
    try:
        return _event.validate_json(raw)
    except ValidationError as error:
        _refuse(error, depth=0)


def decode_batch(raw: bytes) -> list[AnyEvent]:
    """The events of an `application/cloudevents-batch+json` body.

    Raises:
        InvalidEvent: any of them breaks a rule; the pointers start with the position, `/3/data`.
        UnknownEventType: all are sound but for types that are not known here; names the first.
    """
    try:
        events = _events.validate_json(raw)
    except ValidationError as error:
        _refuse(error, depth=1)
    _check_sizes(raw, events)
    return events


def valid(model: type[M], **facts: Any) -> M:
    """A model of these facts.

    Raises:
        InvalidEvent: they break a rule.
    """
    try:
        return model(**facts)
    except ValidationError as error:
        raise InvalidEvent(problems_of(error)) from None


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
    data = event.data.model_dump_json(exclude=_FILLED_IN, exclude_none=True)
    return blake2b(f"{event.type}\n{data}".encode(), digest_size=16).digest()


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
    try:
        if not raw.lstrip(b" \t\r\n").startswith(b"["):
            _check_size(raw)
            return [one.validate_json(raw)]
        found = many.validate_json(raw)
    except ValidationError as error:
        raise InvalidEvent(problems_of(error)) from None
    _check_sizes(raw, found)
    return found


def _check_size(raw: bytes) -> None:
    if len(raw) > EVENT_BYTES:
        raise invalid((), f"it has {len(raw):,} bytes", f"Send at most {EVENT_BYTES:,}.")


def _check_sizes(raw: bytes, entries: Sequence[BaseModel]) -> None:
    if len(raw) <= EVENT_BYTES:
        return
    too_large = [
        Problem(f"/{position}", "it is over 1 MiB", f"Send at most {EVENT_BYTES:,} bytes.")
        for position, entry in enumerate(entries)
        if len(entry.model_dump_json(exclude_none=True).encode()) > EVENT_BYTES
    ]
    if too_large:
        raise InvalidEvent(too_large)


def _refuse(error: ValidationError, *, depth: int) -> NoReturn:
    """Raise what fits; `depth` is how far down the events are: 0 for one, 1 in a list."""
    unknown = [d for d in error.errors(include_url=False) if has_unknown_type(d, depth)]
    if unknown and len(unknown) == error.error_count():
        first = unknown[0]
        raise UnknownEventType(first["input"]["type"], pointer((*first["loc"], "type")))
    raise InvalidEvent(problems_of(error, type_at=depth))
