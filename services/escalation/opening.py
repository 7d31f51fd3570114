"""Opening cases, set-based: a batch of outputs in, cases with owners and timers out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import announce, owners
from services.escalation.routing import Owner, Route, RoutingPolicy, default_policy, facts_of
from services.escalation.rules import NO_EXCEPTION, CaseState, Trigger
from services.escalation.timers import FIRST_TIMED_RUNG
from services.kit import counts
from services.kit.counts import Count, Counts, hour_of
from services.people import queries as people_queries
from services.people.rules import SYSTEM, Role
from services.tools import queries as tool_queries

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that calls for a case, with the facts that the case will keep."""

    tool: str
    output_id: str
    version: str
    trigger: Trigger
    kind: str | None = None
    value: Any = None
    confidence: float | None = None
    alternatives: list[Any] | None = None
    input: Mapping[str, Any] | None = None
    attributes: Mapping[str, Any] | None = None
    subject: str | None = None
    cohort: str | None = None
    failure: Mapping[str, Any] | None = None
    dispute: Mapping[str, Any] | None = None
    disputed_by: str | None = None
    note: str | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What names the output."""
        return self.tool, self.output_id


class Router:
    """Says what each case gets: by the routing policy, or by the tool's team without one."""

    def __init__(self, policy: RoutingPolicy | None, *, timezone: str = "UTC") -> None:
        self.policy = policy
        self._zone = ZoneInfo(timezone)

    @property
    def has_review_rules(self) -> bool:
        """Whether the policy asks for outputs that the gate would let through."""
        return self.policy is not None and bool(self.policy.review)

    def policy_hit(self, wanted: Wanted) -> str | None:
        """The `review` entry of the policy that asks for this output, or None."""
        return self.policy.policy_hit(_facts(wanted)) if self.policy is not None else None

    def rows(
        self,
        session: Session,
        wanted: Sequence[Wanted],
        *,
        tools: Mapping[str, tool_queries.ToolInfo],
        now: datetime,
    ) -> list[Row]:
        """One row of the case table for each output, with an owner who can be accountable."""
        policies: dict[str, RoutingPolicy] = {}
        routed = []
        for one in wanted:
            team = tools[one.tool].team
            if team not in policies:
                policies[team] = self.policy or _team_policy(session, team)
            routed.append((one, policies[team], policies[team].route(_facts(one)), team))
        chains = [_chain(policy, route) for _, policy, route, _ in routed]
        able = owners.first_able(session, chains)
        rows = []
        for (one, policy, route, team), owner in zip(routed, able, strict=True):
            row = self._row(one, route, policy.revision, now)
            rows.append(row | _owned(owner, instead_of=route.owner, team=team))
        return rows

    def _row(self, one: Wanted, route: Route, revision: str, now: datetime) -> Row:
        local = now.astimezone(self._zone)
        claim_due, resolve_due = route.claim.after(local), route.resolve.after(local)
        return {
            "tool": one.tool,
            "output_id": one.output_id,
            "tool_version": one.version,
            "trigger": one.trigger,
            "exception_trigger": None if one.trigger in NO_EXCEPTION else one.trigger,
            "kind": one.kind,
            "value": one.value,
            "confidence": one.confidence,
            "alternatives": one.alternatives,
            "input": one.input,
            "attributes": one.attributes,
            "subject": one.subject,
            "failure": one.failure,
            "blind": one.trigger is Trigger.AUDIT,
            "dispute": one.dispute,
            "disputed_by": one.disputed_by,
            "note": one.note,
            "queue": route.queue,
            "priority": route.priority,
            "rule": route.rule,
            "routing_revision": revision,
            "ladder": _frozen_ladder(route, local),
            "claim_due_at": claim_due,
            "resolve_due_at": resolve_due,
            "due_at": min(claim_due, resolve_due),
        }


def owner_columns(owner: Owner) -> Row:
    """An owner as the two columns of which exactly one is filled."""
    return {
        "owner_team": owner.id if owner.kind == "team" else None,
        "owner_person": owner.id if owner.kind == "person" else None,
    }


def _chain(policy: RoutingPolicy, route: Route) -> list[Owner]:
    """Who is asked to be the owner, in turn."""
    return [*(rung.own for rung in route.ladder), policy.catch_all.owner.owner]


def _owned(owner: Owner, *, instead_of: Owner, team: str) -> Row:
    """The owner, the team that sees the case, and what the timeline says of a stand-in."""
    passed_over = owner != instead_of
    return {
        "team": owner.id if owner.kind == "team" else team,
        **owner_columns(owner),
        "passed_over": str(instead_of) if passed_over else None,
        "stand_in": f"{instead_of} cannot own it; {owner} does" if passed_over else None,
    }


def _facts(one: Wanted) -> Mapping[str, Any]:
    return facts_of(
        trigger=one.trigger,
        tool=one.tool,
        version=one.version,
        kind=one.kind,
        value=one.value,
        confidence=one.confidence,
        attributes=one.attributes,
        input_=one.input,
        cohort=one.cohort,
        failure=one.failure,
    )


