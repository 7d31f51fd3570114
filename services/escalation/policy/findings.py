"""What is wrong with a routing policy where it is used: with these people, teams and tools."""

from typing import NamedTuple

from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.policy.check import (
    Finding,
    absent_calendars,
    absent_owners,
    run_tests,
    telling_rules,
    unknown_tools,
    unreachable_rules,
)
from services.escalation.policy.model import RoutingPolicy
from services.kit.errors import InvalidInput
from services.people import queries as people
from services.tools import queries as tools


class Findings(NamedTuple):
    """What a person should look at, problems and what may be meant so."""

    problems: list[Finding]
    warnings: list[Finding]


def policy_findings(session: Session, policy: RoutingPolicy) -> Findings:
    """All that can be found in a policy before any case meets it."""
    problems = [
        *unreachable_rules(policy),
        *_absent(session, policy),
        *_absent_calendars(session, policy),
        *run_tests(policy),
    ]
    # No problem: a policy may be written before its tool is registered.
    unknown = unknown_tools(policy, tools.cache(session).tools(session))
    return Findings(problems, [*unknown, *telling_rules(policy)])


def check_owners(session: Session, policy: RoutingPolicy) -> None:
    """Refuse a routing policy that names somebody who cannot be accountable, or no calendar.

    Raises:
        InvalidInput: who cannot, why, and where the policy names them.
    """
    for finding in _absent(session, policy):
        raise InvalidInput(
            f"The routing policy, {finding}. Change that with"
            " `secondlook people`, or name another owner in the policy."
        )
    for finding in _absent_calendars(session, policy):
        raise InvalidInput(
            f"The routing policy, {finding}. Add it with `secondlook calendars add`."
        )


def _absent_calendars(session: Session, policy: RoutingPolicy) -> list[Finding]:
    return absent_calendars(policy, people.calendars(session, named=policy.calendars).known)


def _absent(session: Session, policy: RoutingPolicy) -> list[Finding]:
    missing = policy.owners - owners.able(session, policy.owners)
    return absent_owners(policy, {one: owners.why_not(session, one) for one in missing})
