"""Reads of cases. Everything that a person may not see is not found."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import impartial
from services.escalation.cases import FROM, Case, Listed, listed, reading, reading_listed, whole
from services.escalation.models import OPEN
from services.escalation.timeline import SAYING
from services.kit.database import selecting
from services.kit.errors import NotFound
from services.people import ownership
from services.people.rules import Actor, Verb

_BY_ID, _LOCKED = reading("c.id = :id"), reading("c.id = :id FOR UPDATE OF c")


def case(session: Session, case_id: int, *, lock: bool = False) -> Case:
    """A case, whoever asks; as nobody else changes it before the transaction ends, with `lock`.

    Raises:
        NotFound: there is none of that number.
    """
    found = session.execute(_LOCKED if lock else _BY_ID, {"id": case_id}).first()
    if found is None:
        raise missing(case_id)
    return whole(found)


_THESE = reading("c.id = ANY(:ids)")


def cases(session: Session, ids: Sequence[int]) -> list[Case]:
    """Those of these cases that there are, whoever asks."""
    return [whole(row) for row in session.execute(_THESE, {"ids": list(ids)})]


_LOCK_THESE = reading("c.id = ANY(:ids) ORDER BY c.id FOR UPDATE OF c")


def lock(session: Session, ids: Sequence[int]) -> list[Case]:
    """Those of these cases that there are, in order, as nobody else changes them before the
    transaction ends."""
    return [whole(row) for row in session.execute(_LOCK_THESE, {"ids": list(ids)})]


_LISTED = reading_listed(f"{FROM} WHERE c.id = ANY(:ids)", "c.id")
_LOCK_LISTED = reading_listed(f"{FROM} WHERE c.id = ANY(:ids)", "c.id FOR UPDATE OF c")


def lock_listed(session: Session, ids: Iterable[int]) -> dict[int, Listed]:
    """Those of these cases that there are, by number and in order, locked; without what is long of
    their outputs."""
    found = map(listed, session.execute(_LOCK_LISTED, {"ids": sorted(ids)}))
    return {case.id: case for case in found}


def listed_cases(session: Session, ids: Iterable[int]) -> dict[int, Listed]:
    """Those of these cases that there are, as lists show them, whoever asks."""
    found = map(listed, session.execute(_LISTED, {"ids": list(ids)}))
    return {case.id: case for case in found}


_WHOLES = text("""
SELECT DISTINCT incident FROM "case" WHERE id = ANY(:ids) AND incident IS NOT NULL
""")


def wholes(session: Session, ids: Iterable[int]) -> list[int]:
    """What these cases are part of, or were."""
    return list(session.scalars(_WHOLES, {"ids": list(ids)}))


_HOLD = text('SELECT FROM "case" WHERE id = ANY(:ids) ORDER BY id FOR UPDATE')


def hold(session: Session, ids: Iterable[int]) -> None:
    """Lock those of these cases that there are, in the order in which everybody locks them."""
    session.execute(_HOLD, {"ids": sorted(ids)})


def missing(case_id: int) -> NotFound:
    """That there is no case of that number, or none in sight."""
    return NotFound(f"There is no case {case_id}.")


def case_for(session: Session, actor: Actor, case_id: int, *, lock: bool = False) -> Case:
    """A case that the actor may see.

    Raises:
        NotFound: there is none, or it is another team's.
    """
    if not 0 < case_id < 2**63:
        raise missing(case_id)
    found = case(session, case_id, lock=lock)
    require_sight(actor, found)
    return found


def require_sight(actor: Actor, case_: Listed) -> None:
    """Refuse whoever may not see a case, as if there were none.

    Raises:
        NotFound: the case is out of the actor's sight.
    """
    if not sees(actor, case_):
        raise missing(case_.id)


def sees(actor: Actor, case_: Listed) -> bool:
    """Whether a case is in the actor's sight: their team's, or their own by owner or claim."""
    if not actor.may(Verb.READ_CASES):
        return False
    theirs = (case_.owner_person, case_.claimant, case_.verdict_by)
    return actor.sees(case_.team) or actor.email in theirs


class TimelineRow(NamedTuple):
    """An entry of a timeline, as it is read."""

    at: datetime
    event: str
    actor: str
    note: str | None
    detail: Mapping[str, Any] | None


# What tells a blind reviewer what the tool or anybody said is left out, or its words are: also
# those of the system, which say who may not own the case, and so who spoke up.
_TIMELINE = text("""
SELECT t.at, t.event, t.actor,
    CASE WHEN :hidden AND (t.event IN ('opened', 'reopened') OR t.actor <> :reader) THEN NULL
        ELSE coalesce(p.note, t.note) END AS note,
    CASE WHEN p.id IS NOT NULL THEN jsonb_build_object('verdict', p.verdict, 'value', p.value,
            'taken_back', p.taken_back_at IS NOT NULL)
        WHEN :hidden AND t.event = 'rerouted' THEN NULL
        WHEN :hidden THEN t.detail - CAST(:telling AS text[])
        ELSE t.detail END AS detail
