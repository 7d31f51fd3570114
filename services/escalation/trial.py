"""What would happen to an output: routed as its case would be, and nothing of it is kept."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from secondlook import events
from sqlalchemy.orm import Session

from services.escalation import deadlines
from services.escalation.policy.facts import facts_of_review
from services.escalation.policy.sentences import in_words
from services.escalation.policy.traces import RuleTrace
from services.escalation.routing import Routed, Router
from services.escalation.rules import LadderRung, Wanted
from services.kit.durations import parse_duration
from services.kit.errors import invalid
from services.kit.working_time import weekdays
from services.people.rules import Actor, Verb
from services.tools import queries as tools


class TimedRung(NamedTuple):
    """A rung of the ladder that the case would climb, and when it would be there."""

    owner: Wanted
    at: datetime | None
    """None where a missed deadline alone leads to it."""
    again: str
    """How often they are told again, in words; empty where they are not."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Each rule that was tried, what the case would get, and the ladder by the clock."""

    tried: list[RuleTrace]
    routed: Routed
    rungs: list[TimedRung]


def try_out(
    session: Session, router: Router, request: events.ReviewRequest, *, actor: Actor, now: datetime
) -> Trial:
    """What the policy in force would make of a request for a review just now.

    Raises:
        NotAllowed: the actor does not route cases.
        InvalidInput: there is no such tool.
    """
    actor.require(Verb.ROUTE_CASES)
    known = tools.cache(session).tools(session)
    if request.tool not in known:
        raise invalid("tool", f"there is no tool '{request.tool[:63]}'", "Choose one.")
    choices = router.choose(session, [request], tools=known)
    with session.begin_nested() as tried:
        (routed,) = router.route(session, choices, beside=(), now=now)
        # Nobody's turn is over by it.
        tried.rollback()
    policy = router.policy_of(session, known[request.tool].team)
    rungs = [
        TimedRung(Wanted(rung["kind"], rung["id"]), _at(routed, rung, n, now), _again(rung))
        for n, rung in enumerate(routed.ladder)
    ]
    return Trial(list(policy.explain(facts_of_review(request))), routed, rungs)


def _at(routed: Routed, rung: LadderRung, n: int, now: datetime) -> datetime | None:
    if rung["after"] is None:
        return None
    calendar = routed.calendar.working if routed.calendar else weekdays(routed.timezone)
    return deadlines.rung_due(routed.ladder, n, now, calendar)


def _again(rung: LadderRung) -> str:
    return in_words(parse_duration(rung["repeat"])) if rung["repeat"] else ""
