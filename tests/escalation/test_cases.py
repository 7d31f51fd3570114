"""Cases: who gets them, who may review them, what their deadlines do."""

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from services.escalation import lists, queries
from services.escalation.leaving import CaseDuty
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import NotFound, SecondlookError
from services.people import service as people_service
from services.people.errors import StillOwns
from tests.factories import (
    ADMIN,
    LEAD,
    OUTSIDER,
    OWNER,
    REP,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    failure,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.storage import CASES


def events_of(database: Database, case: int) -> list[str]:
    found = rows(
        database, "SELECT event FROM timeline_entry WHERE case_id = :c ORDER BY id", c=case
    )
    return [row.event for row in found]


@pytest.mark.parametrize(
    ("who", "error"), [(OUTSIDER, NotFound), (REP, NotFound)], ids=["outsider", "rep"]
)
def test_case_is_not_found_by_those_who_may_not_see_it(
    who: str, error: type[SecondlookError], case: int, casework: Casework
) -> None:
    with pytest.raises(error):
        casework.claim(who, case)


def test_timeline_cannot_be_rewritten(case: int, database: Database) -> None:
    for statement in ("UPDATE timeline_entry SET note = 'x'", "DELETE FROM timeline_entry"):
        with pytest.raises(Exception, match="are never changed"), database.transaction() as session:
            session.execute(queries.text(statement))


def test_person_who_leaves_hands_cases_over(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    with database.transaction() as session:
        given: Any = {"actor": actor_of(session, ADMIN), "now": DatabaseClock().now(session)}
        duties = (CaseDuty(lambda _: None),)
        left = people_service.change_person(session, LEAD, active=False, duties=duties, **given)
    assert left == 1
    assert rows(database, 'SELECT owner_team, owner_person FROM "case"') == [("support", None)]


def test_person_who_leaves_gives_back_what_they_hold(
    log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    casework.claim(TEAMMATE, case)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        actor = actor_of(session, ADMIN)
        people_service.change_person(
            session,
            TEAMMATE,
            active=False,
            duties=(CaseDuty(lambda _: None),),
            actor=actor,
            now=now,
        )
    assert rows(database, 'SELECT state, claimant FROM "case"') == [("open", None)]
    assert one(database, "SELECT stopped_at IS NULL FROM timer WHERE kind = 'claim'")
    assert events_of(database, case)[-1] == "released"


def leave(database: Database, email: str) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.change_person(
            session, email, active=False, actor=OPERATOR, duties=(), now=now
        )


def test_owner_of_an_open_case_cannot_leave(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    with pytest.raises(StillOwns):
        leave(database, LEAD)
    assert one(database, "SELECT active FROM person WHERE email = :e", e=LEAD)


def test_nobody_who_left_becomes_an_owner(case: int, database: Database) -> None:
    leave(database, TEAMMATE)
    statement = queries.text('UPDATE "case" SET owner_team = NULL, owner_person = :who')
    with pytest.raises(IntegrityError, match="not active"), database.transaction() as session:
        session.execute(statement, {"who": TEAMMATE})


def test_list_shows_the_soonest_due_first_and_only_what_is_in_sight(
    log: Delivery, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(5)), failure("f-1"))
    with database.transaction() as session:
        mine = lists.cases(session, actor_of(session, OWNER), lists.Filter())
        theirs = lists.cases(session, actor_of(session, OUTSIDER), lists.Filter())
        everything = lists.cases(session, actor_of(session, ADMIN), lists.Filter())
        first = lists.cases(session, actor_of(session, OWNER), lists.Filter(), limit=2)
        after = (first[-1].due_at, first[-1].id)
        rest = lists.cases(session, actor_of(session, OWNER), lists.Filter(), after=after)
    assert len(mine) == len(everything) == 6
    assert theirs == []
    assert [row.id for row in mine] == [row.id for row in first + rest]
    assert [row.due_at for row in mine] == sorted(row.due_at for row in mine)


def test_counts_tell_nothing_of_other_teams(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        for who, seen in ((OWNER, 1), (OUTSIDER, 0), (ADMIN, 1)):
            actor, everything = actor_of(session, who), lists.Filter()
            assert lists.count(session, actor, everything, most=9) == seen
            assert lists.newer_than(session, actor, everything, 0, most=9) == seen


def test_case_that_is_both_ones_own_and_ones_teams_is_listed_once(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    assert one(database, "SELECT owner_person FROM \"case\" WHERE team = 'support'") == LEAD
    with database.transaction() as session:
        lead = actor_of(session, LEAD)
        assert len(lists.cases(session, lead, lists.Filter())) == 1
        assert lists.count(session, lead, lists.Filter(), most=9) == 1


def test_arrivals_are_looked_for_among_the_newest_cases_alone(
    log: Delivery, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "_LOOKED_AT", 2)
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(3)))
    with database.transaction() as session:
        owner = actor_of(session, OWNER)
        assert lists.newer_than(session, owner, lists.Filter(), 0, most=9) == 2


def test_next_case_is_found_behind_any_number_that_others_hold(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(*(output(f"o-{n}", confidence=0.1) for n in range(30)))
    with database.transaction() as session:
        listed = [row.id for row in lists.cases(session, actor_of(session, OWNER), lists.Filter())]
    for case in listed[:-2]:
        casework.claim(TEAMMATE, case)
    log.take(correction(output_of(database, listed[-2]), kind="dispute", reason="no"))
    with database.transaction() as session:
        rep = lists.Filter(reviewable_by=REP)
        assert [row.id for row in lists.cases(session, actor_of(session, OWNER), rep)] == [
            listed[-1]
        ]
        following = lists.next_case(session, actor_of(session, OWNER), lists.Filter())
        assert following is not None
        assert following == queries.case(session, listed[-2])


def output_of(database: Database, case: int) -> str:
    return str(
        one(
            database,
            f"SELECT output_id FROM {CASES} WHERE id = :c",
            c=case,
        )
    )


def test_unowned_counts_cases_whose_team_has_nobody_to_review(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        assert queries.unowned(session) == {}
        # Past the database, which refuses this: the check must not lean on it.
        session.execute(text("ALTER TABLE person DISABLE TRIGGER USER"))
        session.execute(text("UPDATE person SET role = 'rep'"))
        assert queries.unowned(session) == {"categoriser": 1}
