"""Giving cases to people of teams: read once for a batch, decided in memory, held until it ends.

Of two batches that give cases to people of one team the second waits for the first, and counts
what that one gave: nobody comes to own more than their rule allows.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from datetime import datetime

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation.assignment import Ask, Pool
from services.escalation.models import OPEN
from services.escalation.rules import AssignBy
from services.people import holding, skills
from services.people.holding import Hold

LOADS = text(f"""
SELECT owner_person, count(*) AS n FROM "case"
WHERE owner_person = ANY(:people) AND {OPEN} GROUP BY owner_person
""")
_TURNS = text("SELECT rule, person FROM assignment_turn WHERE rule = ANY(:rules)")
_KEEP_TURNS = text("""
INSERT INTO assignment_turn (rule, person, at)
SELECT rule, person, :now FROM json_to_recordset(CAST(:rows AS json)) AS g(rule text, person text)
ORDER BY rule
ON CONFLICT (rule) DO UPDATE SET person = excluded.person, at = excluded.at
""")


def gather(
    session: Session,
    asks: Sequence[Ask],
    *,
    giving: Collection[str],
    beside: Collection[str],
    now: datetime,
) -> Pool:
    """The people of whom these cases ask, held until the transaction ends.

    Somebody may be of several teams, so those of them are held as well of which anybody is given
    cases (`giving`); and `beside` them, as they are, the teams that the transaction will ask about.
    """
    if not asks:
        return Pool({}, Counter(), {})
    asked = {ask.team for ask in asks}
    alone = asked | (skills.sharing(session, asked) & set(giving))
    holding.hold_teams(
        session, dict.fromkeys(beside, Hold.STAYS) | dict.fromkeys(alone, Hold.ALONE)
    )
    members = skills.members(session, asked, now)
    pool = Pool(members, Counter(), _turns(session, asks))
    for row in session.execute(LOADS, {"people": sorted(pool.people)}):
        pool.loads[row.owner_person] = row.n
    return pool


def _turns(session: Session, asks: Sequence[Ask]) -> dict[str, str]:
    rules = {ask.rule for ask in asks if ask.terms.by is AssignBy.ROUND_ROBIN}
    rows = session.execute(_TURNS, {"rules": sorted(rules)}) if rules else ()
    return {row.rule: row.person for row in rows}


_WITH_CASE = text("""
SELECT o.tool, o.output_id FROM json_to_recordset(CAST(:rows AS json))
    AS g(tool text, output_id text)
JOIN case_output o ON o.tool = g.tool AND o.output_id = g.output_id
""")


def with_case(session: Session, keys: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these outputs, each by its tool and id, that have a case."""
    rows = [{"tool": tool, "output_id": output_id} for tool, output_id in keys]
    found = session.execute(_WITH_CASE, {"rows": to_json(rows).decode()})
    return {(row.tool, row.output_id) for row in found}


def keep_turns(session: Session, pool: Pool, *, now: datetime) -> None:
    """Remember whom the rules that go round gave a case last."""
    if pool.gone_round:
        rows = [{"rule": rule, "person": pool.turns[rule]} for rule in sorted(pool.gone_round)]
        session.execute(_KEEP_TURNS, {"rows": to_json(rows).decode(), "now": now})
