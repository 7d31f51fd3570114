"""Reads of cases. Everything that a person may not see is not found."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row as SqlRow
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import announce
from services.escalation.rules import OPEN_STATES
from services.kit.errors import NotFound
from services.people.rules import JUDGES, Actor, Verb

_OPEN = "state IN ('open', 'claimed', 'waiting', 'snoozed')"
_BY_ID = text('SELECT * FROM "case" WHERE id = :id')


def case(session: Session, case_id: int) -> SqlRow[Any]:
    """A case, whoever asks.

    Raises:
        NotFound: there is none of that number.
    """
    found = session.execute(_BY_ID, {"id": case_id}).first()
    if found is None:
        raise NotFound(f"There is no case {case_id}.")
    return found


def row(session: Session, case_id: int) -> Mapping[str, Any]:
    """A case as a mapping of its columns."""
    found = session.execute(_BY_ID, {"id": case_id}).mappings().first()
    if found is None:
        raise NotFound(f"There is no case {case_id}.")
    return dict(found)


def case_for(session: Session, actor: Actor, case_id: int) -> SqlRow[Any]:
    """A case that the actor may see.

    Raises:
        NotFound: there is none, or it is another team's.
    """
    found = case(session, case_id) if 0 < case_id < 2**63 else None
    if found is None or not _sees(actor, found):
        raise NotFound(f"There is no case {case_id}.")
    return found


def _sees(actor: Actor, case_: SqlRow[Any]) -> bool:
    if not actor.may(Verb.READ_CASES):
        return False
    theirs = (case_.owner_person, case_.claimant, case_.verdict_by)
    return actor.sees(case_.team) or actor.email in theirs


# --- lists --------------------------------------------------------------------------------

_LISTED = """c.id, c.tool, c.output_id, c.tool_version, c.trigger, c.kind, c.value, c.confidence,
    c.subject, c.failure, c.blind, c.dispute, c.queue, c.team, c.owner_team, c.owner_person,
    c.claimant, c.lease_expires_at, c.state, c.level, c.priority, c.opened_at, c.due_at,
    c.claim_due_at, c.resolve_due_at, c.overdue_since, c.verdict, c.verdict_value, c.verdict_by,
    c.resolved_at, c.version, left(c.input->>'text', 240) AS excerpt"""


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
    judgeable_by: str | None = None
    """Nobody else holds it, and this person does not object to its output."""


def cases(
    session: Session,
    actor: Actor,
    wanted: Filter,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[SqlRow[Any]]:
    """Cases in the actor's sight, the soonest due first, from `after` (due_at, id) on.

    Each way of seeing a case (by team, as owner) is a short walk along an index of its
    own, so the length of the queue does not matter.
    """
    clauses, parameters = _clauses(wanted)
    if after is not None:
        clauses.append("(c.due_at, c.id) > (:after_due, :after_id)")
        parameters |= {"after_due": after[0], "after_id": after[1]}
    where = " AND ".join(clauses)
    walk = f'SELECT {_LISTED} FROM "case" c WHERE {where}'
    order = "ORDER BY due_at, id LIMIT :limit"
    if actor.sees_all_teams:
        statement = f"{walk} {order}"
    else:
        statement = f"""
            SELECT DISTINCT ON (due_at, id) * FROM (
                SELECT mine.* FROM unnest(CAST(:teams AS text[])) AS t(team)
                CROSS JOIN LATERAL ({walk} AND c.team = t.team {order}) mine
                UNION ALL ({walk} AND c.owner_person = :me {order})
            ) seen {order}"""
        parameters |= {"teams": sorted(actor.teams), "me": actor.email}
    return list(session.execute(text(statement), {**parameters, "limit": limit}))


def _in_sight(actor: Actor, wanted: Filter) -> tuple[str, dict[str, Any]]:
    """Every clause of a count: what is asked for, and what the actor may see."""
    clauses, parameters = _clauses(wanted)
    if not actor.sees_all_teams:
        clauses.append("(c.team = ANY(:teams) OR c.owner_person = :me)")
        parameters |= {"teams": sorted(actor.teams), "me": actor.email}
    return " AND ".join(clauses), parameters


def count(session: Session, actor: Actor, wanted: Filter, *, most: int) -> int:
    """How many cases there are, counted up to `most`: a queue's length must not cost more."""
    where, parameters = _in_sight(actor, wanted)
    statement = text(
        f'SELECT count(*) FROM (SELECT FROM "case" c WHERE {where} LIMIT :most) counted'
    )
    found: int = session.execute(statement, {**parameters, "most": most}).scalar_one()
    return found


