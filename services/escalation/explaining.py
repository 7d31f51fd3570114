"""Why a case goes where it goes: by the policy that routed it, and beside it by another."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from services.escalation.cases import Case
from services.escalation.policy import revisions
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.traces import RuleTrace
from services.escalation.routing import facts_of_case, policies, team_policy
from services.escalation.rules import SubjectKind
from services.kit.errors import Conflict, NotFound
from services.tools import queries as tools


@dataclass(frozen=True, slots=True)
class Explained:
    """What a policy says of a case: the rule that takes it, what that gives, and all it tried."""

    revision: str
    rule: str
    queue: str
    owner: str
    """Who is wanted, whether they can be or not."""
    priority: str
    tried: list[RuleTrace]

    def __str__(self) -> str:
        """What the rule gives, in words."""
        return f"rule {self.rule}: {self.owner}, queue {self.queue}, {self.priority}"


def by_policy(case: Case, policy: RoutingPolicy) -> Explained:
    """What a policy says of a case, as much as is known of it now.

    Raises:
        Conflict: it is an incident, which no rule is asked about.
    """
    if case.subject_kind == SubjectKind.INCIDENT:
        raise Conflict(f"Case {case.id} is an incident: ask for one of the cases in it.")
    facts = facts_of_case(case)
    route, tried = policy.route(facts), list(policy.explain(facts))
    owner, priority = str(route.owner), route.priority.value
    return Explained(policy.revision, route.rule, route.queue, owner, priority, tried)


def by_own_policy(session: Session, case: Case) -> Explained:
    """What the revision says that routed the case last, whatever is in force by now.

    Raises:
        Conflict: it is an incident, which no rule is asked about.
        NotFound: that revision is not kept.
    """
    if case.routing_revision == "default":
        return by_policy(case, team_policy(session, _team(session, case)))
    number = case.routing_revision
    found = revisions.at(session, int(number)) if number.isdecimal() else None
    if found is None:
        raise NotFound(
            f"Revision '{number}' of the routing policy, which routed case {case.id} by rule"
            f" '{case.rule}', is not kept. `--file` explains by a policy of yours."
        )
    return by_policy(case, revisions.as_policy(found))


def by_policy_in_force(session: Session, case: Case, policy: RoutingPolicy | None) -> Explained:
    """What the policy in force would make of the case, or where there is none its team's.

    Raises:
        Conflict: it is an incident, which no rule is asked about.
    """
    return by_policy(case, policies(session, policy)(_team(session, case)))


def _team(session: Session, case: Case) -> str:
    return tools.cache(session).tools(session)[case.tool].team
