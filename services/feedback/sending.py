"""Words against outputs on their way to whoever reviews them: piece by piece.

However much is said, and of outputs however large, a transaction requests reviews for one
piece of it. The rest waits in `correction_backlog`, so that nobody else waits for it.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import groupby

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import reviews, truth
from services.feedback.rows import Key, Word
from services.feedback.storing import KEY_COLUMNS, as_json, keys_json, recordset
from services.kit.database import selecting
from services.tools.rules import Trigger

_PIECE = 100
"""So many words of one output are sent on in one transaction,"""
_MOST = 2_000
"""and so many in all."""

# Nobody says anything later than it is heard: a clock that is ahead must not win for ever.
WORD = """
c.tool, c.output_id, c.event_id, c.kind, c.value, c.reason, c.note, c.actor, c.channel,
least(c.occurred_at, c.recorded_at) AS occurred_at, c.withdrawn_at IS NOT NULL AS withdrawn"""
"""A word's columns, in the order of the shape, of `correction c`."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """What was said of an output, and how far it has been sent on."""

    tool: str
    output_id: str
    trigger: Trigger
    after_at: datetime
    after_id: str

    @property
    def key(self) -> Key:
        """The output."""
        return Key(self.tool, self.output_id)


_BACKLOG_COLUMNS = {
    **KEY_COLUMNS,
    "trigger": "text",
    "after_at": "timestamptz",
    "after_id": "text",
}


def begin(
    session: Session, waiting: Sequence[Backlog], *, now: datetime, until: datetime | None = None
) -> None:
    """Request reviews for what is said of these outputs, and keep what is too much for now.

    Whoever calls this holds the outputs, and so sees all that is said of them, but for what
    will be said by whoever waits to hold them. Their clocks may have been read earlier, or
    later: nothing follows from that. `until`: what was recorded later is sent on by itself now;
    where a rest is kept, it may be sent on with that once more.
    """
    remaining = _send_piece(session, waiting, now=now, until=until)
    if remaining:
        session.execute(_KEEP, {"rows": _as_rows(remaining)})


# What comes next is the earlier of what comes next of both: a word is better sent on twice, and
# known to escalation by its id, than never.
_EARLIER = """
    after_at = least(b.after_at, {0}.after_at),
    after_id = CASE WHEN (b.after_at, b.after_id) < ({0}.after_at, {0}.after_id)
               THEN b.after_id ELSE {0}.after_id END"""
_KEEP = text(f"""
INSERT INTO correction_backlog AS b ({", ".join(_BACKLOG_COLUMNS)})
SELECT {", ".join(f"g.{name}" for name in _BACKLOG_COLUMNS)} FROM {recordset(_BACKLOG_COLUMNS)}
ON CONFLICT (tool, output_id) DO UPDATE SET
    trigger = excluded.trigger, {_EARLIER.format("excluded")}
""")

_JOIN = text(f"""
UPDATE correction_backlog b SET {_EARLIER.format("g")} FROM {recordset(_BACKLOG_COLUMNS)}
WHERE b.tool = g.tool AND b.output_id = g.output_id RETURNING b.tool, b.output_id
""")


def follow_on(
    session: Session, waiting: Sequence[Backlog], *, now: datetime, until: datetime
) -> None:
    """As `begin`, but where something is on its way already, the new follows it."""
    joined = session.execute(_JOIN, {"rows": _as_rows(waiting)})
    following = {Key(*row) for row in joined}
    rest = [one for one in waiting if one.key not in following]
    begin(session, rest, now=now, until=until)


_FORGET = text(f"""
DELETE FROM correction_backlog b USING {recordset(KEY_COLUMNS)}
WHERE b.tool = g.tool AND b.output_id = g.output_id
""")


def forget(session: Session, keys: Collection[Key]) -> None:
    """Send on no more of what was said of these outputs."""
    if keys:
        session.execute(_FORGET, {"rows": keys_json(keys)})


