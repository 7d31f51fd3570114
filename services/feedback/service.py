"""Feedback's verbs, all set-based: one statement a step for a whole batch. None commits.

Every verb that touches output rows takes them in (tool, output_id) order, so that two
consumers wait for each other instead of deadlocking.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import TextClause, text
from sqlalchemy.orm import Session

from services.feedback import rules
from services.kit import counts
from services.kit.consuming import outbox
from services.kit.counts import Count, Counts, hour_of
from services.kit.eventlog.port import NewRecord
from services.tools.rules import UNVERSIONED, VerdictKind

Row = dict[str, Any]


class Key(NamedTuple):
    """What names an output."""

    tool: str
    output_id: str


@dataclass(slots=True)
class Taken:
    """What became of a batch of events, by event id within its tool."""

    stored: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    missed: list[Row] = field(default_factory=list)
    """Of the stored those that had been reported missing."""


# --- outputs ----------------------------------------------------------------------------

_OUTPUT_COLUMNS = {
    "tool": "text",
    "output_id": "text",
    "event_id": "text",
    "digest": "text",
    "version": "text",
    "subject": "text",
    "kind": "text",
    "value": "jsonb",
    "confidence": "float8",
    "alternatives": "jsonb",
    "input": "jsonb",
    "attributes": "jsonb",
    "cohort": "text",
    "latency_ms": "float8",
    "cost": "jsonb",
    "failure": "jsonb",
    "disposition": "text",
    "gate_reason": "text",
    "policy_revision": "bigint",
    "audit": "boolean",
    "inclusion_probability": "float8",
    "occurred_at": "timestamptz",
}


def _recordset(columns: dict[str, str]) -> str:
    """The batch as a table: one JSON document, whatever the number of rows."""
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"json_to_recordset(CAST(:rows AS json)) AS g({listed})"


def _picked(columns: Iterable[str]) -> str:
    """The batch's columns as a select list; digests travel as hexadecimal digits."""
    return ", ".join(f"decode(g.{c}, 'hex')" if c == "digest" else f"g.{c}" for c in columns)


_IDENTITY_COLUMNS = {
    "position": "bigint",
    "tool": "text",
    "output_id": "text",
    "event_id": "text",
    "digest": "text",
}
_filled = [c for c in _OUTPUT_COLUMNS if c not in ("tool", "output_id")]
_STORE_OUTPUTS = text(f"""
INSERT INTO output AS o ({", ".join(_OUTPUT_COLUMNS)}, recorded_at)
SELECT {_picked(_OUTPUT_COLUMNS)}, :now
FROM {_recordset(_OUTPUT_COLUMNS)} ORDER BY g.tool, g.output_id
ON CONFLICT (tool, output_id) DO UPDATE
SET {", ".join(f"{c} = excluded.{c}" for c in (*_filled, "recorded_at"))}
WHERE o.recorded_at IS NULL
RETURNING o.tool, o.output_id, o.awaited_since IS NOT NULL AS awaited,
    o.unmatched_at IS NOT NULL AS missed
""")

_KNOWN_OUTPUTS = text(f"""
SELECT g.position,
       coalesce(o.output_id, e.output_id) = g.output_id
       AND coalesce(o.digest, e.digest) = decode(g.digest, 'hex') AS same
FROM {_recordset(_IDENTITY_COLUMNS)}
LEFT JOIN output o
    ON o.tool = g.tool AND o.output_id = g.output_id AND o.recorded_at IS NOT NULL
LEFT JOIN output e ON e.tool = g.tool AND e.event_id = g.event_id
WHERE o.output_id IS NOT NULL OR e.output_id IS NOT NULL
""")


def store_outputs(session: Session, rows: Sequence[Row], *, now: datetime, shard: int) -> Taken:
    """Store outputs and output failures; those that were awaited meet their corrections.

    A row whose output id or event id is known is a duplicate where the digest is the
    same and a conflict where it is not; in both cases what was there first stays.
    """
    taken = Taken()
    unknown = _drop_known(session, _KNOWN_OUTPUTS, rows, taken)
    fresh = _first_of_each(unknown, ("output_id", "event_id"), taken)
    if not fresh:
        return taken
    answered = session.execute(_STORE_OUTPUTS, {"rows": _json(fresh), "now": now}).all()
    met = {Key(row.tool, row.output_id) for row in answered if row.awaited}
    stored = {Key(row.tool, row.output_id) for row in answered}
    for row in fresh:
        (taken.stored if _key(row) in stored else taken.duplicates).append(row)
    missed = {Key(row.tool, row.output_id) for row in answered if row.missed}
    taken.missed = [row for row in fresh if _key(row) in missed]
    alike = Counter((row["tool"], row["version"], row["disposition"]) for row in taken.stored)
    hour = hour_of(now)
    tally = {Count("outputs", tool, hour, *rest): n for (tool, *rest), n in alike.items()}
    counts.add(session, tally, shard=shard)
    if met:
        _meet(session, met, now=now, shard=shard)
    return taken


