"""Open cases routed anew to whoever is on duty, and those that a rule gave to somebody."""

import pytest

from services.kit.database import Database
from tests.escalation.reroutes import delivery_by_policy, open_some, put, reapply
from tests.factories import (
    LEAD,
    OWNER,
    POLICY,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    add_schedule,
    rows,
)

BY_DUTY = POLICY.replace("catch_all: {team: support,", "catch_all: {schedule: primary,")
GIVEN = POLICY.replace("sla: {claim", "assign: {by: round_robin}, sla: {claim", 1)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    with database.transaction() as session:
        add_schedule(session, "primary", TEAMMATE)
    return delivery_by_policy(database)


def owned(database: Database) -> list[tuple[str | None, ...]]:
    query = 'SELECT owner_team, owner_person, owner_schedule FROM "case" ORDER BY id'
    return [tuple(row) for row in rows(database, query)]


def test_case_goes_to_whoever_is_on_duty_and_back(
    log: Delivery, case: int, database: Database
) -> None:
    put(database, BY_DUTY)
    assert reapply(database).changed == 1
    assert owned(database) == [(None, TEAMMATE, "primary")]
    assert reapply(database).changed == 0
    put(database, POLICY)
    assert reapply(database).changed == 1
    assert owned(database) == [(TEAM, None, None)]


def test_case_that_was_given_to_somebody_stays_theirs(log: Delivery, database: Database) -> None:
    put(database, GIVEN)
    open_some(log, database, 2)
    assert owned(database) == [(None, LEAD, None), (None, OWNER, None)]
    assert reapply(database).changed == 0
    Casework(database).do("escalate", LEAD, 2, level=0)
    put(database, GIVEN.replace("priority: P3", "priority: P2"))
    assert reapply(database).changed == 2
    assert owned(database)[0] == (None, LEAD, None)
