"""What a routing policy is, and where it sends a case. Pure.

The first rule that matches wins; the catch-all is mandatory, so there is no case without an
owner; and every ladder ends with a rung that names somebody.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BeforeValidator, Field, model_validator
from secondlook import conditions
from secondlook.conditions import FACTS, Clause, Condition, Facts, FactType
from secondlook.extent import excess
from secondlook.text import normalised

from services.escalation.assignment import Terms
from services.escalation.policy.grouping import Group, Grouping, grouping_of
from services.escalation.policy.ladders import Rung, Span, check_ladder
from services.escalation.policy.owning import (
    Address,
    Assign,
    OwnerChoice,
    Part,
    Skills,
    Slug,
    check_assign,
)
from services.escalation.policy.traces import RuleTrace, WouldTake
from services.escalation.rules import Owner, Priority, Wanted
from services.kit.documents import wrong
from services.kit.durations import Duration
from services.tools.rules import Trigger

CASE_FACTS = {**FACTS, "trigger": FactType("text", tuple(t.value for t in Trigger))}
"""What rules can ask of a case: why it opened, and everything that its output says."""

CATCH_ALL = "catch-all"
"""What cases keep as their rule that no rule has taken."""

When = Annotated[dict[str, Clause], BeforeValidator(conditions.checked(CASE_FACTS))]


class Sla(Part):
    """How soon a case must be claimed and resolved.

    Working hours and days are those of `calendar`, else of the team that the case goes to.
    """

    claim: Span
    resolve: Span
    calendar: Slug | None = None


Reviewers = Annotated[int, Field(strict=True, ge=1, le=3)]
"""How many people review a case; of several none knows what the tool or the others say."""


class Rule(Part):
    """One rule: where every clause of `when` holds, the rest says what the case gets."""

    id: Slug
    mode: Literal["active", "monitor"] = "active"
    when: When
    owner: OwnerChoice
    assign: Assign | None = None
    queue: Slug | None = None
    priority: Priority = Priority.P3
    sla: Sla | None = None
    escalate: str | None = None
    group: Grouping | None = None
    reviewers: Reviewers = 1

    @model_validator(mode="after")
    def _assigned(self) -> "Rule":
        check_assign(self.owner, self.assign)
        return self


class CatchAll(Part):
    """What every case gets that no rule claims."""

    team: Slug | None = None
    user: Address | None = None
    schedule: Slug | None = None
    skills: Skills | None = None
    assign: Assign | None = None
    queue: Slug | None = None
    priority: Priority = Priority.P3
    sla: Sla
    escalate: str | None = None
    group: Grouping | None = None
    reviewers: Reviewers = 1

    @cached_property
    def owner(self) -> OwnerChoice:
        """The owner, checked like a rule's."""
        return OwnerChoice(
            team=self.team, user=self.user, schedule=self.schedule, skills=self.skills
        )

    @model_validator(mode="after")
    def _owned(self) -> "CatchAll":
        check_assign(self.owner, self.assign)
        return self


class Expectation(Part):
    """What an inline test expects of a case."""

    rule: str | None = None
    team: str | None = None
    user: str | None = None
    schedule: str | None = None
    priority: Priority | None = None
    queue: str | None = None
    reviewers: int | None = None


def _facts_alone(case: Any) -> Any:
    """Refuse what no case has: a fact that is misspelt would prove nothing."""
    for fact in case if isinstance(case, dict) else ():
        if fact not in CASE_FACTS and not str(fact).startswith(conditions.ATTRIBUTE):
            problem = f"'{str(fact)[:40]}' is no fact of a case"
            raise wrong(problem, f"Use {', '.join(CASE_FACTS)}.", fact)
    return case


class InlineTest(Part):
    """A case made up for the test, and where it must go."""

    case: Annotated[dict[str, Any], BeforeValidator(_facts_alone)]
    expect: Expectation

    @property
    def facts(self) -> Facts:
        """The case as rules meet it: its texts as they are stored."""
        return {
            normalised(fact): normalised(value) if isinstance(value, str) else value
            for fact, value in self.case.items()
        }


