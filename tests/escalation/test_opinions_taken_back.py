"""An opinion is taken back, and so is a verdict that followed from several."""

from datetime import timedelta

import pytest

from services.escalation import opinions, queries
from services.escalation.errors import MovedOn
from services.kit.database import Database
from services.kit.errors import NotAllowed
from tests.escalation.opinions import ANNA, delivery_with_anna, say, stands, verdicts
from tests.factories import (
    LEAD,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers; every case is for two."""
    return delivery_with_anna(database)


def test_opinion_is_taken_back_by_its_giver_and_given_anew(
    case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "tax")
    with pytest.raises(MovedOn, match="no opinion"):
        casework.undo(LEAD, case)
    casework.undo(OWNER, case)
    assert one(database, "SELECT count(*) FROM opinion WHERE taken_back_at IS NULL") == 0
    say(casework, OWNER, "refund")
    say(casework, TEAMMATE, "refund")
    assert stands(database)[:3] == ("resolved", "corrected", "refund")


@pytest.mark.parametrize("who", [TEAMMATE, LEAD])
def test_undo_of_the_verdict_takes_back_the_last_opinion_alone(
    who: str, case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "tax")
    say(casework, TEAMMATE, "tax")
    with pytest.raises(NotAllowed):
        casework.undo(OWNER, case)
    casework.undo(who, case)
    standing = "SELECT reviewer FROM opinion WHERE taken_back_at IS NULL"
    assert one(database, standing) == OWNER
    assert stands(database) == ("open", None, None, None, False)
    with database.transaction() as session:
        seen = queries.case(session, case)
    assert (seen.hidden, seen.blind) == (True, False)
    say(casework, ANNA, "tax")
    assert [row[3] for row in verdicts(database) if row[0]] == [True, False]


def test_undo_of_a_leads_word_leaves_all_opinions(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund"), (ANNA, "billing"), (LEAD, "tax")):
        say(casework, who, value)
    casework.undo(LEAD, case)
    assert stands(database) == ("open", None, None, None, True)
    assert one(database, "SELECT count(*) FROM opinion WHERE taken_back_at IS NULL") == 3


def test_taking_back_one_of_three_asks_a_reviewer_again(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund"), (ANNA, "billing")):
        say(casework, who, value)
    casework.undo(OWNER, case)
    assert stands(database)[4] is False
    say(casework, LEAD, "refund")
    assert stands(database)[:3] == ("resolved", "corrected", "refund")


def test_new_cycle_asks_anew(log: Delivery, case: int, casework: Casework) -> None:
    say(casework, OWNER, "tax")
    say(casework, TEAMMATE, "tax")
    casework.do("reopen", LEAD, case, note="the customer wrote again")
    with casework.database.transaction() as session:
        reopened = queries.case(session, case)
        assert (reopened.hidden, reopened.cycle) == (True, 2)
        assert opinions.of(session, reopened) == []
    say(casework, OWNER, "refund")
    say(casework, TEAMMATE, "refund")
    assert stands(casework.database)[2] == "refund"


@pytest.mark.parametrize(
    "said", [{"kind": "dispute"}, {"value": "tax"}], ids=["dispute", "correct"]
)
def test_opinion_of_somebody_who_speaks_up_later_counts_no_more(
    said: dict[str, str], log: Delivery, case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "tax")
    log.take(correction("o-1", who=OWNER, event_id="own-1", **said))
    say(casework, TEAMMATE, "tax")
    assert stands(database) == ("open", None, None, None, False)
    with database.transaction() as session:
        found = opinions.panel(session, actor_of(session, LEAD), queries.case(session, case))
    assert (found.given, found.needed) == (1, 1)
    say(casework, ANNA, "tax")
    assert stands(database)[:4] == ("resolved", "corrected", "tax", ANNA)


def test_undo_twice_of_one_verdict_takes_back_one_opinion(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (LEAD, "refund"), (TEAMMATE, "tax")):
        say(casework, who, value)
    seen = one(database, 'SELECT verdict_id FROM "case"')
    again = {"verdict_id": seen, "window": timedelta(hours=1)}
    casework.do("undo", LEAD, case, **again)
    with pytest.raises(MovedOn):
        casework.do("undo", LEAD, case, **again)
    standing = "SELECT count(*) FROM opinion WHERE taken_back_at IS NULL"
    assert one(database, standing) == 2


def test_opinion_stays_once_its_giver_has_seen_the_others(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (LEAD, "refund"), (TEAMMATE, "tax")):
        say(casework, who, value)
    casework.undo(TEAMMATE, case)
    with pytest.raises(MovedOn, match="could be taken back"):
        casework.undo(LEAD, case)
    with database.transaction() as session:
        found = opinions.panel(session, actor_of(session, LEAD), queries.case(session, case))
    assert found.yours.stays
    say(casework, ANNA, "refund")
    assert stands(database)[:4] == ("resolved", "corrected", "refund", ANNA)
    assert verdicts(database)[-1] == ("corrected", "refund", ANNA, False)
    with database.transaction() as session:
        since = casework.clock.now(session) - timedelta(days=1)
        blind = [one.reviewer for one in queries.labels(session, since=since)]
    assert blind == [OWNER, LEAD]
