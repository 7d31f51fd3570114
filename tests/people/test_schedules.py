"""Schedules, overrides and absences as they are stored and asked for."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed, NotFound
from services.people import absences, schedule_queries, schedules
from services.people import service as people_service
from services.people.calendars import read as read_calendar
from services.people.errors import NotAway, StillOwns
from services.people.rotations import read
from services.people.rules import Role
from tests.factories import ADMIN, LEAD, OUTSIDER, OWNER, REP, TEAMMATE, actor_of, add_person
from tests.factories.people import OPERATOR, OTHER_TEAM, TEAM

# A Wednesday.
NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def written(*people: str, every: str = "1d", more: str = "") -> str:
    return f"""
timezone: UTC
layers:
  - {{people: [{", ".join(people)}], every: {every}, start: 2026-11-02T09:00}}
{more}"""


@pytest.fixture
def database(populated: Database) -> Database:
    return populated


@pytest.fixture
def put(session: Session) -> Any:
    """Puts a schedule there."""

    def put(slug: str = "first", text: str | None = None, **given: Any) -> None:
        document = read(text or written(OWNER))
        given = {"team": TEAM, "actor": OPERATOR, "now": NOW} | given
        schedules.put_schedule(session, slug, document, **given)

    return put


def who(session: Session, slug: str = "first", at: datetime = NOW) -> str | None:
    return schedule_queries.on_duty(session, [slug], at).get(slug)


# --- schedules ------------------------------------------------------------------------------


def test_schedule_names_nobody_who_may_not_see_its_cases(session: Session, put: Any) -> None:
    with pytest.raises(InvalidInput, match=f"{OUTSIDER} is not of team 'support'") as refused:
        put(text=written(OWNER, OUTSIDER, ADMIN))
    assert [one.pointer for one in refused.value.problems] == ["/layers/0/people/1"]
    assert refused.value.problems[0].hint
    put(text=written(OWNER, ADMIN))


def _change(session: Session, email: str, **change: Any) -> None:
    people_service.change_person(session, email, **change, actor=OPERATOR, duties=(), now=NOW)


def test_who_serves_a_schedule_stays_in_its_team(session: Session, put: Any) -> None:
    put(text=written(OWNER, TEAMMATE))
    with pytest.raises(StillOwns, match="serves schedule 'first' of team 'support'"):
        _change(session, OWNER, teams=[OTHER_TEAM])
    session.rollback()
    put(text=written(TEAMMATE))
    _change(session, OWNER, teams=[OTHER_TEAM])


def test_who_has_an_override_to_come_stays_in_its_team(session: Session, put: Any) -> None:
    put(text=written(TEAMMATE))
    span = {"begin": NOW + DAY, "end": NOW + 2 * DAY}
    schedules.override(session, "first", OWNER, **span, actor=OPERATOR, now=NOW)
    session.commit()
    with pytest.raises(StillOwns, match="serves schedule 'first'"):
        _change(session, OWNER, teams=[])
    session.rollback()
    later = {"actor": OPERATOR, "duties": (), "now": NOW + 2 * DAY}
    people_service.change_person(session, OWNER, teams=[], **later)


def test_admin_who_serves_a_schedule_stays_one_or_joins_its_team(
    session: Session, put: Any
) -> None:
    _change(session, ADMIN, teams=[])
    _change(session, LEAD, role=Role.ADMIN)
    put(text=written(ADMIN))
    session.commit()
    with pytest.raises(StillOwns, match="serves schedule 'first'"):
        _change(session, ADMIN, role=Role.OWNER)
    session.rollback()
    _change(session, ADMIN, role=Role.OWNER, teams=[TEAM])


def test_who_may_not_review_may_stay_in_a_schedule_but_not_come_back_to_it_blindly(
    session: Session, put: Any
) -> None:
    put(text=written(OWNER, TEAMMATE))
    _change(session, OWNER, active=False)
    _change(session, OWNER, teams=[OTHER_TEAM])
    session.commit()
    with pytest.raises(StillOwns, match="serves schedule 'first'"):
        _change(session, OWNER, active=True)


def test_put_again_replaces_and_raises_the_revision(session: Session, put: Any) -> None:
    put()
    assert who(session) == OWNER
    put(text=written(TEAMMATE))
    assert who(session) == TEAMMATE
    found = schedule_queries.roster(session, None, NOW, NOW)
    assert found.schedules["first"].revision == 2


def test_put_refuses_what_is_not_there(session: Session, put: Any) -> None:
    with pytest.raises(InvalidInput) as refused:
        put(text=written(OWNER, "nobody@example.org"))
    assert [p.pointer for p in refused.value.problems] == ["/layers/0/people/1"]
    with pytest.raises(InvalidInput, match="no team"):
        put(team="nowhere")
    with pytest.raises(InvalidInput, match="slug"):
        put(slug="No Slug")


def test_leads_change_schedules_of_their_teams_alone(session: Session, put: Any) -> None:
    lead, owner = actor_of(session, LEAD), actor_of(session, OWNER)
    put(actor=lead)
    put("theirs", text=written(OUTSIDER), team=OTHER_TEAM)
    given: Any = {"begin": NOW, "end": NOW + HOUR, "now": NOW}
    with pytest.raises(NotAllowed):
        put(actor=owner)
    with pytest.raises(NotAllowed):
        schedules.override(session, "first", OWNER, actor=owner, **given)
    for slug, team in (("theirs", TEAM), ("new", OTHER_TEAM)):
        with pytest.raises(NotFound):
            put(slug, team=team, actor=lead)
    number = schedules.override(session, "theirs", OUTSIDER, actor=OPERATOR, **given)
    with pytest.raises(NotFound):
        schedules.override(session, "theirs", OWNER, actor=lead, **given)
    with pytest.raises(NotFound):
        schedules.end_override(session, "theirs", number, actor=lead, now=NOW)
    # Nor by the way of a schedule of their own.
    with pytest.raises(NotFound):
        schedules.end_override(session, "first", number, actor=lead, now=NOW)


@pytest.mark.parametrize("role", [Role.REP, Role.OPS, Role.AUDITOR])
def test_who_may_not_review_is_never_on_duty(session: Session, put: Any, role: Role) -> None:
    add_person(session, "p@example.org", role=role)
    put(text=written("p@example.org"))
    assert who(session) is None


def test_who_is_deactivated_is_off_duty_at_once(session: Session, put: Any) -> None:
    more = f"  - {{people: [{TEAMMATE}], every: 1d, start: 2026-11-02T09:00}}"
    put(text=written(OWNER, more=more))
    people_service.change_person(session, OWNER, active=False, actor=OPERATOR, duties=(), now=NOW)
    assert who(session) == TEAMMATE


def test_own_hours_hold(session: Session, put: Any) -> None:
    office = read_calendar('timezone: UTC\nhours: {mon-fri: ["09:00-17:00"]}')
    people_service.put_calendar(session, "office", office, actor=OPERATOR, now=NOW)
    people_service.change_calendar(session, OWNER, calendar="office", actor=OPERATOR, now=NOW)
    put()
    assert who(session, at=NOW) == OWNER
    assert who(session, at=NOW + 6 * HOUR) is None
    found = schedule_queries.holes(session, NOW, NOW + DAY)
    assert [(hole.begin, hole.end) for hole in found["first"]] == [
        (NOW + 5 * HOUR, NOW + 21 * HOUR)
    ]
    people_service.change_calendar(session, OWNER, calendar=None, actor=OPERATOR, now=NOW)
    assert schedule_queries.holes(session, NOW, NOW + DAY) == {"first": []}
    with pytest.raises(InvalidInput, match="no calendar"):
        people_service.change_calendar(session, OWNER, calendar="x", actor=OPERATOR, now=NOW)


# --- overrides ------------------------------------------------------------------------------


def _override(session: Session, email: str, begin: datetime, end: datetime) -> int:
    return schedules.override(
        session, "first", email, begin=begin, end=end, actor=OPERATOR, now=NOW
    )


def test_the_override_that_was_said_last_holds_until_it_ends(session: Session, put: Any) -> None:
    put()
    _override(session, TEAMMATE, NOW - HOUR, NOW + HOUR)
    last = _override(session, LEAD, NOW - HOUR, NOW + HOUR)
    planned = _override(session, LEAD, NOW + DAY, NOW + DAY + HOUR)
    assert who(session) == LEAD
    assert who(session, at=NOW + HOUR) == OWNER
    schedules.end_override(session, "first", last, actor=OPERATOR, now=NOW)
    assert who(session) == TEAMMATE
    assert who(session, at=NOW - HOUR) == LEAD
    schedules.end_override(session, "first", planned, actor=OPERATOR, now=NOW)
    assert who(session, at=NOW + DAY) == OWNER
    with pytest.raises(NotFound):
        schedules.end_override(session, "first", last, actor=OPERATOR, now=NOW)


@pytest.mark.parametrize(
    ("email", "begin", "end", "says"),
    [
        (REP, NOW, NOW + HOUR, "may not review"),
        (OUTSIDER, NOW, NOW + HOUR, "is not of team 'support' and may not see its cases"),
        ("x@example.org", NOW, NOW + HOUR, "nobody active"),
        (OWNER, NOW + HOUR, NOW + HOUR, "not after the beginning"),
        (OWNER, NOW - DAY, NOW - HOUR, "over already"),
    ],
)
def test_override_that_would_do_nothing_is_refused(
    session: Session, put: Any, email: str, begin: datetime, end: datetime, says: str
) -> None:
    put()
    with pytest.raises(InvalidInput, match=says) as refused:
        _override(session, email, begin, end)
    assert refused.value.problems[0].hint


def test_schedule_goes_to_no_team_whose_cases_an_override_s_person_may_not_see(
    session: Session, put: Any
) -> None:
    put()
    _override(session, TEAMMATE, NOW - HOUR, NOW + HOUR)
    with pytest.raises(InvalidInput, match=f"{TEAMMATE} has an override") as refused:
        put(text=written(OUTSIDER), team=OTHER_TEAM)
    assert [p.pointer for p in refused.value.problems] == ["/team"]


# --- absences -------------------------------------------------------------------------------


def _away(
    session: Session,
    email: str,
    stand_in: str | None = None,
    begin: datetime = NOW - HOUR,
    end: datetime = NOW + HOUR,
) -> int:
    given: Any = {"begin": begin, "end": end, "actor": OPERATOR, "now": NOW}
    return absences.go_away(session, email, stand_in=stand_in, **given)


def test_stand_in_has_the_duty_until_the_person_is_back(session: Session, put: Any) -> None:
    put()
    _away(session, OWNER)
    assert who(session) is None
    _away(session, OWNER, TEAMMATE)
    _away(session, TEAMMATE, LEAD)
    assert who(session) == LEAD
    assert [one.person for one in schedule_queries.away(session, NOW)] == [OWNER, OWNER, TEAMMATE]
    assert who(session, at=NOW + HOUR) == OWNER
    assert absences.come_back(session, OWNER, actor=OPERATOR, now=NOW) == 2
    assert who(session) == OWNER
    with pytest.raises(NotAway):
        absences.come_back(session, OWNER, actor=OPERATOR, now=NOW)


def test_coming_back_leaves_what_is_planned(session: Session) -> None:
    planned = _away(session, OWNER, begin=NOW + DAY, end=NOW + 2 * DAY)
    _away(session, OWNER)
    absences.come_back(session, OWNER, actor=OPERATOR, now=NOW)
    (left,) = schedule_queries.absences_of(session, OWNER, NOW)
    assert left.id == planned
    with pytest.raises(NotAway):
        absences.come_back(session, TEAMMATE, number=planned, actor=OPERATOR, now=NOW)
    absences.come_back(session, OWNER, number=planned, actor=OPERATOR, now=NOW)
    assert schedule_queries.absences_of(session, OWNER, NOW) == []


def test_nobody_stands_in_for_whoever_stands_in_for_them(session: Session) -> None:
    with pytest.raises(InvalidInput, match="themselves"):
        _away(session, OWNER, OWNER)
    _away(session, OWNER, TEAMMATE)
    _away(session, TEAMMATE, LEAD)
    with pytest.raises(InvalidInput, match="stands in"):
        _away(session, LEAD, OWNER)
    _away(session, LEAD, OWNER, begin=NOW + HOUR, end=NOW + 2 * HOUR)


def test_everybody_speaks_for_themselves_alone(session: Session) -> None:
    given: Any = {"begin": NOW, "end": NOW + HOUR, "stand_in": None, "now": NOW}
    absences.go_away(session, REP, actor=actor_of(session, REP), **given)
    lead = actor_of(session, LEAD)
    with pytest.raises(NotAllowed):
        absences.go_away(session, OWNER, actor=lead, **given)
    with pytest.raises(NotAllowed):
        absences.come_back(session, REP, actor=lead, now=NOW)
    with pytest.raises(NotFound):
        absences.go_away(session, "x@example.org", actor=OPERATOR, **given)


@pytest.mark.parametrize(
    ("constraint", "columns", "values"),
    [
        ("ck_absence_span", "person, begins_at, ends_at", f"'{OWNER}', now(), now()"),
        (
            "ck_absence_stand_in",
            "person, stand_in, begins_at, ends_at",
            f"'{OWNER}', '{OWNER}', now(), now() + interval '1h'",
        ),
    ],
)
def test_the_database_holds_absences_to_it(
    session: Session, constraint: str, columns: str, values: str
) -> None:
    with pytest.raises(IntegrityError, match=constraint):
        session.connection().exec_driver_sql(f"INSERT INTO absence ({columns}) VALUES ({values})")


# --- managers, and what it costs ------------------------------------------------------------


def test_managers_are_found_by_the_addresses_given(session: Session) -> None:
    given: Any = {"actor": OPERATOR, "now": NOW}
    people_service.change_manager(session, OWNER, manager=LEAD.upper(), **given)
    emails = [OWNER.upper(), LEAD]
    assert schedule_queries.managers(session, emails) == {OWNER.upper(): LEAD}
    for named in (OWNER, "x@example.org"):
        with pytest.raises(InvalidInput):
            people_service.change_manager(session, OWNER, manager=named, **given)
    people_service.change_manager(session, OWNER, manager=None, **given)
    assert schedule_queries.managers(session, [OWNER]) == {}


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    sent: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", count)
    yield sent
    event.remove(database.engine, "before_cursor_execute", count)


def test_any_number_of_schedules_takes_two_statements(
    session: Session, put: Any, statements: list[str]
) -> None:
    slugs = [f"s-{n}" for n in range(20)]
    for slug in slugs:
        put(slug, text=written(OWNER, TEAMMATE))
    _away(session, OWNER, LEAD)
    _away(session, TEAMMATE, LEAD)
    statements.clear()
    found = schedule_queries.on_duty(session, [*slugs, "nowhere"], NOW)
    assert found == dict.fromkeys(slugs, LEAD)
    assert len(statements) == 2
    assert schedule_queries.on_duty(session, [], NOW) == {}
    assert len(statements) == 2


def test_duties_and_holes_say_the_same_as_who(session: Session, put: Any) -> None:
    put(text=written(OWNER, TEAMMATE))
    _away(session, OWNER, begin=NOW, end=NOW + 3 * DAY)
    spells = schedule_queries.duties(session, "first", NOW, NOW + 3 * DAY)
    assert [one.person for one in spells] == [TEAMMATE, None, TEAMMATE, None]
    for one in spells:
        assert who(session, at=one.begin) == one.person
    found = schedule_queries.holes(session, NOW, NOW + 3 * DAY)
    assert found["first"] == [one for one in spells if one.person is None]
    with pytest.raises(NotFound):
        schedule_queries.duties(session, "nowhere", NOW, NOW + DAY)


def test_schedules_in_sight_are_those_of_one_s_teams(session: Session, put: Any) -> None:
    put()
    put("theirs", text=written(OUTSIDER), team=OTHER_TEAM)
    for email, seen in ((OWNER, {"first"}), (OUTSIDER, {"theirs"}), (ADMIN, {"first", "theirs"})):
        actor = actor_of(session, email)
        assert set(schedule_queries.visible_roster(session, actor, NOW, NOW).schedules) == seen
    with pytest.raises(NotFound):
        schedule_queries.visible_schedule(session, actor_of(session, OWNER), "theirs", NOW, NOW)