def _first_of_each(rows: Sequence[Row], identities: tuple[str, ...], taken: Taken) -> list[Row]:
    """Within the batch: answer the first bearer of each id, and judge the others."""
    fresh = []
    first: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        names = [(identity, row["tool"], row[identity]) for identity in identities]
        earlier = [first[name] for name in names if name in first]
        if not earlier:
            first.update((name, row) for name in names)
            fresh.append(row)
        elif all(_same(row, other) for other in earlier):
            taken.duplicates.append(row)
        else:
            taken.conflicts.append(row)
    return fresh


def _same(row: Row, other: Row) -> bool:
    """Whether two rows are one payload: same digest, about the same output."""
    return bool(row["digest"] == other["digest"] and row["output_id"] == other["output_id"])


def _drop_known(
    session: Session, known: TextClause, rows: Sequence[Row], taken: Taken
) -> list[Row]:
    """Move rows that the database has already into `taken`; answer the others."""
    wanted = ("tool", "output_id", "event_id", "digest")
    asked = [{"position": n, **{c: row[c] for c in wanted}} for n, row in enumerate(rows)]
    found = session.execute(known, {"rows": _json(asked)})
    same = {row.position: row.same for row in found}
    for position, is_same in same.items():
        (taken.duplicates if is_same else taken.conflicts).append(rows[position])
    return [row for position, row in enumerate(rows) if position not in same]


# --- corrections and withdrawals --------------------------------------------------------

_CORRECTION_COLUMNS = {
    "tool": "text",
    "event_id": "text",
    "digest": "text",
    "output_id": "text",
    "kind": "text",
    "value": "jsonb",
    "reason": "text",
    "note": "text",
    "actor": "text",
    "active_seconds": "float8",
    "channel": "text",
    "occurred_at": "timestamptz",
}
_WITHDRAWAL_COLUMNS = {
    "tool": "text",
    "event_id": "text",
    "digest": "text",
    "output_id": "text",
    "correction_id": "text",
    "actor": "text",
}


def _store(table: str, columns: dict[str, str], key: str) -> TextClause:
    """An insert of the whole batch that leaves known rows alone and answers the new ones."""
    return text(f"""
INSERT INTO {table} ({", ".join(columns)}, recorded_at)
SELECT {_picked(columns)}, :now FROM {_recordset(columns)} ORDER BY {key}
ON CONFLICT ({key}) DO NOTHING RETURNING {key}
""")


def _known(table: str) -> TextClause:
    """Which events of the batch the table holds, and whether with the same payload."""
    return text(f"""
SELECT g.position, k.digest = decode(g.digest, 'hex') AS same
FROM {_recordset(_IDENTITY_COLUMNS)} JOIN {table} k ON k.tool = g.tool AND k.event_id = g.event_id
""")


_STORE_CORRECTIONS = _store("correction", _CORRECTION_COLUMNS, "tool, event_id")
_KNOWN_CORRECTIONS = _known("correction")
_STORE_WITHDRAWALS = _store("withdrawal", _WITHDRAWAL_COLUMNS, "tool, event_id")
_KNOWN_WITHDRAWALS = _known("withdrawal")

_AWAIT_OUTPUTS = text(f"""
INSERT INTO output AS o (tool, output_id, awaited_since)
SELECT g.tool, g.output_id, :now
FROM {_recordset({"tool": "text", "output_id": "text"})} ORDER BY g.tool, g.output_id
ON CONFLICT (tool, output_id) DO UPDATE SET awaited_since = :now, unmatched_at = NULL
WHERE o.recorded_at IS NULL AND o.unmatched_at IS NOT NULL AND :anew
""")

_WITHDRAWN_OBJECTIONS = text(f"""
SELECT DISTINCT c.tool, c.output_id, c.event_id, c.actor
FROM {_recordset({"tool": "text", "correction_id": "text", "actor": "text"})}
JOIN correction c ON c.tool = g.tool AND c.event_id = g.correction_id
    AND c.actor IS NOT DISTINCT FROM g.actor
JOIN output o ON o.tool = c.tool AND o.output_id = c.output_id
WHERE (c.kind IN ('dispute', 'appeal') AND o.recorded_at IS NOT NULL) OR o.unmatched_at IS NOT NULL
""")


