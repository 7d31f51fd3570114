"""What people say against an output that has a case: once each, until they take it back."""

from datetime import timedelta
from typing import Any

import pytest
from secondlook import events

from services.escalation import queries
from services.escalation.errors import OwnDispute
from services.escalation.rules import Owner
from services.feedback.service import report_unmatched
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from tests.factories import (
    LEAD,
    OWNER,
    REP,
    TEAM,
    TEAMMATE,
    TEXT,
    Casework,
    Delivery,
    add_tool,
    as_batches,
    correction,
    output,
    rows,
    total,
    withdrawal,
)
from tests.factories import one as value_of
from tests.factories.people import actor_of
from tests.factories.storage import CASES


def take_back(correction_id: str, who: str = REP) -> Any:
    return withdrawal(correction_id, "o-1", who=who)


def miss(database: Database, log: Delivery) -> None:
    """Every output that is awaited has been awaited for too long."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        report_unmatched(session, now=now, before=now)
    log.relay()


def disputed(event_id: str, who: str = REP, **more: Any) -> Any:
    return correction("o-1", kind="dispute", event_id=event_id, who=who, **more)


def state(database: Database) -> Any:
    return rows(database, 'SELECT state, verdict, cycle FROM "case"')[0]


def test_disputes_that_come_again_change_nothing(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1"), disputed("a"), disputed("b", TEAMMATE))
    sent = rows(database, "SELECT value FROM outbox WHERE topic = 'secondlook.reviews'")
    casework.give_verdict(OWNER, 1, "corrected", value="tax")
    before = rows(database, "SELECT event FROM timeline_entry ORDER BY id")
    log.take(*(bytes(row.value) for row in sent), topic=events.REVIEWS)
    assert state(database) == ("resolved", "corrected", 1)
    assert rows(database, "SELECT event FROM timeline_entry ORDER BY id") == before
    assert total(database, "exceptions") == 1


def test_case_shows_what_was_said_last(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), disputed("a"))
    log.take(disputed("b", TEAMMATE), disputed("c", LEAD))
    assert value_of(database, 'SELECT disputed_by FROM "case"') == LEAD


@pytest.mark.parametrize("who", [OWNER, TEAMMATE])
def test_nobody_who_objects_reviews_whoever_objected_last(
    log: Delivery, casework: Casework, who: str
) -> None:
    log.take(output("o-1"), disputed("a", OWNER), disputed("b", TEAMMATE))
    with pytest.raises(OwnDispute):
        casework.claim(who, 1)
    casework.claim(LEAD, 1)


def test_objection_taken_back_is_told_to_the_owner(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1"), disputed("a", OWNER, note="first"), disputed("b", note="second"))
    shown = "SELECT dispute->>'note', disputed_by FROM \"case\""
    assert rows(database, shown) == [("second", REP)]
    log.take(take_back("b"))
    assert rows(database, shown) == [("first", OWNER)]
    log.take(take_back("a", who=OWNER))
    assert rows(database, shown) == [(None, None)]
    told = "SELECT actor FROM timeline_entry WHERE event = 'dispute withdrawn' ORDER BY id"
    assert [row.actor for row in rows(database, told)] == [REP, OWNER]
    assert state(database).state == "open"
    casework.claim(OWNER, 1)


def test_objection_taken_back_by_somebody_else_stands(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), disputed("a"), take_back("a", who=TEAMMATE))
    assert value_of(database, "SELECT count(*) FROM objection WHERE withdrawn_at IS NULL") == 1


def test_objection_that_was_taken_back_first_opens_nothing(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1"), take_back("a"))
    log.take(disputed("a"))
    assert rows(database, 'SELECT id FROM "case"') == []


def test_refused_payload_of_an_id_opens_no_case(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="refund", confidence=0.97))
    log.take(output("o-1", value="billing", confidence=0.1))
    assert total(database, "dead_lettered") == 1
    assert value_of(database, 'SELECT count(*) FROM "case"') == 0
    assert total(database, "exceptions") == 0


@pytest.mark.parametrize("confidence", [0.1, 0.97])
def test_case_learns_of_its_output_however_sure_that_is(
    log: Delivery, database: Database, confidence: float
) -> None:
    log.take(correction("o-1", value="tax"))
    miss(database, log)
    assert rows(database, f"SELECT trigger, kind FROM {CASES}") == [("unmatched", None)]
    log.take(output("o-1", value="refund", confidence=confidence))
    assert rows(database, f"SELECT value, confidence FROM {CASES}") == [("refund", confidence)]
    told = "SELECT count(*) FROM timeline_entry WHERE event = 'output arrived'"
    assert value_of(database, told) == 1
    # Without its output nothing was an exception; with it, what is unsure is.
    assert total(database, "exceptions") == (confidence < 0.7)


@pytest.mark.parametrize(("confidence", "state"), [(0.1, "open"), (0.97, "resolved")])
def test_output_that_needs_a_person_opens_a_case_again_that_was_decided_without_it(
    log: Delivery, casework: Casework, database: Database, confidence: float, state: str
) -> None:
    log.take(disputed("a"))
    miss(database, log)
    casework.give_verdict(OWNER, 1, "not_actionable", note="nothing came")
    log.take(output("o-1", confidence=confidence))
    # The dispute was decided upon; what the gate holds was not.
    assert value_of(database, 'SELECT state FROM "case"') == state
    casework.give_verdict(OWNER, 1, "upheld") if state == "open" else None
    log.take(output("o-1", confidence=confidence))
    assert value_of(database, 'SELECT state FROM "case"') == "resolved"


def test_dispute_that_waited_makes_its_output_an_exception_once(
    log: Delivery, database: Database
) -> None:
    log.take(disputed("a"))
    miss(database, log)
    assert total(database, "exceptions") == 0
    log.take(output("o-1"))
    assert total(database, "exceptions", "dispute") == 1
    assert value_of(database, "SELECT count(*) FROM objection") == 1


def test_somebody_is_missed_again_who_speaks_after_another_took_it_back(
    log: Delivery, database: Database
) -> None:
    log.take(correction("o-1", value="tax", event_id="a"), take_back("a"))
    miss(database, log)
    assert rows(database, 'SELECT id FROM "case"') == []
    log.take(correction("o-1", value="refund", event_id="b"))
    miss(database, log)
    assert rows(database, "SELECT trigger, dispute->>'value' FROM \"case\"") == [
        ("unmatched", "refund")
    ]


def test_second_word_on_an_output_that_never_came_goes_to_its_case(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(correction("o-1", value="tax", event_id="a"))
    miss(database, log)
    log.take(correction("o-1", value="refund", event_id="b", who=TEAMMATE))
    miss(database, log)
    words = "SELECT said->>'value' FROM objection ORDER BY at"
    assert [row[0] for row in rows(database, words)] == ["tax", "refund"]
    log.take(take_back("b", who=TEAMMATE))
    assert value_of(database, "SELECT dispute->>'value' FROM \"case\"") == "tax"
    casework.claim(TEAMMATE, 1)


def test_claim_lets_its_holder_finish_after_the_case_has_climbed_away(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.1))
    token = casework.claim(OWNER, 1)
    with database.transaction() as session:
        session.execute(queries.text("UPDATE \"case\" SET team = 'other', owner_team = 'other'"))
    assert casework.give_verdict(OWNER, 1, token=token) == "upheld"
    with database.transaction() as session:
        seen = queries.case_for(session, actor_of(session, OWNER), 1)
    assert seen.verdict_by == OWNER


def test_clock_that_is_ahead_does_not_win_for_ever(log: Delivery, database: Database) -> None:
    log.take(output("o-1"))
    ahead = int(timedelta(days=365 * 900).total_seconds() // 60)
    log.take(correction("o-1", value="tax", minutes=ahead))
    log.take(correction("o-1", value="refund", minutes=ahead - 1))
    assert value_of(database, "SELECT decided_value FROM output") == "refund"


def test_case_learns_of_its_output_that_escalation_has_read_before(
    log: Delivery, database: Database
) -> None:
    log.take(correction("o-1", value="tax"))
    arrived = as_batches(log.records([output("o-1", value="refund", confidence=0.97)]))
    log.feed(log.escalation, arrived)
    miss(database, log)
    log.feed(log.feedback, arrived)
    log.relay()
    assert rows(database, f"SELECT value, kind FROM {CASES}") == [("refund", "category")]
    assert value_of(database, "SELECT overridden FROM output")


def test_case_is_not_given_to_somebody_who_objects(log: Delivery, casework: Casework) -> None:
    log.take(output("o-1"), disputed("a", OWNER))
    with pytest.raises(InvalidInput, match="may not review it"):
        casework.do("reassign", TEAMMATE, 1, owner=Owner("person", OWNER))


@pytest.mark.parametrize("kind", ["dispute", "correction"])
def test_owner_who_comes_to_object_owns_it_no_more(
    kind: str, log: Delivery, casework: Casework, database: Database
) -> None:
    """Whoever is accountable must be able to decide."""
    log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    for case in (1, 2):
        casework.do("reassign", LEAD, case, owner=Owner("person", OWNER))
    for output_id, who in (("o-1", OWNER), ("o-2", TEAMMATE)):
        value = "refund" if kind == "correction" else None
        log.take(correction(output_id, kind=kind, value=value, who=who))
    query = 'SELECT id, coalesce(owner_team, owner_person), state FROM "case" ORDER BY id'
    assert rows(database, query) == [(1, TEAM, "open"), (2, OWNER, "open")]
    told = """SELECT actor, note FROM timeline_entry
        WHERE case_id = 1 AND event = 'reassigned' ORDER BY id DESC LIMIT 1"""
    why = f"user:{OWNER} has a part in the case; team:{TEAM} owns it"
    assert rows(database, told) == [("secondlook", why)]


def test_holder_who_comes_to_object_reviews_no_more(log: Delivery, casework: Casework) -> None:
    log.take(output("o-1", confidence=0.1))
    token = casework.claim(OWNER, 1)
    log.take(disputed("a", OWNER))
    with pytest.raises(OwnDispute):
        casework.give_verdict(OWNER, 1, token=token)


def test_missing_output_that_comes_right_after_is_on_the_case(
    log: Delivery, database: Database
) -> None:
    log.take(correction("o-1", value="tax"))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        report_unmatched(session, now=now, before=now)
    # Word of its absence and the output itself arrive together, in their order.
    log.take(output("o-1", confidence=0.1))
    assert rows(database, f"SELECT trigger, value FROM {CASES}") == [("unmatched", "billing")]
    assert value_of(database, "SELECT exception FROM output") == "low_confidence"


def test_confirmation_that_waits_in_vain_asks_for_nobody(log: Delivery, database: Database) -> None:
    log.take(correction("o-1", kind="confirmation"))
    miss(database, log)
    assert value_of(database, 'SELECT count(*) FROM "case"') == 0
    log.take(output("o-1"))
    assert rows(database, "SELECT decided_by, overridden FROM output") == [("confirmation", False)]
    assert value_of(database, 'SELECT count(*) FROM "case"') == 0


@pytest.mark.parametrize("first", ["output", "dispute"])
def test_output_with_an_empty_text_is_disputed(
    first: str, log: Delivery, database: Database
) -> None:
    said = {"output": output("o-1", kind="text", tool=TEXT, value=""), "dispute": disputed("a")}
    said["dispute"] = said["dispute"].model_copy(update={"source": f"/tools/{TEXT}"})
    with database.transaction() as session:
        add_tool(session, TEXT)
    log.take(said.pop(first))
    log.take(*said.values())
    assert rows(database, f"SELECT trigger, value FROM {CASES}") == [("dispute", "")]
    assert total(database, "dead_lettered") == 0


def test_withdrawal_by_somebody_else_does_not_use_up_the_authors(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1"), disputed("a"), take_back("a", who=TEAMMATE))
    assert value_of(database, "SELECT count(*) FROM objection WHERE withdrawn_at IS NULL") == 1
    log.take(take_back("a"))
    assert value_of(database, "SELECT count(*) FROM objection WHERE withdrawn_at IS NULL") == 0


@pytest.mark.parametrize("before", [True, False])
def test_corrections_count_the_same_in_every_order(
    before: bool, log: Delivery, database: Database
) -> None:
    words = [correction("o-1", value="tax", event_id="a"), take_back("a")]
    for one_ in [*words, output("o-1")] if before else [output("o-1"), *words]:
        log.take(one_)
    assert total(database, "corrections") == 1
