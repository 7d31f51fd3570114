"""What a routing policy is, and where it sends a case. Pure.

The first rule that matches wins; the catch-all is mandatory, so there is no case without an
owner; and every ladder ends with a rung that names somebody.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from secondlook import conditions
from secondlook.conditions import FACTS, Clause, Condition, Facts, FactType
from secondlook.extent import excess
from secondlook.text import SLUG, normalised

from services.escalation.policy.grouping import Group, Grouping, grouping_of
from services.escalation.policy.traces import RuleTrace, WouldTake
from services.escalation.rules import Owner, Priority, parse_address, parse_owner
from services.kit.documents import wrong
from services.kit.durations import DAY, Duration, Unit, parse_duration
from services.kit.working_time import after, weekdays
from services.tools.rules import Trigger

CASE_FACTS = {**FACTS, "trigger": FactType("text", tuple(t.value for t in Trigger))}
"""What rules can ask of a case: why it opened, and everything that its output says."""

CATCH_ALL = "catch-all"
"""What cases keep as their rule that no rule has taken."""

Slug = Annotated[str, Field(pattern=SLUG)]


# A case that may wait longer than five years has no deadline.
_LONGEST = {
    Unit.SECONDS: Duration(5 * 366 * DAY),
    Unit.WORKING_SECONDS: Duration(5 * 262 * 8 * 3600, Unit.WORKING_SECONDS),
    Unit.WORKING_DAYS: Duration(5 * 262, Unit.WORKING_DAYS),
}


def _span(value: Any) -> Duration:
    span = value if isinstance(value, Duration) else parse_duration(str(value))
    longest = _LONGEST[span.unit]
    if span.amount > longest.amount:
        raise wrong(f"{span} is over five years", f"Write {longest} at most.")
    return span


Span = Annotated[Duration, BeforeValidator(_span)]
When = Annotated[dict[str, Clause], BeforeValidator(conditions.checked(CASE_FACTS))]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


Address = Annotated[str, AfterValidator(parse_address)]


class Rung(_Part):
    """An entry of a ladder: from `at` after the opening, `own` is accountable.

    A rung without `at` is reached by a missed deadline alone.
    """

    at: Span | None = None
    own: Annotated[Owner, BeforeValidator(parse_owner)]
    repeat: Span | None = None


class Sla(_Part):
    """How soon a case must be claimed and resolved.

    Working hours and days are those of `calendar`, else of the team that the case goes to.
    """

    claim: Span
    resolve: Span
    calendar: Slug | None = None


Reviewers = Annotated[int, Field(strict=True, ge=1, le=3)]
"""How many people review a case; of several none knows what the tool or the others say."""


class OwnerChoice(_Part):
    """A rule's owner: exactly one of a team and a person."""

    team: Slug | None = None
    user: Address | None = None

    @model_validator(mode="after")
    def _one(self) -> "OwnerChoice":
        if (self.team is None) == (self.user is None):
            raise ValueError("name exactly one of team and user")
        return self

    @property
    def owner(self) -> Owner:
        """The choice as an owner."""
        return Owner("team", self.team) if self.team else Owner("person", str(self.user))


class Rule(_Part):
    """One rule: where every clause of `when` holds, the rest says what the case gets."""

    id: Slug
    mode: Literal["active", "monitor"] = "active"
    when: When
    owner: OwnerChoice
    queue: Slug | None = None
    priority: Priority = Priority.P3
    sla: Sla | None = None
    escalate: str | None = None
    group: Grouping | None = None
    reviewers: Reviewers = 1


class CatchAll(_Part):
    """What every case gets that no rule claims."""

    team: Slug | None = None
    user: Address | None = None
    queue: Slug | None = None
    priority: Priority = Priority.P3
    sla: Sla
    escalate: str | None = None
    group: Grouping | None = None
    reviewers: Reviewers = 1

    @property
    def owner(self) -> OwnerChoice:
        """The owner, checked like a rule's."""
        return OwnerChoice(team=self.team, user=self.user)

    @model_validator(mode="after")
    def _owned(self) -> "CatchAll":
        OwnerChoice(team=self.team, user=self.user)
        return self


