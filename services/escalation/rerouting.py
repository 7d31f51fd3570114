"""Open cases routed anew by the policy in force, set-based, in batches."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from pydantic_core import to_json
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.escalation import (
    assigning,
    clocks,
    owners,
    reroutes,
    standings,
)
from services.escalation.answering import Found
from services.escalation.choosing import Chosen, Meanwhile, Staying, choices_of, chosen_of, sight_of
from services.escalation.policy.model import PolicyOfTeam
from services.escalation.reroutes import Change, Routing, Standing
from services.escalation.timeline import Entry, Happening, instead, passed_over, tell
from services.people import queries as people
from services.people.queries import Calendars
from services.people.rules import Actor, Verb


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
    tried: Meanwhile | None = None,
    now: datetime,
) -> Rerouted:
    """Route those of these cases anew that are open, or where it is merely tried say what that
    would do, and add it to what was tried before.

    What is another team's than the actor's, by now, is as if it were not there. Who holds a case
    goes on to hold it. One whose owner somebody chose by hand is left as it is, unless
    `also_reassigned`; and one whose claimant would not see it any more.

    Raises:
        NotAllowed: the actor does not route cases.
    """
    actor.require(Verb.ROUTE_CASES)
    there = standings.read(session, cases, lock=tried is None)
    found = [one for one in there if actor.sees(one[0].team)]
    staying = Staying(sight_of(session, found), also_reassigned)
    chosen, pool = chosen_of(session, choices_of(session, policies, found), staying, tried, now)
    changes = _changes(session, chosen)
    left = {
        change.case.id: why
        for change in changes
        if (why := staying.why(change.case, change.to.team)) is not None
    }
    done = [change for change in changes if change.case.id not in left]
    if tried is None:
        assigning.keep_turns(session, pool, now=now)
        _write(session, done, actor=actor, now=now)
    else:
        tried.count(done, pool)
    listed = [Left(id_, why) for id_, why in left.items()]
    return Rerouted([case for case, _ in found], done, listed)


# --- what changes ---------------------------------------------------------------------------


def _changes(session: Session, chosen: Sequence[Chosen]) -> list[Change]:
    """The cases that the policy makes something else of."""
    calendars = people.calendars(
        session,
        named=(one.choice.route.calendar for one in chosen),
        teams=(one.opened_for for one in chosen),
    )
    changes = (_change(one, calendars) for one in chosen)
    return [change for change in changes if change.to != change.case.routing]


def _change(chosen: Chosen, calendars: Calendars) -> Change:
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
    return Change(case, to, route.rule, one.policy.revision, wanted, why, chosen.ungiven, due)


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
    found = [entry]
    if change.ungiven is not None:
        note = instead(change.wanted, to.owner, change.ungiven)
        found.append(Entry(case.id, Happening.UNASSIGNED, note=note))
    if change.why is not None and to.owner != case.owner:
        found.append(passed_over(case.id, change.wanted, to.owner, change.why))
    return found


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
