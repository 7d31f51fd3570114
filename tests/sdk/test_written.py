"""Events written out once are what `encode` and `digest` say of them."""

from typing import Any

import pytest
from secondlook import events
from secondlook.events import Correction, Output, OutputFailure

from tests.factories import NOON

_OUTPUT = {
    "output_id": "a/b % \N{SNOWMAN}",
    "kind": "fields",
    "value": {"total": {"value": "12.50", "confidence": 0.9}},
    "attributes": {"vip": "yes"},
    "version": {"model": "m", "prompt": "p+q"},
    "input": {"text": 'says "never"\n', "language": "en"},
}
_DECIDED = {"disposition": "review", "policy_revision": 7}


def _same(written: events.WrittenEvent, event: Any) -> None:
    assert events.decode(written.value) == event
    assert written.digest == events.digest(event)
    assert (written.topic, written.key, written.id) == (event.topic, event.key, event.id)
    assert (written.type, written.output_id) == (event.type, event.data.output_id)


@pytest.mark.parametrize("sent", [{}, _DECIDED])
def test_output_as_it_was_sent(sent: dict[str, Any]) -> None:
    output = Output.model_validate(_OUTPUT | sent)
    written = events.write_output("triage", output, time=NOON)
    _same(written, events.output_recorded("triage", output, time=NOON))


def test_output_with_the_answer_of_the_gate() -> None:
    output = Output.model_validate(_OUTPUT)
    written = events.write_output("triage", output, time=NOON, decided=_DECIDED)
    decided = Output.model_validate(_OUTPUT | _DECIDED)
    _same(written, events.output_recorded("triage", decided, time=NOON))
    assert written.digest == events.write_output("triage", output, time=NOON).digest


def test_correction_under_its_id_or_a_random_one() -> None:
    said = Correction.model_validate(
        {"output_id": "o", "kind": "dispute", "actor": {"id": "ana"}, "note": "no"}
    )
    written = events.write_correction("triage", said, time=NOON, event_id="c-1")
    _same(written, events.correction_recorded("triage", said, time=NOON, event_id="c-1"))
    ids = {events.write_correction("triage", said, time=NOON).id for _ in range(2)}
    assert len(ids) == 2


def test_event_of_any_type_with_its_extensions() -> None:
    failure = OutputFailure.model_validate(
        {"output_id": "o", "error": {"kind": "timeout", "message": "late"}}
    )
    event = events.output_failed("triage", failure, time=NOON)
    event = type(event).model_validate(event.model_dump() | {"traceparent": "00-1"})
    _same(events.write_event(event), event)
    assert b"traceparent" in events.write_event(event).value


def test_event_over_a_mebibyte_is_refused() -> None:
    text = "\0".replace("\0", "\u0001") * 65_536
    alternatives = [{"value": "\u0001" * 10_000, "confidence": 0.1}] * 20
    output = Output.model_validate(
        _OUTPUT | {"kind": "text", "value": text, "alternatives": alternatives}
    )
    with pytest.raises(events.InvalidEvent, match="bytes"):
        events.write_output("triage", output, time=NOON)
