"""What people can do, who is there to do it, and who is told of what teams own."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.orm import Session

from services.kit.database import Database
from services.kit.errors import ChangedMeanwhile, InvalidInput, NotAllowed, NotFound
from services.people import absences, ownership, queries, skills
from services.people import service as people_service
from services.people.calendars import read as read_calendar
from services.people.presence import Member
from services.people.rules import Role
from tests.factories import (
    ADMIN,
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    TEAM,
    TEAMMATE,
    actor_of,
    add_person,
    add_schedule,
)
from tests.factories.people import OPERATOR

# A Wednesday.
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def database(populated: Database) -> Database:
    return populated


def teach(session: Session, email: str, *wanted: str, actor: Any = OPERATOR) -> None:
    skills.change_skills(session, email, skills=wanted, actor=actor, now=NOW)


def away(session: Session, email: str, stand_in: str | None = None) -> None:
    span = {"begin": NOW, "end": NOW + DAY, "stand_in": stand_in}
    absences.go_away(session, email, **span, actor=OPERATOR, now=NOW)


def test_skills_are_said_anew_as_a_whole(session: Session) -> None:
    teach(session, OWNER, "taxes", "refunds", "taxes")
    assert queries.person(session, OWNER).skills == ("refunds", "taxes")
    teach(session, OWNER.upper(), "refunds")
    assert queries.person(session, OWNER).skills == ("refunds",)
    teach(session, OWNER)
    assert queries.person(session, OWNER).skills == ()
    assert queries.person(session, TEAMMATE).skills == ()


def test_skills_that_cannot_be_are_refused(session: Session) -> None:
    with pytest.raises(InvalidInput, match="skills: 'Tax law' is no skill"):
        teach(session, OWNER, "refunds", "Tax law")
    with pytest.raises(InvalidInput, match="there are 51"):
        teach(session, OWNER, *(f"s-{n}" for n in range(51)))
    with pytest.raises(NotFound):
        teach(session, "nobody@example.org", "refunds")


def test_skills_are_said_by_admins_and_by_leads_of_their_teams(session: Session) -> None:
    lead, owner = actor_of(session, LEAD), actor_of(session, OWNER)
    teach(session, OWNER, "refunds", actor=lead)
    teach(session, OUTSIDER, "taxes", actor=actor_of(session, ADMIN))
    assert skills.skills_of(session, OWNER, actor=lead) == ("refunds",)
    with pytest.raises(NotFound, match=f"Nobody has the address '{OUTSIDER}'"):
        teach(session, OUTSIDER, "refunds", actor=lead)
    with pytest.raises(NotFound):
        skills.skills_of(session, OUTSIDER, actor=lead)
    with pytest.raises(NotAllowed):
        teach(session, OWNER, "taxes", actor=owner)
    assert queries.person(session, OUTSIDER).skills == ("taxes",)


def test_skills_that_somebody_said_meanwhile_are_not_lost(session: Session) -> None:
    teach(session, OWNER, "taxes")
    given: Any = {"actor": OPERATOR, "now": NOW}
    with pytest.raises(ChangedMeanwhile):
        skills.change_skills(session, OWNER, skills=["refunds"], seen=[], **given)
    skills.change_skills(session, OWNER, skills=["taxes"], seen=[], **given)
    skills.change_skills(session, OWNER, skills=["refunds"], seen=["taxes"], **given)
    assert queries.person(session, OWNER).skills == ("refunds",)


def test_members_are_reviewers_with_their_skills_and_whether_they_are_there(
    session: Session,
) -> None:
    teach(session, OWNER, "refunds")
    teach(session, LEAD, "refunds", "taxes")
    away(session, TEAMMATE, LEAD)
    add_person(session, "anna@example.org", role=Role.OWNER, teams=[TEAM, OTHER_TEAM])
    office = read_calendar('timezone: UTC\nhours: {mon-fri: ["13:00-17:00"]}')
    by: Any = {"actor": OPERATOR, "now": NOW}
    people_service.put_calendar(session, "office", office, **by)
    people_service.change_calendar(session, OWNER, calendar="office", **by)
    found = skills.members(session, [TEAM, OTHER_TEAM], NOW)
    assert found[TEAM] == [
        Member("anna@example.org", frozenset(), here=True),
        Member(LEAD, frozenset({"refunds", "taxes"}), here=True),
        Member(OWNER, frozenset({"refunds"}), here=False),
        Member(TEAMMATE, frozenset(), here=False),
    ]
    assert [member.email for member in found[OTHER_TEAM]] == ["anna@example.org", OUTSIDER]
    assert skills.members(session, [TEAM], NOW + DAY / 12)[TEAM][2].here
    assert skills.sharing(session, [OTHER_TEAM]) == {TEAM, OTHER_TEAM}
    assert skills.known(session, [TEAM]) == {TEAM: {"refunds", "taxes"}}


# --- who is told ----------------------------------------------------------------------------


def told(session: Session, *teams: str) -> dict[str, list[str]]:
    return ownership.told_of(session, teams or [TEAM], NOW)


def test_team_without_a_schedule_is_told_by_its_reviewers(session: Session) -> None:
    found = told(session, TEAM, OTHER_TEAM)
    assert found == {OTHER_TEAM: [OUTSIDER], TEAM: [LEAD, OWNER, TEAMMATE]}


def test_team_with_schedules_is_told_by_those_on_duty(session: Session) -> None:
    add_schedule(session, "first", OWNER)
    add_schedule(session, "second", OWNER)
    add_schedule(session, "third", ADMIN)
    assert told(session, TEAM, OTHER_TEAM) == {OTHER_TEAM: [OUTSIDER], TEAM: [OWNER, ADMIN]}
    away(session, OWNER, TEAMMATE)
    assert told(session) == {TEAM: [TEAMMATE, ADMIN]}


def test_team_in_a_hole_is_told_by_its_reviewers(session: Session) -> None:
    add_schedule(session, "first", OWNER)
    away(session, OWNER)
    assert told(session) == {TEAM: [LEAD, OWNER, TEAMMATE]}


def test_team_that_has_nobody_is_told_by_who_answers_instead(session: Session) -> None:
    people_service.add_team(session, "empty", name=None, actor=OPERATOR, now=NOW)
    assert told(session, "empty") == {"empty": [ADMIN]}
