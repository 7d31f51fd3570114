"""Who owns an open case by another policy: given to people as it is where a case opens."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.escalation import answering, assigning, impartial, reroutes
from services.escalation.answering import Chain, Found
from services.escalation.assignment import Ask, Given, Pool
from services.escalation.policy.facts import Said, facts
from services.escalation.policy.model import PolicyOfTeam, Route, RoutingPolicy
from services.escalation.reroutes import Change, Standing
from services.escalation.routing import cause_of, kept
from services.escalation.rules import LadderRung, Owner, wanting
from services.people import queries as people
from services.people.rules import Actor
from services.tools import queries as tools


@dataclass(slots=True)
class Meanwhile:
    """What earlier batches would have given to people, had they not merely been tried."""

    loads: Counter[str] = field(default_factory=Counter)
    """How many more open cases each person would own."""
    turns: dict[str, str] = field(default_factory=dict)

    def counted_in(self, pool: Pool) -> None:
        """Let a pool that was read be as it would be by now."""
        pool.loads.update({who: n for who, n in self.loads.items() if who in pool.people})
        pool.turns.update(self.turns)

    def count(self, changes: Sequence[Change], pool: Pool) -> None:
        """Add what one more batch would give."""
        for one in changes:
            self.loads[one.case.owner.id] -= 1
            self.loads[one.to.owner.id] += 1
        self.turns.update({rule: pool.turns[rule] for rule in pool.gone_round})


class Staying(NamedTuple):
    """What says of a case that it is left as it is."""

    sight: Mapping[str, Actor]
    """Those who hold cases, by address."""
    also_reassigned: bool

    def why(self, case: Standing, team: str) -> str | None:
        """Why a case is left that would come to a team; None where it is not."""
        if case.by_hand and not self.also_reassigned:
            return f"{case.owner} was made its owner by hand"
        if case.claimant is None or case.team == team:
            return None
        holder = self.sight.get(case.claimant)
        if holder is not None and holder.sees(team):
            return None
        return f"{case.claimant} holds it, and does not see team '{team}'"


def sight_of(session: Session, found: Sequence[tuple[Standing, Said]]) -> Mapping[str, Actor]:
    """Those who hold these cases, by address."""
    holding = {case.claimant for case, _ in found}
    return people.actors(session, [email for email in holding if email is not None])


class Choice(NamedTuple):
    """What the policy says of a case."""

    case: Standing
    policy: RoutingPolicy
    route: Route
    cause: str | None
    ladder: list[LadderRung]
    level: int
    tools_team: str

    def chain(self, level: int) -> Chain:
        """Who is wanted as the owner on a level, the first who can be."""
        above = answering.of_ladder(self.ladder[level:])
        wanted = (*above, self.policy.catch_all.owner.owner)
        return Chain(wanted, self.case.owner_person)

    @property
    def keeps(self) -> bool:
        """Whether whoever was given it goes on to own it."""
        case, route = self.case, self.route
        return case.was_given and route.terms is not None and route.rule == case.rule

    @property
    def now_wanted(self) -> Chain:
        """Who is wanted as the owner now."""
        chain = self.chain(self.level)
        if not self.keeps:
            return chain
        return chain._replace(wanted=(wanting(self.case.owner), *chain.wanted))

    def ask(self, unfit: frozenset[str]) -> Ask | None:
        """Of whom a person other than these is to be given it, as where it opens."""
        route = self.route
        if route.terms is None or self.level:
            return None
        return Ask(route.rule, route.owner.id, route.terms, unfit)


class Chosen(NamedTuple):
    """The same, with those of the wanted who can be accountable."""

    choice: Choice
    first: Found
    """Who would have owned it when it was opened."""
    found: Found
    ungiven: str | None = None
    """Why nobody of the team was given it, where somebody should be."""

    @property
    def kept(self) -> bool:
        """Whether it stays with whoever was given it, as they can go on to own it."""
        return self.choice.keeps and self.found.owner == self.choice.case.owner

    def with_given(self, given: Given | None) -> "Chosen":
        """The same, given to somebody of the rule's team; or nobody was, and why."""
        if given is None:
            return self
        if given.person is None:
            return self._replace(ungiven=given.why_not)
        found = Found(Owner("person", given.person), team=self.choice.route.owner.id)
        return self._replace(found=found)

    @property
    def opened_for(self) -> str:
        """Whose people would have seen it then; by their calendar it goes."""
        return self.first.team or self.choice.tools_team

    @property
    def team(self) -> str:
        """Whose people see it."""
        case, one = self.choice.case, self.choice
        if self.found.team is not None:
            return self.found.team
        if one.now_wanted.wanted[0] == wanting(self.found.owner) and case.was_given:
            return case.team
        if one.level and one.ladder == case.ladder and not case.by_hand:
            return case.team
        return reroutes.seen_on(one.ladder, one.level) or one.tools_team


