"""Several reviewers of one case: each in turn, each blind, until two agree or a lead settles it."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from services.escalation import lists, opinions, queries, retention, service
from services.escalation.errors import (
    AlreadyReviewed,
    LeadNeeded,
    NothingToSettle,
    OwnDispute,
)
from services.escalation.lists import Filter
from services.escalation.rules import Owner
from services.kit.database import Database
from services.kit.errors import InvalidInput, NotAllowed
from tests.escalation.opinions import (
    ANNA,
    delivery,
    delivery_with_anna,
    published,
    say,
    stands,
    verdicts,
)
from tests.factories import (
    ADMIN,
    LEAD,
    OWNER,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    add_person,
    correction,
    one,
    output,
    populate,
    rows,
)


@pytest.fixture
def log(database: Database) -> Delivery:
    """Both consumers; every case is for two."""
    return delivery_with_anna(database)


def next_of(database: Database, who: str) -> int | None:
    with database.transaction() as session:
        found = lists.next_case(session, actor_of(session, who), Filter())
    return found.id if found else None


# --- the way of a case ----------------------------------------------------------------------


def test_two_who_agree_decide_and_one_verdict_is_told(
    case: int, casework: Casework, database: Database
) -> None:
    assert say(casework, OWNER, "tax", note="it says VAT") == "corrected"
    assert stands(database) == ("open", None, None, None, False)
    assert verdicts(database) == []
    say(casework, TEAMMATE, "tax")
    assert stands(database) == ("resolved", "corrected", "tax", TEAMMATE, False)
    assert verdicts(database) == [("corrected", "tax", TEAMMATE, True)]
    told = published(database, "secondlook.cases")
    assert told == ["opened", "claimed", "reviewed", "claimed", "reviewed", "resolved"]
    asks = """SELECT convert_from(value, 'UTF8')::jsonb->'data'->>'waits_for' FROM outbox
        WHERE topic = 'secondlook.cases' ORDER BY id"""
    waits = [row[0] for row in rows(database, asks)]
    assert waits == ["reviewer"] * 3 + [None] * 3
    assert one(database, "SELECT sum(n) FROM total_count WHERE measure = 'verdicts'") == 1


def test_a_case_is_due_as_before_after_an_opinion(
    case: int, casework: Casework, database: Database
) -> None:
    due = 'SELECT due_at = claim_due_at AND due_at < resolve_due_at FROM "case"'
    assert one(database, due)
    say(casework, OWNER, "tax")
    assert one(database, due)


def test_the_tools_own_value_is_upheld_without_anybody_knowing(
    case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "billing")
    assert rows(database, "SELECT verdict, value FROM opinion") == [("corrected", "billing")]
    say(casework, TEAMMATE, "billing")
    assert stands(database)[:3] == ("resolved", "upheld", None)


def test_where_two_differ_a_third_decides(
    case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "tax")
    say(casework, TEAMMATE, "refund")
    assert stands(database) == ("open", None, None, None, False)
    say(casework, LEAD, "tax")
    assert stands(database) == ("resolved", "corrected", "tax", LEAD, False)
    assert len(verdicts(database)) == 1


def test_where_all_three_differ_a_lead_settles(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund"), (ANNA, "billing")):
        say(casework, who, value)
    assert stands(database) == ("open", None, None, None, True)
    assert published(database, "secondlook.cases").count("divided") == 1
    with pytest.raises(AlreadyReviewed):
        casework.claim(OWNER, case)
    say(casework, LEAD, "refund")
    assert stands(database) == ("resolved", "corrected", "refund", LEAD, False)
    last = "SELECT detail FROM timeline_entry WHERE event = 'resolved'"
    assert one(database, last)["by"] == "adjudication"
    assert one(database, "SELECT count(*) FROM opinion") == 3


def test_only_a_lead_is_asked_where_all_differ(
    case: int, casework: Casework, database: Database
) -> None:
    with database.transaction() as session:
        add_person(session, "nils@example.org")
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund"), (ANNA, "billing")):
        say(casework, who, value)
    with pytest.raises(LeadNeeded):
        casework.claim("nils@example.org", case)
    assert next_of(database, "nils@example.org") is None
    assert next_of(database, LEAD) == case


def test_lead_among_the_three_settles_only_where_there_is_no_other(
    case: int, casework: Casework, database: Database
) -> None:
    for who, value in ((OWNER, "tax"), (LEAD, "refund"), (ANNA, "billing")):
        say(casework, who, value)
    with pytest.raises(AlreadyReviewed):
        say(casework, LEAD, "tax")
    casework.give_verdict(ADMIN, case, "undecidable", note="the photo is missing")
    assert stands(database)[:2] == ("resolved", "undecidable")


def test_the_only_lead_settles_though_among_the_three(
    case: int, casework: Casework, database: Database
) -> None:
    # Somebody is always an admin: here they are among the three as well.
    for who, value in ((OWNER, "tax"), (LEAD, "refund"), (ADMIN, "billing")):
        say(casework, who, value)
    with pytest.raises(AlreadyReviewed):
        say(casework, OWNER, "tax")
    say(casework, LEAD, "tax")
    assert stands(database)[:3] == ("resolved", "corrected", "tax")


@pytest.mark.parametrize(
    ("values", "decided"),
    [(("tax", "tax", "refund"), ("tax", TEAMMATE)), (("tax", "refund", "tax"), ("tax", ANNA))],
)
def test_three_are_all_asked_and_the_majority_decides(
    values: tuple[str, ...], decided: tuple[str, str], database: Database, casework: Casework
) -> None:
    with database.transaction() as session:
        add_person(session, ANNA)
    delivery(database, 3).take(output("o-1", confidence=0.4))
    for who, value in zip((OWNER, TEAMMATE, ANNA), values, strict=True):
        assert stands(database)[0] == "open"
        say(casework, who, value)
    assert stands(database)[2:4] == decided
    assert verdicts(database)[0][2] == decided[1]


def test_audit_may_ask_two_as_well(empty: Database) -> None:
    populate(empty, audit_rate=1.0)
    delivery(empty).take(output("o-1", confidence=0.9))
    asked = rows(empty, 'SELECT trigger, blind, reviewers FROM "case"')
    assert asked == [("audit", True, 2)]


# --- who may not ----------------------------------------------------------------------------


def test_nobody_gives_two_opinions(case: int, casework: Casework, database: Database) -> None:
    say(casework, OWNER, "tax")
    for attempt in (lambda: casework.claim(OWNER, case), lambda: say(casework, OWNER, "tax")):
        with pytest.raises(AlreadyReviewed):
            attempt()
    assert next_of(database, OWNER) is None
    assert next_of(database, TEAMMATE) == case
    with pytest.raises(IntegrityError, match="uq_opinion_reviewer"), database.transaction() as s:
        s.execute(
            text(
                "INSERT INTO opinion (case_id, cycle, reviewer, verdict, blind, given_at)"
                " SELECT case_id, cycle, reviewer, 'upheld', true, now() FROM opinion"
            )
        )


def test_opinion_stays_as_it_was_said(case: int, casework: Casework, database: Database) -> None:
    say(casework, OWNER, "tax")
    casework.undo(OWNER, case)
    for change in (
        "UPDATE opinion SET value = '\"refund\"'",
        "UPDATE opinion SET taken_back_at = NULL",
        "DELETE FROM opinion",
    ):
        with pytest.raises(DBAPIError, match="never changed"), database.transaction() as session:
            session.execute(text(change))


def test_who_disputed_gives_no_opinion(
    log: Delivery, casework: Casework, database: Database
) -> None:
    log.take(output("o-1", confidence=0.4), correction("o-1", kind="dispute", who=OWNER))
    with pytest.raises(OwnDispute):
        say(casework, OWNER, "tax")


def test_bulk_leaves_such_a_case_out_and_says_why(
    case: int, casework: Casework, database: Database
) -> None:
    from services.escalation import bulk
    from services.escalation.verbs import Limits, Work

    limits = Limits(timedelta(minutes=5), timedelta(hours=1), timedelta(days=1))
    with database.transaction() as session:
        now = casework.clock.now(session)
        work = Work(session, actor_of(session, OWNER), case, limits, now)
        found = bulk.do_to_all(work, "verdict", [case], {"verdict": "upheld"})
    assert found.done == []
    assert "Several people review it" in found.skipped[0].why
    assert one(database, "SELECT count(*) FROM opinion") == 0


# --- clocks ---------------------------------------------------------------------------------


def test_claim_clock_runs_between_opinions_and_the_case_is_overdue(
    case: int, casework: Casework, database: Database
) -> None:
    say(casework, OWNER, "tax", token=casework.claim(OWNER, case))
    runs = "SELECT runs FROM clock_mark WHERE clock = 'claim' ORDER BY id"
    assert [row[0] for row in rows(database, runs)] == [False, True]
    assert one(database, "SELECT count(*) FROM timer WHERE stopped_at IS NOT NULL") == 0
    while casework.fire(timedelta(hours=4)):
        pass
    state = rows(database, 'SELECT state, overdue_since IS NOT NULL, level FROM "case"')
    assert state == [("open", True, 2)]
    assert stands(database)[0] == "open"


# --- alone ----------------------------------------------------------------------------------


def test_lead_decides_alone_with_a_note(case: int, casework: Casework, database: Database) -> None:
    say(casework, OWNER, "tax")
    with pytest.raises(InvalidInput) as refused:
        say(casework, LEAD, "refund", alone=True)
    assert refused.value.problems[0].pointer == "/note"
    say(casework, LEAD, "refund", alone=True, note="Tim is ill")
    assert stands(database) == ("resolved", "corrected", "refund", LEAD, False)
    assert one(database, "SELECT detail FROM timeline_entry WHERE event = 'resolved'")["by"] == (
        "alone"
    )
    assert one(database, "SELECT count(*) FROM opinion") == 1


def test_nobody_else_decides_alone(case: int, casework: Casework, database: Database) -> None:
    with pytest.raises(NotAllowed, match="Leads and admins"):
        say(casework, OWNER, "tax", alone=True, note="it is clear")
    assert stands(database)[0] == "open"


def test_alone_is_for_cases_of_several(database: Database, casework: Casework) -> None:
    delivery(database, 1).take(output("o-1", confidence=0.4))
    with pytest.raises(NothingToSettle):
        say(casework, LEAD, "tax", alone=True, note="it is clear")


# --- what is shown --------------------------------------------------------------------------


def test_timeline_tells_opinions_only_once_it_is_decided(
    case: int, casework: Casework, database: Database
) -> None:
    def told() -> list[Any]:
        with database.transaction() as session:
            entries = queries.timeline(session, queries.case(session, case), reader=LEAD)
        return [(e.actor, e.note, e.detail) for e in entries if e.event == "reviewed"]

    say(casework, OWNER, "tax", note="it says VAT")
    assert told() == []
    say(casework, TEAMMATE, "tax")
    detail = {"verdict": "corrected", "value": "tax", "taken_back": False}
    assert told() == [(OWNER, "it says VAT", detail), (TEAMMATE, None, detail)]


def test_comments_and_notes_of_others_wait_for_the_decision(
    case: int, casework: Casework, database: Database
) -> None:
    def told(reader: str) -> list[tuple[str, str]]:
        with database.transaction() as session:
            entries = queries.timeline(session, queries.case(session, case), reader=reader)
        return [(e.event, e.note) for e in entries if e.note is not None]

    say(casework, OWNER, "tax")
    given = {"note": "I said tax, the tool said billing", "lease": timedelta(minutes=5)}
    casework.do("comment", OWNER, case, **given)
    casework.do("escalate", OWNER, case, level=0, note="clearly tax")
    written = [("commented", given["note"]), ("escalated", "clearly tax")]
    assert (told(OWNER), told(TEAMMATE), told(LEAD)) == (written, [], [])
    say(casework, TEAMMATE, "tax")
    assert told(TEAMMATE) == written


def test_nobody_reads_who_disputes_it_from_who_is_passed_over(
    database: Database, casework: Casework
) -> None:
    delivery(database, 2).take(
        output("o-1", confidence=0.4), correction("o-1", value="tax", who=LEAD)
    )
    casework.do("escalate", OWNER, 1, level=0)
    with database.transaction() as session:
        case = queries.case(session, 1)
        assert case.owner_person == ADMIN
        told = {e.event: e.note for e in queries.timeline(session, case, reader=OWNER)}
    assert told["rung skipped"] is None
    with pytest.raises(InvalidInput, match=f"{LEAD} has a part in the case"):
        casework.do("reassign", ADMIN, 1, owner=Owner("person", LEAD))


def test_panel_says_who_is_still_needed(case: int, casework: Casework, database: Database) -> None:
    def panel(who: str) -> Any:
        with database.transaction() as session:
            found = queries.case(session, case)
            return opinions.panel(session, actor_of(session, who), found)

    assert panel(OWNER).able == ["Anna", "Lea", "Olga", "Tim", "Ada"]
    say(casework, OWNER, "tax")
    assert (panel(OWNER).given, panel(OWNER).needed, panel(OWNER).yours.value) == (1, 1, "tax")
    assert panel(TEAMMATE).able == ["Anna", "Lea", "Tim", "Ada"]
    assert panel(TEAMMATE).shown == []
    assert (panel(LEAD).alone, panel(TEAMMATE).alone, panel(LEAD).shown) == (True, False, [])
    say(casework, TEAMMATE, "refund")
    say(casework, ANNA, "billing")
    assert (panel(LEAD).settles, len(panel(LEAD).shown), panel(LEAD).able) == (
        True,
        3,
        ["Lea", "Ada"],
    )
    assert panel(OWNER).shown == []


def test_opinions_go_with_their_case(case: int, casework: Casework, database: Database) -> None:
    say(casework, OWNER, "tax")
    say(casework, TEAMMATE, "tax")
    with database.transaction() as session:
        now = casework.clock.now(session)
        service.close_resolved(session, now=now, before=now)
        retention.purge_cases(session, before=now + timedelta(1), now=now, limit=10)
    assert one(database, "SELECT count(*) FROM opinion") == 0
