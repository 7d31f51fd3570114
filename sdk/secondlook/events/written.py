"""Events as bytes with the digest of what they say: the data are written out once for both."""

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple
from uuid import uuid4

from pydantic_core import to_json

from secondlook._problems import invalid
from secondlook.events import topics
from secondlook.events.codec import DIGEST_BYTES, EVENT_BYTES, FILLED_IN
from secondlook.events.envelope import AnyEvent
from secondlook.events.make import id_from
from secondlook.events.models import Correction, Output


class WrittenEvent(NamedTuple):
    """An event on its way to the log: equal to `encode` and `digest` of the event itself."""

    type: str
    id: str
    output_id: str
    topic: str
    key: bytes
    value: bytes
    digest: bytes


def write_output(
    tool: str, output: Output, *, time: datetime, decided: Mapping[str, Any] | None = None
) -> WrittenEvent:
    """What `output_recorded` makes of an output.

    Args:
        tool: its slug.
        output: as it was sent.
        time: of the event.
        decided: disposition and policy revision, where the sender gave none.

    Raises:
        InvalidEvent: it is over 1 MiB.
    """
    id_ = id_from("output", output.output_id)
    given = decided or {name: getattr(output, name) for name in FILLED_IN}
    return _of_tool(topics.OUTPUT_RECORDED, tool, output, id_=id_, time=time, filled_in=given)


def write_correction(
    tool: str, correction: Correction, *, time: datetime, event_id: str | None = None
) -> WrittenEvent:
    """What `correction_recorded` makes of a correction, under a random id where none is given.

    Raises:
        InvalidEvent: it is over 1 MiB.
    """
    id_ = event_id or str(uuid4())
    return _of_tool(topics.CORRECTION_RECORDED, tool, correction, id_=id_, time=time)


def write_event(event: AnyEvent) -> WrittenEvent:
    """An event of any type that is about an output.

    Raises:
        InvalidEvent: it is over 1 MiB.
    """
    envelope = event.model_dump(mode="json", exclude={"data"}, exclude_none=True)
    filled_in = {name: getattr(event.data, name, None) for name in FILLED_IN}
    return _written(envelope, event.data, event.tool, filled_in)


def _of_tool(
    type_: str,
    tool: str,
    data: Output | Correction,
    *,
    id_: str,
    time: datetime,
    filled_in: Mapping[str, Any] | None = None,
) -> WrittenEvent:
    envelope = {
        "specversion": "1.0",
        "id": id_,
        "source": f"/tools/{tool}",
        "type": type_,
        "subject": data.output_id,
        "time": time,
        "datacontenttype": "application/json",
    }
    return _written(envelope, data, tool, filled_in or {})


def _written(
    envelope: Mapping[str, Any], data: Any, tool: str, filled_in: Mapping[str, Any]
) -> WrittenEvent:
    type_ = envelope["type"]
    said = to_json(data, exclude=FILLED_IN, exclude_none=True)
    digest = blake2b(type_.encode() + b"\n" + said, digest_size=DIGEST_BYTES).digest()
    rest = to_json({name: value for name, value in filled_in.items() if value is not None})
    whole = said if rest == b"{}" else said[:-1] + b"," + rest[1:]
    value = to_json(envelope)[:-1] + b',"data":' + whole + b"}"
    if len(value) > EVENT_BYTES:
        raise invalid((), f"it has {len(value):,} bytes", f"Send at most {EVENT_BYTES:,}.")
    key = topics.key(tool, data.output_id)
    id_, output_id = envelope["id"], data.output_id
    return WrittenEvent(type_, id_, output_id, topics.TOPIC_OF[type_], key, value, digest)
