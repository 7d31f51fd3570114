"""The routing policy: which queue, owner, priority and deadlines a case gets. Pure.

A policy is a YAML file kept in version control. The first rule that matches wins; the
catch-all is mandatory, so there is no case without an owner; and every ladder ends with a
rung that names somebody. Everything that cannot be understood is refused with the place
and the hint, never passed over.
"""

import fnmatch
import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from math import isfinite
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from services.escalation.rules import Priority, Trigger
from services.kit.durations import Duration, parse_duration
from services.kit.errors import InvalidInput, Problem
from services.tools.rules import OutputKind

Facts = Mapping[str, Any]
"""What rules can ask of a case: `trigger`, `tool`, `confidence`, `predicted.category`, …"""

_FACTS = (
    *("trigger", "tool", "kind", "confidence", "version", "language", "cohort", "failure"),
    *("predicted.category", "predicted.flag"),
)
_ATTRIBUTE = "attributes."
_CLAUSE: Literal["clause"] = "clause"
_WORDS = {"trigger": tuple(t.value for t in Trigger), "kind": tuple(k.value for k in OutputKind)}
"""The facts that are one of a few words."""

_LATER = ("skills", "assign", "group", "calendar", "schedule")


def _duration(value: Any) -> Any:
    return value if isinstance(value, Duration) else parse_duration(str(value))