def store_corrections(session: Session, rows: Sequence[Row], *, now: datetime, shard: int) -> Taken:
    """Store what people said, decide the truth anew, and send disputes on their way.

    A correction whose output has not come yet waits for it and counts when they meet.
    """
    taken = _take(session, rows, _KNOWN_CORRECTIONS, _STORE_CORRECTIONS, now=now)
    keys = {_key(row) for row in taken.stored}
    if keys:
        _await(session, keys, now=now, anew=True)
        outputs = _lock_outputs(session, keys)
        recorded = [row for row in taken.stored if outputs[_key(row)]["recorded_at"]]
        _note_met(session, recorded, outputs, now=now, shard=shard)
        _settle(session, outputs, now=now, shard=shard)
    return taken


def store_withdrawals(session: Session, rows: Sequence[Row], *, now: datetime, shard: int) -> Taken:
    """Take corrections back, decide the truth without them, and tell escalation of disputes."""
    taken = _take(session, rows, _KNOWN_WITHDRAWALS, _STORE_WITHDRAWALS, now=now)
    keys = {_key(row) for row in taken.stored}
    if keys:
        _await(session, keys, now=now)
        _settle(session, _lock_outputs(session, keys), now=now, shard=shard)
        _send_withdrawn(session, taken.stored, now=now)
    return taken


def _send_withdrawn(session: Session, withdrawals: Sequence[Row], *, now: datetime) -> None:
    """Send word of those that escalation was told of before."""
    found = session.execute(_WITHDRAWN_OBJECTIONS, {"rows": _json(withdrawals)})
    records = []
    for row in found:
        event = events.dispute_withdrawn(
            tool=row.tool,
            output_id=row.output_id,
            correction_id=row.event_id,
            actor=row.actor,
            time=now,
        )
        records.append(NewRecord(event.topic, event.key, events.encode(event)))
    if records:
        outbox.enqueue(session, records)


def _take(
    session: Session, rows: Sequence[Row], known: TextClause, store: TextClause, *, now: datetime
) -> Taken:
    taken = Taken()
    unknown = _drop_known(session, known, rows, taken)
    fresh = _first_of_each(unknown, ("event_id",), taken)
    if fresh:
        answered = session.execute(store, {"rows": _json(fresh), "now": now})
        stored = {(row.tool, row.event_id) for row in answered}
        for row in fresh:
            new = (row["tool"], row["event_id"]) in stored
            (taken.stored if new else taken.duplicates).append(row)
    return taken


def _await(session: Session, keys: Iterable[Key], *, now: datetime, anew: bool = False) -> None:
    """Make a row for each output that has not come yet, or wait for the one in the making.

    `anew`: somebody has something new to say, so that one found missing is missed again.
    """
    rows = _json([k._asdict() for k in keys])
    session.execute(_AWAIT_OUTPUTS, {"rows": rows, "now": now, "anew": anew})


# --- verdicts ---------------------------------------------------------------------------

_VERDICT_COLUMNS = {
    "event_id": "text",
    "digest": "text",
    "tool": "text",
    "output_id": "text",
    "case_id": "bigint",
    "verdict": "text",
    "value": "jsonb",
    "actor": "text",
    "blind": "boolean",
    "at": "timestamptz",
}
_STORE_VERDICTS = _store("verdict", _VERDICT_COLUMNS, "event_id")


def store_verdicts(session: Session, rows: Sequence[Row], *, now: datetime, shard: int) -> Taken:
    """Store verdicts that came back from escalation, and decide the truth anew."""
    taken = Taken()
    candidates = _first_of_each(rows, ("event_id",), taken)
    if candidates:
        answered = session.execute(_STORE_VERDICTS, {"rows": _json(candidates), "now": now})
        new = {row.event_id for row in answered}
        for row in candidates:
            (taken.stored if row["event_id"] in new else taken.duplicates).append(row)
    keys = {_key(row) for row in taken.stored}
    if keys:
        _await(session, keys, now=now)
        _settle(session, _lock_outputs(session, keys), now=now, shard=shard)
    return taken


# --- the decided truth ------------------------------------------------------------------

_KEYS = _recordset({"tool": "text", "output_id": "text"})
_LOCK_OUTPUTS = text(f"""
SELECT o.tool, o.output_id, o.version, o.value, o.disposition, o.recorded_at,
       o.decided_value, o.decided_by, o.decided_at, o.overridden
FROM {_KEYS} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
ORDER BY o.tool, o.output_id FOR UPDATE OF o
""")

