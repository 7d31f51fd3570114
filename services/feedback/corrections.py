"""What people say of outputs: stored, met with its output, sent on where it objects."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import reviews, sending, truth
from services.feedback.rows import (
    CorrectionRow,
    Key,
    LockedOutput,
    StoreResult,
    WithdrawalRow,
    Word,
    key_of,
)
from services.feedback.rules import CorrectionKind
from services.feedback.sending import WORD, Backlog
from services.feedback.storing import (
    KEY_COLUMNS,
    as_json,
    insert_of,
    keys_json,
    known_events,
    recordset,
    store_events,
)
from services.kit.counts import Count, Counts, hour_of
from services.kit.database import selecting
from services.tools.rules import Trigger

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
_EVENT = ("tool", "event_id")


_INSERT_CORRECTIONS = insert_of("correction", _CORRECTION_COLUMNS, _EVENT)
_KNOWN_CORRECTIONS = known_events("correction")
_INSERT_WITHDRAWALS = insert_of("withdrawal", _WITHDRAWAL_COLUMNS, _EVENT)
_KNOWN_WITHDRAWALS = known_events("withdrawal")

# Run under the lock of the output: whichever of the two comes second meets the other.
_TAKE_BACK = selecting(
    f"""
UPDATE correction c SET withdrawn_at = :now FROM {recordset({"tool": "text", "event_id": "text"})}
WHERE c.tool = g.tool AND c.event_id = g.event_id AND c.withdrawn_at IS NULL AND EXISTS (
    SELECT FROM withdrawal w WHERE w.tool = c.tool AND w.correction_id = c.event_id
    AND w.actor = c.actor AND w.output_id = c.output_id)
RETURNING {WORD}
""",
    Word._fields,
)

OBJECTIONS = frozenset({CorrectionKind.DISPUTE, CorrectionKind.APPEAL})
"""What says that an output, or a verdict on it, is wrong without saying what is right."""


def store(
    session: Session, rows: Sequence[CorrectionRow], *, now: datetime
) -> StoreResult[CorrectionRow]:
    """Store what people said, decide the truth anew, and request reviews of what is disputed.

    A correction whose output has not come yet waits for it and counts when they meet.
    """
    result = store_events(session, rows, _INSERT_CORRECTIONS, _KNOWN_CORRECTIONS, now=now)
    keys = {key_of(row) for row in result.stored}
    if keys:
        await_outputs(session, keys, now=now, anew=True)
        outputs = truth.lock(session, keys)
        ids = [(row["tool"], row["event_id"]) for row in result.stored]
        taken_back = {(word.tool, word.event_id) for word in _take_back(session, ids, now=now)}
        said = [row for row in result.stored if outputs[key_of(row)].recorded_at]
        disputed = sorted({key_of(row) for row in said if row["kind"] in OBJECTIONS})
        _send_objections(session, disputed, now=now)
        met = Counter((row["tool"], outputs[key_of(row)].version or 0, row["kind"]) for row in said)
        result.tally = note_met(session, met, disputed, now=now)
        result.tally.update(truth.settle(session, outputs))
        standing = (
            row for row in result.stored if (row["tool"], row["event_id"]) not in taken_back
        )
        reviews.bar_reviewers(session, standing, now=now)
    return result


def _send_objections(session: Session, disputed: Sequence[Key], *, now: datetime) -> None:
    """Request reviews of outputs that words object to which are stored now."""
    if disputed:
        waiting = [Backlog(*key, Trigger.DISPUTE, now, "") for key in disputed]
        sending.follow_on(session, waiting, now=now, until=now)


def _take_back(
    session: Session, corrections: Iterable[tuple[str, str]], *, now: datetime
) -> list[Word]:
    """Mark those of these corrections that their author has withdrawn; answers the newly marked."""
    rows = [{"tool": tool, "event_id": event_id} for tool, event_id in corrections]
    given = {"rows": as_json(rows), "now": now}
    return [Word(*row) for row in session.execute(_TAKE_BACK, given)]


def store_withdrawals(
    session: Session, rows: Sequence[WithdrawalRow], *, now: datetime
) -> StoreResult[WithdrawalRow]:
    """Take corrections back, decide the truth without them, and tell who was asked to review."""
    result = store_events(session, rows, _INSERT_WITHDRAWALS, _KNOWN_WITHDRAWALS, now=now)
    keys = {key_of(row) for row in result.stored}
    if keys:
        await_outputs(session, keys, now=now)
        outputs = truth.lock(session, keys)
        ids = {(row["tool"], row["correction_id"]) for row in result.stored}
        words = _take_back(session, ids, now=now)
        sent_on = [
            word
            for word in words
            if _was_sent_on(word, outputs[word.key]) or word.kind == CorrectionKind.CORRECTION
        ]
        reviews.withdraw(session, sent_on, now=now)
        result.tally = truth.settle(session, outputs)
    return result


def _was_sent_on(word: Word, output: LockedOutput) -> bool:
    """Whether a review was requested because of this word."""
    if output.recorded_at is not None and word.kind in OBJECTIONS:
        return True
    return output.sought and word.kind != CorrectionKind.CONFIRMATION


_AWAIT = text(f"""
INSERT INTO output AS o (tool, output_id, awaited_since)
SELECT g.tool, g.output_id, :now FROM {recordset(KEY_COLUMNS)} ORDER BY g.tool, g.output_id
ON CONFLICT (tool, output_id) DO UPDATE SET unmatched_at = NULL, awaited_since =
    CASE WHEN o.unmatched_at IS NULL THEN least(o.awaited_since, :now) ELSE :now END
