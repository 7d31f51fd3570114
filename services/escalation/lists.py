"""Lists of cases: what is in somebody's sight, narrowed down, the soonest due first."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

from secondlook.text import is_address
from sqlalchemy import TextualSelect, text
from sqlalchemy.orm import Session

from services.escalation import impartial
from services.escalation.cases import FROM, Case, Listed, listed, reading, reading_listed, whole
from services.escalation.models import OPEN
from services.escalation.rules import CaseState
from services.kit.database import selecting
from services.people.rules import Actor, Role, Verb


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
    mine: str | None = None
    """Of this person: what they own, and what they hold, whosever it is."""
    incident: int | None = None
    """Of a case that others are merged into: those, in whatever state."""
    reviewable_by: str | None = None
    """Nobody else holds it, and this person has no part in it that keeps them from judging it."""
    settles: bool = False
    """With `reviewable_by`: of a lead, who is offered what its reviewers differ on as well."""
    seats: str | None = None
    """With `reviewable_by`: nobody is left who could judge it, of these who may review what
    (`impartial.seats`)."""

    @property
    def by_due_alone(self) -> bool:
        """Whether no index but that of due times narrows the list."""
        narrowed = (self.queue, self.tool, self.trigger, self.owner, self.claimant, self.incident)
        return self.state in (None, CaseState.OPEN) and not any((*narrowed, self.mine))


def cases(
    session: Session,
    actor: Actor,
    wanted: Filter,
    *,
    after: tuple[datetime, int] | None = None,
    limit: int = 50,
) -> list[Listed]:
    """Cases in the actor's sight, the soonest due first, from `after` (due_at, id) on."""
    walks, given = _soonest(actor, wanted, after, limit=limit)
    return [listed(row) for row in session.execute(_listing(walks), given)]


def _soonest(
    actor: Actor,
    wanted: Filter,
    after: tuple[datetime, int] | None,
    *,
    before: tuple[datetime, int] | None = None,
    limit: int,
) -> tuple[str, dict[str, Any]]:
    """Ids and due times of at least the soonest due cases, so many from `after` on."""
    clauses, parameters = _clauses(wanted)
    if after is not None:
        clauses.append("(c.due_at, c.id) > (:after_due, :after_id)")
        parameters |= {"after_due": after[0], "after_id": after[1]}
    if before is not None:
        clauses.append("(c.due_at, c.id) < (:before_due, :before_id)")
        parameters |= {"before_due": before[0], "before_id": before[1]}
    walks, sight = _walks(actor, wanted, clauses, tail=_SOONEST)
    return walks, {**parameters, **sight, "limit": limit}


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
    if wanted.mine is not None:
        return _walks_of_mine([*clauses, *overdue], tail), {"mine": wanted.mine}
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


_OWNS, _HOLDS = "c.owner_person = :mine", "c.claimant = :mine"


def _walks_of_mine(clauses: Sequence[str], tail: str) -> str:
    """What somebody owns, team by team, and what else they hold; all of it is in their sight."""
    teams = f"{_teams_with(f'{clauses[0]} AND {_OWNS}')} AS t(team)"
    held = " AND ".join([*clauses, _HOLDS, "c.owner_person IS DISTINCT FROM :mine"])
    holding = f'SELECT c.id, c.due_at FROM "case" c WHERE {held} {tail}'
    return f"{_walk(teams, [*clauses, _OWNS], tail)} UNION ALL SELECT held.* FROM ({holding}) held"


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
    """How many cases in sight have opened since the one of this number, up to `most`, as far as
    the newest ten thousand cases tell.
    """
    clauses, parameters = _clauses(wanted)
    clauses += _overdue(wanted)
    if wanted.mine is not None:
        clauses.append(f"({_OWNS} OR {_HOLDS})")
        parameters["mine"] = wanted.mine
    elif not actor.sees_all_teams:
        clauses.append("(c.team = ANY(:teams) OR c.owner_person = :me)")
        parameters |= {"teams": sorted(actor.teams), "me": actor.email}
    given = {**parameters, "since": case_id, "looked_at": _LOOKED_AT, "most": most}
    found: int = session.execute(_arriving(" AND ".join(clauses)), given).scalar_one()
    return found


_LOOKED_AT = 10_000
"""So many of the newest cases are looked at for those that a list would show."""


@lru_cache
def _arriving(which: str) -> TextualSelect:
    newest = 'SELECT * FROM "case" WHERE id > :since ORDER BY id DESC LIMIT :looked_at'
    counted = f"SELECT count(*) FROM (SELECT FROM ({newest}) c WHERE {which} LIMIT :most) counted"
    return selecting(counted, ["n"])


def next_case(
    session: Session, actor: Actor, wanted: Filter, *, after: tuple[datetime, int] | None = None
) -> Case | None:
    """The soonest due case that the actor can review, from `after` (due_at, id) on."""
    settles = actor.may(Verb.TAKE_OVER)
    reviewable = replace(wanted, reviewable_by=actor.email, settles=settles)
    found = _first(session, actor, reviewable, after)
    if actor.role is not Role.ADMIN:
        return found
    # The few that are due before it are barred to them; of these nobody else may be left for some.
    left_alone = replace(reviewable, seats=impartial.seats(session))
    before = (found.due_at, found.id) if found is not None else None
    return _first(session, actor, left_alone, after, before=before) or found


def _first(
    session: Session,
    actor: Actor,
    wanted: Filter,
    after: tuple[datetime, int] | None,
    *,
    before: tuple[datetime, int] | None = None,
) -> Case | None:
    walks, given = _soonest(actor, wanted, after, before=before, limit=1)
    found = session.execute(_finding(walks), given).first()
    return whole(found) if found is not None else None


@lru_cache
def _finding(walks: str) -> TextualSelect:
    return reading(f"c.id = (SELECT id FROM ({walks}) walked {_SOONEST})")


def _clauses(wanted: Filter) -> tuple[list[str], dict[str, Any]]:
    """What is asked for, but for `overdue`; the first clause is that of the index."""
    clauses, parameters = [f"c.{OPEN}"], dict[str, Any]()
    if wanted.incident is not None:
        # As the index of parts has it: they are merged, or were and are decided.
        clauses = ["c.incident IS NOT NULL", "c.incident = :incident"]
        parameters["incident"] = wanted.incident
    if wanted.state == CaseState.OPEN:
        clauses.append("c.state = 'open'")
    elif wanted.state is not None:
        # As the index of all other states has it.
        clauses[:1] = ["c.state <> 'open'", "c.state = :state"]
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
        clauses += _reviewable(wanted)
        parameters["reviewer"] = wanted.reviewable_by
        if wanted.seats is not None:
            parameters["seats"] = wanted.seats
    return clauses, parameters


def _reviewable(wanted: Filter) -> list[str]:
    free = "(c.state = 'open' OR c.claimant = :reviewer)"
    if wanted.seats is not None:
        return [free, impartial.NOBODY_ELSE]
    return [free, *_NO_PART, *([] if wanted.settles else ["NOT c.divided"])]


_NO_PART = [f"NOT {part.format(who=':reviewer')}" for part in impartial.EVERY_PART]


def _overdue(wanted: Filter) -> list[str]:
    if wanted.overdue is None:
        return []
    return [f"c.overdue_since IS {'NOT' if wanted.overdue else ''} NULL"]
