"""Deadlines by the calendars of rules and teams, counted anew when these change."""

from datetime import UTC, datetime, timedelta

import pytest

from services.escalation import service
from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from services.kit.durations import parse_duration
from services.kit.working_time import after
from services.people import calendars
from services.people import queries as people
from services.people import service as people_service
from tests.factories import LEAD, OWNER, TEAM, Casework, Delivery, one, output, rows
from tests.factories.people import OPERATOR

DAYTIME = """
timezone: Europe/Berlin
hours: {mon-fri: ["09:00-17:00"]}
"""
NIGHTS = """
timezone: Europe/Berlin
hours: {mon-sun: ["00:00-06:00", "22:00-24:00"]}
"""
POLICY = """
version: 1
catch_all: {team: support, sla: {claim: 4bh, resolve: 2bd}, escalate: days}
rules:
  - id: nights
    when: {predicted.category: tax}
    owner: {team: support}
    sla: {claim: 4bh, resolve: 2bd, calendar: nights}
ladders:
  days: [{at: 0m, own: team:support}, {at: 1bd, own: user:lea@example.org}]
"""


def put(database: Database, slug: str, document: str) -> None:
    with database.transaction() as session:
        read = calendars.read(document)
        people_service.put_calendar(session, slug, read, actor=OPERATOR, now=datetime.now(UTC))


def of_team(database: Database, calendar: str | None) -> None:
    with database.transaction() as session:
        people_service.change_team(
            session, TEAM, calendar=calendar, actor=OPERATOR, now=datetime.now(UTC)
        )


def recount(database: Database) -> int:
    with database.transaction() as session:
        return service.recount(session)


def by(database: Database, slug: str, case: int) -> tuple[datetime, datetime]:
    """When the case of that number would be due by a calendar that it was opened under."""
    opened = one(database, 'SELECT cycle_opened_at FROM "case" WHERE id = :c', c=case)
    with database.transaction() as session:
        working = people.calendars(session, named=[slug]).known[slug].working
    return tuple(after(opened, parse_duration(span), working) for span in ("4bh", "2bd"))  # type: ignore[return-value]


def dues(database: Database, case: int) -> tuple[datetime, datetime]:
    query = 'SELECT claim_due_at, resolve_due_at FROM "case" WHERE id = :c'
    return tuple(rows(database, query, c=case)[0])  # type: ignore[return-value]


@pytest.fixture
def log(database: Database) -> Delivery:
    put(database, "nights", NIGHTS)
    put(database, "daytime", DAYTIME)
    of_team(database, "daytime")
    return Delivery(database, read_policy(POLICY))


def test_a_case_counts_by_its_rule_s_calendar_else_by_its_team_s(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1), output("o-2", confidence=0.1))
    assert dues(database, 1) == by(database, "nights", 1)
    assert dues(database, 2) == by(database, "daytime", 2)
    rung = one(database, "SELECT due_at FROM timer WHERE kind = 'rung' AND case_id = 2")
    assert rung < by(database, "daytime", 2)[1]
    assert recount(database) == 0


def test_a_calendar_that_changes_moves_what_is_due(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="tax", confidence=0.1), output("o-2", confidence=0.1))
    nights = dues(database, 1)
    put(database, "daytime", DAYTIME.replace("mon-fri", "tue-thu").replace("17:00", "10:00"))
    assert recount(database) == 1
    assert recount(database) == 0
    assert dues(database, 2) == by(database, "daytime", 2)
    assert dues(database, 1) == nights
    query = "SELECT due_at FROM timer WHERE case_id = 2 AND kind = :k"
    for kind, at in zip(("claim", "resolve"), dues(database, 2), strict=True):
        assert one(database, query, k=kind) == at
    assert one(database, 'SELECT due_at FROM "case" WHERE id = 2') == min(dues(database, 2))


def test_a_team_s_other_calendar_counts_for_cases_whose_rule_names_none(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1), output("o-2", confidence=0.1))
    of_team(database, "nights")
    assert recount(database) == 1
    assert dues(database, 2) == by(database, "nights", 2)
    of_team(database, None)
    assert recount(database) == 1
    # Monday to Friday, in the zone of the installation.
    assert dues(database, 2)[0] not in by(database, "nights", 2)
    casework.give_verdict(OWNER, 2)
    of_team(database, "daytime")
    assert recount(database) == 0, "what is decided is due no more"