WHERE o.recorded_at IS NULL AND :anew AND (o.unmatched_at IS NOT NULL OR o.awaited_since > :now)
""")


def await_outputs(
    session: Session, keys: Iterable[Key], *, now: datetime, anew: bool = False
) -> None:
    """Make a row for each output that has not come yet.

    `anew`: somebody has something new to say, so that one found missing is missed again. It is
    awaited since the first that was said, whoever came first to say so here.
    """
    session.execute(_AWAIT, {"rows": keys_json(keys), "now": now, "anew": anew})


def note_met(
    session: Session,
    met: Mapping[tuple[str, int, str], int],
    keys: Iterable[Key],
    *,
    now: datetime,
) -> Counts:
    """What is to be counted of words that have met the outputs of these keys.

    `met` says how many by tool, version and kind. What was taken back before is counted as
    well, as it is where it is taken back later.
    """
    hour = hour_of(now)
    tally: Counts = Counter(
        {
            Count("corrections", tool, hour, version, kind): n
            for (tool, version, kind), n in met.items()
        }
    )
    if any(kind in OBJECTIONS for _, _, kind in met):
        tally.update(_become_exceptions(session, keys))
    return tally


_BECOME_EXCEPTIONS = text(f"""
UPDATE output o SET exception = :trigger FROM {recordset(KEY_COLUMNS)}
WHERE o.tool = g.tool AND o.output_id = g.output_id AND o.exception IS NULL AND EXISTS (
    SELECT FROM correction c WHERE c.tool = g.tool AND c.output_id = g.output_id
    AND c.withdrawn_at IS NULL AND c.kind IN ('dispute', 'appeal'))
RETURNING o.tool, o.recorded_at, o.version
""")


def _become_exceptions(session: Session, keys: Iterable[Key]) -> Counts:
    """A disputed output is an exception once, under the first trigger that makes it one."""
    given = {"rows": keys_json(set(keys)), "trigger": Trigger.DISPUTE.value}
    return Counter(
        Count("exceptions", row.tool, hour_of(row.recorded_at), row.version, Trigger.DISPUTE.value)
        for row in session.execute(_BECOME_EXCEPTIONS, given)
    )
