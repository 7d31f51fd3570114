"""Requests for a person: written with the facts that they rest on, read by escalation."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback.rows import CorrectionRow, Key, OutputRow, Word
from services.feedback.rules import CorrectionKind
from services.feedback.storing import KEY_COLUMNS, keys_json, recordset
from services.kit.consuming import outbox
from services.kit.eventlog.port import NewRecord
from services.tools.rules import Trigger


class Facts(NamedTuple):
    """A recorded output as it is sent to whoever reviews it."""

    tool: str
    output_id: str
    output: events.ReviewedOutput
    gate: events.GateAnswer


def request_for_outputs(session: Session, stored: Iterable[OutputRow], *, now: datetime) -> None:
    """Request a review of each of these outputs that the gate says needs a person."""
    records = []
    for row in stored:
        if row["trigger"] is not None:
            event = events.review_requested(
                tool=row["tool"],
                output_id=row["output_id"],
                trigger=row["trigger"].value,
                output=_reviewed(row),
                gate=_answer(row),
                time=now,
            )
            records.append(_record(event))
    outbox.enqueue(session, records)


_BYTES = 8 * 1024 * 1024
"""A transaction that has requested so much goes on to no further output."""
_READ = 25
"""So many outputs, each of up to a megabyte, are read at a time."""

Said = tuple[Trigger, Sequence[Word]]
"""Words on one output, at least one, and the trigger under which reviews are requested."""


def request_for_words(
    session: Session, said: Sequence[Said], *, now: datetime
) -> dict[Key, Trigger]:
    """Request a review for each of these words, output by output, as far as they fit.

    The first word on an output that has come brings its facts along. Answers which outputs' words
    fitted.
    """
    records: list[NewRecord] = []
    sent: dict[Key, Trigger] = {}
    size = 0
    for at in range(0, len(said), _READ):
        some = said[at : at + _READ]
        came = {words[0].key for trigger, words in some if trigger is Trigger.DISPUTE}
        known = facts(session, came) if came else {}
        for trigger, words in some:
            if size < _BYTES:
                key = words[0].key
                requests = _of_words(words, trigger, known.get(key), now=now)
                records += requests
                size += sum(len(request.value) for request in requests)
                sent[key] = trigger
        if size >= _BYTES:
            break
    outbox.enqueue(session, records)
    return sent


def tell_of_arrival(session: Session, keys: Iterable[Key], *, now: datetime) -> None:
    """Send the facts of outputs that somebody was asked to look for, and that have come."""
    records = [
        _record(
            events.review_requested(
                tool=found.tool,
                output_id=found.output_id,
                trigger=Trigger.UNMATCHED.value,
                output=found.output,
                gate=found.gate,
                time=now,
            )
        )
        for found in facts(session, keys).values()
    ]
    outbox.enqueue(session, records)


def withdraw(session: Session, words: Iterable[Word], *, now: datetime) -> None:
    """Send word that objections, for which reviews had been requested, were taken back."""
    records = [
        _record(
            events.review_withdrawn(
                tool=word.tool,
                output_id=word.output_id,
                correction_id=word.event_id,
                actor=word.actor,
                time=now,
            )
        )
        for word in words
    ]
    outbox.enqueue(session, records)


def bar_reviewers(session: Session, said: Iterable[CorrectionRow], *, now: datetime) -> None:
    """Send word of whoever corrected an output themselves: they judge no case on it, though they
    come to be reviewers only later."""
    records = [
        _record(
            events.review_barred(
                tool=row["tool"],
                output_id=row["output_id"],
                correction_id=row["event_id"],
                actor=row["actor"],
                time=now,
            )
        )
        for row in said
        if row["kind"] == CorrectionKind.CORRECTION
    ]
    outbox.enqueue(session, records)


def _of_words(
    words: Sequence[Word], trigger: Trigger, found: Facts | None, *, now: datetime
) -> list[NewRecord]:
    """A request for each of an output's words, in the order in which they were said."""
    first, *others = sorted(words, key=lambda word: word.occurred_at)
    return [
        _of_word(first, trigger, found, now=now),
        *(_of_word(word, trigger, None, now=now) for word in others),
    ]


