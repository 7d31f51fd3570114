"""Words that waited for their output: sent on when it comes, or when it never does.

However much was said of one output, a transaction takes one piece of it; the rest waits in
`correction_backlog` and is sent on piece by piece, so that nobody else waits for it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import reviews, truth
from services.feedback.corrections import WORD, note_met
from services.feedback.rows import Key, Word
from services.feedback.storing import KEY_COLUMNS, as_json, keys_json, recordset
from services.kit.counts import Counts
from services.kit.database import selecting
from services.tools.rules import Trigger

_PIECE = 100
"""So many words of one output are sent on in one transaction."""
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was said of an output until a moment, and how far it has been sent on."""

    tool: str
    output_id: str
    trigger: Trigger
    after_at: datetime
    after_id: str
    until_at: datetime

    @property
    def key(self) -> Key:
        """The output."""
        return Key(self.tool, self.output_id)


_BACKLOG_COLUMNS = {
    **KEY_COLUMNS,
    "trigger": "text",
    "after_at": "timestamptz",
    "after_id": "text",
    "until_at": "timestamptz",
}


# --- outputs that come --------------------------------------------------------------------

_MET = text(f"""
SELECT c.tool, o.version, c.kind, count(*)
FROM {recordset(KEY_COLUMNS)} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
JOIN correction c ON c.tool = g.tool AND c.output_id = g.output_id
GROUP BY c.tool, o.version, c.kind
""")


def meet(session: Session, keys: Iterable[Key], *, now: datetime) -> Counts:
    """Outputs have come that corrections were waiting for; answers what is to be counted."""
    outputs = truth.lock(session, keys)
    sought = [key for key, row in outputs.items() if row.sought]
    reviews.tell_of_arrival(session, sought, now=now)
    met = session.execute(_MET, {"rows": keys_json(outputs)})
    waiting = [Backlog(*key, Trigger.DISPUTE, _EARLIEST, "", now) for key in outputs]
    objections, remaining = _next_piece(session, waiting)
    _forget(session, sought)
    _keep(session, remaining)
    by_kind = {(tool, version, kind): n for tool, version, kind, n in met}
    tally = note_met(session, by_kind, objections, now=now)
    tally.update(truth.settle(session, outputs))
    return tally


# --- outputs that never come --------------------------------------------------------------

_UNMATCHED = text("""
UPDATE output SET unmatched_at = :now
WHERE (tool, output_id) IN (
    SELECT tool, output_id FROM output
    WHERE recorded_at IS NULL AND unmatched_at IS NULL AND awaited_since <= :before
    ORDER BY awaited_since LIMIT :limit FOR UPDATE SKIP LOCKED)
RETURNING tool, output_id, awaited_since
""")


_SEEK = text(f"""
UPDATE output o SET sought = true FROM {recordset(KEY_COLUMNS)}
WHERE o.tool = g.tool AND o.output_id = g.output_id
""")


def report_unmatched(session: Session, *, now: datetime, before: datetime, limit: int = 100) -> int:
    """Request reviews for what has waited for its output since `before` in vain.

    A confirmation that nobody can hold against an output asks for nobody.

    Answers how many outputs were found missing; call again while it is `limit`.
    """
    missing = session.execute(_UNMATCHED, {"now": now, "before": before, "limit": limit}).all()
    waiting = [
        Backlog(row.tool, row.output_id, Trigger.UNMATCHED, row.awaited_since, "", now)
        for row in missing
    ]
    if not waiting:
        return 0
    words, remaining = _next_piece(session, waiting)
    _keep(session, remaining)
    if words:
        reviews.request_for_unmatched(session, words, now=now)
        session.execute(_SEEK, {"rows": keys_json({word.key for word in words})})
    return len(waiting)


# --- piece by piece -----------------------------------------------------------------------

_LONGEST_KEPT = text("""
SELECT tool, output_id FROM correction_backlog ORDER BY until_at LIMIT :limit
""")
_KEPT = text(f"""
SELECT {", ".join(f"b.{name}" for name in _BACKLOG_COLUMNS)}
FROM {recordset(KEY_COLUMNS)} JOIN correction_backlog b USING (tool, output_id)
""")
_ADVANCE = text(f"""
UPDATE correction_backlog b SET after_at = g.after_at, after_id = g.after_id
FROM {recordset(_BACKLOG_COLUMNS)} WHERE b.tool = g.tool AND b.output_id = g.output_id
""")


