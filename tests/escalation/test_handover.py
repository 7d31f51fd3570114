"""Handing over what is owned by somebody who is not there any more."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.people import absences, schedules
from services.people import service as people_service
from services.people.rotations import read as read_schedule
from services.people.schedule_queries import on_duty
from tests.factories import (
    LEAD,
    OTHER_TEAM,
    OUTSIDER,
    OWNER,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    add_person,
    add_schedule,
    correction,
    one,
    output,
    rows,
)
from tests.factories.rota import DAY, HOUR, Rota
from tests.factories.storage import counted

POLICY = read_policy("""
version: 1
catch_all: {schedule: primary, sla: {claim: 3d, resolve: 8d}, escalate: long}
rules:
  - {id: taxes, when: {predicted.category: "tax*"}, owner: {user: olga@example.org}}
ladders:
  long:
    - {at: 4d, own: user:lea@example.org}
""")
DUTIES = (CaseDuty(lambda _: None),)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Two people take turns, twice a day."""
    with database.transaction() as session:
        add_schedule(session, "primary", OWNER, TEAMMATE, every="12h")
    return Delivery(database, POLICY)


@pytest.fixture
def turns(log: Delivery, database: Database) -> list[str]:
    """Who has the duty now, and who is next."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        return [on_duty(session, ["primary"], now + n * 12 * HOUR)["primary"] for n in range(2)]


@pytest.fixture
def rota(database: Database) -> Rota:
    return Rota(database, DUTIES)


def owned(database: Database) -> list[tuple[Any, ...]]:
    query = """SELECT coalesce(owner_team, owner_person), owner_schedule
        FROM "case" ORDER BY id"""
    return [tuple(row) for row in rows(database, query)]


def told(database: Database) -> list[tuple[str, str]]:
    query = """SELECT actor, note FROM timeline_entry WHERE event = 'reassigned' ORDER BY id"""
    return [tuple(row) for row in rows(database, query)]


def published(database: Database) -> int:
    query = "SELECT count(*) FROM outbox WHERE convert_from(value, 'UTF8') LIKE :type"
    return int(one(database, query, type="%secondlook.case.reassigned.v1%"))


# --- by the clock ---------------------------------------------------------------------------


def test_duty_that_changes_hands_takes_its_cases_along(
    log: Delivery, turns: list[str], rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    assert owned(database) == [(turns[0], "primary")] * 2
    assert rota.pass_on() == 0
    assert rota.pass_on(12 * HOUR) == 2
    assert rota.pass_on(12 * HOUR) == 0
    assert owned(database) == [(turns[1], "primary")] * 2
    words = f"user:{turns[1]} is on duty by schedule:primary"
    assert told(database) == [("secondlook", words)] * 2
    assert published(database) == 2
    assert one(database, 'SELECT bool_and(owner_since > opened_at) FROM "case"')


def test_pass_that_finds_nothing_is_four_statements(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(20)))
    with database.transaction() as session:
        add_schedule(session, "another", LEAD)
    with counted(database) as sent:
        rota.pass_on()
    assert len(sent) <= 5, "the clock's among them"


def test_claimed_case_changes_its_owner_and_keeps_its_claim(
    log: Delivery, turns: list[str], rota: Rota, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1))
    token = casework.claim(LEAD, 1)
    assert rota.pass_on(12 * HOUR) == 1
    assert owned(database) == [(turns[1], "primary")]
    assert casework.give_verdict(LEAD, 1, token=token) == "upheld"


@pytest.mark.parametrize("verb", ["decided", "merged"])
def test_case_that_is_not_open_stays_as_it_is(
    verb: str, log: Delivery, turns: list[str], rota: Rota, database: Database, casework: Casework
) -> None:
    log.take(output("o-1", confidence=0.1), output("o-2", value="tax", confidence=0.1))
    if verb == "merged":
        casework.do("merge", LEAD, 1, into=2)
    else:
        casework.give_verdict(LEAD, 1)
    assert rota.pass_on(12 * HOUR) == 0
    assert owned(database)[0] == (turns[0], "primary")


def test_hole_that_begins_goes_on_along_the_ladder_and_does_not_come_back(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    for email in (OWNER, TEAMMATE):
        rota.away(email, begin=HOUR)
    assert rota.pass_on() == 0
    assert rota.pass_on(2 * HOUR) == 1
    assert owned(database) == [(LEAD, None)]
    words = f"nobody is on duty by schedule:primary; user:{LEAD} owns it"
    assert told(database) == [("secondlook", words)]
    assert rota.pass_on(2 * DAY) == 0


def test_hole_with_nobody_left_on_the_ladder_goes_to_the_team(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    for email in (OWNER, TEAMMATE, LEAD):
        rota.away(email, begin=HOUR)
    assert rota.pass_on(2 * HOUR) == 1
    assert owned(database) == [(TEAM, None)]


def test_whoever_has_a_part_in_a_case_does_not_come_to_own_it(
    log: Delivery, turns: list[str], rota: Rota, database: Database, casework: Casework
) -> None:
    log.take(
        output("o-1", confidence=0.1),
        output("o-2", confidence=0.1),
        output("o-3", value="tax", confidence=0.1),
    )
    log.take(correction("o-1", value="tax", who=turns[1]))
    log.take(correction("o-3", kind="dispute", who=LEAD))
    rows(database, 'UPDATE "case" SET reviewers = 2 WHERE id = 2 RETURNING 1')
    casework.give_verdict(turns[1], 2)
    assert rota.pass_on(12 * HOUR) == 2
    rota.away(OWNER, LEAD)
    assert owned(database) == [(LEAD, None), (LEAD, None), (TEAM, None)]
    assert [note for _, note in told(database)] == [
        *[f"user:{turns[1]} has a part in the case; user:{LEAD} owns it"] * 2,
        f"user:{OWNER} is away; team:{TEAM} owns it",
    ]


def test_two_engines_hand_each_case_over_once(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(150)))
    with ThreadPoolExecutor(3) as engines:
        moved = list(engines.map(lambda _: rota.pass_on(12 * HOUR), range(6)))
    while moved[-1] or sum(moved) < 150:
        moved.append(rota.pass_on(12 * HOUR))
    assert sum(moved) == 150
    assert len(told(database)) == 150


# --- in the same transaction ----------------------------------------------------------------


def test_override_takes_over_and_gives_back_at_once(
    log: Delivery, turns: list[str], rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    number = rota.override(LEAD)
    assert owned(database) == [(LEAD, "primary")]
    rota.do(schedules.end_override, "primary", number)
    assert owned(database) == [(turns[0], "primary")]
    assert len(told(database)) == 2
    rota.override(LEAD, begin=HOUR)
    assert owned(database) == [(turns[0], "primary")], "it has not begun"


def test_override_that_is_refused_hands_nothing_over(
    log: Delivery, turns: list[str], rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    with pytest.raises(Exception, match="active"):
        rota.override("nobody@example.org")
    assert owned(database) == [(turns[0], "primary")]


def test_schedule_that_is_said_anew_is_whose_it_is_now(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    document = f"""
timezone: UTC
layers: [{{people: [{OUTSIDER}], every: 1w, start: 2026-01-05T09:00}}]
"""
    rota.do(schedules.put_schedule, "primary", read_schedule(document), team=OTHER_TEAM)
    assert owned(database) == [(OUTSIDER, "primary")]
    assert one(database, 'SELECT team FROM "case"') == OTHER_TEAM


def test_absence_passes_the_duty_on_and_coming_back_takes_it(
    log: Delivery, turns: list[str], rota: Rota, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    rota.away(turns[0], LEAD)
    assert owned(database) == [(LEAD, "primary")]
    rota.do(absences.come_back, turns[0])
    assert owned(database) == [(turns[0], "primary")]


def test_what_somebody_owns_themselves_goes_to_their_stand_in_or_the_team(
    log: Delivery, rota: Rota, database: Database, casework: Casework
) -> None:
    log.take(*(output(f"o-{n}", value="tax", confidence=0.1) for n in range(2)))
    casework.claim(LEAD, 2)
    rota.away(OWNER, TEAMMATE)
    assert owned(database) == [(TEAMMATE, None), (OWNER, None)], "somebody works on the other"
    rota.away(TEAMMATE)
    assert owned(database)[0] == (TEAM, None)
    assert told(database) == [
        ("secondlook", f"user:{OWNER} is away; user:{TEAMMATE} owns it"),
        ("secondlook", f"user:{TEAMMATE} is away; team:{TEAM} owns it"),
    ]
    casework.do("release", LEAD, 2, token=str(one(database, 'SELECT max(claim_seq) FROM "case"')))
    assert rota.pass_on() == 1
    assert owned(database) == [(TEAM, None)] * 2
    rota.do(absences.come_back, OWNER)
    assert owned(database) == [(TEAM, None)] * 2, "it does not come back"


def test_whoever_leaves_passes_their_duty_on(
    log: Delivery, turns: list[str], rota: Rota, database: Database, casework: Casework
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in (1, 2, 3)))
    casework.do("reassign", LEAD, 2, owner=Owner("person", turns[0]))
    with database.transaction() as session:
        add_person(session, "nora@example.org")
    rota.override("nora@example.org")
    log.take(correction("o-3", value="tax", who=turns[0]))
    assert rota.do(people_service.change_person, "nora@example.org", active=False) == 2
    mine = [(turns[0], "primary"), (turns[0], None)]
    assert owned(database) == [*mine, (TEAM, None)], "they corrected the last one"
    assert rota.do(people_service.change_person, turns[0], active=False) == 2
    assert owned(database) == [(TEAM, None)] * 3, "it is nobody else's turn"


def test_handing_over_takes_as_many_statements_however_many_cases_there_are(
    log: Delivery, rota: Rota, database: Database
) -> None:
    log.take(output("o-0", confidence=0.1))
    with counted(database) as of_one:
        number = rota.override(LEAD)
    rota.do(schedules.end_override, "primary", number)
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(1, 60)))
    with counted(database) as of_sixty:
        rota.override(LEAD)
    assert owned(database) == [(LEAD, "primary")] * 60
    assert len(of_sixty) == len(of_one)
