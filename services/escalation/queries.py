"""Reads of cases. Everything that a person may not see is not found."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from secondlook.text import is_address
from sqlalchemy import TextualSelect, text
from sqlalchemy.orm import Session

from services.escalation.cases import FROM, Case, Listed, listed, reading, reading_listed, whole
from services.escalation.models import OPEN
from services.escalation.rules import CaseState
from services.escalation.timeline import OBJECTING
from services.kit.database import selecting
from services.kit.errors import NotFound
from services.people import ownership
from services.people.rules import Actor, Verb

_BY_ID = reading("c.id = :id")


def case(session: Session, case_id: int) -> Case:
    """A case, whoever asks.

    Raises:
        NotFound: there is none of that number.
    """
    found = session.execute(_BY_ID, {"id": case_id}).first()
    if found is None:
        raise NotFound(f"There is no case {case_id}.")
    return whole(found)


def case_for(session: Session, actor: Actor, case_id: int) -> Case:
    """A case that the actor may see.

    Raises:
        NotFound: there is none, or it is another team's.
    """
    found = case(session, case_id) if 0 < case_id < 2**63 else None
    if found is None or not sees(actor, found):
        raise NotFound(f"There is no case {case_id}.")
    return found


def sees(actor: Actor, case_: Listed) -> bool:
    """Whether a case is in the actor's sight: their team's, or their own by owner or claim."""
    if not actor.may(Verb.READ_CASES):
        return False
    theirs = (case_.owner_person, case_.claimant, case_.verdict_by)
    return actor.sees(case_.team) or actor.email in theirs


# --- lists --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Filter:
    """What a list of cases is narrowed to. Open cases, where `state` is not given."""

    queue: str | None = None
    state: str | None = None
    tool: str | None = None
    trigger: str | None = None
    owner: str | None = None
    overdue: bool | None = None
    claimant: str | None = None
    reviewable_by: str | None = None
    """Nobody else holds it, and this person does not object to its output."""

    @property
    def by_due_alone(self) -> bool:
        """Whether no index but that of due times narrows the list."""
        narrowed = (self.queue, self.tool, self.trigger, self.owner, self.claimant)
        return self.state in (None, CaseState.OPEN) and not any(narrowed)


def cases(
    session: Session,
    actor: Actor,
    wanted: Filter,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[Listed]:
    """Cases in the actor's sight, the soonest due first, from `after` (due_at, id) on."""
    clauses, parameters = _clauses(wanted)
    if after is not None:
        clauses.append("(c.due_at, c.id) > (:after_due, :after_id)")
        parameters |= {"after_due": after[0], "after_id": after[1]}
    walks, sight = _walks(actor, wanted, clauses, tail=_SOONEST)
    found = session.execute(_listing(walks), {**parameters, **sight, "limit": limit})
    return [listed(row) for row in found]


_SOONEST = "ORDER BY due_at, id LIMIT :limit"


@lru_cache
def _listing(walks: str) -> TextualSelect:
    """The list from those walks; kept, as taking a statement apart costs more than it finds."""
    soonest = f"SELECT id FROM ({walks}) walked {_SOONEST}"
    return reading_listed(f"({soonest}) soonest JOIN {FROM} ON c.id = soonest.id", "c.due_at, c.id")


def count(session: Session, actor: Actor, wanted: Filter, *, most: int) -> int:
    """How many cases there are, counted up to `most`: a queue's length must not cost more."""
    clauses, parameters = _clauses(wanted)
    walks, sight = _walks(actor, wanted, clauses, tail="LIMIT :most")
    given = {**parameters, **sight, "most": most}
    found: int = session.execute(_counting(walks), given).scalar_one()
    return found


@lru_cache
def _counting(walks: str) -> TextualSelect:
    counted = f"SELECT count(*) FROM (SELECT FROM ({walks}) walked LIMIT :most) counted"
    return selecting(counted, ["n"])


def _walks(
    actor: Actor, wanted: Filter, clauses: Sequence[str], *, tail: str
) -> tuple[str, dict[str, Any]]:
    """Ids and due times of the cases in sight that the clauses hold for, each team's to `tail`.

    Each team is a short walk along the index of what is asked for, in the order of the list: it
    matters neither how long the queue is nor how few of it are meant. Where nothing else narrows
    the list, what is overdue is walked apart from what is not.
    """
    parameters: dict[str, Any] = {}
    overdue = _overdue(wanted)
    every_team = f"{_teams_with(clauses[0])} AS t(team)"
    source = every_team
    if not actor.sees_all_teams:
        source = "unnest(CAST(:teams AS text[])) AS t(team)"
        parameters["teams"] = sorted(actor.teams)
    which = [*clauses, *overdue]
    if wanted.by_due_alone:
        source += ", unnest(CAST(:on_time AS boolean[])) AS o(on_time)"
        which = [*clauses, "(c.overdue_since IS NULL) = o.on_time"]
        parameters["on_time"] = [True, False] if wanted.overdue is None else [not wanted.overdue]
    walks = _walk(source, which, tail)
    if not actor.sees_all_teams:
        # What somebody owns is in their sight whatever its team is.
        parameters["me"] = actor.email
        own = [*clauses, *overdue, "c.owner_person = :me", "t.team <> ALL(:teams)"]
        walks += " UNION ALL " + _walk(every_team, own, tail)
    return walks, parameters