def newest(session: Session) -> int:
    """The number of the newest case; 0 where there is none."""
    found: int = session.execute(text('SELECT coalesce(max(id), 0) FROM "case"')).scalar_one()
    return found


def newer_than(session: Session, actor: Actor, wanted: Filter, case_id: int, *, most: int) -> int:
    """How many cases in sight have opened since the one of this number, up to `most`."""
    where, parameters = _in_sight(actor, wanted)
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
    """The soonest due case that the actor can judge, from `after` (due_at, id) on."""
    judgeable = replace(wanted, judgeable_by=actor.email)
    found = cases(session, actor, judgeable, after=after, limit=1)
    return int(found[0].id) if found else None


def _clauses(wanted: Filter) -> tuple[list[str], dict[str, Any]]:
    clauses, parameters = [], dict[str, Any]()
    if wanted.state is None:
        clauses.append(f"c.{_OPEN}")
    else:
        clauses.append("c.state = :state")
        parameters["state"] = wanted.state
        if wanted.state in OPEN_STATES:
            clauses.append(f"c.{_OPEN}")
    for column in ("queue", "tool", "trigger", "claimant"):
        value = getattr(wanted, column)
        if value is not None:
            clauses.append(f"c.{column} = :{column}")
            parameters[column] = value
    if wanted.owner is not None:
        clauses.append("(c.owner_team = :owner OR c.owner_person = :owner)")
        parameters["owner"] = wanted.owner
    if wanted.judgeable_by is not None:
        clauses.append("(c.state = 'open' OR c.claimant = :judge)")
        clauses.append(
            "NOT EXISTS (SELECT FROM objection o WHERE o.case_id = c.id AND o.actor = :judge"
            " AND o.withdrawn_at IS NULL)"
        )
        parameters["judge"] = wanted.judgeable_by
    if wanted.overdue is not None:
        clauses.append(f"c.overdue_since IS {'NOT' if wanted.overdue else ''} NULL")
    return clauses, parameters


_TIMELINE = text("""
SELECT at, event, actor, note, detail FROM timeline_entry
WHERE case_id = :id AND NOT (:hidden AND event IN ('disputed', 'dispute withdrawn'))
ORDER BY id
""")


def timeline(session: Session, case_: SqlRow[Any]) -> list[SqlRow[Any]]:
    """Everything that happened to a case, from its opening on.

    Of a blind one nothing that was said against the tool's answer.
    """
    return list(session.execute(_TIMELINE, {"id": case_.id, "hidden": hidden(case_)}))


_OF_OUTPUT = text('SELECT * FROM "case" WHERE tool = :tool AND output_id = :output_id')


def case_of_output(session: Session, tool: str, output_id: str) -> SqlRow[Any] | None:
    """The case on an output, or None."""
    return session.execute(_OF_OUTPUT, {"tool": tool, "output_id": output_id}).first()


_OBJECTS = text("""
SELECT EXISTS (
    SELECT FROM objection WHERE case_id = :id AND actor = :actor AND withdrawn_at IS NULL)
""")


def objects(session: Session, email: str, case_id: int) -> bool:
    """Whether this person objects to the case's output, and so may not judge it."""
    asked = {"id": case_id, "actor": email}
    return bool(session.execute(_OBJECTS, asked).scalar_one())


_AWAITING = text("""
SELECT tool, output_id FROM "case"
WHERE trigger = 'unmatched' AND kind IS NULL
  AND (tool, output_id) IN (
    SELECT * FROM unnest(CAST(:tools AS text[]), CAST(:output_ids AS text[])))
""")


