"""Who may review what a team answers for."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.orm import Session

from services.people.rules import ALLOWED, REVIEWERS, Role, Verb

_LEADS = frozenset(role for role, verbs in ALLOWED.items() if Verb.TAKE_OVER in verbs)


class Reviewer(NamedTuple):
    """An active person who may review a team's cases."""

    email: str
    name: str
    role: Role

    @property
    def leads(self) -> bool:
        """Whether they may settle what others leave open."""
        return self.role in _LEADS


_REVIEWERS = text("""
SELECT p.email, p.name, p.role FROM person p
WHERE p.active AND p.role = ANY(:reviewers) AND (p.role = ANY(:everywhere) OR EXISTS (
    SELECT FROM membership m WHERE m.person = p.email AND m.team = :team))
ORDER BY p.role = ANY(:everywhere), p.name, p.email
""")
_EVERYWHERE = [Role.ADMIN.value]


def reviewers_of(session: Session, team: str) -> list[Reviewer]:
    """Everybody active who may review this team's cases: its own people, then admins."""
    given = {"team": team, "reviewers": sorted(REVIEWERS), "everywhere": _EVERYWHERE}
    return [
        Reviewer(row.email, row.name, Role(row.role)) for row in session.execute(_REVIEWERS, given)
    ]


_LEADS_OF = text("""
SELECT m.team, p.email FROM membership m JOIN person p ON p.email = m.person
WHERE m.team = ANY(:teams) AND p.active AND p.role = :lead ORDER BY m.team, p.email
""")
_ADMINS = text("SELECT email FROM person WHERE active AND role = :admin ORDER BY email")


def leads_of(session: Session, teams: set[str]) -> dict[str, list[str]]:
    """Those of each team who settle what its reviewers differ on; admins where it has no lead."""
    found: dict[str, list[str]] = {team: [] for team in sorted(teams)}
    given = {"teams": list(found), "lead": Role.LEAD.value}
    for row in session.execute(_LEADS_OF, given) if found else ():
        found[row.team].append(row.email)
    if any(not people for people in found.values()):
        admins = list(session.scalars(_ADMINS, {"admin": Role.ADMIN.value}))
        return {team: people or admins for team, people in found.items()}
    return found


class Seat(NamedTuple):
    """That an active person may review a team's cases, or any team's."""

    team: str | None
    email: str
    leads: bool


_SEATS = text("""
SELECT m.team, p.email, p.role = ANY(:leads) FROM membership m JOIN person p ON p.email = m.person
WHERE p.active AND p.role = ANY(:reviewers) AND p.role <> ALL(:everywhere)
UNION ALL SELECT NULL, email, true FROM person WHERE active AND role = ANY(:everywhere)
""")


def seats(session: Session) -> list[Seat]:
    """Everybody active who may review, with the teams whose cases they review."""
    given = {"reviewers": sorted(REVIEWERS), "everywhere": _EVERYWHERE, "leads": sorted(_LEADS)}
    return [Seat(*row) for row in session.execute(_SEATS, given)]


_ALONE_IN = text("""
SELECT m.team FROM membership m JOIN person p ON p.email = m.person
WHERE p.email = :email AND p.active AND p.role = ANY(:reviewers) AND NOT EXISTS (
    SELECT FROM membership o JOIN person q ON q.email = o.person
    WHERE o.team = m.team AND q.email <> :email AND q.active AND q.role = ANY(:reviewers))
""")


def alone_in(session: Session, email: str) -> frozenset[str]:
    """The teams in which somebody is the only one who may review."""
    given = {"email": email, "reviewers": sorted(role.value for role in REVIEWERS)}
    return frozenset(session.scalars(_ALONE_IN, given))
