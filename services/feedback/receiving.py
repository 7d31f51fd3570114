"""Bodies of requests into entries for the log. Pure, and with a cost that the sender decides."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from pydantic_core import from_json, to_json
from secondlook import events, gate
from secondlook.events.binary import structured
from secondlook.text import ID_BYTES

from services.kit.errors import InvalidInput, NotAllowed, Problem
from services.kit.eventlog.port import NewRecord
from services.tools.contracts import as_problems
from services.tools.policies import Asked, PoliciesFor
from services.tools.queries import ToolInfo
from services.tools.rules import value_problem

M = TypeVar("M")

_BATCH_TYPE = "application/cloudevents-batch+json"
_OURS = tuple(f"secondlook.{what}." for what in ("case", "verdict", "tool", "review"))


class Identity(NamedTuple):
    """A name that no other payload may have."""

    kind: str
    """`output`, `output event` or `correction`."""
    tool: str
    name: str


class Entry(NamedTuple):
    """One event of a request, as it goes onto the log, and where it stands in the body.

    `digest` of what it says is hexadecimal. What is `parked` is not known here: nothing is
    known of it but its id.
    """

    pointer: str
    id: str
    record: NewRecord
    identities: tuple[Identity, ...] = ()
    digest: str = ""
    parked: bool = False


class Received(NamedTuple):
    """What a request brought, and the answer's part for each entry."""

    entries: Sequence[Entry]
    results: Sequence[Mapping[str, Any]]


# --- outputs and corrections --------------------------------------------------------------


def receive_outputs(
    raw: bytes, tool: ToolInfo, now: datetime, policies_for: PoliciesFor
) -> Received:
    """Outputs with the gate's answer for each, by default under the newest policy.

    Raises:
        InvalidInput: with a pointer to each bad field.
    """
    entries, results = [], []
    found = _each(raw, events.validate_outputs)
    since = tool.policy.effective_at
    policies = policies_for([Asked(tool.policy, one.policy_revision, since) for _, one in found])
    for (pointer, output), policy in zip(found, policies, strict=True):
        _require_kind(tool, output.kind, f"{pointer}/kind")
        decision = gate.decide_output(policy, output)
        results.append(_result(output, decision))
        written = _written(tool, output, decision, now)
        entries.append(_entry(pointer, written, tool.slug, named=False))
    return Received(entries, results)


def receive_corrections(
    raw: bytes, tool: ToolInfo, now: datetime, *, idempotency_key: str | None
) -> Received:
    """Corrections, confirmations, disputes and appeals.

    Raises:
        InvalidInput: with a pointer to each bad field.
    """
    entries, results = [], []
    for position, (pointer, correction) in enumerate(_each(raw, events.validate_corrections)):
        require_value(tool, correction.value, pointer=f"{pointer}/value")
        name = correction_id(correction, idempotency_key, position)
        written = events.write_correction(tool.slug, correction, time=now, event_id=name)
        # Nobody can have taken an id that has just been drawn.
        entries.append(_entry(pointer, written, tool.slug, named=name is not None))
        results.append({"output_id": written.output_id, "id": written.id})
    return Received(entries, results)


def _each(raw: bytes, validate: Callable[[bytes], Sequence[M]]) -> Sequence[tuple[str, M]]:
    """The body's models, each with its place."""
    try:
        found = validate(raw)
    except events.InvalidEvent as error:
        raise _invalid(error) from None
    if not raw.lstrip().startswith(b"["):
        return [("", found[0])]
    return [(f"/{position}", one) for position, one in enumerate(found)]


def _written(
    tool: ToolInfo, output: events.Output, decision: gate.Decision, now: datetime
) -> events.WrittenEvent:
    """The event of an output, with the gate's answer where the sender gave none."""
    decided = None
    if output.disposition is None:
        decided = {
            "disposition": decision.disposition,
            "policy_revision": decision.policy_revision,
        }
    return events.write_output(tool.slug, output, time=now, decided=decided)


def _result(output: events.Output, decision: gate.Decision) -> dict[str, Any]:
    return {
        "output_id": output.output_id,
        "disposition": output.disposition or decision.disposition,
        "reason": decision.reason,
        "policy_revision": decision.policy_revision,
        "condition": decision.condition,
    }


def correction_id(
    correction: events.Correction, idempotency_key: str | None, position: int
) -> str | None:
    """The event id that makes a repeated request the same event, or None for a new one.

    With an Idempotency-Key it follows from that; with an `occurred_at` from the content,
    because a person says one thing at one moment once.
    """
    if idempotency_key is not None:
        named = f"{idempotency_key}/{position}".encode()
    elif correction.occurred_at is not None:
        named = to_json(correction)
    else:
        return None
    return f"correction-{blake2b(named, digest_size=16).hexdigest()}"


# --- events -------------------------------------------------------------------------------

Headers = Sequence[tuple[str, str]]


def receive_events(raw: bytes, headers: Headers, tool: ToolInfo) -> Received:
    """CloudEvents, one or a batch. What is of an unknown type is parked, entry by entry.

    Raises:
        InvalidInput: with a pointer to each bad field.
        NotAllowed: one is another tool's, or ours.
    """
    media = dict(headers).get("content-type", "").partition(";")[0].strip().lower()
    try:
        if media == _BATCH_TYPE or raw.lstrip().startswith(b"["):
            entries = _batch_entries(raw, tool)
        else:
            entries = [_event_entry("", raw, headers, tool)]
    except events.InvalidEvent as error:
        raise _invalid(error) from None
    said = ({"id": e.id, "result": "parked" if e.parked else "accepted"} for e in entries)
    return Received(entries, list(said))


