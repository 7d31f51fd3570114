"""What is wrong with a routing policy where it is used: with these people, teams and tools."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.policy.check import (
    Finding,
    absent_calendars,
    absent_owners,
    holes,
    run_tests,
    telling_rules,
    unknown_tools,
    unreachable_rules,
    unskilled_teams,
)
from services.escalation.policy.model import RoutingPolicy
from services.escalation.rules import Wanted, wanting
from services.kit.errors import InvalidInput
from services.people import queries as people
from services.people import schedule_queries, skills
from services.people.rotations import holes_in_words
from services.tools import queries as tools


class Findings(NamedTuple):
    """What a person should look at, problems and what may be meant so."""

    problems: list[Finding]
    warnings: list[Finding]


_AHEAD = timedelta(days=30)


def policy_findings(session: Session, policy: RoutingPolicy, *, now: datetime) -> Findings:
    """All that can be found in a policy before any case meets it."""
    problems = [
        *unreachable_rules(policy),
        *_absent(session, policy),
        *_absent_calendars(session, policy),
        *run_tests(policy),
    ]
    warnings = [
        # No problem: a policy may be written before its tool is registered.
        *unknown_tools(policy, tools.cache(session).tools(session)),
        *holes(policy, _holes(session, policy, now)),
        *absent_owners(policy, _without_manager(session, policy)),
        *telling_rules(policy),
        *unskilled_teams(policy, skills.known(session, policy.giving)),
    ]
    return Findings(problems, warnings)


def check_owners(session: Session, policy: RoutingPolicy) -> None:
    """Refuse a routing policy that names somebody who cannot be accountable, no schedule or no
    calendar.

    Raises:
        InvalidInput: who cannot, why, and where the policy names them.
    """
    for finding in _absent(session, policy):
        raise InvalidInput(
            f"The routing policy, {finding}. Change that with"
            " `secondlook people` or `secondlook schedules add`, or name another owner in the"
            " policy."
        )
    for finding in _absent_calendars(session, policy):
        raise InvalidInput(
            f"The routing policy, {finding}. Add it with `secondlook calendars add`."
        )


def _absent_calendars(session: Session, policy: RoutingPolicy) -> list[Finding]:
    return absent_calendars(policy, people.calendars(session, named=policy.calendars).known)


def _absent(session: Session, policy: RoutingPolicy) -> list[Finding]:
    missing = policy.owners - owners.able(session, policy.owners)
    absent = {wanting(one): owners.why_not(session, one) for one in missing}
    known = schedule_queries.teams(session).keys()
    absent |= {
        Wanted("schedule", slug): f"there is no schedule '{slug[:70]}'"
        for slug in policy.schedules - known
    }
    there = people.addresses(session, _managed(policy))
    absent |= {
        Wanted("manager", email): f"nobody has the address '{email}'"
        for email in _managed(policy) - there
    }
    return absent_owners(policy, absent)


def _managed(policy: RoutingPolicy) -> set[str]:
    """Whose managers are named."""
    named = (one.owner for one in policy.namings)
    return {owner.id for owner in named if owner.kind == "manager" and owner.id}


def _without_manager(session: Session, policy: RoutingPolicy) -> dict[Wanted, str]:
    managed = _managed(policy)
    found = schedule_queries.managers(session, managed) if managed else {}
    return {
        Wanted("manager", email): f"{email} has no manager, so the rung is passed over"
        for email in managed - found.keys()
    }


def _holes(session: Session, policy: RoutingPolicy, now: datetime) -> dict[str, list[str]]:
    """When nobody is on duty in the next 30 days, of each schedule that the policy names."""
    end = now + _AHEAD
    roster = schedule_queries.roster(session, policy.schedules, now, end)
    return {
        slug: [
            f"{words[0].lower()}{words[1:]}"
            for words in holes_in_words(roster.duties(slug, now, end), known.rotation.zone)
        ]
        for slug, known in roster.schedules.items()
    }