class Expectation(_Part):
    """What an inline test expects of a case."""

    rule: str | None = None
    team: str | None = None
    user: str | None = None
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


class InlineTest(_Part):
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
    owner: Owner


@dataclass(frozen=True, slots=True)
class Route:
    """What the policy decided for one case."""

    rule: str
    queue: str
    owner: Owner
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


class RoutingPolicy(_Part):
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
            _check_ladder(name, ladder)
        parts = [(("rules", n), rule.escalate) for n, rule in enumerate(self.rules)]
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
    def namings(self) -> tuple[Naming, ...]:
        """Everybody that the policy names, as often as it does."""
        return (
            Naming(("catch_all",), "catch_all", self.catch_all.owner.owner),
            *(
                Naming(("rules", n), f"rule '{rule.id}'", rule.owner.owner)
                for n, rule in enumerate(self.rules)
            ),
            *(
                Naming(("ladders", name, n), f"ladder '{name}', rung {n + 1}", rung.own)
                for name, ladder in self.ladders.items()
                for n, rung in enumerate(ladder)
            ),
        )

    @cached_property
    def owners(self) -> frozenset[Owner]:
        """Everybody that the policy names."""
        return frozenset(naming.owner for naming in self.namings)

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
                    return _beside(self._as_route(rule.id, rule.owner.owner, rule, facts), tried)
                tried.append(rule)
        owner = self.catch_all.owner.owner
        return _beside(self._as_route(CATCH_ALL, owner, self.catch_all, facts), tried)

    def explain(self, facts: Facts) -> Iterator[RuleTrace]:
        """Each rule in turn, up to the one that decides, with the clause that failed."""
        for rule, condition in self._conditions:
            failed = _hidden(rule, facts) or condition.failed(facts)
            yield RuleTrace(rule.id, failed is None, failed, monitored=rule.mode == "monitor")
            if failed is None and rule.mode == "active":
                return
        yield RuleTrace(CATCH_ALL, matched=True)

    def _as_route(self, name: str, owner: Owner, part: Rule | CatchAll, facts: Facts) -> Route:
        sla = part.sla or self.catch_all.sla
        ladder = self.ladders.get(part.escalate or self.catch_all.escalate or "", [])
        first = Rung(at=Duration(), own=owner)
        # The rung at 0 is the owner whom the rule names; the ladder's later rungs follow.
        later = [rung for rung in ladder if rung.at is None or rung.at.amount]
        return Route(
            rule=name,
            queue=_queue(name, owner, part),
            owner=owner,
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


def _queue(name: str, owner: Owner, part: Rule | CatchAll) -> str:
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


# Days and business days are of another length from each day of the week.
_A_WEEK = [datetime(2026, 1, day, 12, tzinfo=UTC) for day in range(5, 12)]
_ANY = weekdays("UTC")


def _check_ladder(name: str, ladder: Sequence[Rung]) -> None:
    at = ("ladders", name)
    if not ladder:
        raise wrong(f"ladder '{name}' has no rung", "Its last rung must name somebody.", *at)
    for weekday in _A_WEEK:
        moments = [after(weekday, rung.at, _ANY) for rung in ladder if rung.at is not None]
        if moments != sorted(set(moments)):
            problem = (
                f"ladder '{name}': its rungs are out of order if a case opens on a {weekday:%A}"
            )
            raise wrong(problem, "Let each rung come later than the one before it.", *at)
    for position, rung in enumerate(ladder):
        if rung.repeat is not None:
            _check_repeat(name, position, rung, is_last=position == len(ladder) - 1)


def _check_repeat(name: str, position: int, rung: Rung, *, is_last: bool) -> None:
    problem = None
    if not is_last:
        problem = "only the last rung can repeat"
    elif rung.at is None:
        problem = "a rung that repeats needs `at` to begin at"
    elif rung.repeat and rung.repeat.amount == 0:
        problem = "a rung cannot repeat every 0s"
    if problem is not None:
        place = ("ladders", name, position, "repeat")
        hint = "Leave `repeat` out, or change it."
        raise wrong(f"ladder '{name}': {problem}", hint, *place)