_OUTPUT_FACTS = (
    "output_id",
    "subject",
    "kind",
    "value",
    "confidence",
    "alternatives",
    "input",
    "attributes",
    "disposition",
    "occurred_at",
)
_FACTS = text(f"""
SELECT o.tool, o.version, o.failure, {", ".join(f"o.{name}" for name in _OUTPUT_FACTS)}
FROM {_KEYS} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
""")

# Nobody says anything later than it is heard: a clock that is ahead must not win for ever.
_STANDING_WORDS = text(f"""
SELECT c.tool, c.output_id, c.event_id, c.kind, c.value, c.reason, c.note, c.actor, c.channel,
       least(c.occurred_at, c.recorded_at) AS occurred_at
FROM {_KEYS} JOIN correction c ON c.tool = g.tool AND c.output_id = g.output_id
WHERE NOT EXISTS (
    SELECT FROM withdrawal w
    WHERE w.tool = c.tool AND w.correction_id = c.event_id
      AND w.actor IS NOT DISTINCT FROM c.actor)
""")

_VERDICTS = text(f"""
SELECT v.tool, v.output_id, v.verdict, v.value, v.at
FROM {_KEYS} JOIN verdict v ON v.tool = g.tool AND v.output_id = g.output_id
""")

_DECIDED_COLUMNS = {
    "tool": "text",
    "output_id": "text",
    "decided_value": "jsonb",
    "decided_by": "text",
    "decided_at": "timestamptz",
    "overridden": "boolean",
}
_WRITE_TRUTH = text(f"""
UPDATE output AS o
SET decided_value = g.decided_value, decided_by = g.decided_by,
    decided_at = g.decided_at, overridden = g.overridden
FROM {_recordset(_DECIDED_COLUMNS)} WHERE o.tool = g.tool AND o.output_id = g.output_id
""")

Locked = dict[Key, Row]


def _lock_outputs(session: Session, keys: Iterable[Key]) -> Locked:
    """Lock these outputs, in order, and answer them by key."""
    found = session.execute(_LOCK_OUTPUTS, {"rows": _json([k._asdict() for k in keys])})
    return {Key(row["tool"], row["output_id"]): dict(row) for row in found.mappings()}


def _meet(session: Session, keys: Iterable[Key], *, now: datetime, shard: int) -> None:
    """Outputs have come that corrections were waiting for."""
    outputs = _lock_outputs(session, keys)
    words = [row for said in _standing_words(session, outputs).values() for row in said]
    _note_met(session, words, outputs, now=now, shard=shard)
    _settle(session, outputs, now=now, shard=shard)


def _note_met(
    session: Session, words: Sequence[Row], outputs: Locked, *, now: datetime, shard: int
) -> None:
    """Count words that have met their output, and send objections to escalation."""
    hour = hour_of(now)
    alike = Counter((w["tool"], outputs[_key(w)]["version"], w["kind"]) for w in words)
    tally = {Count("corrections", tool, hour, *rest): n for (tool, *rest), n in alike.items()}
    counts.add(session, tally, shard=shard)
    objections = [word for word in words if word["kind"] in _OBJECTIONS]
    if objections:
        keys = {_key(word) for word in objections}
        facts, standing = _facts(session, keys), _standing_words(session, keys)
        # A withdrawal may have come before what it takes back.
        ids = {word["event_id"] for said in standing.values() for word in said}
        records = [
            _objection(word, facts[_key(word)], now=now)
            for word in objections
            if word["event_id"] in ids
        ]
        outbox.enqueue(session, records)


_OBJECTIONS = (rules.CorrectionKind.DISPUTE, rules.CorrectionKind.APPEAL)


def _facts(session: Session, keys: Iterable[Key]) -> dict[Key, Row]:
    """What these outputs said, whole."""
    found = session.execute(_FACTS, {"rows": _json([k._asdict() for k in keys])})
    return {_key(row): row for row in map(dict, found.mappings())}


def _objection(word: Row, output: Row, *, now: datetime) -> NewRecord:
    """A dispute or an appeal as escalation needs it: with the output's facts."""
    event = events.dispute_raised(
        tool=word["tool"],
        correction_id=word["event_id"],
        correction=_as_correction(word),
        output=_as_output(output),
        time=now,
    )
    return NewRecord(event.topic, event.key, events.encode(event))


def _as_correction(word: Row) -> events.Correction:
    """A stored word as the contract's model; what was stored has been validated before."""
    fields = {name: word[name] for name in _WORD_FIELDS}
    said = {**fields, "actor": {"id": word["actor"]}}
    return events.Correction.model_validate_json(to_json(_present(said)))


