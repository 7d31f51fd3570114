"""Open cases routed anew by the policy in force, set-based, in batches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import answering, clocks, impartial, owners, reroutes, standings
from services.escalation.answering import Chain, Found
from services.escalation.policy.facts import Said, facts
from services.escalation.policy.model import PolicyOfTeam, Route, RoutingPolicy
from services.escalation.reroutes import Change, Routing, Standing
from services.escalation.routing import cause_of, kept
from services.escalation.rules import LadderRung, wanting
from services.escalation.timeline import Entry, Happening, passed_over, tell
from services.people import queries as people
from services.people.queries import Calendars
from services.people.rules import Actor, Verb
from services.tools import queries as tools


def open_cases(session: Session, actor: Actor) -> Sequence[int]:
    """The numbers of all open cases of the actor's teams, to be given to `reroute` in batches.

    Raises:
        NotAllowed: the actor does not route cases.
    """
    actor.require(Verb.ROUTE_CASES)
    return standings.numbers(session, actor)


class Left(NamedTuple):
    """A case that would be routed otherwise, and is left as it is."""

    id: int
    why: str


class Rerouted(NamedTuple):
    """What became of a batch, or would become of it."""

    looked_at: list[Standing]
    changes: list[Change]
    left: list[Left]


def reroute(
    session: Session,
    policies: PolicyOfTeam,
    cases: Sequence[int],
    *,
    actor: Actor,
    also_reassigned: bool = False,
    dry_run: bool = False,
    now: datetime,
) -> Rerouted:
    """Route those of these cases anew that are open, or with `dry_run` say what that would do.

    What is another team's than the actor's, by now, is as if it were not there. Who holds a case
    goes on to hold it. One whose owner somebody chose by hand is left as it is, unless
    `also_reassigned`; and one whose claimant would not see it any more.

    Raises:
        NotAllowed: the actor does not route cases.
    """
    actor.require(Verb.ROUTE_CASES)
    there = standings.read(session, cases, lock=not dry_run)
    found = [one for one in there if actor.sees(one[0].team)]
    changes = _changes(session, policies, found, now)
    sight = _sight_of(session, changes)
    left = {
        change.case.id: why
        for change in changes
        if (why := _why_left(change, sight, also_reassigned=also_reassigned)) is not None
    }
    done = [change for change in changes if change.case.id not in left]
    if not dry_run:
        _write(session, done, actor=actor, now=now)
    listed = [Left(id_, why) for id_, why in left.items()]
    return Rerouted([case for case, _ in found], done, listed)


# --- what changes ---------------------------------------------------------------------------


class _Choice(NamedTuple):
    """What the policy says of a case."""

    case: Standing
    policy: RoutingPolicy
    route: Route
    cause: str | None
    ladder: list[LadderRung]
    level: int
    tools_team: str

    def chain(self, level: int) -> Chain:
        """Who is wanted as the owner on a level, the first who can be."""
        above = answering.of_ladder(self.ladder[level:])
        wanted = (*above, self.policy.catch_all.owner.owner)
        return Chain(wanted, self.case.owner_person)

    @property
    def now_wanted(self) -> Chain:
        """Who is wanted as the owner now: whoever was given it goes on to own it."""
        case, chain = self.case, self.chain(self.level)
        if not case.was_given or self.route.terms is None or self.route.rule != case.rule:
            return chain
        return chain._replace(wanted=(wanting(case.owner), *chain.wanted))


class _Chosen(NamedTuple):
    """The same, with those of the wanted who can be accountable."""

    choice: _Choice
    first: Found
    """Who would have owned it when it was opened."""
    found: Found

    @property
    def opened_for(self) -> str:
        """Whose people would have seen it then; by their calendar it goes."""
        return self.first.team or self.choice.tools_team

    @property
    def team(self) -> str:
        """Whose people see it."""
        case, one = self.choice.case, self.choice
        if self.found.team is not None:
            return self.found.team
        if one.now_wanted.wanted[0] == wanting(self.found.owner) and case.was_given:
            return case.team
        if one.level and one.ladder == case.ladder and not case.by_hand:
            return case.team
        return reroutes.seen_on(one.ladder, one.level) or one.tools_team


def _changes(
    session: Session,
    policies: PolicyOfTeam,
    found: Sequence[tuple[Standing, Said]],
    now: datetime,
) -> list[Change]:
    """The cases that the policy makes something else of."""
    teams = {slug: tool.team for slug, tool in tools.cache(session).tools(session).items()}
    choices = [_choice(case, said, policies, teams) for case, said in found]
    chosen = _chosen(session, choices, now)
    calendars = people.calendars(
        session,
        named=(one.route.calendar for one in choices),
        teams=(one.opened_for for one in chosen),
    )
    changes = (_change(one, calendars) for one in chosen)
    return [change for change in changes if change.to != change.case.routing]


def _choice(
    case: Standing, said: Said, policies: PolicyOfTeam, teams: Mapping[str, str]
) -> _Choice:
    team = teams[case.tool]
    policy = policies(team)
    known = facts(case.tool, case.trigger, said)
    route = policy.route(known)
    if case.judged or case.joined:
        route = replace(route, reviewers=case.reviewers)
    # Whoever took it out of another one does not want it back there.
    cause = case.cause if case.joined else cause_of(route, known, case.condition)
    ladder = kept(route)
    return _Choice(case, policy, route, cause, ladder, reroutes.level_on(ladder, case.level), team)


def _chosen(session: Session, choices: Sequence[_Choice], now: datetime) -> list[_Chosen]:
    """Who can be accountable; all at once, so that they are locked in the order of all."""
    apart = impartial.apart(session, [one.case.id for one in choices])
    barred = [apart[one.case.id] for one in choices] * 2
    wanted = [one.chain(0) for one in choices] + [one.now_wanted for one in choices]
    chains = [one._replace(barred=them) for one, them in zip(wanted, barred, strict=True)]
    owning = [Chain((wanting(one.case.owner),)) for one in choices]
    answers = answering.ask(session, (*chains, *owning), now=now)
    able = answering.owning(session, answers, chains)
    n = len(choices)
    return [_Chosen(*one) for one in zip(choices, able[:n], able[n:], strict=True)]


def _change(chosen: _Chosen, calendars: Calendars) -> Change:
    one, case, route = chosen.choice, chosen.choice.case, chosen.choice.route
    known = calendars.of(route.calendar, chosen.opened_for)
    to = Routing(
        queue=route.queue,
        team=chosen.team,
        owner=chosen.found.owner,
        schedule=chosen.found.schedule,
        level=one.level,
        priority=route.priority.value,
        ladder=one.ladder,
        calendar=route.calendar if known and known.slug == route.calendar else None,
        calendar_team=chosen.opened_for,
        claim_within=str(route.claim),
        resolve_within=str(route.resolve),
        reviewers=route.reviewers,
        cause=one.cause,
    )
    due = reroutes.due_at(case, to, clocks.working(case, known))
    wanted, why = one.now_wanted.wanted[0], chosen.found.why
    return Change(case, to, route.rule, one.policy.revision, wanted, why, due)


# --- what is left as it is ------------------------------------------------------------------


def _sight_of(session: Session, changes: Sequence[Change]) -> Mapping[str, Actor]:
    """Those who hold a case that comes to another team."""
    holding = {one.case.claimant for one in changes if one.to.team != one.case.team}
    return people.actors(session, [email for email in holding if email is not None])


def _why_left(change: Change, sight: Mapping[str, Actor], *, also_reassigned: bool) -> str | None:
    case = change.case
    if case.by_hand and not also_reassigned:
        return f"{case.owner} was made its owner by hand"
    if case.claimant is None or case.team == change.to.team:
        return None
    holder = sight.get(case.claimant)
    if holder is not None and holder.sees(change.to.team):
        return None
    return f"{case.claimant} holds it, and does not see team '{change.to.team}'"


# --- what is written ------------------------------------------------------------------------

# Of one that was open to all before nobody can say who has seen what the tool said.
_ROUTE = text(f"""
UPDATE "case" c SET {owners.owned_by("g.", "c")},
    queue = g.queue, level = g.level, priority = g.priority, ladder = g.ladder,
    rule = g.rule, routing_revision = g.routing_revision, calendar = g.calendar,
    calendar_team = g.calendar_team, claim_within = g.claim_within,
    resolve_within = g.resolve_within, reviewers = g.reviewers, cause = g.cause,
    blind = c.blind AND (g.reviewers > 1 OR c.trigger = 'audit'), version = c.version + 1