Span = Annotated[Duration, BeforeValidator(_duration)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


@dataclass(frozen=True, slots=True)
class Owner:
    """Who is accountable: a team by its slug or a person by e-mail address."""

    kind: Literal["team", "person"]
    id: str

    def __str__(self) -> str:
        return f"{'user' if self.kind == 'person' else 'team'}:{self.id}"


def parse_owner(text: Any) -> Owner:
    """Read `team:<slug>` or `user:<e-mail>`.

    Raises:
        ValueError: it is neither.
    """
    if isinstance(text, Owner):
        return text
    kind, _, name = str(text).partition(":")
    if kind == "team" and name:
        return Owner("team", name)
    if kind == "user" and name:
        return Owner("person", name.lower())
    if kind == "schedule":
        raise ValueError("schedules are not supported yet; name a team:<slug> or user:<e-mail>")
    raise ValueError(f"'{str(text)[:60]}' names nobody; write team:<slug> or user:<e-mail>")


class Rung(_Part):
    """A step of a ladder: from `at` after the opening, `own` is accountable.

    A rung without `at` is reached by a missed deadline alone.
    """

    at: Span | None = None
    own: Annotated[Owner, BeforeValidator(parse_owner)]
    repeat: Span | None = None


class Sla(_Part):
    """How soon a case must be claimed and resolved."""

    claim: Span
    resolve: Span


class OwnerChoice(_Part):
    """A rule's owner: exactly one of a team and a person."""

    team: str | None = None
    user: str | None = None

    @model_validator(mode="after")
    def _one(self) -> "OwnerChoice":
        if (self.team is None) == (self.user is None):
            raise ValueError("name exactly one of team and user")
        return self

    @property
    def owner(self) -> Owner:
        """The choice as an owner."""
        return Owner("team", self.team) if self.team else Owner("person", str(self.user).lower())


class Comparison(_Part):
    """Bounds for a number."""

    lt: float | None = None
    le: float | None = None
    gt: float | None = None
    ge: float | None = None

    @property
    def open_below(self) -> bool:
        """Whether nothing is too low for the bounds."""
        return self.gt is None and self.ge is None

    def holds(self, number: float) -> bool:
        """Whether `number` lies within every bound given."""
        return (
            (self.lt is None or number < self.lt)
            and (self.le is None or number <= self.le)
            and (self.gt is None or number > self.gt)
            and (self.ge is None or number >= self.ge)
        )


Clause = str | int | float | bool | list[str] | Comparison


def _known_facts(when: Any) -> Any:
    """Refuse a clause that could hold for no case, or holds for every one, by mistake."""
    if when == {}:
        raise ValueError("it holds for every case, which is what `catch_all` is for")
    if isinstance(when, dict):
        for fact, clause in when.items():
            _require_fact(fact)
            if isinstance(clause, dict):
                _require_bounds(fact, clause)
            elif fact in _WORDS:
                _require_words(fact, clause)
            elif fact != "confidence":
                _require_right_kind(fact, clause)
            if fact == "confidence":
                _require_shares(clause)
    return when


def _require_fact(fact: Any) -> None:
    if fact not in _FACTS and not str(fact).startswith(_ATTRIBUTE):
        listed = ", ".join((*_FACTS, f"{_ATTRIBUTE}<name>"))
        raise _refused(fact, f"'{str(fact)[:40]}' is nothing that a case has", f"Use {listed}.")


def _require_bounds(fact: str, clause: Mapping[Any, Any]) -> None:
    """Say one thing about a comparison that is none; else each shape of a clause would object."""
    if fact != "confidence" and not fact.startswith(_ATTRIBUTE):
        problem = f"'{fact}' is no number, so nothing is below or above it"
        raise _refused(fact, problem, "Write the value, or a list of values.")
    if not (clause and clause.keys() <= Comparison.model_fields.keys()):
        raise _refused(fact, f"'{fact}' is compared with {clause}", "Use lt, le, gt and ge.")


def _require_words(fact: str, clause: Any) -> None:
    for word in clause if isinstance(clause, list) else [clause]:
        if not any(fnmatch.fnmatchcase(known, str(word)) for known in _WORDS[fact]):
            hint = f"Use one of {', '.join(_WORDS[fact])}."
            raise _refused(fact, f"'{str(word)[:40]}' is no {fact}", hint)


def _require_right_kind(fact: str, clause: Any) -> None:
    """Text for what is text: to YAML alone a bare `yes` is true, and a bare 2026 a number."""
    if fact == "predicted.flag":
        if not isinstance(clause, bool):
            raise _refused(fact, f"{clause!r} is neither true nor false", "Write true or false.")
        return
    for text in clause if isinstance(clause, list) else [clause]:
        if not isinstance(text, str):
            raise _refused(fact, f"{text!r} is no text", 'Put quotes around it, as in "yes".')


def _require_shares(clause: Any) -> None:
    """A bound of 70 would be above every confidence there is, and let the rule take every case."""
    numbers = clause if isinstance(clause, list) else [clause]
    for number in clause.values() if isinstance(clause, dict) else numbers:
        try:
            is_share = not isinstance(number, bool) and 0 <= float(number) <= 1
        except (TypeError, ValueError, OverflowError):
            is_share = False
        if not is_share:
            problem = f"{number} is not between 0 and 1"
            raise _refused("confidence", problem, "A confidence is a share: write 0.7 for 70 %.")


def _refused(fact: Any, problem: str, hint: str) -> PydanticCustomError:
    """The error for one clause; `_problem` makes its place out of the fact."""
    given = {"fact": str(fact)[:40], "problem": problem, "hint": hint}
    return PydanticCustomError(_CLAUSE, "{problem}", given)


When = Annotated[dict[str, Clause], BeforeValidator(_known_facts)]


class Rule(_Part):
    """One rule: where every clause of `when` holds, the rest says what the case gets."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    mode: Literal["active", "monitor"] = "active"
    when: When
    owner: OwnerChoice
    queue: str | None = None
    priority: Priority = Priority.P3
    sla: Sla | None = None
    escalate: str | None = None


class CatchAll(_Part):
    """What every case gets that no rule claims."""

    team: str | None = None
    user: str | None = None
    queue: str | None = None
    priority: Priority = Priority.P3
    sla: Sla
    escalate: str | None = None

    @property
    def owner(self) -> OwnerChoice:
        """The owner, checked like a rule's."""
        return OwnerChoice(team=self.team, user=self.user)

    @model_validator(mode="after")
    def _owned(self) -> "CatchAll":
        OwnerChoice(team=self.team, user=self.user)
        return self


class PolicyHit(_Part):
    """Outputs that a person must see however sure the tool is of them."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    when: When


class Expectation(_Part):
    """What an inline test expects of a case."""

    rule: str | None = None
    team: str | None = None
    user: str | None = None
    priority: Priority | None = None
    queue: str | None = None


def _facts_alone(case: Any) -> Any:
    """Refuse what no case has: a fact that is misspelt would prove nothing."""
    for fact in case if isinstance(case, dict) else ():
        _require_fact(fact)
    return case


class InlineTest(_Part):
    """A case made up for the test, and where it must go."""

    case: Annotated[dict[str, Any], BeforeValidator(_facts_alone)]
    expect: Expectation


@dataclass(frozen=True, slots=True)
class Route:
    """What the policy decided for one case."""

    rule: str
    queue: str
    owner: Owner
    priority: Priority
    claim: Duration
    resolve: Duration
    ladder: tuple[Rung, ...]


@dataclass(frozen=True, slots=True)
class Tried:
    """One rule that was tried, and the first clause that failed, if one did."""

    rule: str
    matched: bool
    failed: str | None = None


class RoutingPolicy(_Part):
    """A whole routing policy; build it with `parse`."""

    version: Literal[1]
    catch_all: CatchAll
    rules: list[Rule] = []
    policies: dict[str, list[Rung]] = {}
    review: list[PolicyHit] = []
    tests: list[InlineTest] = []
    revision: str = ""

    @model_validator(mode="after")
    def _sound(self) -> "RoutingPolicy":
        ids = [rule.id for rule in self.rules]
        for twice in sorted({i for i in ids if ids.count(i) > 1}):
            raise ValueError(f"two rules have the id '{twice}'; an id is stored on cases")
        for name, ladder in self.policies.items():
            _check_ladder(name, ladder)
        for named in [*(rule.escalate for rule in self.rules), self.catch_all.escalate]:
            if named is not None and named not in self.policies:
                raise ValueError(f"there is no policy '{named}' to escalate by")
        return self

    @cached_property
    def owners(self) -> frozenset[Owner]:
        """Everybody that the policy names."""
        named = {rule.owner.owner for rule in self.rules} | {self.catch_all.owner.owner}
        return frozenset(named | {rung.own for ladder in self.policies.values() for rung in ladder})

    def route(self, facts: Facts) -> Route:
        """Where a case goes: by the first active rule that matches, else by the catch-all."""
        for rule in self.rules:
            if rule.mode == "active" and failed_clause(rule.when, facts) is None:
                return self._as_route(rule.id, rule.owner.owner, rule)
        return self._as_route("catch-all", self.catch_all.owner.owner, self.catch_all)

    def explain(self, facts: Facts) -> Iterator[Tried]:
        """Each rule in turn, up to the one that decides, with the clause that failed."""
        for rule in self.rules:
            failed = failed_clause(rule.when, facts)
            yield Tried(rule.id, failed is None, failed)
            if failed is None and rule.mode == "active":
                return
        yield Tried("catch-all", matched=True)

    def policy_hit(self, facts: Facts) -> str | None:
        """The id of the first `review` entry that matches, or None."""
        for hit in self.review:
            if failed_clause(hit.when, facts) is None:
                return hit.id
        return None

    def _as_route(self, name: str, owner: Owner, part: Rule | CatchAll) -> Route:
        sla = part.sla or self.catch_all.sla
        ladder = self.policies.get(part.escalate or self.catch_all.escalate or "", [])
        first = Rung(at=Duration(), own=owner)
        # The rung at 0 is the owner whom the rule names; the ladder's later rungs follow.
        later = [rung for rung in ladder if rung.at != Duration()]
        return Route(
            rule=name,
            queue=part.queue or (owner.id if owner.kind == "team" else name),
            owner=owner,
            priority=part.priority,
            claim=sla.claim,
            resolve=sla.resolve,
            ladder=(first, *later),
        )


def _check_ladder(name: str, ladder: Sequence[Rung]) -> None:
    if not ladder:
        raise ValueError(f"policy '{name}' has no rung; its last rung must name somebody")
    epoch = datetime(2026, 1, 5)  # noqa: DTZ001 - only differences matter
    moments = [rung.at.after(epoch) for rung in ladder if rung.at is not None]
    if moments != sorted(set(moments)):
        raise ValueError(f"policy '{name}': each rung must come later than the one before it")
    if any(rung.repeat for rung in ladder[:-1]):
        raise ValueError(f"policy '{name}': only the last rung can repeat")
    repeat = ladder[-1].repeat
    if repeat is not None and ladder[-1].at is None:
        raise ValueError(f"policy '{name}': a rung that repeats needs `at` to begin at")
    if repeat is not None and repeat == Duration():
        raise ValueError(f"policy '{name}': a rung cannot repeat every 0s")


def failed_clause(when: Mapping[str, Clause], facts: Facts) -> str | None:
    """The first clause that does not hold for these facts, in words, or None."""
    for fact, clause in when.items():
        value = facts.get(fact)
        if not _holds(clause, value, missing_is_low=fact == "confidence"):
            return f"{fact} is {value!r}, not {clause!r}"
    return None


def _holds(clause: Clause, value: Any, *, missing_is_low: bool = False) -> bool:
    """Whether a value is as the clause says.

    `missing_is_low`: a tool that gives no confidence has none; an attribute that is not
    there, or is no number, lies within no bounds.
    """
    if isinstance(clause, Comparison):
        number = _number(value)
        return clause.holds(number) if number is not None else missing_is_low and clause.open_below
    if isinstance(clause, list):
        return any(_holds(one, value) for one in clause)
    if isinstance(clause, str):
        return isinstance(value, str) and fnmatch.fnmatchcase(value, clause)
    return bool(value == clause)


def _number(value: Any) -> float | None:
    """A number, or a text that is one, as attributes are; else None."""
    if not isinstance(value, str | int | float):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if isfinite(number) else None


def facts_of(
    *,
    trigger: Trigger,
    tool: str,
    version: str,
    kind: str | None,
    value: Any,
    confidence: float | None,
    attributes: Mapping[str, Any] | None,
    input_: Mapping[str, Any] | None = None,
    cohort: str | None = None,
    failure: Mapping[str, Any] | None = None,
) -> Facts:
    """What rules can ask of a case, from what its output says."""
    facts = {
        "trigger": trigger.value,
        "tool": tool,
        "version": version,
        "kind": kind,
        "confidence": confidence,
        "language": (input_ or {}).get("language"),
        "cohort": cohort,
        "failure": (failure or {}).get("kind"),
        **{f"attributes.{name}": held for name, held in (attributes or {}).items()},
    }
    if kind == "category":
        facts["predicted.category"] = value
    elif kind == "flag":
        facts["predicted.flag"] = value
    return facts


def parse(text: str) -> RoutingPolicy:
    """Read a policy.

    Raises:
        InvalidInput: it is no YAML or no policy; every problem names its place.
    """
    document = _read_yaml(text)
    if not isinstance(document, dict):
        found = Problem("/", "it is no mapping", "Begin with `version: 1` and `catch_all:`.")
        raise InvalidInput("The routing policy is no mapping.", problems=(found,))
    try:
        policy = RoutingPolicy.model_validate(document)
    except ValidationError as error:
        problems = tuple(_problem(item, document) for item in error.errors(include_url=False))
        detail = "; ".join(f"{p.pointer or '/'}: {p.problem}" for p in problems)
        raise InvalidInput(f"The routing policy: {detail}", problems=problems) from None
    revision = hashlib.sha256(text.encode()).hexdigest()[:12]
    return policy.model_copy(update={"revision": revision})


class _StrictLoader(yaml.SafeLoader):
    """YAML in which no key may stand twice: of two, the first would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:  # noqa: FBT002 - PyYAML's
        """Answer the mapping, each key once."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen and isinstance(key, yaml.ScalarNode):
                problem = f"the key '{key.value[:40]}' stands here twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _read_yaml(text: str) -> Any:
    try:
        return yaml.load(text, _StrictLoader)  # noqa: S506 - it is a SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}" if mark else ""
        said = getattr(error, "problem", None) or "it cannot be read"
        found = Problem(
            place, f"it is no YAML: {said}", "Check keys, indentation and quotes there."
        )
        detail = f"The routing policy is no YAML ({place}): {said}."
        raise InvalidInput(detail, problems=(found,)) from None


def _problem(item: Any, document: Mapping[str, Any]) -> Problem:
    place, (problem, hint) = [str(part) for part in item["loc"]], _problem_and_hint(item)
    if item["type"] == _CLAUSE:
        place.append(item["ctx"]["fact"])
    return Problem("/" + "/".join(place), _of_rule(item["loc"], document) + problem, hint)


def _problem_and_hint(item: Any) -> tuple[str, str]:
    """What is wrong, and the hint."""
    name = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == _CLAUSE:
        return item["ctx"]["problem"], item["ctx"]["hint"]
    if item["type"] == "extra_forbidden" and name in _LATER:
        return f"'{name}' is not supported yet", "Leave it out."
    if item["type"] == "extra_forbidden":
        return f"'{name[:40]}' is no key here", "Check its spelling."
    if item["type"] == "missing":
        return "it is missing", "Add it; docs/routing.md shows a whole policy."
    return item["msg"].removeprefix("Value error, "), "docs/routing.md says what stands here."


def _of_rule(place: Sequence[Any], document: Mapping[str, Any]) -> str:
    """The id of the rule that an error is in: its author knows that better than its number."""
    if len(place) < 3 or place[0] not in ("rules", "review"):
        return ""
    rule = document[place[0]][place[1]]
    named = rule.get("id") if isinstance(rule, dict) else None
    return f"rule '{str(named)[:63]}': " if named is not None else ""


def unreachable_rules(policy: RoutingPolicy) -> list[str]:
    """Rules that an earlier rule with fewer or the same clauses always comes before."""
    found = []
    for later, rule in enumerate(policy.rules):
        for earlier in policy.rules[:later]:
            if earlier.mode == "active" and all(
                rule.when.get(fact) == clause for fact, clause in earlier.when.items()
            ):
                found.append(f"rule '{rule.id}' is never reached: '{earlier.id}' matches first")
                break
    return found


def unknown_tools(policy: RoutingPolicy, registered: Collection[str]) -> list[str]:
    """Rules that name a tool that is not registered; it may be, later."""
    parts: list[Rule | PolicyHit] = [*policy.rules, *policy.review]
    return [
        f"rule '{part.id}': no tool '{name}' is registered"
        for part in parts
        for name in _listed(part.when.get("tool", []))
        if not fnmatch.filter(registered, name)
    ]


def _listed(clause: Clause) -> list[str]:
    return clause if isinstance(clause, list) else [str(clause)]


def run_tests(policy: RoutingPolicy) -> list[str]:
    """Run the inline tests; answers what failed, in words, empty when all passed."""
    failures = []
    for number, test in enumerate(policy.tests, start=1):
        route = policy.route(test.case)
        got = {
            "rule": route.rule,
            "team": route.owner.id if route.owner.kind == "team" else None,
            "user": route.owner.id if route.owner.kind == "person" else None,
            "priority": route.priority,
            "queue": route.queue,
        }
        for field, wanted in test.expect.model_dump(exclude_none=True).items():
            if got[field] != wanted:
                failures.append(f"test {number}: {field} is {got[field]}, expected {wanted}")
    return failures


# Claim and resolve, by trigger: what a team gets that has not thought about it yet.
_DEFAULT_DEADLINES = {
    Trigger.POLICY: (Priority.P1, "15m", "4h"),
    Trigger.TOOL_FAILURE: (Priority.P1, "15m", "4h"),
    Trigger.DISPUTE: (Priority.P2, "1h", "1bd"),
    Trigger.AUDIT: (Priority.P4, "1d", "5bd"),
}


def default_policy(team: str, *, lead: str | None) -> RoutingPolicy:
    """What holds for a tool without a routing policy: its team owns its cases.

    What is overdue goes to `lead`, where there is one.
    """
    ladder = [Rung(at=Duration(), own=Owner("team", team))]
    if lead is not None:
        ladder.append(Rung(own=Owner("person", lead)))
    rules = [
        Rule(
            id=trigger.value.replace("_", "-"),
            when={"trigger": trigger.value},
            owner=OwnerChoice(team=team),
            priority=priority,
            sla=Sla(claim=parse_duration(claim), resolve=parse_duration(resolve)),
            escalate="default",
        )
        for trigger, (priority, claim, resolve) in _DEFAULT_DEADLINES.items()
    ]
    sla = Sla(claim=parse_duration("4h"), resolve=parse_duration("2bd"))
    return RoutingPolicy(
        version=1,
        catch_all=CatchAll(team=team, sla=sla, escalate="default"),
        rules=rules,
        policies={"default": ladder},
        revision="default",
    )
