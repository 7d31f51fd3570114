"""The people of all tests, named once, and their ways in."""

from datetime import timedelta

from sqlalchemy.orm import Session

from services.kit.clock import DatabaseClock
from services.people import access, schedules
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rotations import read as read_schedule
from services.people.rules import Actor, Role

TEAM, OTHER_TEAM = "support", "other"
OWNER, TEAMMATE, LEAD, REP, OUTSIDER, ADMIN, OPS, AUDITOR = (
    f"{name}@example.org" for name in ("olga", "tim", "lea", "rita", "otto", "ada", "oscar", "ida")
)
PASSWORD = "a long enough password"
_ROLES = {
    OWNER: Role.OWNER,
    TEAMMATE: Role.OWNER,
    LEAD: Role.LEAD,
    REP: Role.REP,
    OUTSIDER: Role.OWNER,
    ADMIN: Role.ADMIN,
    OPS: Role.OPS,
    AUDITOR: Role.AUDITOR,
}
OPERATOR = Actor("test", "Operator", Role.ADMIN, frozenset())
"""Whoever sets things up, as on the command line."""
_TEAMS = {OUTSIDER: [OTHER_TEAM], ADMIN: []}


def add_people(session: Session) -> None:
    """Both teams and everybody named above."""
    now = DatabaseClock().now(session)
    for team in (TEAM, OTHER_TEAM):
        people_service.add_team(session, team, name=None, actor=OPERATOR, now=now)
    for email, role in _ROLES.items():
        add_person(session, email, role=role, teams=_TEAMS.get(email, [TEAM]))


def add_person(
    session: Session, email: str, *, role: Role = Role.OWNER, teams: list[str] | None = None
) -> None:
    """Somebody else; of our team unless told otherwise."""
    people_service.add_person(
        session,
        email,
        name=email.partition("@")[0].title(),
        role=role,
        teams=[TEAM] if teams is None else teams,
        actor=OPERATOR,
        now=DatabaseClock().now(session),
    )


def add_schedule(
    session: Session, slug: str, *people: str, team: str = TEAM, every: str = "1w"
) -> None:
    """A schedule of one layer, begun long ago; our owner's alone unless told otherwise."""
    named = ", ".join(people or (OWNER,))
    document = f"""
timezone: Europe/Berlin
layers: [{{people: [{named}], every: {every}, start: 2026-01-05T09:00}}]
"""
    now = DatabaseClock().now(session)
    schedules.put_schedule(
        session, slug, read_schedule(document), team=team, actor=OPERATOR, now=now
    )


def actor_of(session: Session, email: str) -> Actor:
    """Somebody as the one who does a verb."""
    found = people_queries.actor(session, email)
    assert found is not None
    return found


def sign_in_link(session: Session, email: str) -> str:
    """The secret of a fresh sign-in link."""
    now = DatabaseClock().now(session)
    return access.create_link(session, email, actor=OPERATOR, now=now, length=timedelta(hours=1))


def browser_session(session: Session, email: str) -> str:
    """The secret of a fresh browser session."""
    link = sign_in_link(session, email)
    now = DatabaseClock().now(session)
    secret, _ = access.use_link(session, link, now=now, length=timedelta(hours=1))
    return secret


def personal_token(session: Session, email: str) -> str:
    """A fresh personal token."""
    return access.create_token(session, email, actor=OPERATOR, now=DatabaseClock().now(session))


def set_password(session: Session, email: str) -> None:
    """Let somebody sign in with `PASSWORD`."""
    now = DatabaseClock().now(session)
    access.set_password(session, email, PASSWORD, actor=OPERATOR, now=now)
