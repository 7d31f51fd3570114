"""Open cases routed anew: how many people judge them, and what makes them one incident."""

from datetime import timedelta

import pytest

from services.kit.database import Database
from tests.escalation.incidents import unsure
from tests.escalation.opinions import say
from tests.escalation.reroutes import delivery_by_policy, open_some, put, reapply, stored
from tests.factories import LEAD, OWNER, POLICY, TEAMMATE, Casework, Delivery, rows

FOR_TWO = POLICY.replace("escalate: standard}", "escalate: standard, reviewers: 2}")
IN_THREES = POLICY.replace(
    "escalate: standard}", "escalate: standard, group: {by: [tool], incident_at: 3}}"
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Consumers that go by the policy in force, which is the tests'."""
    return delivery_by_policy(database)


def judged_by(database: Database) -> list[tuple[int, bool]]:
    return [tuple(row) for row in rows(database, 'SELECT reviewers, blind FROM "case" ORDER BY id')]


def test_case_that_nobody_has_judged_is_for_as_many_as_the_policy_says(
    log: Delivery, casework: Casework, database: Database
) -> None:
    open_some(log, database, 2)
    held = casework.claim(OWNER, 2)
    put(database, FOR_TWO)
    assert reapply(database, dry_run=True).first == [1]
    assert reapply(database).first == [1]
    assert judged_by(database) == [(2, False), (1, False)], "what was open to all is not blind"
    assert casework.give_verdict(OWNER, 2, token=held) == "upheld"
    log.take(*unsure(2, 3))
    say(casework, OWNER, "tax", case=1)
    say(casework, OWNER, "tax", case=3)
    casework.undo(OWNER, 3)
    put(database, POLICY)
    assert reapply(database).first == [4, 5]
    assert judged_by(database)[2:] == [(2, True), (1, False), (1, False)]
    assert casework.give_verdict(TEAMMATE, 4) == "upheld"
    say(casework, TEAMMATE, "tax", case=1)
    assert stored(database, 1).verdict_value == "tax"


def test_case_that_has_to_do_with_no_other_gets_its_cause(
    log: Delivery, casework: Casework, database: Database
) -> None:
    open_some(log, database, 4)
    casework.do("merge", LEAD, 2, into=1)
    put(database, IN_THREES)
    assert reapply(database).first == [3, 4]
    assert reapply(database).changed == 0
    assert stored(database, 1).cause is stored(database, 2).cause is None
    log.take(*unsure(5, 1))
    whole = stored(database, 3).incident
    assert [stored(database, n).incident for n in (3, 4, 5)] == [whole] * 3
    casework.do("unmerge", LEAD, 3)
    put(database, IN_THREES.replace("incident_at: 3", "incident_at: 4"))
    assert reapply(database).changed == 0
    assert stored(database, 3).cause is None, "somebody took it out of the incident"
    put(database, POLICY.replace("escalate: standard}", "escalate: standard, group: none}"))
    reapply(database)
    assert stored(database, whole).cause is not None


def test_case_that_waits_for_more_of_its_cause_keeps_it(
    log: Delivery, casework: Casework, database: Database
) -> None:
    put(database, IN_THREES)
    open_some(log, database, 1)
    casework.do("snooze", LEAD, 1, more=1, reason="later", limit=timedelta(days=3))
    cause = stored(database, 1).cause
    put(database, POLICY.replace("escalate: standard}", "escalate: standard, group: none}"))
    reapply(database)
    assert (stored(database, 1).cause, stored(database, 1).wakes_after) == (cause, 1)