def _teams_with(which: str) -> str:
    """The teams that have such cases: one look into an index for each team, not for each case."""
    least = f'SELECT min(c.team) FROM "case" c WHERE {which}'
    return f"""(
        WITH RECURSIVE found(team) AS (
            {least}
            UNION ALL
            SELECT ({least} AND c.team > found.team) FROM found WHERE found.team IS NOT NULL)
        SELECT team FROM found WHERE team IS NOT NULL)"""


def _walk(source: str, which: Sequence[str], tail: str) -> str:
    return f"""
        SELECT found.* FROM {source} CROSS JOIN LATERAL (
            SELECT c.id, c.due_at FROM "case" c
            WHERE {" AND ".join(which)} AND c.team = t.team {tail}) found"""


def newest(session: Session) -> int:
    """The number of the newest case; 0 where there is none."""
    found: int = session.execute(text('SELECT coalesce(max(id), 0) FROM "case"')).scalar_one()
    return found


def newer_than(session: Session, actor: Actor, wanted: Filter, case_id: int, *, most: int) -> int:
    """How many cases in sight have opened since the one of this number, up to `most`."""
    clauses, parameters = _clauses(wanted)
    clauses += _overdue(wanted)
    if not actor.sees_all_teams:
        clauses.append("(c.team = ANY(:teams) OR c.owner_person = :me)")
        parameters |= {"teams": sorted(actor.teams), "me": actor.email}
    where = " AND ".join(clauses)
    statement = text(
        f'SELECT count(*) FROM (SELECT FROM "case" c WHERE c.id > :since AND {where}'
        " LIMIT :most) counted"
    )
    given = {**parameters, "since": case_id, "most": most}
    found: int = session.execute(statement, given).scalar_one()
    return found


def next_case(
    session: Session, actor: Actor, wanted: Filter, *, after: tuple[datetime, int] | None = None
) -> int | None:
    """The soonest due case that the actor can review, from `after` (due_at, id) on."""
    reviewable = replace(wanted, reviewable_by=actor.email)
    found = cases(session, actor, reviewable, after=after, limit=1)
    return found[0].id if found else None


def _clauses(wanted: Filter) -> tuple[list[str], dict[str, Any]]:
    """What is asked for, but for `overdue`; the first clause is that of the index."""
    clauses, parameters = [f"c.{OPEN}"], dict[str, Any]()
    if wanted.state == CaseState.OPEN:
        clauses.append("c.state = 'open'")
    elif wanted.state is not None:
        # As the index of all other states has it.
        clauses = ["c.state <> 'open'", "c.state = :state"]
        parameters["state"] = wanted.state
    for column in ("queue", "tool", "trigger", "claimant"):
        value = getattr(wanted, column)
        if value is not None:
            clauses.append(f"c.{column} = :{column}")
            parameters[column] = value
    if wanted.owner is not None:
        kind = "person" if is_address(wanted.owner) else "team"
        clauses.append(f"c.owner_{kind} = :owner")
        parameters["owner"] = wanted.owner
    if wanted.reviewable_by is not None:
        clauses.append("(c.state = 'open' OR c.claimant = :reviewer)")
        clauses.append(
            "NOT EXISTS (SELECT FROM objection o WHERE o.case_id = c.id AND o.actor = :reviewer"
            " AND o.withdrawn_at IS NULL)"
        )
        parameters["reviewer"] = wanted.reviewable_by
    return clauses, parameters


def _overdue(wanted: Filter) -> list[str]:
    if wanted.overdue is None:
        return []
    return [f"c.overdue_since IS {'NOT' if wanted.overdue else ''} NULL"]


class TimelineRow(NamedTuple):
    """An entry of a timeline, as it is read."""

    at: datetime
    event: str
    actor: str
    note: str | None
    detail: Mapping[str, Any] | None


_TIMELINE = text("""
SELECT at, event, actor, note, detail FROM timeline_entry
WHERE case_id = :id AND NOT (:hidden AND event = ANY(:objecting)) ORDER BY id DESC LIMIT :limit
""")


def timeline(session: Session, case_: Listed, *, limit: int = 500) -> list[TimelineRow]:
    """What happened to a case, from its opening on; of a very long story the newest entries.

    Of a blind one nothing that was said against the tool's answer.
    """
    hidden = {"hidden": case_.hidden, "objecting": list(OBJECTING)}
    found = session.execute(_TIMELINE, {"id": case_.id, **hidden, "limit": limit})
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


_OBJECTS = text("""
SELECT EXISTS (
    SELECT FROM objection WHERE case_id = :id AND actor = :actor AND withdrawn_at IS NULL)
""")


def objects(session: Session, email: str, case_id: int) -> bool:
    """Whether this person objects to the case's output, and so may not review it."""
    asked = {"id": case_id, "actor": email}
    return bool(session.execute(_OBJECTS, asked).scalar_one())


_BLIND = text("""
SELECT g.output_id
FROM unnest(CAST(:output_ids AS text[]), CAST(:pending AS boolean[])) AS g(output_id, pending)
LEFT JOIN case_output o ON o.tool = :tool AND o.output_id = g.output_id
LEFT JOIN "case" c ON c.id = o.case_id
WHERE CASE WHEN c.id IS NULL THEN g.pending ELSE c.blind AND c.verdict IS NULL END
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