def _of_word(word: Word, trigger: Trigger, found: Facts | None, *, now: datetime) -> NewRecord:
    event = events.review_requested(
        tool=word.tool,
        output_id=word.output_id,
        trigger=trigger.value,
        output=found.output if found is not None else None,
        gate=found.gate if found is not None else None,
        objection=events.Objection(correction_id=word.event_id, correction=_as_correction(word)),
        time=now,
    )
    return _record(event)


_Ours = events.ReviewRequested | events.ReviewWithdrawn | events.ReviewBarred


def _record(event: _Ours) -> NewRecord:
    return NewRecord(event.topic, event.key, events.encode(event))


# --- facts ------------------------------------------------------------------------------


class _Stored(NamedTuple):
    """A recorded output as it is read."""

    tool: str
    output_id: str
    model: str | None
    prompt: str | None
    subject: str | None
    kind: str
    value: Any
    confidence: float | None
    alternatives: list[Any] | None
    input: Mapping[str, str] | None
    attributes: Mapping[str, str] | None
    cohort: str | None
    failure: Mapping[str, str] | None
    disposition: Literal["proceed", "review", "fallback", "stop"]
    gate_reason: str
    condition: str | None
    policy_revision: int | None
    inclusion_probability: float | None
    occurred_at: datetime


_FACTS = text(f"""
SELECT {", ".join(f"o.{name}" for name in _Stored._fields)}
FROM {recordset(KEY_COLUMNS)} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
WHERE o.recorded_at IS NOT NULL
""")


def facts(session: Session, keys: Iterable[Key]) -> dict[Key, Facts]:
    """What those of these outputs that have come said, whole."""
    found = session.execute(_FACTS, {"rows": keys_json(keys)})
    return {
        Key(row.tool, row.output_id): Facts(row.tool, row.output_id, _stored(row), _answer_of(row))
        for row in (_Stored(*each) for each in found)
    }


def _stored(row: _Stored) -> events.ReviewedOutput:
    """A stored output as the contract's model; what was stored has been validated before."""
    facts = row._asdict()
    said = {name: facts[name] for name in _SAME_NAME if facts[name] is not None}
    version = {name: facts[name] for name in ("model", "prompt") if facts[name] is not None}
    said |= {"version": version} if version else {}
    said |= {"error": row.failure} if row.failure is not None else {}
    return events.ReviewedOutput.model_validate_json(to_json(said))


_SAME_NAME = (
    *("subject", "kind", "value", "confidence", "alternatives", "input", "attributes", "cohort"),
    "occurred_at",
)


def _reviewed(row: OutputRow) -> events.ReviewedOutput:
    """An output that was just stored as the contract's model, whose parts are valid already."""
    has_version = row["model"] is not None or row["prompt"] is not None
    return events.ReviewedOutput.model_construct(
        subject=row["subject"],
        kind=row["kind"],  # type: ignore[arg-type]
        value=row.get("value"),
        confidence=row.get("confidence"),
        alternatives=row.get("alternatives") or (),
        input=row["input"],
        attributes=row["attributes"] or {},
        version=events.Version.model_construct(model=row["model"], prompt=row["prompt"])
        if has_version
        else None,
        cohort=row["cohort"],
        error=row.get("failure"),
        occurred_at=row["occurred_at"],
    )


def _answer_of(row: _Stored) -> events.GateAnswer:
    return events.GateAnswer.model_construct(
        disposition=row.disposition,
        reason=row.gate_reason,
        condition=row.condition,
        policy_revision=row.policy_revision,
        inclusion_probability=row.inclusion_probability,
    )


def _answer(row: OutputRow) -> events.GateAnswer:
    return events.GateAnswer.model_construct(
        disposition=row["disposition"],  # type: ignore[arg-type]
        reason=row["gate_reason"],
        condition=row["condition"],
        policy_revision=row["policy_revision"],
        inclusion_probability=row["inclusion_probability"],
    )


_WORD = ("output_id", "kind", "value", "reason", "note", "channel", "occurred_at")


def _as_correction(word: Word) -> events.Correction:
    """A stored word as the contract's model; what was stored has been validated before."""
    said = {name: getattr(word, name) for name in _WORD if getattr(word, name) is not None}
    return events.Correction.model_validate_json(to_json({**said, "actor": {"id": word.actor}}))