def choices_of(
    session: Session, policies: PolicyOfTeam, found: Sequence[tuple[Standing, Said]]
) -> list[Choice]:
    """What the policies say of each of these cases."""
    teams = {slug: tool.team for slug, tool in tools.cache(session).tools(session).items()}
    return [_choice(case, said, policies, teams) for case, said in found]


def _choice(case: Standing, said: Said, policies: PolicyOfTeam, teams: Mapping[str, str]) -> Choice:
    team = teams[case.tool]
    policy = policies(team)
    known = facts(case.tool, case.trigger, said)
    route = policy.route(known)
    if case.judged or case.joined:
        route = replace(route, reviewers=case.reviewers)
    # Whoever took it out of another one does not want it back there.
    cause = case.cause if case.joined else cause_of(route, known, case.condition)
    ladder = kept(route)
    return Choice(case, policy, route, cause, ladder, reroutes.level_on(ladder, case.level), team)


def chosen_of(
    session: Session,
    choices: Sequence[Choice],
    staying: Staying,
    tried: Meanwhile | None,
    now: datetime,
) -> tuple[list[Chosen], Pool]:
    """Who owns each; teams and people at once, so that they are locked in the order of all."""
    apart = impartial.apart(session, [one.case.id for one in choices])
    unfit = [apart[one.case.id] for one in choices]
    wanted = [one.chain(0) for one in choices] + [one.now_wanted for one in choices]
    chains = [one._replace(barred=them) for one, them in zip(wanted, unfit * 2, strict=True)]
    chains += [Chain((wanting(one.case.owner),)) for one in choices]
    asks = [
        None if ask is None or staying.why(one.case, ask.team) is not None else ask
        for one, them in zip(choices, unfit, strict=True)
        for ask in [one.ask(them)]
    ]
    pool = assigning.gather(
        session,
        [ask for ask in asks if ask is not None],
        giving=frozenset().union(*(one.policy.giving for one in choices)),
        beside={one.id for chain in chains for one in chain.wanted if one.kind == "team"},
        now=now,
    )
    if tried is not None:
        tried.counted_in(pool)
    answers = answering.ask(session, chains, beside=pool.people, now=now)
    pool.keep(answers.able_people)
    n = len(choices)
    able = answering.owning(session, answers, chains[: 2 * n])
    found = [Chosen(*one) for one in zip(choices, able[:n], able[n:], strict=True)]
    return _given(found, asks, pool, staying), pool


def _given(
    found: Sequence[Chosen],
    asks: Sequence[Ask | None],
    pool: Pool,
    staying: Staying,
) -> list[Chosen]:
    """The same, where people are given what their rules give, of what they do not have already."""
    wanting_more = [
        None if ask is None or one.kept else ask for one, ask in zip(found, asks, strict=True)
    ]
    for one, ask in zip(found, wanting_more, strict=True):
        if ask is not None or staying.why(one.choice.case, one.team) is None:
            # What goes on to somebody else is no load of theirs, nor of who keeps it another one.
            pool.loads[one.choice.case.owner.id] -= 1
            pool.loads[one.found.owner.id] += ask is None
    given = [None if ask is None else pool.give(ask) for ask in wanting_more]
    return [one.with_given(ask) for one, ask in zip(found, given, strict=True)]