def _team_policy(session: Session, team: str) -> RoutingPolicy:
    """The policy of a team that has none: overdue cases go to its lead, else to an admin."""
    people = [p for p in people_queries.people(session) if p.active]
    leads = [p.email for p in people if p.role is Role.LEAD and team in p.teams]
    admins = [p.email for p in people if p.role is Role.ADMIN]
    return default_policy(team, lead=next(iter(leads + admins), None))


def _frozen_ladder(route: Route, opened: datetime) -> list[Row]:
    """The ladder as a case keeps it: moments, not spans."""
    return [
        {
            "at": rung.at.after(opened) if rung.at is not None else None,
            "kind": rung.own.kind,
            "id": rung.own.id,
            "repeat": str(rung.repeat) if rung.repeat else None,
        }
        for rung in route.ladder
    ]


_COLUMNS = {
    "tool": "text",
    "output_id": "text",
    "tool_version": "text",
    "trigger": "text",
    "exception_trigger": "text",
    "kind": "text",
    "value": "jsonb",
    "confidence": "float8",
    "alternatives": "jsonb",
    "input": "jsonb",
    "attributes": "jsonb",
    "subject": "text",
    "failure": "jsonb",
    "blind": "boolean",
    "dispute": "jsonb",
    "disputed_by": "text",
    "queue": "text",
    "team": "text",
    "owner_team": "text",
    "owner_person": "text",
    "priority": "text",
    "rule": "text",
    "routing_revision": "text",
    "ladder": "jsonb",
    "claim_due_at": "timestamptz",
    "resolve_due_at": "timestamptz",
    "due_at": "timestamptz",
}
_NAMES = ", ".join(_COLUMNS)
_TYPES = ", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())

_OPEN = text(f"""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:rows AS json))
        AS g({_TYPES}, note text, passed_over text, stand_in text)
), opened AS (
    INSERT INTO "case" ({_NAMES}, claim_within, opened_at, cycle_opened_at, owner_since)
    SELECT {_NAMES}, claim_due_at - :now, :now, :now, :now FROM given ORDER BY tool, output_id
    ON CONFLICT (tool, output_id) DO NOTHING
    RETURNING id, tool, output_id, cycle, claim_due_at, resolve_due_at, ladder
), timers AS (
    INSERT INTO timer (case_id, cycle, clock, step, due_at)
    SELECT id, cycle, 'claim', 0, claim_due_at FROM opened
    UNION ALL SELECT id, cycle, 'resolve', 0, resolve_due_at FROM opened
    UNION ALL SELECT id, cycle, 'rung', step, at FROM opened, {FIRST_TIMED_RUNG}
), objected AS (
    INSERT INTO objection (case_id, correction_id, actor, said, at)
    SELECT o.id, g.dispute->>'id', g.disputed_by, g.dispute, :now
    FROM opened o JOIN given g ON g.tool = o.tool AND g.output_id = o.output_id
    WHERE g.dispute IS NOT NULL
), told AS (
    INSERT INTO timeline_entry (case_id, at, event, actor, note, detail)
    SELECT o.id, :now, 'opened', :system, g.note,
           jsonb_build_object('trigger', g.trigger, 'rule', g.rule,
                              'routing_revision', g.routing_revision)
    FROM opened o JOIN given g ON g.tool = o.tool AND g.output_id = o.output_id
    UNION ALL
    SELECT o.id, :now, 'rung skipped', :system, g.stand_in,
           jsonb_build_object('owner', g.passed_over)
    FROM opened o JOIN given g ON g.tool = o.tool AND g.output_id = o.output_id
    WHERE g.passed_over IS NOT NULL
)
SELECT id, tool, output_id FROM opened
""")


def open_cases(
    session: Session,
    router: Router,
    wanted: Sequence[Wanted],
    *,
    tools: Mapping[str, tool_queries.ToolInfo],
    now: datetime,
    shard: int,
) -> list[Wanted]:
    """Open a case for each output that has none; answers those that had one already.

    The case, its timers, its first timeline entry, its event and its counts are one
    transaction, and the owner is there from the first moment.
    Every output's tool must be in `tools`.
    """
    first: dict[tuple[str, str], Wanted] = {}
    again = [one for one in wanted if first.setdefault(one.key, one) is not one]
    if not first:
        return again
    rows = router.rows(session, list(first.values()), tools=tools, now=now)
    parameters = {"rows": to_json(rows).decode(), "now": now, "system": SYSTEM}
    ids = {(r.tool, r.output_id): r.id for r in session.execute(_OPEN, parameters)}
    opened = [row for row in rows if (row["tool"], row["output_id"]) in ids]
    announce.cases(
        session,
        "opened",
        [{**row, "id": ids[row["tool"], row["output_id"]], **_FRESH} for row in opened],
        actor=SYSTEM,
        now=now,
    )
    counts.add(session, _tally(opened, now), shard=shard)
    return again + [one for key, one in first.items() if key not in ids]


_FRESH = {"state": CaseState.OPEN.value, "level": 0}


def _tally(opened: Sequence[Row], now: datetime) -> Counts:
    tally: Counts = Counts()
    for row in opened:
        place = (row["tool"], hour_of(now), row["tool_version"])
        tally[Count("cases", *place, row["trigger"])] += 1
        if row["exception_trigger"]:
            tally[Count("exceptions", *place, row["exception_trigger"])] += 1
    return tally
