"""Where a requested review goes: by the routing policy, or to the tool's team without one."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from secondlook import events
from secondlook.conditions import Facts, facts_of
from sqlalchemy.orm import Session

from services.escalation import owners
from services.escalation.cases import Case
from services.escalation.policy.defaults import default_policy
from services.escalation.policy.model import Route, RoutingPolicy, facts_of_review
from services.escalation.rules import LadderRung, Owner, timed
from services.people import queries as people_queries
from services.people.rules import Role
from services.tools.queries import ToolInfo


@dataclass(frozen=True, slots=True)
class Routed:
    """A request for a review with what its case gets."""

    request: events.ReviewRequest
    route: Route
    revision: str
    team: str
    """Whose people see it."""
    owner: Owner
    claim_due_at: datetime
    resolve_due_at: datetime
    ladder: list[LadderRung]
    timezone: str

    @property
    def passed_over(self) -> Owner | None:
        """The owner who was wanted, where they cannot own it."""
        return self.route.owner if self.owner != self.route.owner else None


class Router:
    """Says what each case gets."""

    def __init__(self, policy: RoutingPolicy | None, *, timezone: str = "UTC") -> None:
        self.policy = policy
        self._zone = ZoneInfo(timezone)

    def route(
        self,
        session: Session,
        requests: Sequence[events.ReviewRequest],
        *,
        tools: Mapping[str, ToolInfo],
        beside: Iterable[Owner],
        now: datetime,
    ) -> list[Routed]:
        """What the case of each request gets, with an owner who can be accountable.

        `beside` are those whom the transaction will ask about for other cases, locked already.
        """
        policies = self._policies(session, {tools[one.tool].team for one in requests})
        chosen = [(one, tools[one.tool].team, policies[tools[one.tool].team]) for one in requests]
        routes = [policy.route(facts_of_review(one)) for one, _, policy in chosen]
        chains = [
            [*(rung.own for rung in route.ladder), policy.catch_all.owner.owner]
            for route, (_, _, policy) in zip(routes, chosen, strict=True)
        ]
        able = owners.first_able(session, chains, beside=beside)
        local = now.astimezone(self._zone)
        return [
            Routed(
                request=one,
                route=route,
                revision=policy.revision,
                team=owners.seen_by(owner) or team,
                owner=owner,
                claim_due_at=route.claim.after(local),
                resolve_due_at=route.resolve.after(local),
                ladder=_kept(route, local),
                timezone=self._zone.key,
            )
            for (one, team, policy), route, owner in zip(chosen, routes, able, strict=True)
        ]

    def _policies(self, session: Session, teams: set[str]) -> dict[str, RoutingPolicy]:
        if self.policy is not None:
            return dict.fromkeys(teams, self.policy)
        return {team: _team_policy(session, team) for team in teams}


def _team_policy(session: Session, team: str) -> RoutingPolicy:
    """The policy of a team that has none: overdue cases go to its lead, else to an admin."""
    people = [p for p in people_queries.people(session) if p.active]
    leads = [p.email for p in people if p.role is Role.LEAD and team in p.teams]
    admins = [p.email for p in people if p.role is Role.ADMIN]
    return default_policy(team, lead=next(iter(leads + admins), None))


def _kept(route: Route, opened: datetime) -> list[LadderRung]:
    """The ladder as the case keeps it."""
    rungs = [
        LadderRung(
            kind=rung.own.kind,
            id=rung.own.id,
            after=None if rung.at is None else str(rung.at),
            at=None,
            repeat=str(rung.repeat) if rung.repeat else None,
        )
        for rung in route.ladder
    ]
    return timed(rungs, opened)


def facts_of_case(case: Case) -> Facts:
    """What rules can ask of a case that is there."""
    known = facts_of(
        tool=case.tool,
        kind=case.kind,
        value=case.value,
        confidence=case.confidence,
        model=case.model,
        prompt=case.prompt,
        language=(case.input or {}).get("language"),
        cohort=case.cohort,
        failure=(case.failure or {}).get("kind"),
        attributes=case.attributes,
    )
    return {**known, "trigger": case.trigger}