Place = tuple[str | int, ...]
"""Where something stands in the document, such as `("rules", 0)`."""


class Naming(NamedTuple):
    """A place of a policy that makes somebody accountable."""

    place: Place
    where: str
    """The place as its author knows it."""
    owner: Wanted


@dataclass(frozen=True, slots=True)
class Route:
    """What the policy decided for one case."""

    rule: str
    queue: str
    owner: Wanted
    terms: Terms | None
    """How it is given to somebody of the team that owns it."""
    priority: Priority
    claim: Duration
    resolve: Duration
    calendar: str | None
    """Whose hours count, where the policy says so."""
    ladder: tuple[Rung, ...]
    reviewers: int
    group: Group | None
    """What makes cases one incident."""
    monitored: tuple[WouldTake, ...] = ()
    """The rules before it that are merely tried, and would have taken the case."""


class RoutingPolicy(Part):
    """A whole routing policy; build it with `read`."""

    version: Literal[1]
    catch_all: CatchAll
    rules: list[Rule] = []
    ladders: dict[str, list[Rung]] = {}
    tests: list[InlineTest] = []
    revision: str = ""
    lines: dict[Place, int] = {}
    """Of the catch-all and each rule, rung and test, in the file that it was read from."""

    @model_validator(mode="after")
    def _sound(self) -> "RoutingPolicy":
        ids = [rule.id for rule in self.rules]
        for position, id_ in enumerate(ids):
            if id_ in ids[:position]:
                problem = f"two rules have the id '{id_}'"
                hint = "An id is stored on cases: give each rule one of its own."
                raise wrong(problem, hint, "rules", position, "id")
        if found := excess(rule.when for rule in self.rules):
            at = ("rules", found.position, "when", found.fact)
            raise wrong(found.problem, found.hint, *at)
        for name, ladder in self.ladders.items():
            check_ladder(name, ladder)
        parts = [(("rules", n), rule.escalate) for n, rule in enumerate(self.rules)]
        _check_catch_all(self.catch_all, self.ladders.get(self.catch_all.escalate or "", []))
        for place, named in [*parts, (("catch_all",), self.catch_all.escalate)]:
            if named is not None and named not in self.ladders:
                problem = f"there is no ladder '{named}' to escalate by"
                hint = "Name one that stands in `ladders`."
                raise wrong(problem, hint, *place, "escalate")
        return self

    def line_of(self, *place: str | int) -> int:
        """The line of the catch-all, a rule, rung or test; 1 if it was not read from a file."""
        return self.lines.get(place, 1)

    @cached_property
    def choices(self) -> tuple[tuple[Place, str, OwnerChoice], ...]:
        """The owners of the catch-all and of each rule: where it stands, its name, and whom."""
        rules = enumerate(self.rules)
        return (
            (("catch_all",), "catch_all", self.catch_all.owner),
            *((("rules", n), f"rule '{rule.id}'", rule.owner) for n, rule in rules),
        )

    @cached_property
    def namings(self) -> tuple[Naming, ...]:
        """Everybody that the policy names, as often as it does."""
        return (
            *(Naming(place, where, choice.owner) for place, where, choice in self.choices),
            *(
                Naming(("ladders", name, n), f"ladder '{name}', rung {n + 1}", rung.own)
                for name, ladder in self.ladders.items()
                for n, rung in enumerate(ladder)
            ),
        )

    @cached_property
    def owners(self) -> frozenset[Owner]:
        """Everybody that the policy names by name."""
        return frozenset(named for one in self.namings if (named := one.owner.named) is not None)

    @cached_property
    def schedules(self) -> frozenset[str]:
        """Every schedule that the policy names."""
        return frozenset(one.owner.id for one in self.namings if one.owner.kind == "schedule")

    @cached_property
    def giving(self) -> frozenset[str]:
        """The teams to whose people cases are given."""
        parts = [(self.catch_all.owner, self.catch_all.assign)]
        parts += [(rule.owner, rule.assign) for rule in self.rules]
        return frozenset(
            owner.team for owner, assign in parts if owner.team and owner.terms(assign) is not None
        )

    @property
    def calendars(self) -> set[str]:
        """Every calendar that the policy names."""
        named = [self.catch_all.sla, *(rule.sla for rule in self.rules)]
        return {sla.calendar for sla in named if sla is not None and sla.calendar is not None}

    @cached_property
    def _conditions(self) -> list[tuple[Rule, Condition]]:
        return [(rule, Condition(rule.when)) for rule in self.rules]

    def route(self, facts: Facts) -> Route:
        """Where a case goes: by the first active rule that matches, else by the catch-all."""
        tried: list[Rule] = []
        for rule, condition in self._conditions:
            if condition.holds(facts) and not _hidden(rule, facts):
                if rule.mode == "active":
                    return _beside(self._as_route(rule.id, rule.owner, rule, facts), tried)
                tried.append(rule)
        owner = self.catch_all.owner
        return _beside(self._as_route(CATCH_ALL, owner, self.catch_all, facts), tried)

    def explain(self, facts: Facts) -> Iterator[RuleTrace]:
        """Each rule in turn, up to the one that decides, with the clause that failed."""
        for rule, condition in self._conditions:
            failed = _hidden(rule, facts) or condition.failed(facts)
            yield RuleTrace(rule.id, failed is None, failed, monitored=rule.mode == "monitor")
            if failed is None and rule.mode == "active":
                return
        yield RuleTrace(CATCH_ALL, matched=True)

    def _as_route(
        self, name: str, choice: OwnerChoice, part: Rule | CatchAll, facts: Facts
    ) -> Route:
        owner = choice.owner
        sla = part.sla or self.catch_all.sla
        ladder = self.ladders.get(part.escalate or self.catch_all.escalate or "", [])
        first = Rung(at=Duration(), own=owner)
        # The rung at 0 is the owner whom the rule names; the ladder's later rungs follow.
        later = [rung for rung in ladder if rung.at is None or rung.at.amount]
        return Route(
            rule=name,
            queue=_queue(name, owner, part),
            owner=owner,
            terms=choice.terms(part.assign),
            priority=part.priority,
            claim=sla.claim,
            resolve=sla.resolve,
            calendar=sla.calendar,
            ladder=(first, *later),
            reviewers=part.reviewers,
            group=grouping_of(part.group, str(facts.get("trigger"))),
        )


