"""Who does not judge a case because they corrected its output themselves."""

from collections.abc import Sequence
from datetime import datetime

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

_GIVEN = """json_to_recordset(CAST(:rows AS json))
    AS g(tool text, correction_id text, output_id text, actor text)"""
_ADD = text(f"""
INSERT INTO own_correction (tool, correction_id, output_id, actor, heard_at)
SELECT tool, correction_id, output_id, actor, :now FROM {_GIVEN}
ORDER BY tool, correction_id ON CONFLICT DO NOTHING
""")
_LIFT = text(f"""
UPDATE own_correction w SET withdrawn_at = :now FROM {_GIVEN}
WHERE w.tool = g.tool AND w.correction_id = g.correction_id AND w.actor = g.actor
    AND w.withdrawn_at IS NULL
""")


def add(session: Session, said: Sequence[events.ReviewBar], *, now: datetime) -> None:
    """Keep who corrected which output, whether there is a case on it or will be."""
    if said:
        session.execute(_ADD, {"rows": _rows(said), "now": now})


def lift(session: Session, said: Sequence[events.ReviewWithdrawal], *, now: datetime) -> None:
    """Whoever takes a correction back may judge again."""
    if said:
        session.execute(_LIFT, {"rows": _rows(said), "now": now})


def _rows(said: Sequence[events.ReviewBar | events.ReviewWithdrawal]) -> str:
    rows = [
        {
            "tool": one.tool,
            "correction_id": one.correction_id,
            "output_id": one.output_id,
            "actor": one.actor.id,
        }
        for one in said
    ]
    return to_json(rows).decode()