FROM timeline_entry t LEFT JOIN opinion p ON t.event = 'reviewed'
    AND p.id = CAST(t.detail->>'opinion' AS bigint)
WHERE t.case_id = :id AND NOT (:hidden AND (t.event = ANY(:silent)
    OR t.event = 'commented' AND t.actor <> :reader)) ORDER BY t.id DESC LIMIT :limit
""")
_TELLING = ("rule", "condition")
"""What of an entry's details tells by which answer of the tool's a case was routed."""


def timeline(
    session: Session, case_: Listed, *, reader: str, limit: int = 500
) -> list[TimelineRow]:
    """What happened to a case, from its opening on; of a very long story the newest entries.

    Of a blind one nothing that was said of the tool's answer, by whomever; and no comment, note or
    reason but the reader's own.
    """
    hidden = {"hidden": case_.hidden, "silent": list(SAYING), "telling": list(_TELLING)}
    given = {"id": case_.id, "reader": reader, "limit": limit}
    found = session.execute(_TIMELINE, given | hidden)
    return [TimelineRow(*row) for row in found][::-1]


_OF_OUTPUT = reading("o.tool = :tool AND o.output_id = :output_id")


def case_of_output(session: Session, tool: str, output_id: str) -> Case | None:
    """The case on an output, or None, whoever asks."""
    given = {"tool": tool, "output_id": output_id}
    found = session.execute(_OF_OUTPUT, given).first()
    return whole(found) if found is not None else None


_WITH_CASE = text("""
SELECT output_id FROM case_output WHERE tool = :tool AND output_id = ANY(:output_ids)
""")


def outputs_with_case(session: Session, tool: str, output_ids: Sequence[str]) -> set[str]:
    """Those of these outputs that have a case, in whatever state."""
    return set(session.scalars(_WITH_CASE, {"tool": tool, "output_ids": list(output_ids)}))


_BLIND = text("""
SELECT g.output_id
FROM unnest(CAST(:output_ids AS text[]), CAST(:pending AS boolean[])) AS g(output_id, pending)
LEFT JOIN case_output o ON o.tool = :tool AND o.output_id = g.output_id
LEFT JOIN "case" c ON c.id = o.case_id
WHERE CASE WHEN c.id IS NULL THEN g.pending
    ELSE (c.blind OR c.reviewers > 1) AND c.verdict IS NULL END
""")


def blind_outputs(session: Session, tool: str, audit_pending: Mapping[str, bool]) -> set[str]:
    """Those of these outputs of which `cases.hides_answer` holds.

    They are given by their ids, each with whether it waits for an audit's verdict.
    """
    ids, pending = list(audit_pending), list(audit_pending.values())
    found = session.execute(_BLIND, {"tool": tool, "output_ids": ids, "pending": pending})
    return {row.output_id for row in found}


# --- numbers ------------------------------------------------------------------------------

PURGED_CASES = "purged_cases"
"""Counted when closed cases go because they are old."""

_QUEUES = text(f"""
SELECT queue, count(*), count(*) FILTER (WHERE overdue_since IS NOT NULL), min(opened_at)
FROM "case" WHERE {OPEN} GROUP BY queue
""")

_OLDEST_TIMER = text("""
SELECT min(due_at) FROM timer
WHERE fired_at IS NULL AND stopped_at IS NULL AND parked_until IS NULL
""")

_PARKED = text("""
SELECT id, case_id, kind, failures, error, parked_until FROM timer
WHERE parked_until IS NOT NULL AND fired_at IS NULL AND stopped_at IS NULL
ORDER BY parked_until LIMIT :limit
""")
_PARKED_COUNT = text("""
SELECT count(*) FROM timer
WHERE parked_until IS NOT NULL AND fired_at IS NULL AND stopped_at IS NULL
""")

_STATES = text(f"""
SELECT tool, count(*) FILTER (WHERE {OPEN}) AS open, count(*) AS all FROM "case" GROUP BY tool
""")

_UNOWNED = text(f"""
SELECT tool, count(*) AS n FROM "case"
WHERE {OPEN} AND NOT coalesce(owner_team = ANY(:teams), false)
  AND NOT coalesce(owner_person = ANY(:people), false)