PolicyOfTeam = Callable[[str], RoutingPolicy]
"""The policy that holds for the tools of a team."""


def _queue(name: str, owner: Wanted, part: Rule | CatchAll) -> str:
    return part.queue or (owner.id if owner.kind == "team" else name)


def _beside(route: Route, tried: Sequence[Rule]) -> Route:
    """A route with what the rules before it would have made of the case that are merely tried."""
    if not tried:
        return route
    would = (
        WouldTake(rule.id, _queue(rule.id, rule.owner.owner, rule), rule.owner.owner, rule.priority)
        for rule in tried
    )
    return replace(route, monitored=tuple(would))


OF_ANSWER = ("predicted.category", "predicted.flag", "confidence", "failure")
"""What an audit hides of an output."""


def _hidden(rule: Rule, facts: Facts) -> str | None:
    """What the rule asks for that an audit hides, in words; None where it asks for no such thing.

    Queue, priority and owner would tell the reviewer what the tool said, who is not to know.
    """
    if facts.get("trigger") != Trigger.AUDIT:
        return None
    asked = next((fact for fact in OF_ANSWER if fact in rule.when), None)
    return f"{asked} is hidden while an output is audited" if asked else None


def _check_catch_all(catch_all: CatchAll, ladder: Sequence[Rung]) -> None:
    """Refuse a last owner who may be nobody, as a schedule may be, with no rung after it."""
    if catch_all.schedule is None or any(rung.at is None or rung.at.amount for rung in ladder):
        return
    hint = (
        "Let it `escalate` by a ladder with a rung after `0m`, whose last one is always somebody."
    )
    raise wrong(f"schedule:{catch_all.schedule} may have nobody on duty", hint, "catch_all")
