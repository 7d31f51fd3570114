"""Where a requested review goes: by the routing policy, or to the tool's team without one."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from secondlook import events
from secondlook.conditions import Facts, facts_of
from sqlalchemy.orm import Session

from services.escalation import assigning, bars, deadlines
from services.escalation.answering import Chain, Found, ask, owning
from services.escalation.assignment import Ask, Given
from services.escalation.cases import Case
from services.escalation.policy.defaults import default_policy
from services.escalation.policy.facts import facts_of_review
from services.escalation.policy.grouping import CONDITION, cause
from services.escalation.policy.model import PolicyOfTeam, Route, RoutingPolicy
from services.escalation.rules import LadderRung, MonitoredRule, Owner
from services.kit.working_time import after, weekdays
from services.people import queries as people_queries
from services.people.queries import KnownCalendar
from services.people.rules import Role
from services.tools.queries import ToolInfo


@dataclass(frozen=True, slots=True)
class Routed:
    """A request for a review with what its case gets."""

    request: events.ReviewRequest
    route: Route
    cause: str | None
    revision: str
    team: str
    """Whose people see it."""
    found: Found
    """Who owns it."""
    ungiven: str | None
    """Why it was given to nobody of the team, where the rule gives it to somebody."""
    claim_due_at: datetime
    resolve_due_at: datetime
    ladder: list[LadderRung]
    first_rung: tuple[int, datetime] | None
    """The first of the ladder after the owner's that has a time, and when that is."""
    timezone: str
    monitored: list[MonitoredRule]
    calendar: KnownCalendar | None
    """By which working time counts; Monday to Friday in the time zone where there is none."""

    @property
    def named_calendar(self) -> str | None:
        """The calendar that the rule names, where it is there."""
        named = self.calendar and self.calendar.slug == self.route.calendar
        return self.route.calendar if named else None


class Choice(NamedTuple):
    """What the policy says of a request."""

    request: events.ReviewRequest
    policy: RoutingPolicy
    route: Route
    team: str
    """The tool's."""

    cause: str | None
    """What makes it the same as others, where it can be part of an incident."""

    @property
    def chain(self) -> Chain:
        """Who is wanted as the owner, the first who can be."""
        last = self.policy.catch_all.owner.owner
        return Chain((*(rung.own for rung in self.route.ladder), last))

    @property
    def key(self) -> bars.Key:
        """What names the output."""
        return bars.Key(self.request.tool, self.request.output_id)

    @property
    def objectors(self) -> frozenset[str]:
        """Who says with the request that the tool is wrong."""
        said = self.request.objection
        return frozenset() if said is None else frozenset({said.correction.actor.id})

    def ask_without(self, unfit: frozenset[str]) -> Ask | None:
        """Of whom a person other than these is to be given it; None where it stays with who is
        named."""
        terms = self.route.terms
        return Ask(self.route.rule, self.route.owner.id, terms, unfit) if terms else None


class _Chosen(NamedTuple):
    """Who owns a case; and why nobody of the team was given it, where somebody should be."""

    found: Found
    ungiven: str | None = None


Policy = Callable[[Session], RoutingPolicy | None]
"""Answers the routing policy in force; None where there is none."""


class Router:
    """Says what each case gets."""

    def __init__(self, policy: Policy, *, timezone: str = "UTC") -> None:
        self._policy = policy
        self._timezone = ZoneInfo(timezone).key

    def choose(
        self,
        session: Session,
        requests: Iterable[events.ReviewRequest],
        *,
        tools: Mapping[str, ToolInfo],
    ) -> list[Choice]:
        """What the policy in force says of each request. Nothing is locked."""
        asked = [(one, tools[one.tool].team) for one in requests]
        policies = self._policies(session, {team for _, team in asked})
        return [_choice(one, policies[team], team) for one, team in asked]

    def route(
        self,
        session: Session,
        choices: Sequence[Choice],
        *,
        beside: Sequence[Chain],
        now: datetime,
    ) -> list[Routed]:
        """What the case of each request gets, with an owner who can be accountable.

        `beside` are those whom the transaction will ask about for other cases, locked already.
        """
        chosen = _owners(session, choices, beside, now)
        teams = [one.found.team or choice.team for choice, one in zip(choices, chosen, strict=True)]
        calendars = people_queries.calendars(
            session, named=(one.route.calendar for one in choices), teams=teams
        )
        return [
            self._routed(one, owned, team, calendars.of(one.route.calendar, team), now=now)
            for one, owned, team in zip(choices, chosen, teams, strict=True)
        ]

    def policy_of(self, session: Session, team: str) -> RoutingPolicy:
        """The policy that holds for the tools of a team."""
        return policies(session, self._policy(session))(team)

    def _routed(
        self,
        choice: Choice,
        chosen: _Chosen,
        team: str,
        calendar: KnownCalendar | None,
        *,
        now: datetime,
    ) -> Routed:
        route, ladder = choice.route, kept(choice.route)
        working = calendar.working if calendar else weekdays(self._timezone)
        first = deadlines.first_timed(ladder)
        return Routed(
            request=choice.request,
            route=route,
            cause=choice.cause,
            revision=choice.policy.revision,
            team=team,
            found=chosen.found,
            ungiven=chosen.ungiven,
            claim_due_at=after(now, route.claim, working),
            resolve_due_at=after(now, route.resolve, working),
            ladder=ladder,
            first_rung=(
                None if first is None else (first, deadlines.rung_due(ladder, first, now, working))
            ),
            timezone=self._timezone,
            monitored=_monitored(route, choice.team),
            calendar=calendar,
        )

    def _policies(self, session: Session, teams: set[str]) -> dict[str, RoutingPolicy]:
        policy = self._policy(session)
        if policy is not None:
            return dict.fromkeys(teams, policy)
        return {team: team_policy(session, team) for team in teams}