def _batch_entries(raw: bytes, tool: ToolInfo) -> list[Entry]:
    try:
        found = events.decode_batch(raw)
    except events.UnknownEventType:  # and nothing else is wrong
        parts = enumerate(events.split(raw))
        return [_event_entry(f"/{position}", part, (), tool) for position, part in parts]
    return [_known_entry(f"/{position}", event, tool) for position, event in enumerate(found)]


def _event_entry(pointer: str, raw: bytes, headers: Headers, tool: ToolInfo) -> Entry:
    try:
        return _known_entry(pointer, events.decode(raw, headers), tool)
    except events.UnknownEventType as error:
        return _parked_entry(pointer, raw, headers, tool, error.type)


def _known_entry(pointer: str, event: events.AnyEvent, tool: ToolInfo) -> Entry:
    if event.type not in events.TOOL_EVENT_TYPES:
        raise _ours(pointer, event.type)
    _require_source(pointer, event.source, tool)
    if isinstance(event, events.OutputRecorded):
        _require_kind(tool, event.data.kind, f"{pointer}/data/kind")
    elif isinstance(event, events.CorrectionRecorded):
        require_value(tool, event.data.value, pointer=f"{pointer}/data/value")
    return _entry(pointer, events.write_event(event), tool.slug, named=True)


def _parked_entry(pointer: str, raw: bytes, headers: Headers, tool: ToolInfo, type_: str) -> Entry:
    """An event of a type that is not known here, its bytes as they came."""
    if type_.startswith(_OURS):
        raise _ours(pointer, type_)
    facts = from_json(structured(raw, headers))
    _require_source(pointer, facts.get("source"), tool)
    id_, data = facts.get("id"), facts.get("data")
    if not isinstance(id_, str) or not 0 < len(id_.encode()) <= ID_BYTES:
        problem = Problem(f"{pointer}/id", "it is no id", f"Send 1 to {ID_BYTES} bytes of text.")
        raise InvalidInput(f"{pointer}/id: it is no id.", problems=(problem,))
    about = data.get("output_id") if isinstance(data, dict) else facts.get("subject")
    key = events.key(tool.slug, about if isinstance(about, str) else id_)
    of_corrections = type_.startswith("secondlook.correction.")
    topic = events.CORRECTIONS if of_corrections else events.OUTPUTS
    record = NewRecord(topic, key, raw, _event_headers(headers))
    return Entry(pointer, id_, record, parked=True)


def _event_headers(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    """Those of an event in binary mode; none in structured mode."""
    found = [h for h in headers if h[0].lower().startswith("ce-")]
    kind = [h for h in headers if h[0].lower() == "content-type"] if found else []
    return tuple((name, value.encode("latin-1")) for name, value in (*found, *kind))


# --- what all have in common ----------------------------------------------------------------


def entry_of(pointer: str, event: events.AnyEvent) -> Entry:
    """An event that was made here, such as a rep's on a page."""
    written = events.write_event(event)
    return _entry(pointer, written, event.tool, named=True)


def _entry(pointer: str, written: events.WrittenEvent, tool: str, *, named: bool) -> Entry:
    """`named`: the id is the sender's choice, or follows from what was sent."""
    taken = []
    if written.topic == events.OUTPUTS:
        taken.append(Identity("output", tool, written.output_id))
    if named:
        kind = "output event" if written.topic == events.OUTPUTS else "correction"
        taken.append(Identity(kind, tool, written.id))
    record = NewRecord(written.topic, written.key, written.value)
    return Entry(pointer, written.id, record, tuple(taken), written.digest.hex())


def _invalid(error: events.InvalidEvent) -> InvalidInput:
    first = error.problems[0]
    more = {"more": error.more} if error.more else {}
    detail = f"{first.pointer or 'The body'}: {first.problem}. Nothing was taken."
    return InvalidInput(detail, problems=as_problems(error), **more)


def _ours(pointer: str, type_: str) -> NotAllowed:
    problem = Problem(f"{pointer}/type", f"{type_} is Secondlook's own", "Leave it out.")
    return NotAllowed("A tool's key cannot send events of Secondlook.", problems=(problem,))


def _require_source(pointer: str, source: object, tool: ToolInfo) -> None:
    if source != f"/tools/{tool.slug}":
        hint = f"Send `/tools/{tool.slug}`: the key names the tool."
        problem = Problem(f"{pointer}/source", "it is another tool's", hint)
        raise NotAllowed("The key is another tool's.", problems=(problem,))


def _require_kind(tool: ToolInfo, kind: str, pointer: str) -> None:
    if kind != tool.kind:
        problem = Problem(pointer, f"'{tool.slug}' returns {tool.kind}", f"Send kind {tool.kind}.")
        raise InvalidInput(f"{pointer}: {problem.problem}.", problems=(problem,))


def require_value(tool: ToolInfo, value: Any, *, pointer: str) -> None:
    """Refuse a corrected value that does not suit the tool.

    Raises:
        InvalidInput: naming the field.
    """
    if value is None:
        return
    problem = value_problem(tool.kind, tool.ever_categories, value, pointer=pointer)
    if problem is not None:
        raise InvalidInput(f"{pointer}: {problem.problem}.", problems=(problem,))
