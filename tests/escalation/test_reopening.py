"""Many decided cases are opened again at once, and late outputs go onto their cases at once."""

from collections.abc import Iterable
from typing import Any

import pytest

from services.feedback.service import report_unmatched
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from tests.factories import (
    OWNER,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    as_batches,
    correction,
    one,
    output,
    rows,
)
from tests.factories.storage import counted


def named(prefix: str, number: int) -> list[str]:
    return [f"{prefix}-{place}" for place in range(number)]


def appeal(output_id: str, **given: Any) -> Any:
    return correction(output_id, kind="appeal", note=f"look at {output_id}", **given)


def decide(casework: Casework, database: Database, verdict: str = "upheld") -> None:
    """Every open case is reviewed."""
    for row in rows(database, "SELECT id FROM \"case\" WHERE state = 'open' ORDER BY id"):
        casework.give_verdict(OWNER, row.id, verdict, note="seen")


def miss(log: Delivery, database: Database, ids: Iterable[str]) -> None:
    """Cases are opened on outputs that were disputed and have not come."""
    log.take(*(correction(id_, kind="dispute") for id_ in ids))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        report_unmatched(session, now=now, before=now)
    log.relay()


def sent_for(log: Delivery, database: Database, *given: Any) -> int:
    """How many statements escalation sends for the reviews that these events ask for."""
    log.feed(log.feedback, as_batches(log.records(given)))
    with counted(database) as sent:
        log.relay()
    return len(sent)


def test_appeals_take_as_many_statements_however_many_cases_they_reopen(
    log: Delivery, casework: Casework, database: Database
) -> None:
    few, many = named("few", 3), named("many", 30)
    log.take(*(output(id_, confidence=0.1) for id_ in few + many))
    decide(casework, database)
    of_three = sent_for(log, database, *map(appeal, few))
    of_thirty = sent_for(log, database, *map(appeal, many))
    assert one(database, "SELECT count(*) FROM \"case\" WHERE state = 'open' AND cycle = 2") == 33
    assert of_thirty <= of_three


@pytest.mark.parametrize("decided", [False, True])
def test_late_outputs_take_as_many_statements_however_many_come(
    decided: bool, log: Delivery, casework: Casework, database: Database
) -> None:
    few, many = named("few", 3), named("many", 30)
    miss(log, database, few + many)
    if decided:
        decide(casework, database, "not_actionable")
    of_three = sent_for(log, database, *(output(id_, confidence=0.1) for id_ in few))
    of_thirty = sent_for(log, database, *(output(id_, confidence=0.1) for id_ in many))
    query = 'SELECT count(*) FROM case_output o JOIN "case" c ON c.id = o.case_id'
    arrived = f"{query} WHERE o.kind IS NOT NULL AND o.confidence = 0.1 AND c.state = 'open'"
    assert one(database, arrived) == 33
    assert of_thirty <= of_three


def test_appeals_that_come_together_are_told_on_their_own_cases(
    log: Delivery, casework: Casework, database: Database
) -> None:
    ids = named("o", 3)
    log.take(*(output(id_, confidence=0.1) for id_ in ids))
    decide(casework, database)
    again = correction("o-1", kind="dispute", note="I too", who=TEAMMATE, minutes=2)
    sent_for(log, database, appeal("o-2"), appeal("o-1"), again, appeal("o-0"))
    said = rows(
        database,
        """SELECT o.output_id, t.event, t.actor, t.note FROM timeline_entry t
        JOIN case_output o ON o.case_id = t.case_id
        WHERE event IN ('reopened', 'disputed') ORDER BY o.output_id, t.id""",
    )
    assert said == [
        ("o-0", "reopened", REP, "look at o-0"),
        ("o-1", "reopened", REP, "look at o-1"),
        ("o-1", "disputed", TEAMMATE, "I too"),
        ("o-2", "reopened", REP, "look at o-2"),
    ]
    timers = rows(database, "SELECT case_id, count(*) FROM timer WHERE cycle = 2 GROUP BY 1")
    assert sorted(timers) == [(1, 3), (2, 3), (3, 3)]


def test_late_outputs_go_each_onto_its_own_case(log: Delivery, database: Database) -> None:
    miss(log, database, named("o", 3))
    values = {"o-0": "refund", "o-1": "tax", "o-2": "billing"}
    sent_for(log, database, *(output(id_, value=value) for id_, value in values.items()))
    found = rows(database, "SELECT output_id, value FROM case_output")
    assert {row.output_id: row.value for row in found} == values
    told = "SELECT case_id FROM timeline_entry WHERE event = 'output arrived' ORDER BY case_id"
    assert [row.case_id for row in rows(database, told)] == [1, 2, 3]
