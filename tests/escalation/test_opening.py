"""Cases open for what needs a person, once, and for somebody."""

import pytest
from secondlook import events

from services.escalation import queries
from services.escalation.api import case_answer
from services.escalation.cases import as_answer
from services.escalation.policy.read import read as read_policy
from services.escalation.routing import facts_of_case
from services.kit.database import Database
from tests.factories import (
    LEAD,
    OWNER,
    POLICY,
    REP,
    Casework,
    Delivery,
    actor_of,
    correction,
    one,
    output,
    populate,
    rows,
    total,
)
from tests.factories.storage import CASES


def test_open_case_for_what_the_gate_holds(log: Delivery, database: Database) -> None:
    log.take(output("sure"), output("unsure", confidence=0.69), output("mute", confidence=None))
    found = rows(
        database,
        f"SELECT output_id, trigger, owner_team FROM {CASES} ORDER BY output_id",
    )
    assert found == [("mute", "low_confidence", "support"), ("unsure", "low_confidence", "support")]
    assert total(database, "exceptions", "low_confidence") == 2


def test_open_case_once_however_often_the_output_comes(log: Delivery, database: Database) -> None:
    log.take(output("o-1", confidence=0.1))
    log.take(output("o-1", confidence=0.1), output("o-1", confidence=0.1))
    assert one(database, 'SELECT count(*) FROM "case"') == 1
    assert total(database, "cases") == 1
    assert one(database, "SELECT count(*) FROM timer") == 3


def test_output_without_a_tool_opens_nothing_until_it_is_retried(
    log: Delivery, database: Database
) -> None:
    log.take(output("o-1", tool="later", confidence=0.1))
    assert one(database, "SELECT reason FROM dead_letter") == "unknown_tool"
    assert one(database, 'SELECT count(*) FROM "case"') == 0


def test_one_review_is_requested_of_an_output_however_often_it_comes(
    log: Delivery, database: Database
) -> None:
    for _ in range(3):
        log.take(output("o-1", confidence=0.1))
    requested = "SELECT count(*) FROM outbox WHERE topic = 'secondlook.reviews'"
    assert one(database, requested) == 1
    assert (total(database, "stored"), total(database, "duplicate")) == (1, 2)


def test_open_case_for_a_dispute_with_its_words(log: Delivery, database: Database) -> None:
    log.take(output("o-1"), correction("o-1", kind="dispute", note="not about money"))
    row = rows(
        database,
        f"SELECT trigger, value, dispute, disputed_by FROM {CASES}",
    )[0]
    assert (row.trigger, row.value, row.disputed_by) == ("dispute", "billing", REP)
    assert row.dispute["note"] == "not about money"


def test_open_case_for_a_policy_hit(log: Delivery, database: Database) -> None:
    log.take(output("o-1", attributes={"vip": "yes"}), output("o-2", attributes={"vip": "no"}))
    assert rows(database, f"SELECT output_id, trigger FROM {CASES}") == [("o-1", "policy")]


def test_open_audit_case_blind_and_not_as_an_exception(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    Delivery(empty).take(output("o-1"))
    assert one(empty, 'SELECT trigger FROM "case" WHERE blind') == "audit"
    assert total(empty, "exceptions") == 0
    with empty.transaction() as session:
        shown = as_answer(queries.case(session, 1))
    assert not {"value", "confidence", "alternatives"} & shown["output"].keys()


def test_audit_is_not_routed_by_what_the_tool_said(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    log = Delivery(empty, read_policy(POLICY))
    log.take(output("o-1", value="tax"), output("o-2", value="billing"))
    routed = rows(empty, 'SELECT DISTINCT trigger, queue, rule, priority, owner_team FROM "case"')
    assert len(routed) == 1
    assert routed[0].rule == "catch-all"
    with empty.transaction() as session:
        tried = list(read_policy(POLICY).explain(facts_of_case(queries.case(session, 1))))
    assert tried[0].failed == "predicted.category is hidden while an output is audited"


def test_dispute_of_an_audited_output_counts_once(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    log = Delivery(empty)
    log.take(output("o-1"))
    dispute = correction("o-1", kind="dispute", event_id="d-1")
    log.take(dispute)
    log.take(dispute)
    assert total(empty, "exceptions", "dispute") == 1
    assert total(empty, "cases") == 1


def test_blind_case_keeps_what_was_said_against_the_tool_to_itself(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    log, casework = Delivery(empty), Casework(empty)
    log.take(output("o-1"), correction("o-1", kind="dispute", note="it said tax"))
    with empty.transaction() as session:
        shown = case_answer(session, actor_of(session, OWNER), 1)
    assert shown["blind"]
    assert "it said tax" not in repr(shown)
    casework.give_verdict(OWNER, 1, "corrected", value="refund")
    with empty.transaction() as session:
        shown = case_answer(session, actor_of(session, OWNER), 1)
    assert shown["dispute"]["note"] == "it said tax"
    assert "disputed" in [entry["event"] for entry in shown["timeline"]]


def test_route_by_the_first_rule_that_matches(log: Delivery, database: Database) -> None:
    log.take(output("o-1", value="tax", confidence=0.1))
    row = rows(database, 'SELECT owner_person, priority, rule, queue FROM "case"')[0]
    assert tuple(row) == (LEAD, "P1", "taxes", "taxes")


@pytest.mark.parametrize("key", [b"a\0b/x", b"\xff/x", b"", b"No Slug/x"])
def test_record_under_an_odd_key_is_kept_and_holds_nobody_up(
    key: bytes, database: Database
) -> None:
    delivery = Delivery(database)
    delivery.take(b"garbage", topic=events.REVIEWS, key=key)
    delivery.take(output("o-1", confidence=0.1))
    assert one(database, "SELECT reason, tool FROM dead_letter") == ("invalid", None)
    assert one(database, 'SELECT count(*) FROM "case"') == 1