def test_a_timer_does_not_fire_by_a_calendar_of_before(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-2", confidence=0.1))
    ahead = dues(database, 1)[0] - datetime.now(UTC) + timedelta(minutes=1)
    put(database, "daytime", DAYTIME.replace('"09:00-17:00"', '"16:00-17:00"'))
    casework.fire(ahead)
    assert one(database, 'SELECT overdue_since FROM "case"') is None
    assert dues(database, 1) == by(database, "daytime", 1)
    soonest = min(dues(database, 1))
    casework.fire(soonest - datetime.now(UTC) + timedelta(minutes=1))
    assert one(database, 'SELECT overdue_since FROM "case"') == soonest


def test_what_stood_still_is_not_counted_when_the_calendar_changes(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-2", confidence=0.1))
    with database.transaction() as session:
        now = casework.clock.now(session)
    until = now + timedelta(days=10)
    given = {"until": until, "reason": "closed", "limit": timedelta(days=30)}
    casework.do("snooze", OWNER, 1, **given)
    put(database, "daytime", NIGHTS)
    assert recount(database) == 1
    opened, paused = rows(database, 'SELECT cycle_opened_at, paused_since FROM "case"')[0]
    assert timedelta(0) <= paused - opened < timedelta(seconds=30)
    with database.transaction() as session:
        working = people.calendars(session, named=["nights"]).known["nights"].working
    claim = after(until, parse_duration("4bh"), working)
    assert claim - timedelta(seconds=30) <= dues(database, 1)[0] <= claim


def test_a_reopened_case_counts_by_the_calendar_of_that_day(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-2", confidence=0.1))
    casework.give_verdict(OWNER, 1)
    put(database, "daytime", NIGHTS)
    casework.do("reopen", OWNER, 1, note="again")
    assert dues(database, 1) == by(database, "daytime", 1)
    assert recount(database) == 0


ALIKE = """
version: 1
catch_all: {team: support, sla: {claim: 4bh, resolve: 8bh}}
rules:
  - id: unsure
    when: {trigger: low_confidence}
    owner: {team: support}
    sla: {claim: 4bh, resolve: 8bh}
    group: {by: [tool], window: 2h, incident_at: 3}
"""
ALWAYS = """
timezone: UTC
hours: {mon-sun: ["00:00-24:00"]}
"""


@pytest.fixture
def whole(database: Database) -> int:
    """An incident of four, by a calendar in which every hour counts."""
    put(database, "always", ALWAYS)
    of_team(database, "always")
    Delivery(database, read_policy(ALIKE)).take(
        *(output(f"o-{n}", confidence=0.1) for n in range(4))
    )
    return int(one(database, "SELECT id FROM \"case\" WHERE subject_kind = 'incident'"))


def a_week_off(database: Database) -> None:
    today = datetime.now(UTC).date()
    days = ", ".join(str(today + timedelta(days=n)) for n in range(-1, 8))
    put(database, "always", f"{ALWAYS}days_off: [{days}]\n")


_DUE = 'SELECT due_at FROM "case" WHERE id = :id'


def test_an_incident_is_due_by_the_calendar_of_its_cases_as_it_is(
    whole: int, database: Database
) -> None:
    before = one(database, _DUE, id=whole)
    a_week_off(database)
    assert recount(database) == 5
    assert recount(database) == 0
    assert one(database, _DUE, id=whole) > before + timedelta(days=5)
    assert one(database, 'SELECT min(due_at) FROM "case"') > before + timedelta(days=5)


def test_an_incident_does_not_fire_by_a_calendar_of_before(
    whole: int, casework: Casework, database: Database
) -> None:
    a_week_off(database)
    casework.fire(timedelta(hours=5))
    assert one(database, "SELECT count(*) FROM timer WHERE fired_at IS NOT NULL") == 0
    assert one(database, _DUE, id=whole) > datetime.now(UTC) + timedelta(days=5)


def test_a_part_that_is_taken_out_is_due_by_the_calendar_as_it_is(
    whole: int, casework: Casework, database: Database
) -> None:
    part = one(database, 'SELECT min(id) FROM "case" WHERE incident = :id', id=whole)
    a_week_off(database)
    while recount(database):
        pass
    shown = one(database, _DUE, id=part)
    casework.do("unmerge", LEAD, part)
    assert one(database, _DUE, id=part) == shown