GROUP BY tool
""")


class Queue(NamedTuple):
    """A queue that has open cases."""

    queue: str
    open: int
    overdue: int
    oldest: datetime


class ParkedTimer(NamedTuple):
    """A timer that failed, and when it is tried again."""

    id: int
    case_id: int
    kind: str
    failures: int
    error: str
    parked_until: datetime


def queues(session: Session) -> list[Queue]:
    """Open and overdue cases of each queue that has any, and when the oldest opened."""
    return [Queue(*row) for row in session.execute(_QUEUES)]


def oldest_unfired_timer(session: Session) -> datetime | None:
    """When the timer that is due first, or overdue longest, is due; parked ones are told apart."""
    found: datetime | None = session.execute(_OLDEST_TIMER).scalar_one()
    return found


def parked_timers(session: Session, *, limit: int = 100) -> list[ParkedTimer]:
    """Timers that failed, the next to be tried again first."""
    return [ParkedTimer(*row) for row in session.execute(_PARKED, {"limit": limit})]


def parked_timer_count(session: Session) -> int:
    """How many timers failed and wait to be tried again."""
    return int(session.execute(_PARKED_COUNT).scalar_one())


def case_states(session: Session) -> dict[str, tuple[int, int]]:
    """Open cases and all others that are stored, by tool; `PURGED_CASES` counts those gone."""
    return {row.tool: (row.open, row.all - row.open) for row in session.execute(_STATES)}


def unowned(session: Session) -> dict[str, int]:
    """Open cases whose owner is nobody who is active and may review, by tool.

    Anything but empty is a fault.
    """
    able = ownership.everybody_able(session)
    given = {"teams": list(able.teams), "people": list(able.people)}
    return {row.tool: row.n for row in session.execute(_UNOWNED, given)}


# --- labels -------------------------------------------------------------------------------


# Whoever disputed or corrected the output since is as if they had said nothing.
def _counts(said: str) -> str:
    objects, corrected = (
        part.format(who=f"{said}.reviewer") for part in (impartial.OBJECTS, impartial.CORRECTED)
    )
    stands = f"{said}.taken_back_at IS NULL AND {said}.blind"
    return f"{stands} AND NOT ({objects} OR {corrected})"


# Of cases that are not decided nothing is told. The third opinion that is asked where two differ
# is left out, whenever the others were given: with it, whatever is made of them would count
# disagreement twice. All of it narrows what is taken before the limit does.
_LABELS = selecting(
    f"""
SELECT s.tool, s.case_id, s.cycle, s.reviewer, s.verdict,
    CASE s.verdict WHEN 'upheld' THEN f.value ELSE s.value END AS value
FROM (SELECT p.*, c.tool FROM opinion p JOIN "case" c ON c.id = p.case_id
    WHERE p.given_at > :since AND (c.verdict IS NOT NULL OR p.cycle < c.cycle)
        AND (CAST(:tool AS text) IS NULL OR c.tool = :tool) AND {_counts("p")}
        AND (SELECT count(*) FROM opinion e WHERE e.case_id = p.case_id AND e.cycle = p.cycle
            AND e.id <= p.id AND {_counts("e")}) <= c.reviewers
    ORDER BY p.given_at DESC LIMIT :limit) s
JOIN case_output f ON f.case_id = s.case_id ORDER BY s.id
""",
    ("tool", "case_id", "cycle", "reviewer", "verdict", "value"),
)


class GivenLabel(NamedTuple):
    """What one of several reviewers said of a case, blind."""

    tool: str
    case_id: int
    cycle: int
    reviewer: str
    verdict: str
    value: Any


def labels(
    session: Session, *, since: datetime, tool: str | None = None, limit: int = 50_000
) -> list[GivenLabel]:
    """Opinions on decided cases, of a tool or of all, given since a time: the newest, up to
    `limit`."""
    given = {"since": since, "tool": tool, "limit": limit}
    return [GivenLabel(*row) for row in session.execute(_LABELS, given)]
