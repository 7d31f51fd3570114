"""What can be found in a routing policy before any case meets it. Pure."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from secondlook.conditions import Clause, Condition

from services.escalation.policy.covering import Cover
from services.escalation.policy.model import OF_ANSWER, RoutingPolicy
from services.escalation.rules import Wanted


class Finding(NamedTuple):
    """Something about a policy that a person should look at. `line` is of the file, from 1."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


def unreachable_rules(policy: RoutingPolicy) -> list[Finding]:
    """Rules that an earlier one always comes before, as it takes whatever they would."""
    found: list[Finding] = []
    before: list[tuple[str, Cover]] = []
    for n, rule in enumerate(policy.rules):
        clauses = Cover(rule.when)
        first = next((id_ for id_, earlier in before if earlier.covers(clauses)), None)
        if first is not None:
            words = f"rule '{rule.id}' is never reached: '{first}' matches first"
            found.append(Finding(policy.line_of("rules", n), words))
        if rule.mode == "active":
            before.append((rule.id, clauses))
    return found


def absent_owners(policy: RoutingPolicy, absent: Mapping[Wanted, str]) -> list[Finding]:
    """Every place that names somebody of `absent`, with why they cannot be accountable."""
    return _of_namings(policy, {wanted: [why] for wanted, why in absent.items()})


def holes(policy: RoutingPolicy, of_schedules: Mapping[str, Sequence[str]]) -> list[Finding]:
    """When the schedules that it names have nobody on duty, given in words, at each place."""
    words = {Wanted("schedule", slug): said for slug, said in of_schedules.items()}
    return _of_namings(policy, words)


def _of_namings(policy: RoutingPolicy, said: Mapping[Wanted, Sequence[str]]) -> list[Finding]:
    return [
        Finding(policy.line_of(*naming.place), f"{naming.where} names {naming.owner}: {words}")
        for naming in policy.namings
        for words in said.get(naming.owner, ())
    ]


def unskilled_teams(policy: RoutingPolicy, skills: Mapping[str, Collection[str]]) -> list[Finding]:
    """Rules that ask for skills that nobody has of the team to whose people they give cases."""
    return [
        Finding(policy.line_of(*place), f"{where}: nobody in team '{owner.team}' has skill '{one}'")
        for place, where, owner in policy.choices
        for one in owner.skills or ()
        if owner.team is not None and one not in skills.get(owner.team, ())
    ]


def absent_calendars(policy: RoutingPolicy, known: Collection[str]) -> list[Finding]:
    """Every place that names a calendar that is not there."""
    parts = [(("rules", n), f"rule '{rule.id}'", rule.sla) for n, rule in enumerate(policy.rules)]
    return [
        Finding(
            policy.line_of(*place), f"{where} names calendar '{sla.calendar}', which is not there"
        )
        for place, where, sla in [*parts, (("catch_all",), "catch_all", policy.catch_all.sla)]
        if sla is not None and sla.calendar is not None and sla.calendar not in known
    ]


def telling_rules(policy: RoutingPolicy) -> list[Finding]:
    """Rules whose reviewers are not to know the tool's answer, and could tell it from the rule."""
    return [
        Finding(
            policy.line_of("rules", n),
            f"rule '{rule.id}' asks {rule.reviewers} reviewers who are not to know the tool's"
            f" answer, and goes by {fact}: its queue and owner can tell them",
        )
        for n, rule in enumerate(policy.rules)
        if rule.reviewers > 1
        for fact in [next((fact for fact in OF_ANSWER if fact in rule.when), None)]
        if fact is not None
    ]


def unknown_tools(policy: RoutingPolicy, registered: Collection[str]) -> list[Finding]:
    """Rules that name a tool that is not registered; it may be, later."""
    return [
        Finding(policy.line_of("rules", n), f"rule '{rule.id}': no tool '{name}' is registered")
        for n, rule in enumerate(policy.rules)
        for name in _listed(rule.when.get("tool", []))
        if not any(Condition({"tool": name}).holds({"tool": slug}) for slug in registered)
    ]


def _listed(clause: Clause) -> list[str]:
    return [str(one) for one in clause] if isinstance(clause, list) else [str(clause)]


def run_tests(policy: RoutingPolicy) -> list[Finding]:
    """Run the inline tests; answers what failed, empty when all passed."""
    failures = []
    for position, test in enumerate(policy.tests):
        route = policy.route(test.facts)
        got = {
            "rule": route.rule,
            "team": route.owner.id if route.owner.kind == "team" else None,
            "user": route.owner.id if route.owner.kind == "person" else None,
            "schedule": route.owner.id if route.owner.kind == "schedule" else None,
            "priority": route.priority,
            "queue": route.queue,
            "reviewers": route.reviewers,
        }
        for field, wanted in test.expect.model_dump(exclude_none=True).items():
            if got[field] != wanted:
                words = f"test {position + 1}: {field} is {got[field]}, expected {wanted}"
                failures.append(Finding(policy.line_of("tests", position), words))
    return failures
