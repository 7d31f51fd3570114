"""Who can answer for something: the one answer that every package goes by."""

from collections.abc import Collection, Iterable, Sequence
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


_STAND_INS = text("""
SELECT email FROM person WHERE active AND role = ANY(:reviewers)
ORDER BY role <> :admin, role <> :lead, email
""")


def stand_ins(session: Session) -> list[str]:
    """Who answers where nobody who was meant to can, the first who may: admins, then leads, then
    all others who review."""
    given = {"reviewers": _REVIEWERS, "admin": Role.ADMIN.value, "lead": Role.LEAD.value}
    return list(session.scalars(_STAND_INS, given))


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


class Judges(NamedTuple):
    """Of a team those who may be asked for a judgement."""

    on_duty: Sequence[str]
    reviewers: Sequence[str]
    leads: Sequence[str]
    admins: Sequence[str]

    def asked(self, *, apart: Collection[str], actor: str | None) -> list[str]:
        """Who is asked where those `apart` may not judge.

        Those on duty, else the team's reviewers, else admins; where none of them may, those who
        can find somebody: its leads other than the actor, else such admins.
        """
        others = [[one for one in group if one != actor] for group in self]
        able = [[one for one in group if one not in apart] for group in others]
        _, _, leads, admins = others
        on_duty, reviewers, _, free = able
        return on_duty or reviewers or free or leads or admins


_JUDGES = text("""
SELECT m.team, p.email, p.role FROM membership m JOIN person p ON p.email = m.person
WHERE m.team = ANY(:teams) AND p.active AND p.role = ANY(:reviewers)
UNION ALL SELECT NULL, email, role FROM person WHERE active AND role = :admin
ORDER BY 1, 2
""")


def judges_of(session: Session, teams: Iterable[str], now: datetime) -> dict[str, Judges]:
    """Who may be asked for a judgement on what is these teams'."""
    found = _on_duty(session, sorted(teams), now)
    if not found:
        return {}
    given = {"teams": list(found), "reviewers": _REVIEWERS, "admin": Role.ADMIN.value}
    rows = session.execute(_JUDGES, given).all()
    admins = [row.email for row in rows if row.team is None]
    return {
        team: Judges(
            on_duty,
            [row.email for row in rows if row.team == team],
            [row.email for row in rows if row.team == team and row.role == Role.LEAD.value],
            admins,
        )
        for team, on_duty in found.items()
    }


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
        instead = stand_ins(session)[:1]
        return {team: people or instead for team, people in found.items()}
    return found


_SEEING = text("""
SELECT t.team, p.email FROM person p CROSS JOIN unnest(CAST(:teams AS text[])) AS t(team)
WHERE p.email = ANY(:people) AND (p.role = :admin
    OR EXISTS (SELECT FROM membership m WHERE m.person = p.email AND m.team = t.team))
""")


def _on_duty(session: Session, teams: list[str], now: datetime) -> dict[str, list[str]]:
    """Who is on duty of each of these teams and may see its cases; nobody of one without a
    schedule."""
    found: dict[str, list[str]] = {team: [] for team in teams}
    if not teams:
        return found
    team_of = {row.slug: row.team for row in session.execute(_SCHEDULES_OF, {"teams": teams})}
    duties = schedule_queries.on_duty(session, team_of, now)
    given = {"teams": teams, "people": list(duties.values()), "admin": Role.ADMIN.value}
    rows = session.execute(_SEEING, given) if duties else ()
    seeing = {(row.team, row.email) for row in rows}
    for slug, person in duties.items():
        team = team_of[slug]
        if (team, person) in seeing and person not in found[team]:
            found[team].append(person)
    return found
