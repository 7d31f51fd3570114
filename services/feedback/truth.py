"""The decided truth of outputs: read under a lock, decided by the rules, counted where it changes.

Rows are always taken in (tool, output_id) order, so that two consumers wait for each other
instead of deadlocking.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.feedback import rules
from services.feedback.rows import Key, LockedOutput
from services.feedback.storing import KEY_COLUMNS, as_json, keys_json, recordset
from services.kit.counts import Count, Counts, hour_of
from services.kit.database import selecting
from services.tools.rules import VerdictKind

_KEYS = recordset(KEY_COLUMNS)
_LOCK = selecting(
    f"""
SELECT o.tool, o.output_id, o.version, o.value, o.disposition, o.recorded_at, o.unmatched_at,
       o.sought,
       o.decided_value, o.decided_by, o.decided_at, o.overridden
FROM {_KEYS} JOIN output o ON o.tool = g.tool AND o.output_id = g.output_id
ORDER BY o.tool, o.output_id FOR UPDATE OF o
""",
    LockedOutput._fields,
)

# The one word and the one verdict that can win (`rules.decide`): however much is said of an
# output, no more than that is read.
_LAST_SAID = selecting(
    f"""
SELECT g.tool, g.output_id, word.*, reviewed.*
FROM {_KEYS} LEFT JOIN LATERAL (
    SELECT c.kind, c.value, least(c.occurred_at, c.recorded_at) AS said_at, c.event_id
    FROM correction c
    WHERE c.tool = g.tool AND c.output_id = g.output_id AND c.withdrawn_at IS NULL
      AND c.kind IN ('correction', 'confirmation')
    ORDER BY least(c.occurred_at, c.recorded_at) DESC, c.event_id COLLATE "C" DESC LIMIT 1
) AS word ON true LEFT JOIN LATERAL (
    SELECT v.verdict, v.value AS verdict_value, v.at AS reviewed_at FROM verdict v
    WHERE v.tool = g.tool AND v.output_id = g.output_id AND v.verdict IN ('upheld', 'corrected')
      AND NOT EXISTS (SELECT FROM undone_verdict u WHERE u.verdict_id = v.event_id)
    ORDER BY v.at DESC LIMIT 1
) AS reviewed ON true
""",
    (
        *("tool", "output_id", "kind", "value", "said_at", "event_id"),
        *("verdict", "verdict_value", "reviewed_at"),
    ),
)

_WRITE = text(f"""
UPDATE output AS o
SET decided_value = g.decided_value, decided_by = g.decided_by,
    decided_at = g.decided_at, overridden = g.overridden
FROM {
    recordset(
        {
            **KEY_COLUMNS,
            "decided_value": "jsonb",
            "decided_by": "text",
            "decided_at": "timestamptz",
            "overridden": "boolean",
        }
    )
} WHERE o.tool = g.tool AND o.output_id = g.output_id
""")

Locked = dict[Key, LockedOutput]


def lock(session: Session, keys: Iterable[Key]) -> Locked:
    """Lock those of these outputs that there are, in order, and answer them by key."""
    found = (LockedOutput(*row) for row in session.execute(_LOCK, {"rows": keys_json(keys)}))
    return {row.key: row for row in found}


def settle(session: Session, outputs: Locked) -> Counts:
    """Decide the truth of locked outputs anew and write what changed; answers the overrides.

    An override counts in the hour of its output. One that is taken back after it was
    counted is counted as withdrawn, so that both counts only ever rise.
    """
    recorded = {key: row for key, row in outputs.items() if row.recorded_at is not None}
    if not recorded:
        return Counter()
    said = _last_said(session, recorded)
    changed: list[dict[str, Any]] = []
    tally: Counts = Counter()
    for key, output in recorded.items():
        decided = rules.decide(output.value, *said[key])
        if decided != _truth_of(output):
            changed.append({**key._asdict(), **_columns(decided)})
            _count_override(tally, output, decided)
    if changed:
        session.execute(_WRITE, {"rows": as_json(changed)})
    return tally


def _count_override(tally: Counts, output: LockedOutput, decided: rules.Truth) -> None:
    if bool(decided.overridden) == bool(output.overridden):
        return
    assert output.recorded_at is not None
    measure = "overridden" if decided.overridden else "overrides_withdrawn"
    place = (output.tool, hour_of(output.recorded_at), output.version or 0)
    tally[Count(measure, *place, output.disposition or "")] += 1


class _LastSaid(NamedTuple):
    """The newest word that stands and the newest verdict that settles, where there is one."""

    words: list[rules.SaidWord]
    verdicts: list[rules.GivenVerdict]


def _last_said(session: Session, keys: Iterable[Key]) -> dict[Key, _LastSaid]:
    found = {}
    for row in session.execute(_LAST_SAID, {"rows": keys_json(keys)}):
        last = found[Key(row.tool, row.output_id)] = _LastSaid([], [])
        if row.kind is not None:
            kind = rules.CorrectionKind(row.kind)
            last.words.append(rules.SaidWord(kind, row.value, row.said_at, row.event_id))
        if row.verdict is not None:
            verdict = VerdictKind(row.verdict)
            last.verdicts.append(rules.GivenVerdict(verdict, row.verdict_value, row.reviewed_at))
    return found


def _truth_of(output: LockedOutput) -> rules.Truth:
    """The truth that the row holds now."""
    by = rules.DecidedBy(output.decided_by) if output.decided_by else None
    return rules.Truth(output.decided_value, by, output.decided_at, output.overridden)


def _columns(decided: rules.Truth) -> dict[str, Any]:
    return {
        "decided_value": decided.value,
        "decided_by": decided.decided_by,
        "decided_at": decided.decided_at,
        "overridden": decided.overridden,
    }