def _owners(
    session: Session, choices: Sequence[Choice], beside: Sequence[Chain], now: datetime
) -> list[_Chosen]:
    """Who owns each case: who is given it, where the rule gives it, else the first who can."""
    unfit = _unfit(session, choices)
    chains = [one.chain._replace(barred=them) for one, them in zip(choices, unfit, strict=True)]
    asks = _asks(session, choices, unfit)
    named = {wanted for chain in (*chains, *beside) for wanted in chain.wanted}
    pool = assigning.gather(
        session,
        [ask for ask in asks if ask is not None],
        giving=frozenset().union(*(one.policy.giving for one in choices)),
        beside={wanted.id for wanted in named if wanted.kind == "team"},
        now=now,
    )
    answers = ask(session, (*chains, *beside), beside=pool.people, now=now)
    pool.keep(answers.able_people)
    given = [None if one is None else pool.give(one) for one in asks]
    assigning.keep_turns(session, pool, now=now)
    found = owning(session, answers, chains)
    return [_chosen(*each) for each in zip(choices, found, given, strict=True)]


def _unfit(session: Session, choices: Sequence[Choice]) -> list[frozenset[str]]:
    """Who may not judge each case, as they object to its output or corrected it."""
    corrected = bars.correctors(session, [one.key for one in choices])
    return [one.objectors | corrected.get(one.key, frozenset()) for one in choices]


def _asks(
    session: Session, choices: Sequence[Choice], unfit: Sequence[frozenset[str]]
) -> list[Ask | None]:
    """Of whom somebody is to be given each case; what has a case already is given to nobody."""
    asks = [one.ask_without(them) for one, them in zip(choices, unfit, strict=True)]
    keys = [choice.key for choice, one in zip(choices, asks, strict=True) if one is not None]
    there = assigning.with_case(session, keys) if keys else set()
    return [None if choice.key in there else one for choice, one in zip(choices, asks, strict=True)]


def _chosen(choice: Choice, found: Found, given: Given | None) -> _Chosen:
    if given is None:
        return _Chosen(found)
    if given.person is None:
        return _Chosen(found, given.why_not)
    return _Chosen(Found(Owner("person", given.person), team=choice.route.owner.id))


def _choice(request: events.ReviewRequest, policy: RoutingPolicy, team: str) -> Choice:
    facts = facts_of_review(request)
    route = policy.route(facts)
    condition = request.gate.condition if request.gate else None
    return Choice(request, policy, route, team, cause_of(route, facts, condition))


def cause_of(route: Route, facts: Facts, condition: str | None) -> str | None:
    """What makes a case that is routed like this the same as others, where anything does.

    `condition`: the review condition that asked for it.
    """
    # What is shown blind is looked at by itself.
    if route.group is None or route.reviewers > 1:
        return None
    return cause(
        route.group,
        rule=route.rule,
        trigger=facts["trigger"],
        tool=facts["tool"],
        facts={**facts, CONDITION: condition},
    )


def team_policy(session: Session, team: str) -> RoutingPolicy:
    """The policy of a team that has none: overdue cases go to its lead, else to an admin."""
    people = [p for p in people_queries.people(session) if p.active]
    leads = [p.email for p in people if p.role is Role.LEAD and team in p.teams]
    admins = [p.email for p in people if p.role is Role.ADMIN]
    return default_policy(team, lead=next(iter(leads + admins), None))


def policies(session: Session, in_force: RoutingPolicy | None) -> PolicyOfTeam:
    """The policy in force for every team, or where there is none that of each team."""
    known: dict[str, RoutingPolicy] = {}

    def of_team(team: str) -> RoutingPolicy:
        if in_force is not None:
            return in_force
        if team not in known:
            known[team] = team_policy(session, team)
        return known[team]

    return of_team


def _monitored(route: Route, team: str) -> list[MonitoredRule]:
    """What rules that are merely tried would have given it, as the case keeps it."""
    return [
        MonitoredRule(
            rule=one.rule,
            queue=one.queue,
            team=one.owner.id if one.owner.kind == "team" else team,
            owner=str(one.owner),
            priority=one.priority,
        )
        for one in route.monitored
    ]


def kept(route: Route) -> list[LadderRung]:
    """The ladder as the case keeps it."""
    return [
        LadderRung(
            kind=rung.own.kind,
            id=rung.own.id,
            after=None if rung.at is None else str(rung.at),
            repeat=str(rung.repeat) if rung.repeat else None,
        )
        for rung in route.ladder
    ]


def facts_of_case(case: Case) -> Facts:
    """What rules can ask of a case that is there."""
    known = facts_of(
        tool=case.tool,
        kind=case.kind,
        value=case.value,
        confidence=case.confidence,
        model=case.model,
        prompt=case.prompt,
        language=(case.input or {}).get("language"),
        cohort=case.cohort,
        failure=(case.failure or {}).get("kind"),
        attributes=case.attributes,
    )
    return {**known, "trigger": case.trigger}