def _as_output(output: Row) -> events.Output | None:
    """A stored output as the contract's model; a failure returned none."""
    if output["failure"] is not None:
        return None
    facts = {name: output[name] for name in _OUTPUT_FACTS}
    model, _, prompt = output["version"].partition("+")
    version = {} if output["version"] == UNVERSIONED else {"model": model, "prompt": prompt}
    return events.Output.model_validate_json(
        to_json(_present({**facts, "version": _present(version)}))
    )


_WORD_FIELDS = ("output_id", "kind", "value", "reason", "note", "channel", "occurred_at")


def _present(fields: Row) -> Row:
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _standing_words(session: Session, outputs: Iterable[Key]) -> dict[Key, list[Row]]:
    found = session.execute(_STANDING_WORDS, {"rows": _json([k._asdict() for k in outputs])})
    words: dict[Key, list[Row]] = defaultdict(list)
    for row in found.mappings():
        words[Key(row["tool"], row["output_id"])].append(dict(row))
    return words


def _settle(session: Session, outputs: Locked, *, now: datetime, shard: int) -> None:
    """Decide the truth of locked outputs anew, write what changed and count overrides.

    An override counts in the hour of its output. One that is taken back after it was
    counted is counted as withdrawn, so that both counts only ever rise.
    """
    recorded = {key: row for key, row in outputs.items() if row["recorded_at"]}
    if not recorded:
        return
    words = _standing_words(session, recorded)
    given: dict[Key, list[rules.GivenVerdict]] = defaultdict(list)
    for row in session.execute(_VERDICTS, {"rows": _json([k._asdict() for k in recorded])}):
        verdict = rules.GivenVerdict(VerdictKind(row.verdict), row.value, row.at)
        given[Key(row.tool, row.output_id)].append(verdict)
    changed, tally = [], Counts()
    for key, output in recorded.items():
        said = [_said(word) for word in words.get(key, ())]
        truth = rules.decide(output["value"], said, given.get(key, ()))
        if truth == _truth_of(output):
            continue
        changed.append({**key._asdict(), **_truth_columns(truth)})
        if bool(truth.overridden) != bool(output["overridden"]):
            measure = "overridden" if truth.overridden else "overrides_withdrawn"
            hour = hour_of(output["recorded_at"])
            tally[Count(measure, key.tool, hour, output["version"], output["disposition"])] += 1
    if changed:
        session.execute(_WRITE_TRUTH, {"rows": _json(changed)})
    counts.add(session, tally, shard=shard)


def _said(word: Row) -> rules.SaidWord:
    kind = rules.CorrectionKind(word["kind"])
    return rules.SaidWord(kind, word["value"], word["occurred_at"], word["event_id"])


def _truth_of(output: Row) -> rules.Truth:
    """The truth that the row holds now."""
    by = output["decided_by"]
    return rules.Truth(
        output["decided_value"],
        rules.DecidedBy(by) if by else None,
        output["decided_at"],
        output["overridden"],
    )


def _truth_columns(truth: rules.Truth) -> Row:
    return {
        "decided_value": truth.value,
        "decided_by": truth.decided_by,
        "decided_at": truth.decided_at,
        "overridden": truth.overridden,
    }


# --- corrections whose output never comes -------------------------------------------------

_UNMATCHED = text("""
UPDATE output SET unmatched_at = :now
WHERE (tool, output_id) IN (
    SELECT tool, output_id FROM output
    WHERE recorded_at IS NULL AND unmatched_at IS NULL AND awaited_since <= :before
    ORDER BY awaited_since LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING tool, output_id
""")


def report_unmatched(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Send word of corrections that have waited for their output since `before` in vain.

    Answers how many outputs were found missing; call again while it is `limit`.
    """
    missing = [
        Key(*row)
        for row in session.execute(_UNMATCHED, {"now": now, "before": before, "limit": limit})
    ]
    words = _standing_words(session, missing) if missing else {}
    records = []
    for key in missing:
        for said in sorted(words.get(key, []), key=lambda w: w["occurred_at"]):
            event = events.correction_unmatched(
                tool=key.tool,
                correction_id=said["event_id"],
                correction=_as_correction(said),
                time=now,
            )
            records.append(NewRecord(event.topic, event.key, events.encode(event)))
    if records:
        outbox.enqueue(session, records)
    return len(missing)


def _key(row: Row) -> Key:
    return Key(row["tool"], row["output_id"])


def _json(rows: Sequence[Row]) -> str:
    """The batch as one document; what is absent becomes NULL, in columns and in contracts."""
    return to_json(rows, exclude_none=True).decode()
