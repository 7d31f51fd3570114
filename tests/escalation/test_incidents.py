"""Cases of the same cause: one incident, one owner, one deadline, told of once."""

from datetime import timedelta

import pytest
from secondlook import events

from services.escalation import service
from services.escalation.errors import MovedOn, StaleToken
from services.escalation.policy.read import read as read_policy
from services.kit.database import Database
from services.kit.errors import InvalidInput
from tests.escalation.incidents import (
    GROUPED,
    UPHELD,
    decide,
    happened,
    incident,
    parts,
    standing,
    told,
    unsure,
)
from tests.factories import (
    LEAD,
    LEASE,
    OTHER_TEAM,
    OWNER,
    TEAM,
    Casework,
    Delivery,
    actor_of,
    correction,
    failure,
    one,
    rows,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers, by a policy that groups."""
    return Delivery(database, read_policy(GROUPED))


def test_enough_cases_of_a_cause_are_an_incident(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2))
    assert {row[0] for row in standing(database)} == {"output"}
    log.take(*unsure(2, 1))
    whole = incident(database)
    assert standing(database) == [
        *[("output", "merged", whole, 0)] * 3,
        ("incident", "open", None, 3),
    ]
    assert happened(database, whole) == ["opened", "joined"]
    assert happened(database, parts(database, whole)[0]) == ["opened", "merged"]
    # It is due with the first of its cases, and these are not asked for by themselves any more.
    due = 'SELECT min(due_at) FROM "case" WHERE state = :state'
    assert one(database, due, state="open") == one(database, due, state="merged")
    running = """SELECT DISTINCT case_id FROM timer
        WHERE fired_at IS NULL AND stopped_at IS NULL"""
    assert [row.case_id for row in rows(database, running)] == [whole]


def test_a_surge_tells_its_owner_once(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 40))
    log.take(*unsure(40, 60))
    whole = incident(database)
    assert one(database, 'SELECT children FROM "case" WHERE id = :id', id=whole) == 100
    assert told(database) == [("opened", whole)]


def test_what_differs_is_another_cause(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2), *unsure(2, 2, value="tax"))
    log.take(
        *unsure(4, 2, version=events.Version(model="m-2")),
        *unsure(6, 1, version=events.Version(model="m-2")),
    )
    whole = incident(database)
    assert [row[0] for row in standing(database)].count("incident") == 1
    query = (
        'SELECT o.model FROM "case" c JOIN case_output o ON o.case_id = c.id WHERE incident = :i'
    )
    assert {row.model for row in rows(database, query, i=whole)} == {"m-2"}


def test_a_case_that_somebody_works_on_is_left_to_them(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 2))
    held = int(one(database, 'SELECT min(id) FROM "case"'))
    token = casework.claim(OWNER, held)
    log.take(*unsure(2, 1))
    assert one(database, 'SELECT state FROM "case" WHERE id = :id', id=held) == "claimed"
    assert len(parts(database, incident(database))) == 2
    casework.give_verdict(OWNER, held, token=token)


def test_what_is_older_than_the_window_does_not_count(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 2))
    rows(database, "UPDATE \"case\" SET opened_at = opened_at - interval '3 hours' RETURNING 1")
    log.take(*unsure(2, 2))
    assert {row[0] for row in standing(database)} == {"output"}


def test_failures_are_grouped_where_no_rule_says_so(database: Database) -> None:
    log = Delivery(database)
    log.take(*(failure(f"f-{n}") for n in range(10)))
    assert standing(database)[-1] == ("incident", "open", None, 10)


def test_audits_and_what_a_rule_leaves_alone_are_not_grouped(database: Database) -> None:
    log = Delivery(database, read_policy(GROUPED.replace("{by:", "none #{by:")))
    log.take(*unsure(0, 20))
    assert {row[0] for row in standing(database)} == {"output"}


def test_an_incident_that_everything_was_taken_out_of_ends(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    first, *others = parts(database, whole)
    for case in others:
        casework.do("unmerge", LEAD, case)
    token = casework.claim(OWNER, whole)
    casework.do("unmerge", LEAD, first)
    assert standing(database) == [
        *[("output", "open", None, 0)] * 3,
        ("incident", "resolved", None, 0),
    ]
    with pytest.raises(StaleToken):
        casework.do("release", OWNER, whole, token=token)
    # Taken out they are no part of the next one either.
    log.take(*unsure(3, 2))
    assert [row[0] for row in standing(database)].count("incident") == 1


def test_an_incident_whose_last_case_is_taken_out_has_the_verdict_of_the_others(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    last, *others = parts(database, whole)
    with database.transaction() as session:
        now, actor = casework.clock.now(session), actor_of(session, OWNER)
        service.decide(session, actor, others, UPHELD, lease=LEASE, now=now)
    casework.do("unmerge", LEAD, last)
    decided = 'SELECT state, verdict, verdict_by FROM "case" WHERE id = :id'
    assert rows(database, decided, id=whole) == [("resolved", "upheld", LEAD)]


def test_a_new_incident_of_the_same_cause_after_the_last(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    decide(casework, OWNER, incident(database), UPHELD)
    log.take(*unsure(3, 3))
    kinds = [row[0] for row in standing(database)]
    assert kinds.count("incident") == 2
    first = int(one(database, "SELECT min(id) FROM \"case\" WHERE subject_kind = 'incident'"))
    with pytest.raises(MovedOn, match="its cases"):
        casework.do("reopen", LEAD, first)


def test_put_off_until_so_many_more_have_come(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 3))
    whole, given = incident(database), {"reason": "known", "limit": timedelta(days=3)}
    casework.do("snooze", OWNER, whole, more=3, **given)
    log.take(*unsure(3, 2))
    query = 'SELECT state, wakes_after, children FROM "case" WHERE id = :id'
    assert tuple(rows(database, query, id=whole)[0]) == ("snoozed", 1, 5)
    log.take(*unsure(5, 1))
    assert tuple(rows(database, query, id=whole)[0]) == ("open", None, 6)
    with pytest.raises(InvalidInput, match="not said"):
        casework.do("snooze", OWNER, whole, **given)


@pytest.mark.parametrize(
    ("group", "problem"),
    [
        ("{by: [mood]}", "nothing that cases can have in common"),
        ("{by: []}", "at least 1"),
        ("{by: [tool], window: 2bd}", "is no window"),
        ("{by: [tool], incident_at: 1}", "greater than or equal to 2"),
        ("often", "says of nothing"),
        ("{when: 3}", "when"),
    ],
)
def test_a_group_that_cannot_be_used_is_refused(group: str, problem: str) -> None:
    text = GROUPED.replace(
        "{by: [tool, model_version, predicted.category], window: 2h, incident_at: 3}", group
    )
    with pytest.raises(InvalidInput, match="unsure") as refused:
        read_policy(text)
    assert problem in str(refused.value) or problem in str(refused.value.problems)
    assert "line 9" in str(refused.value) or "line 9" in str(refused.value.problems)


def test_a_case_that_others_are_merged_into_joins_none(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 2))
    first, second = (row.id for row in rows(database, 'SELECT id FROM "case" ORDER BY id'))
    casework.do("merge", LEAD, first, into=second)
    log.take(*unsure(2, 3))
    assert parts(database, incident(database)) == [second + 1, second + 2, second + 3]
    assert parts(database, second) == [first]
    assert one(database, "SELECT count(*) FROM dead_letter") == 0


def test_each_that_was_put_off_counts_all_that_comes(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 1), *unsure(1, 1))
    given = {"more": 10, "reason": "known", "limit": timedelta(days=3)}
    for row in rows(database, 'SELECT id FROM "case" ORDER BY id'):
        casework.do("snooze", OWNER, row.id, **given)
    log.take(*unsure(2, 1))
    casework.do("snooze", OWNER, int(one(database, 'SELECT max(id) FROM "case"')), **given)
    log.take(*unsure(3, 1))
    left = 'SELECT wakes_after FROM "case" WHERE wakes_after IS NOT NULL ORDER BY id'
    assert [row.wakes_after for row in rows(database, left)] == [8, 8, 9]
    # What was put off hides none of those that are enough for an incident.
    log.take(*unsure(4, 2))
    assert len(parts(database, incident(database))) == 3


def test_what_is_taken_out_again_is_told_to_its_owner(
    log: Delivery, database: Database, casework: Casework
) -> None:
    log.take(*unsure(0, 4))
    part = parts(database, incident(database))[-1]
    casework.do("unmerge", LEAD, part)
    log.relay()
    assert ("reopened", part) in told(database)


def test_a_dispute_of_a_part_is_in_its_story(log: Delivery, database: Database) -> None:
    log.take(*unsure(0, 3))
    log.take(correction("o-1", kind="dispute"))
    part = parts(database, incident(database))[1]
    assert happened(database, part)[-1] == "disputed"


def test_what_the_rule_gives_to_another_team_by_now_is_no_part_of_the_old_ones_incident(
    log: Delivery, database: Database
) -> None:
    log.take(*unsure(0, 3))
    whole = incident(database)
    moved = GROUPED.replace("owner: {team: support}", f"owner: {{team: {OTHER_TEAM}}}")
    # Another consumer of the same log, by the policy that was put since.
    later = Delivery(database, read_policy(moved))
    later.take(*unsure(3, 2))
    assert len(parts(database, whole)) == 3
    query = "SELECT team, incident FROM \"case\" WHERE state = 'open' AND subject_kind = 'output'"
    assert [tuple(row) for row in rows(database, query)] == [(OTHER_TEAM, None)] * 2


def test_newer_cases_of_another_team_do_not_hide_those_that_are_enough(
    log: Delivery, database: Database
) -> None:
    """The rule gave what came meanwhile to another team, which had not enough of it."""
    moved = GROUPED.replace("owner: {team: support}", f"owner: {{team: {OTHER_TEAM}}}")
    log.take(*unsure(0, 2))
    meanwhile = moved.replace("incident_at: 3", "incident_at: 9")
    Delivery(database, read_policy(meanwhile)).take(*unsure(2, 4))
    log.take(*unsure(6, 1))
    query = 'SELECT team, incident IS NULL AS whole FROM "case" ORDER BY id'
    found = [tuple(row) for row in rows(database, query)]
    assert found == [
        *[(TEAM, False)] * 2,
        *[(OTHER_TEAM, True)] * 4,
        (TEAM, False),
        (TEAM, True),
    ]