FROM json_to_recordset(CAST(:rows AS json)) AS g(id bigint, {owners.ROW},
    queue text, level bigint, priority text, ladder jsonb, rule text,
    routing_revision text, calendar text, calendar_team text, claim_within text,
    resolve_within text, reviewers bigint, cause text)
WHERE c.id = g.id
""")


def _write(session: Session, changes: Sequence[Change], *, actor: Actor, now: datetime) -> None:
    if not changes:
        return
    rows = [_row(change) for change in changes]
    session.execute(_ROUTE, {"rows": to_json(rows).decode(), "now": now})
    _lead_up(session, [one for one in changes if one.to.ladder != one.case.ladder], now=now)
    clocks.count_anew(session, [change.case.id for change in changes])
    tell(session, [entry for one in changes for entry in _entries(one, actor)], now=now)


def _row(change: Change) -> dict[str, Any]:
    to = change.to
    return {
        "id": change.case.id,
        **Found(to.owner, to.schedule, to.team).columns,
        "queue": to.queue,
        "level": to.level,
        "priority": to.priority,
        "ladder": to.ladder,
        "rule": change.rule,
        "routing_revision": change.revision,
        "calendar": to.calendar,
        "calendar_team": to.calendar_team,
        "claim_within": to.claim_within,
        "resolve_within": to.resolve_within,
        "reviewers": to.reviewers,
        "cause": to.cause,
    }


# The timers of the old ladder's rungs say nothing of the new one's; what they did is told by the
# timeline, and the level stays.
_FORGET = text("""
DELETE FROM timer t USING "case" c
WHERE c.id = ANY(:cases) AND t.case_id = c.id AND t.cycle = c.cycle AND t.kind = 'rung'
""")
_CLIMB = text("""
INSERT INTO timer (case_id, cycle, kind, rung, due_at, stopped_at)
SELECT c.id, c.cycle, 'rung', g.rung, :now, CASE WHEN c.paused_since IS NOT NULL THEN :now END
FROM json_to_recordset(CAST(:rows AS json)) AS g(id bigint, rung bigint)
JOIN "case" c ON c.id = g.id
""")


def _lead_up(session: Session, changes: Sequence[Change], *, now: datetime) -> None:
    """Let time lead these cases up their new ladders."""
    if not changes:
        return
    calendars = people.calendars(
        session,
        named=(one.to.calendar for one in changes),
        teams=(one.to.calendar_team for one in changes),
    )
    rows = [{"id": one.case.id, "rung": _rung(one, calendars, now)} for one in changes]
    session.execute(_FORGET, {"cases": [row["id"] for row in rows]})
    timed = [row for row in rows if row["rung"] is not None]
    session.execute(_CLIMB, {"rows": to_json(timed).decode(), "now": now})


def _rung(change: Change, calendars: Calendars, now: datetime) -> int | None:
    known = calendars.of(change.to.calendar, change.to.calendar_team)
    calendar = clocks.working(change.case, known)
    return reroutes.rung_to_reach(change.case, change.to, calendar, now)


def _entries(change: Change, actor: Actor) -> list[Entry]:
    case, to = change.case, change.to
    before, after = (
        events.RoutedBy(
            rule=rule, revision=revision, owner=events.Owner(kind=owner.kind, id=owner.id)
        )
        for rule, revision, owner in (
            (case.rule, case.routing_revision, case.owner),
            (change.rule, change.revision, to.owner),
        )
    )
    detail = {
        "from": _as_told(case.rule, case.routing_revision, case.routing),
        "to": _as_told(change.rule, change.revision, to),
    }
    rerouting = events.Rerouting(before=before, after=after)
    entry = Entry(case.id, Happening.REROUTED, actor.id, detail=detail, rerouting=rerouting)
    if change.why is None or to.owner == case.owner:
        return [entry]
    return [entry, passed_over(case.id, change.wanted, to.owner, change.why)]


def _as_told(rule: str, revision: str, routing: Routing) -> dict[str, str | int]:
    return {
        "rule": rule,
        "revision": revision,
        "queue": routing.queue,
        "team": routing.team,
        "owner": str(routing.owner),
        "priority": routing.priority,
        "reviewers": routing.reviewers,
    }
