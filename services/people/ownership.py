"""Who can answer for something: the one answer that every package goes by."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.people import schedule_queries
from services.people.holding import Hold, hold_people, hold_teams
from services.people.rules import REVIEWERS, Role

_REVIEWERS = sorted(role.value for role in REVIEWERS)


class Able(NamedTuple):
    """Teams by slug and people by address."""

    teams: frozenset[str]
    people: frozenset[str]


_ABLE = text("""
SELECT 'team' AS kind, slug AS id FROM team WHERE slug = ANY(:teams) AND can_own(slug)
UNION ALL
SELECT 'person', email FROM person
WHERE email = ANY(:people) AND active AND role = ANY(:reviewers)
""")


def able(session: Session, *, teams: Iterable[str] = (), people: Iterable[str] = ()) -> Able:
    """Those who can own a case, and stay so until the transaction ends.

    A person who is active and may review; a team with such a person in it, and the last
    resort always.
    """
    given = {"teams": sorted(teams), "people": sorted(people), "reviewers": _REVIEWERS}
    # Whoever leaves holds these rows, so what is read after them holds. Cases are locked before
    # teams and teams before people everywhere, so that no two wait for each other: whoever goes
    # on to ask about others names them all at first.
    hold_teams(session, dict.fromkeys(given["teams"], Hold.STAYS))
    hold_people(session, dict.fromkeys(given["people"], Hold.STAYS))
    found = session.execute(_ABLE, given).all()
    return Able(
        frozenset(row.id for row in found if row.kind == "team"),
        frozenset(row.id for row in found if row.kind == "person"),
    )


_STAND_IN = text("""
SELECT email FROM person WHERE active AND role = ANY(:reviewers)
ORDER BY role <> :admin, role <> :lead, email LIMIT 1
""")


def stand_in(session: Session) -> str | None:
    """Who answers where nobody who was meant to can: an admin, else a lead, else any reviewer."""
    given = {"reviewers": _REVIEWERS, "admin": Role.ADMIN.value, "lead": Role.LEAD.value}
    found: str | None = session.execute(_STAND_IN, given).scalar()
    return found


class Candidate(NamedTuple):
    """Who can own a case: a person by address, a team by slug."""

    kind: str
    id: str
    name: str


_CANDIDATES = text("""
SELECT 'team' AS kind, slug AS id, name FROM team WHERE active AND can_own(slug)
UNION ALL SELECT 'person', email, name FROM person WHERE active AND role = ANY(:reviewers)
ORDER BY kind DESC, id
""")


def candidates(session: Session) -> list[Candidate]:
    """All who can own a case just now, with their names; teams first."""
    found = session.execute(_CANDIDATES, {"reviewers": _REVIEWERS})
    return [Candidate(*row) for row in found]


_ALL = text("""
SELECT 'team' AS kind, slug AS id FROM team WHERE can_own(slug)
UNION ALL SELECT 'person', email FROM person WHERE active AND role = ANY(:reviewers)
""")


def everybody_able(session: Session) -> Able:
    """All who can own a case just now."""
    found = session.execute(_ALL, {"reviewers": _REVIEWERS}).all()
    return Able(
        frozenset(row.id for row in found if row.kind == "team"),
        frozenset(row.id for row in found if row.kind == "person"),
    )


_REVIEWERS_OF = text("""
SELECT m.team, p.email FROM membership m JOIN person p ON p.email = m.person
WHERE m.team = ANY(:teams) AND p.active AND p.role = ANY(:reviewers) ORDER BY m.team, p.email
""")


_SCHEDULES_OF = text("SELECT slug, team FROM schedule WHERE team = ANY(:teams) ORDER BY slug")


def told_of(session: Session, teams: Iterable[str], now: datetime) -> dict[str, list[str]]:
    """Who is told of what these teams own: those on duty by the schedules of each.

    Of a team that has no schedule, or nobody on duty, those who may review; of one that has
    none of these either, who answers in its stead.
    """
    found = _on_duty(session, sorted(teams), now)
    given = {"teams": [team for team, people in found.items() if not people]}
    rows = session.execute(_REVIEWERS_OF, {**given, "reviewers": _REVIEWERS}) if found else ()
    for row in rows:
        found[row.team].append(row.email)
    if any(not people for people in found.values()):
        instead = stand_in(session)
        nobody = [] if instead is None else [instead]
        return {team: people or nobody for team, people in found.items()}
    return found


def _on_duty(session: Session, teams: list[str], now: datetime) -> dict[str, list[str]]:
    """Who is on duty of each of these teams; nobody of one without a schedule."""
    found: dict[str, list[str]] = {team: [] for team in teams}
    if not teams:
        return found
    team_of = {row.slug: row.team for row in session.execute(_SCHEDULES_OF, {"teams": teams})}
    for slug, person in schedule_queries.on_duty(session, team_of, now).items():
        if person not in found[team_of[slug]]:
            found[team_of[slug]].append(person)
    return found
