"""What another routing policy would have made of the cases that there were."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from secondlook.conditions import Facts
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.policy.facts import COLUMNS, Said, facts
from services.escalation.policy.model import PolicyOfTeam, Route, RoutingPolicy
from services.escalation.rules import Owner, Wanted
from services.kit.database import selecting
from services.kit.durations import Duration
from services.kit.working_time import after, weekdays
from services.people import queries as people
from services.people import schedule_queries
from services.people.queries import Calendars
from services.tools import queries as tools

_AT_ONCE = 500
# One look for each case by its number: however many cases there are, no more are read than asked.
_CASES = selecting(
    f"""
SELECT c.tool, c.trigger, c.opened_at, c.timezone, said.*
FROM (SELECT id, subject_kind, tool, trigger, opened_at, timezone FROM "case"
    ORDER BY id DESC LIMIT :most) c
LEFT JOIN LATERAL (SELECT {COLUMNS} FROM case_output o WHERE o.case_id = c.id LIMIT 1) said ON true
WHERE c.opened_at > :since AND c.opened_at <= :now AND c.subject_kind = 'output'
""",
    ("tool", "trigger", "opened_at", "timezone", *Said._fields),
)


@dataclass(slots=True)
class Load:
    """How many cases went to somebody, and would have gone."""

    before: int = 0
    after: int = 0


@dataclass(slots=True)
class Loads:
    """The loads of some who are alike: of teams, or of owners."""

    of: dict[str, Load] = field(default_factory=dict)

    def add(self, before: str, now: str) -> None:
        """A case that went to the one and would have gone to the other."""
        self.of.setdefault(before, Load()).before += 1
        self.of.setdefault(now, Load()).after += 1


@dataclass(slots=True)
class Replay:
    """What would have been otherwise."""

    cases: int = 0
    whole: bool = True
    """Whether these are all; else they are the newest."""
    moved: int = 0
    """To another team's people."""
    unowned: int = 0
    """Whom nobody could own whom the other policy names."""
    earlier: int = 0
    later: int = 0
    """Due earlier, or later, than they were."""
    teams: Loads = field(default_factory=Loads)
    """Whose people see them."""
    owners: Loads = field(default_factory=Loads)
    """Who is accountable first."""
    moves: Counter[tuple[str, str]] = field(default_factory=Counter)
    """From which team to which, how many."""


class _Seen(NamedTuple):
    """A case that there was."""

    tool: str
    facts: Facts
    opened_at: datetime
    timezone: str


class _Sent(NamedTuple):
    """Where a policy sends a case, and whose people see it then."""

    route: Route
    team: str


_Ends = dict[tuple[Duration, str | None], datetime]
"""When spans that begin with a case are over, by the calendar."""


def replay(
    session: Session,
    before: PolicyOfTeam,
    against: RoutingPolicy,
    *,
    since: datetime,
    now: datetime,
    most: int | None = None,
) -> Replay:
    """Route the cases opened since a moment by the policy in force, and by another.

    `most`: no more than so many, the newest.
    """
    team_of = {slug: tool.team for slug, tool in tools.cache(session).tools(session).items()}
    of_duty = schedule_queries.teams(session)
    calendars = _calendars(session, before, against, {*team_of.values(), *of_duty.values()})
    able, ownable = owners.able_now(session), dict[str, bool]()
    found = Replay()
    for case in _cases(session, since, now, most):
        team = team_of[case.tool]
        old, new = (_sent(policy, case.facts, team, of_duty) for policy in (before(team), against))
        _compare(found, old, new)
        _compare_dues(found, case, old, new, calendars)
        rule = new.route.rule
        if rule not in ownable:
            ownable[rule] = not able.isdisjoint(_chain(new.route, against))
        found.unowned += not ownable[rule]
    found.whole = most is None or not _are_more(session, since, now, most)
    return found


_MORE = text("""
SELECT count(*) > :most FROM (SELECT FROM "case"
    WHERE opened_at > :since AND opened_at <= :now LIMIT :most + 1) some_of_them
""")


def _are_more(session: Session, since: datetime, now: datetime, most: int) -> bool:
    """Whether more cases of any kind were opened since than are looked at."""
    return bool(session.execute(_MORE, {"since": since, "now": now, "most": most}).scalar_one())


def _calendars(
    session: Session, before: PolicyOfTeam, against: RoutingPolicy, teams: set[str]
) -> Calendars:
    """The calendars that either policy names, and those of all teams that may see a case."""
    policies = [against, *(before(team) for team in teams)]
    named = {owner.id for policy in policies for owner in policy.owners if owner.kind == "team"}
    return people.calendars(
        session,
        named={name for policy in policies for name in policy.calendars},
        teams=teams | named,
    )


def _cases(session: Session, since: datetime, now: datetime, most: int | None) -> Iterator[_Seen]:
    given = {"since": since, "now": now, "most": most}
    rows = session.execute(_CASES, given, execution_options={"yield_per": _AT_ONCE})
    for tool, trigger, opened_at, timezone, *said in rows:
        yield _Seen(tool, facts(tool, trigger, Said(*said)), opened_at, timezone)


def _sent(policy: RoutingPolicy, known: Facts, team: str, of_duty: Mapping[str, str]) -> _Sent:
    route = policy.route(known)
    return _Sent(route, _seen_by(route.owner, of_duty) or team)


def _chain(route: Route, policy: RoutingPolicy) -> set[Owner]:
    """Whom a case is sure to find: a schedule or a manager may be nobody."""
    wanted = (*(rung.own for rung in route.ladder), policy.catch_all.owner.owner)
    return {named for one in wanted if (named := one.named) is not None}


def _compare(found: Replay, old: _Sent, new: _Sent) -> None:
    found.cases += 1
    found.teams.add(old.team, new.team)
    found.owners.add(str(old.route.owner), str(new.route.owner))
    if old.team != new.team:
        found.moved += 1
        found.moves[old.team, new.team] += 1


def _seen_by(owner: Wanted, of_duty: Mapping[str, str]) -> str | None:
    """The team that comes to see a case; None where that is the tool's."""
    if owner.kind == "schedule":
        return of_duty.get(owner.id)
    return None if owner.named is None else owners.seen_by(owner.named)


def _compare_dues(found: Replay, case: _Seen, old: _Sent, new: _Sent, calendars: Calendars) -> None:
    if _spans(old) == _spans(new):
        return
    ends: _Ends = {}
    was, would_be = (_due(case, one, calendars, ends) for one in (old, new))
    found.earlier += would_be < was
    found.later += would_be > was


def _spans(sent: _Sent) -> tuple[object, ...]:
    return sent.route.claim, sent.route.resolve, sent.route.calendar, sent.team


def _due(case: _Seen, sent: _Sent, calendars: Calendars, ends: _Ends) -> datetime:
    """When a case that is routed like this is due first."""
    known = calendars.of(sent.route.calendar, sent.team)
    working = known.working if known is not None else weekdays(case.timezone)
    found = []
    for span in (sent.route.claim, sent.route.resolve):
        # Most of a replay is spent on counting, and both policies mostly ask for the same.
        key = span, known.slug if known is not None else None
        if key not in ends:
            ends[key] = after(case.opened_at, span, working)
        found.append(ends[key])
    return min(found)
