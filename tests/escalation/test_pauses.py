"""Cases that wait or are put off: their clocks stand, and they wake by themselves."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from services.escalation.errors import HeldBySomebody, MovedOn, StaleToken
from services.escalation.rules import Owner
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed
from tests.factories import (
    ADMIN,
    LEAD,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    correction,
    one,
    output,
    rows,
    total,
)

LIMIT = timedelta(days=3)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def state(database: Database) -> str:
    return str(one(database, 'SELECT state FROM "case"'))


def due(database: Database) -> list[Any]:
    """What is due when, but for what nobody waits for any more."""
    query = """SELECT kind, rung, due_at FROM timer WHERE fired_at IS NULL AND kind <> 'wake'
        ORDER BY kind, rung"""
    return [tuple(row) for row in rows(database, query)]


def shifted(before: list[Any], by: timedelta) -> list[Any]:
    return [(kind, rung, at + by) for kind, rung, at in before]


def close_to(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a[:2] == b[:2] and abs(a[2] - b[2]) < timedelta(seconds=5)
        for a, b in zip(one, other, strict=True)
    )


def in_(span: timedelta, casework: Casework) -> datetime:
    with casework.database.transaction() as session:
        return casework.clock.now(session) + span


def put_off(casework: Casework, case: int, who: str = OWNER, **given: Any) -> None:
    given = {"until": in_(2 * HOUR, casework), "reason": "asked the bank", "limit": LIMIT} | given
    casework.do("snooze", who, case, **given)


def test_a_case_that_waits_is_due_later_by_as_long_as_it_waited(
    case: int, casework: Casework, database: Database
) -> None:
    before = due(database)
    token = casework.claim(OWNER, case)
    until = in_(2 * HOUR, casework)
    given = {"token": token, "until": until, "reason": "asked the bank", "limit": LIMIT}
    casework.do("wait", OWNER, case, **given)
    row = rows(database, 'SELECT state, claimant, pause_reason, wakes_at, due_at FROM "case"')[0]
    assert tuple(row[:4]) == ("waiting", None, "asked the bank", until)
    # As it will be where nobody wakes it before.
    assert close_to(due(database), shifted(before, 2 * HOUR))
    assert row.due_at == due(database)[0][2]
    # Nothing is asked of anybody until then, whatever the clock says.
    casework.fire(HOUR + 59 * MINUTE)
    assert state(database) == "waiting"
    assert total(database, "overdue", "support/claim") == 0
    casework.fire(2 * HOUR + MINUTE)
    assert state(database) == "open"
    told = rows(database, "SELECT event, actor, note FROM timeline_entry ORDER BY id")
    assert [tuple(entry) for entry in told[2:]] == [
        ("waiting", OWNER, "asked the bank"),
        ("woken", "secondlook", None),
    ]
    assert one(database, 'SELECT paused_for FROM "case"') > 2 * HOUR
    assert close_to(due(database), shifted(before, 2 * HOUR + MINUTE))


def test_a_case_that_is_put_off_wakes_when_somebody_has_something_new(
    case: int, casework: Casework, database: Database
) -> None:
    before = due(database)
    put_off(casework, case)
    assert state(database) == "snoozed"
    casework.do("wake", TEAMMATE, case, note="the bank has answered")
    assert state(database) == "open"
    assert close_to(due(database), before)
    # The timer that would have woken it is of the past.
    casework.fire(2 * HOUR + MINUTE)
    woken = "SELECT count(*) FROM timeline_entry WHERE event = 'woken'"
    assert one(database, woken) == 1
    with pytest.raises(MovedOn):
        casework.do("wake", TEAMMATE, case)


@pytest.mark.parametrize("again", [1, 3])
def test_a_case_may_pause_more_than_once(
    again: int, case: int, casework: Casework, database: Database
) -> None:
    for _ in range(again):
        put_off(casework, case)
        casework.do("wake", OWNER, case)
    put_off(casework, case)
    casework.fire(2 * HOUR + MINUTE)
    assert state(database) == "open"
    assert one(database, 'SELECT pauses FROM "case"') == again + 1


def test_a_dispute_wakes_the_case(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    put_off(casework, case)
    log.take(correction("o-1", kind="dispute", reason="wrong"))
    assert state(database) == "open"


def test_the_ladder_stands_while_the_case_does(
    case: int, casework: Casework, database: Database
) -> None:
    put_off(casework, case, until=in_(5 * HOUR, casework))
    for hours in (1, 2, 4):
        casework.fire(hours * HOUR + MINUTE)
    assert one(database, 'SELECT level FROM "case"') == 0
    casework.fire(5 * HOUR + MINUTE)
    casework.fire(6 * HOUR + 2 * MINUTE)
    assert one(database, 'SELECT level FROM "case"') == 1


def test_pauses_are_bounded_in_all(case: int, casework: Casework, database: Database) -> None:
    with pytest.raises(InvalidInput, match="until: a case is paused for 3d in all") as refused:
        put_off(casework, case, until=in_(LIMIT + MINUTE, casework))
    assert refused.value.problems[0].pointer == "/until"
    put_off(casework, case, until=in_(2 * HOUR, casework))
    casework.fire(2 * HOUR + MINUTE)
    with pytest.raises(InvalidInput, match="The latest is"):
        put_off(casework, case, until=in_(LIMIT - HOUR, casework))
    rows(database, "UPDATE \"case\" SET paused_for = '4 days' RETURNING 1")
    with pytest.raises(InvalidInput, match="cannot be paused any more"):
        put_off(casework, case)
    assert state(database) == "open"


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"until": datetime.fromisoformat("2026-01-01T00:00Z")}, "/until"),
        ({"reason": " "}, "/reason"),
    ],
)
def test_a_pause_needs_a_time_to_come_and_a_reason(
    wrong: dict[str, Any], field: str, case: int, casework: Casework, database: Database
) -> None:
    with pytest.raises(InvalidInput) as refused:
        put_off(casework, case, **wrong)
    assert refused.value.problems[0].pointer == field
    assert state(database) == "open"


def test_what_somebody_holds_is_put_off_by_them_alone(
    case: int, casework: Casework, database: Database
) -> None:
    token = casework.claim(OWNER, case)
    for who, given in ((TEAMMATE, {}), (TEAMMATE, {"token": token}), (OWNER, {})):
        with pytest.raises(HeldBySomebody):
            put_off(casework, case, who, **given)
    put_off(casework, case, OWNER, token=token)
    assert state(database) == "snoozed"
    stale = {"until": in_(HOUR, casework), "reason": "r", "limit": LIMIT, "token": token}
    with pytest.raises(StaleToken):
        casework.do("wait", OWNER, case, **stale)


def test_who_does_not_own_a_case_does_not_put_it_off(
    case: int, casework: Casework, database: Database
) -> None:
    casework.do("reassign", LEAD, case, owner=Owner("person", OWNER))
    with pytest.raises(NotAllowed, match=f"{OWNER} owns this case"):
        put_off(casework, case, TEAMMATE)
    put_off(casework, case, ADMIN)
    assert state(database) == "snoozed"


def test_what_a_policy_asks_for_is_not_put_off(
    case: int, casework: Casework, database: Database
) -> None:
    rows(database, "UPDATE \"case\" SET trigger = 'policy' RETURNING 1")
    with pytest.raises(NotAllowed, match="A policy asks for a person"):
        put_off(casework, case)


def test_a_new_owner_has_a_case_that_is_open(
    case: int, casework: Casework, database: Database
) -> None:
    before = due(database)
    put_off(casework, case)
    casework.do("reassign", OWNER, case, owner=Owner("person", TEAMMATE))
    assert state(database) == "open"
    assert close_to(due(database), before)


def test_marks_of_clocks_stay(case: int, casework: Casework, database: Database) -> None:
    put_off(casework, case)
    for change in ("UPDATE clock_mark SET runs = true", "DELETE FROM clock_mark"):
        with pytest.raises(DBAPIError, match="rows of clock_mark are never changed"):
            rows(database, f"{change} RETURNING 1")


def test_an_undone_verdict_leaves_no_trace_in_the_clocks(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    before, shown = due(database), one(database, 'SELECT due_at FROM "case"')
    casework.give_verdict(OWNER, 1)
    casework.undo(OWNER, 1)
    assert due(database) == before
    assert one(database, 'SELECT due_at FROM "case"') == shown


def test_a_case_that_a_policy_asks_for_is_not_put_off_with_what_it_is_part_of(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.4), output("o-2", confidence=0.4))
    whole, part = [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]
    rows(database, "UPDATE \"case\" SET trigger = 'policy' WHERE id = :id RETURNING id", id=part)
    casework.do("merge", LEAD, part, into=whole)
    with pytest.raises(NotAllowed, match=f"case {part}"):
        put_off(casework, whole)


def test_what_is_said_of_a_part_wakes_what_it_is_part_of(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.4), output("o-2", confidence=0.4))
    whole, part = [row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id')]
    casework.do("merge", LEAD, part, into=whole)
    put_off(casework, whole)
    log.take(correction("o-2", kind="dispute"))
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=whole) == "open"


def test_how_many_more_are_to_come_is_refused_where_no_pause_is_left(
    case: int, casework: Casework, database: Database
) -> None:
    rows(database, "UPDATE \"case\" SET paused_for = '3 days', cause = 'x' RETURNING id")
    with pytest.raises(InvalidInput, match="more: a case is paused for 3d in all"):
        put_off(casework, case, until=None, more=2)
