"""What another routing policy would have made of the cases that there were."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from secondlook.conditions import Facts, facts_of
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.policy.model import Route, RoutingPolicy
from services.escalation.rules import Wanted
from services.kit.working_time import after, weekdays
from services.people import queries as people
from services.people import schedule_queries
from services.people.queries import Calendars
from services.tools import queries as tools

Policies = Callable[[str], RoutingPolicy]
"""The policy that holds for the tools of a team."""

_AT_ONCE = 2_000
_CASES = text("""
SELECT c.tool, c.trigger, c.opened_at, c.timezone, o.kind, o.value, o.confidence, o.model,
    o.prompt, o.input->>'language' AS language, o.cohort, o.failure->>'kind' AS failure,
    o.attributes
FROM "case" c LEFT JOIN case_output o ON o.case_id = c.id
WHERE c.opened_at > :since AND c.opened_at <= :now ORDER BY c.id
""")


@dataclass(slots=True)
class Load:
    """How many cases went to somebody, and would have gone."""

    before: int = 0
    after: int = 0


@dataclass(slots=True)
class Replay:
    """What would have been otherwise."""

    cases: int = 0
    moved: int = 0
    """To another team, or from or to a person."""
    unowned: int = 0
    """Whom nobody could own whom the other policy names."""
    earlier: int = 0
    later: int = 0
    """Due earlier, or later, than they were."""
    teams: dict[str, Load] = field(default_factory=dict)
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    """From whom to whom, how many."""


class _Seen(NamedTuple):
    """A case that there was."""

    tool: str
    facts: Facts
    opened_at: datetime
    timezone: str


def replay(
    session: Session, before: Policies, against: RoutingPolicy, *, since: datetime, now: datetime
) -> Replay:
    """Route the cases opened since a moment by the policy in force, and by another."""
    team_of = {slug: tool.team for slug, tool in tools.cache(session).tools(session).items()}
    able = owners.able_now(session)
    of_duty = schedule_queries.teams(session)
    policies = [against, *map(before, set(team_of.values()))]
    calendars = people.calendars(
        session,
        named={name for policy in policies for name in policy.calendars},
        teams={
            *team_of.values(),
            *of_duty.values(),
            *(owner.id for policy in policies for owner in policy.owners if owner.kind == "team"),
        },
    )
    found = Replay()
    for case in _cases(session, since, now):
        team = team_of[case.tool]
        old, new = before(team).route(case.facts), against.route(case.facts)
        _compare(found, old, new)
        was, would_be = (_seen_by(route.owner, of_duty) or team for route in (old, new))
        _compare_dues(found, case, (old, was), (new, would_be), calendars)
        chain = {*(rung.own for rung in new.ladder), against.catch_all.owner.owner}
        # A schedule or a manager may be nobody; so they are no owner to be sure of.
        found.unowned += not {wanted.named for wanted in chain} & able
    return found


def _cases(session: Session, since: datetime, now: datetime) -> Iterator[_Seen]:
    rows = session.execute(
        _CASES, {"since": since, "now": now}, execution_options={"yield_per": _AT_ONCE}
    )
    for row in rows:
        known = facts_of(
            tool=row.tool,
            kind=row.kind,
            value=row.value,
            confidence=row.confidence,
            model=row.model,
            prompt=row.prompt,
            language=row.language,
            cohort=row.cohort,
            failure=row.failure,
            attributes=row.attributes,
        )
        yield _Seen(row.tool, {**known, "trigger": row.trigger}, row.opened_at, row.timezone)


def _compare(found: Replay, old: Route, new: Route) -> None:
    before, after_ = _name(old.owner), _name(new.owner)
    found.cases += 1
    found.teams.setdefault(before, Load()).before += 1
    found.teams.setdefault(after_, Load()).after += 1
    if before != after_:
        found.moved += 1
        found.moves[before, after_] += 1


def _name(owner: Wanted) -> str:
    """A team by its slug, a person by address; a schedule as rules name it."""
    return owner.id if owner.named is not None else str(owner)


def _seen_by(owner: Wanted, of_duty: Mapping[str, str]) -> str | None:
    """The team that comes to see a case; None where that is the tool's."""
    if owner.kind == "schedule":
        return of_duty.get(owner.id)
    return None if owner.named is None else owners.seen_by(owner.named)


def _compare_dues(
    found: Replay,
    case: _Seen,
    old: tuple[Route, str],
    new: tuple[Route, str],
    calendars: Calendars,
) -> None:
    if _spans(old[0]) == _spans(new[0]) and _name(old[0].owner) == _name(new[0].owner):
        return
    was, would_be = (_due(case, *one, calendars) for one in (old, new))
    found.earlier += would_be < was
    found.later += would_be > was


def _spans(route: Route) -> tuple[object, ...]:
    return route.claim, route.resolve, route.calendar


def _due(case: _Seen, route: Route, team: str, calendars: Calendars) -> datetime:
    """When a case that is routed like this is due first."""
    known = calendars.of(route.calendar, team)
    working = known.working if known is not None else weekdays(case.timezone)
    return min(after(case.opened_at, span, working) for span in (route.claim, route.resolve))
