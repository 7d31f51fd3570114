"""Who does not judge a case because they corrected its output themselves."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

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


class Key(NamedTuple):
    """What names an output."""

    tool: str
    output_id: str


_CORRECTORS = text("""
SELECT w.tool, w.output_id, array_agg(w.actor) AS people
FROM json_to_recordset(CAST(:rows AS json)) AS g(tool text, output_id text)
JOIN own_correction w ON w.tool = g.tool AND w.output_id = g.output_id
WHERE w.withdrawn_at IS NULL GROUP BY w.tool, w.output_id
""")


def correctors(session: Session, keys: Sequence[Key]) -> dict[Key, frozenset[str]]:
    """Who corrected these outputs, of those that anybody did."""
    rows = to_json([key._asdict() for key in keys]).decode()
    found = session.execute(_CORRECTORS, {"rows": rows})
    return {Key(tool, output_id): frozenset(people) for tool, output_id, people in found}


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