def awaiting(session: Session, outputs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of these outputs (tool, id) that a case was opened without."""
    asked = {"tools": [one[0] for one in outputs], "output_ids": [one[1] for one in outputs]}
    return {(row.tool, row.output_id) for row in session.execute(_AWAITING, asked)}


_BLIND = text("""
SELECT output_id FROM "case"
WHERE tool = :tool AND output_id = ANY(:output_ids) AND blind AND verdict IS NULL
""")


def blind_outputs(session: Session, tool: str, output_ids: Sequence[str]) -> set[str]:
    """Those of these outputs whose case is shown blind until its verdict."""
    found = session.execute(_BLIND, {"tool": tool, "output_ids": list(output_ids)})
    return {row.output_id for row in found}


_OPEN_OF = text(f'SELECT id, team FROM "case" WHERE owner_person = :email AND {_OPEN}')


def open_cases_of(session: Session, email: str) -> Sequence[SqlRow[Any]]:
    """The open cases that a person is accountable for."""
    return session.execute(_OPEN_OF, {"email": email}).all()


# --- as answers ---------------------------------------------------------------------------


def hidden(case_: SqlRow[Any]) -> bool:
    """Whether the tool's answer must not be shown: a blind case before its verdict."""
    return bool(case_.blind and case_.verdict is None)


def as_answer(case_: SqlRow[Any]) -> dict[str, Any]:
    """A case as the API shows it (09). A blind one shows nothing that the tool said."""
    shown = {
        "output_id": case_.output_id,
        "tool": case_.tool,
        "kind": case_.kind,
        "subject": case_.subject,
        "version": case_.tool_version,
    }
    if hasattr(case_, "input"):
        shown |= {"input": case_.input, "attributes": case_.attributes}
    else:
        shown["excerpt"] = case_.excerpt
    if not hidden(case_):
        shown |= {"value": case_.value, "confidence": case_.confidence, "failure": case_.failure}
        if hasattr(case_, "alternatives"):
            shown["alternatives"] = case_.alternatives or []
    return {
        "id": case_.id,
        "output_id": case_.output_id,
        "tool": case_.tool,
        "trigger": case_.trigger,
        "queue": case_.queue,
        "owner": announce.owner_of(case_._asdict()),
        "claimant": case_.claimant,
        "state": case_.state,
        "level": case_.level,
        "priority": case_.priority,
        "due_at": case_.due_at,
        "overdue": case_.overdue_since is not None,
        "opened_at": case_.opened_at,
        "version": case_.version,
        "blind": hidden(case_),
        "dispute": None if hidden(case_) else case_.dispute,
        "verdict": case_.verdict,
        "verdict_value": case_.verdict_value,
        "verdict_by": case_.verdict_by,
        "output": shown,
    }


# --- numbers ------------------------------------------------------------------------------

_QUEUES = text("""
SELECT queue, count(*) AS open, count(*) FILTER (WHERE overdue_since IS NOT NULL) AS overdue,
       min(opened_at) AS oldest
FROM "case" WHERE state IN ('open', 'claimed', 'waiting', 'snoozed') GROUP BY queue
""")

_OLDEST_TIMER = text("""
SELECT min(due_at) FROM timer WHERE fired_at IS NULL AND stopped_at IS NULL
""")

_STATES = text("""
SELECT tool, count(*) FILTER (WHERE state IN ('open', 'claimed', 'waiting', 'snoozed')) AS open,
       count(*) AS all
FROM "case" GROUP BY tool
""")

_UNOWNED = text("""
WITH judge AS (SELECT email FROM person WHERE active AND role = ANY(:judges))
SELECT c.tool, count(*) AS n FROM "case" c
WHERE c.state IN ('open', 'claimed', 'waiting', 'snoozed')
  AND NOT EXISTS (SELECT FROM judge j WHERE j.email = c.owner_person)
  AND NOT EXISTS (
    SELECT FROM team t JOIN membership m ON m.team = t.slug JOIN judge j ON j.email = m.person
    WHERE t.slug = c.owner_team AND t.active)
GROUP BY c.tool
""")


def queues(session: Session) -> Sequence[SqlRow[Any]]:
    """Open and overdue cases of each queue that has any, and when the oldest opened."""
    return session.execute(_QUEUES).all()


def oldest_unfired_timer(session: Session) -> datetime | None:
    """When the timer that is due first, or overdue longest, is due."""
    found: datetime | None = session.execute(_OLDEST_TIMER).scalar_one()
    return found


def case_states(session: Session) -> dict[str, tuple[int, int]]:
    """Open cases and all others, by tool."""
    return {row.tool: (row.open, row.all - row.open) for row in session.execute(_STATES)}


def unowned(session: Session) -> dict[str, int]:
    """Open cases whose owner is nobody who is active and may judge, by tool.

    Anything but empty is a fault.
    """
    judges = [role.value for role in JUDGES]
    return {row.tool: row.n for row in session.execute(_UNOWNED, {"judges": judges})}
