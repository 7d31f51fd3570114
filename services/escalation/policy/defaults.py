"""What holds for a tool without a routing policy. Pure."""

from services.escalation.policy.ladders import Rung
from services.escalation.policy.model import (
    CatchAll,
    RoutingPolicy,
    Rule,
    Sla,
)
from services.escalation.policy.owning import OwnerChoice
from services.escalation.rules import Priority, Wanted
from services.kit.durations import Duration, parse_duration
from services.tools.rules import Trigger

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
    ladder = [Rung(at=Duration(), own=Wanted("team", team))]
    if lead is not None:
        ladder.append(Rung(own=Wanted("person", lead)))
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
        ladders={"default": ladder},
        revision="default",
    )