_LONGEST_KEPT = text("""
SELECT tool, output_id FROM correction_backlog ORDER BY kept_at LIMIT :limit
""")
_KEPT = text(f"""
SELECT {", ".join(f"b.{name}" for name in _BACKLOG_COLUMNS)}
FROM {recordset(KEY_COLUMNS)} JOIN correction_backlog b USING (tool, output_id)
ORDER BY b.kept_at
""")
# Whoever had a turn comes after all others.
_ADVANCE = text(f"""
UPDATE correction_backlog b SET after_at = g.after_at, after_id = g.after_id,
    kept_at = CASE WHEN (b.after_at, b.after_id) = (g.after_at, g.after_id)
              THEN b.kept_at ELSE clock_timestamp() END
FROM {recordset(_BACKLOG_COLUMNS)} WHERE b.tool = g.tool AND b.output_id = g.output_id
""")


def send_on(session: Session, *, now: datetime, limit: int = 100) -> int:
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
    remaining = _send_piece(session, waiting, now=now)
    session.execute(_ADVANCE, {"rows": _as_rows(remaining)})
    forget(session, {one.key for one in waiting} - {one.key for one in remaining})
    return len(waiting)


# --- one piece ----------------------------------------------------------------------------

# An output that has come is disputed by objections alone; one that has not, by all but consent.
_NEXT = selecting(
    f"""
SELECT c.* FROM {recordset(_BACKLOG_COLUMNS)} CROSS JOIN LATERAL (
    SELECT {WORD}, c.recorded_at FROM correction c
    WHERE c.tool = g.tool AND c.output_id = g.output_id
      AND (c.recorded_at, c.event_id) > (g.after_at, g.after_id)
      AND c.recorded_at <= coalesce(CAST(:until AS timestamptz), 'infinity')
      AND c.withdrawn_at IS NULL AND c.kind <> 'confirmation'
      AND (g.trigger = 'unmatched' OR c.kind IN ('dispute', 'appeal'))
    ORDER BY c.recorded_at, c.event_id LIMIT :piece) c
LIMIT :most
""",
    [*Word._fields, "recorded_at"],
)
_SEEK = text(f"""
UPDATE output o SET sought = true FROM {recordset(KEY_COLUMNS)}
WHERE o.tool = g.tool AND o.output_id = g.output_id
""")


@dataclass(frozen=True, slots=True)
class _Piece:
    """The next words of one output, in the order in which they were heard."""

    backlog: Backlog
    words: list[Word]
    rest: Backlog | None
    """What may come after them."""


def _send_piece(
    session: Session, waiting: Sequence[Backlog], *, now: datetime, until: datetime | None = None
) -> list[Backlog]:
    """Request reviews for the next words of each, as far as they fit; answers what may remain."""
    pieces = _next_pieces(session, waiting, until)
    asked = [(one.backlog.trigger, one.words) for one in pieces if one.words]
    sent = reviews.request_for_words(session, asked, now=now)
    missing = [key for key, trigger in sent.items() if trigger is Trigger.UNMATCHED]
    if missing:
        session.execute(_SEEK, {"rows": keys_json(missing)})
    remaining = [
        one.rest if not one.words or one.backlog.key in sent else one.backlog for one in pieces
    ]
    return [one for one in remaining if one is not None]


def _next_pieces(
    session: Session, waiting: Sequence[Backlog], until: datetime | None
) -> list[_Piece]:
    given = {"rows": _as_rows(waiting), "until": until, "piece": _PIECE, "most": _MOST}
    found = session.execute(_NEXT, given).all()
    of = {key: list(rows) for key, rows in groupby(found, lambda row: Key(row[0], row[1]))}
    # Those after the last one that is answered were not looked at, and it not to its end.
    cut = list(of)[-1] if len(found) == _MOST else None
    pieces = []
    for one in waiting:
        rows = of.get(one.key, [])
        words = [Word(*row[:-1]) for row in rows]
        rest = one if cut is not None and not rows else None
        if len(rows) == _PIECE or (rows and one.key == cut):
            rest = replace(one, after_at=rows[-1].recorded_at, after_id=rows[-1].event_id)
        pieces.append(_Piece(one, words, rest))
    return pieces


def _as_rows(waiting: Iterable[Backlog]) -> str:
    return as_json(asdict(one) for one in waiting)