def send_on(session: Session, *, now: datetime, limit: int = 10) -> int:
    """Request reviews for the next piece of what has more to send on.

    Answers how many outputs had; call again while there are any.
    """
    keys = [Key(*row) for row in session.execute(_LONGEST_KEPT, {"limit": limit})]
    if not keys:
        return 0
    # Whoever keeps a backlog, or forgets it, holds its output.
    truth.lock(session, keys)
    kept = session.execute(_KEPT, {"rows": keys_json(keys)}).mappings()
    waiting = [Backlog(**dict(row) | {"trigger": Trigger(row["trigger"])}) for row in kept]
    words, remaining = _next_piece(session, waiting)
    triggers = {one.key: one.trigger for one in waiting}
    met = [word for word in words if triggers[word.key] is Trigger.DISPUTE]
    reviews.request_for_objections(session, met, now=now)
    unmatched = [word for word in words if triggers[word.key] is Trigger.UNMATCHED]
    reviews.request_for_unmatched(session, unmatched, now=now)
    session.execute(_ADVANCE, {"rows": _as_rows(remaining)})
    _forget(session, {one.key for one in waiting} - {one.key for one in remaining})
    return len(waiting)


# An output that has come is disputed by objections alone; one that has not, by all but consent.
_NEXT = selecting(
    f"""
SELECT c.* FROM {recordset(_BACKLOG_COLUMNS)} CROSS JOIN LATERAL (
    SELECT {WORD}, c.recorded_at FROM correction c
    WHERE c.tool = g.tool AND c.output_id = g.output_id
      AND (c.recorded_at, c.event_id) > (g.after_at, g.after_id) AND c.recorded_at <= g.until_at
      AND c.withdrawn_at IS NULL AND c.kind <> 'confirmation'
      AND (g.trigger = 'unmatched' OR c.kind IN ('dispute', 'appeal'))
    ORDER BY c.recorded_at, c.event_id LIMIT :piece) c
""",
    [*Word._fields, "recorded_at"],
)


def _next_piece(session: Session, waiting: Sequence[Backlog]) -> tuple[list[Word], list[Backlog]]:
    """The next words of each, in the order in which they were said, and what may remain."""
    found = session.execute(_NEXT, {"rows": _as_rows(waiting), "piece": _PIECE}).all()
    words = [Word(*row[:-1]) for row in found]
    taken = Counter(word.key for word in words)
    last = {word.key: (row[-1], word.event_id) for row, word in zip(found, words, strict=True)}
    remaining = [
        replace(one, after_at=last[one.key][0], after_id=last[one.key][1])
        for one in waiting
        if taken[one.key] == _PIECE
    ]
    return sorted(words, key=lambda word: word.occurred_at), remaining


# What was said of a missing output before it was missed anew may still be on its way; what is
# said of one that has come is sent on from its beginning.
_KEEP = text(f"""
INSERT INTO correction_backlog AS b ({", ".join(_BACKLOG_COLUMNS)})
SELECT {", ".join(f"g.{name}" for name in _BACKLOG_COLUMNS)} FROM {recordset(_BACKLOG_COLUMNS)}
ON CONFLICT (tool, output_id) DO UPDATE SET trigger = excluded.trigger,
    until_at = excluded.until_at,
    after_at = CASE b.trigger WHEN excluded.trigger THEN b.after_at ELSE excluded.after_at END,
    after_id = CASE b.trigger WHEN excluded.trigger THEN b.after_id ELSE excluded.after_id END
""")
_FORGET = text(f"""
DELETE FROM correction_backlog b USING {recordset(KEY_COLUMNS)}
WHERE b.tool = g.tool AND b.output_id = g.output_id
""")


def _keep(session: Session, remaining: Sequence[Backlog]) -> None:
    if remaining:
        session.execute(_KEEP, {"rows": _as_rows(remaining)})


def _forget(session: Session, keys: Collection[Key]) -> None:
    if keys:
        session.execute(_FORGET, {"rows": keys_json(keys)})


def _as_rows(waiting: Iterable[Backlog]) -> str:
    return as_json(asdict(one) for one in waiting)
