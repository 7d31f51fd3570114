"""What is old goes, with all that belongs to it, and nothing that is still needed does."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.feedback import service as feedback
from services.insight import queries as insight
from services.kit.consuming import dead_letters
from services.kit.locks import Lock, try_lock
from services.tools import queries as tool_queries
from tests.factories import (
    ADMIN,
    OWNER,
    TOOL,
    correction,
    one,
    output,
    rows,
    total,
    withdrawal,
)
from tests.factories.ageing import KEPT, TABLES, Kept


def test_old_output_goes_with_all_that_was_said_and_its_counts_stay(kept: Kept) -> None:
    said = correction("o-1", value="tax", event_id="c-1")
    taken_back = correction("o-1", value="refund", event_id="c-2")
    kept.log.take(output("o-1"), said, taken_back, withdrawal("c-2", "o-1"))
    assert total(kept.database, "overridden") == 1
    before = rows(kept.database, "SELECT * FROM total_count ORDER BY measure, label")
    kept.pass_days(KEPT + 1)
    kept.log.take(output("o-2"))
    kept.purge()
    assert kept.ids() == ["o-2"]
    assert [kept.count(t) for t in ("correction", "withdrawal", "verdict")] == [0, 0, 0]
    assert total(kept.database, "outputs") == 2
    kept_rows = rows(kept.database, "SELECT * FROM total_count ORDER BY measure, label")
    assert {row.measure for row in before} <= {row.measure for row in kept_rows}
    assert total(kept.database, "overridden") == 1


def test_open_case_stays_with_what_hangs_on_it(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1), correction("o-1", kind="dispute", note="no"))
    tables = ("case", "case_output", "timeline_entry", "timer", "objection", "correction")
    before = {table: kept.count(table) for table in tables}
    kept.pass_days(10 * KEPT)
    kept.purge()
    assert kept.ids() == ["o-1"]
    assert {table: kept.count(table) for table in tables} == before


def test_resolved_case_that_is_not_closed_stays(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.log.relay()
    kept.pass_days(10 * KEPT)
    kept.purge()
    assert (kept.ids(), kept.count("verdict"), kept.count("case")) == (["o-1"], 1, 1)


def test_closed_case_goes_with_its_output_after_the_retention(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1), correction("o-1", kind="dispute", note="no"))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.work.undo(OWNER, kept.case("o-1"))
    kept.work.give_verdict(OWNER, kept.case("o-1"), "corrected", value="tax")
    kept.log.relay()
    assert (kept.count("verdict"), kept.count("undone_verdict")) == (2, 1)
    kept.pass_days(KEPT + 1)
    kept.close_cases()
    kept.purge()
    assert (kept.ids(), kept.count("case")) == (["o-1"], 1), "it was closed just now"
    kept.pass_days(KEPT + 1)
    kept.purge()
    for table in ("output", "correction", "verdict", "undone_verdict", "case", "case_output"):
        assert kept.count(table) == 0, table
    for table in ("timeline_entry", "timer", "objection"):
        assert kept.count(table) == 0, table
    assert total(kept.database, "overridden") == 1
    assert total(kept.database, "cases") == 1


def test_output_stays_as_long_as_its_case(make: Callable[..., Kept]) -> None:
    kept = make(retention_case=None)
    kept.log.take(output("o-1", confidence=0.1), output("o-2"))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.log.relay()
    kept.close_cases()
    kept.pass_days(10 * KEPT)
    kept.purge()
    assert kept.ids() == ["o-1"]


def test_output_with_something_newer_said_of_it_stays(kept: Kept) -> None:
    kept.log.take(output("o-1"), output("o-2"))
    kept.pass_days(KEPT - 1)
    kept.log.take(correction("o-1", kind="confirmation"))
    kept.pass_days(2)
    kept.purge()
    assert kept.ids() == ["o-1"]
    kept.pass_days(KEPT)
    kept.purge()
    assert (kept.ids(), kept.count("correction")) == ([], 0)


def test_correction_that_waited_in_vain_goes_unless_its_case_is_open(kept: Kept) -> None:
    kept.log.take(correction("o-1", value="tax"), correction("o-2", kind="confirmation"))
    kept.pass_days(KEPT + 1)
    kept.purge()
    assert kept.ids() == ["o-1", "o-2"], "nobody has been told yet"
    with kept.database.transaction() as session:
        now = kept.clock.now(session)
        feedback.report_unmatched(session, now=now, before=now)
    kept.log.relay()
    kept.purge()
    assert (kept.ids(), kept.ids("correction")) == (["o-1"], ["o-1"])


def test_id_comes_again_after_its_facts_are_gone(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.log.relay()
    kept.close_cases()
    first = kept.case("o-1")
    kept.pass_days(KEPT + 1)
    kept.purge()
    assert kept.ids() == []
    kept.log.take(output("o-1", value="refund", confidence=0.1))
    assert one(kept.database, "SELECT value, decided_by FROM output") == ("refund", None)
    assert kept.case("o-1") != first, "a case of its own"
    assert (total(kept.database, "outputs"), total(kept.database, "duplicate")) == (2, 0)
    assert kept.count("dead_letter") == 0, "no conflict with what nobody knows any more"


def test_correction_of_an_output_that_is_gone_waits_for_it(kept: Kept) -> None:
    kept.log.take(output("o-1"))
    kept.pass_days(KEPT + 1)
    kept.purge()
    kept.log.take(correction("o-1", value="tax"))
    assert one(kept.database, "SELECT recorded_at IS NULL FROM output") is True
    assert total(kept.database, "overridden") == 0


def test_rates_are_the_same_as_if_nothing_had_gone(make: Callable[..., Kept]) -> None:
    purged, whole = make(maturity_seconds=3600, retention_output=60), make(maturity_seconds=3600)
    said = [*(output(f"o-{n}") for n in range(5)), correction("o-1", value="tax")]

    def measured(which: Kept) -> Any:
        with which.database.transaction() as session:
            tool, now = tool_queries.tool(session, TOOL), which.clock.now(session)
            rate = insight.rates(session, tool, now=now).override_rate
            totals = insight.matured_totals(session, tool, now=now)
            return rate.numerator, rate.denominator, [sum(one.values()) for one in totals]

    for each in (purged, whole):
        each.log.take(*said)
    for _ in range(10):
        for each in (purged, whole):
            each.pass_days(1 / 96)
        purged.purge()
        assert measured(purged) == measured(whole)
    assert (purged.ids(), len(whole.ids())) == ([], 5)
    assert measured(purged) == (1, 5, [5, 1, 0])


def test_for_ever_keeps(make: Callable[..., Kept]) -> None:
    kept = make(**{f"retention_{table}": None for table in TABLES})
    kept.log.take(output("o-1"), b"no event", topic="secondlook.outputs")
    with kept.database.transaction() as session:
        dead_letters.discard(session, 1, reason="broken", actor=ADMIN, now=kept.clock.now(session))
    hours = kept.count("hourly_count")
    kept.pass_days(10_000)
    kept.purge()
    assert (kept.ids(), kept.count("dead_letter"), kept.count("hourly_count")) == (
        ["o-1"],
        1,
        hours,
    )


def test_only_one_purges_at_once(kept: Kept) -> None:
    kept.log.take(output("o-1"))
    kept.pass_days(KEPT + 1)
    with kept.database.transaction() as session:
        assert try_lock(session, Lock.PURGE)
        kept.purge()
        assert kept.ids() == ["o-1"]
    kept.purge()
    assert kept.ids() == []


def test_output_that_somebody_writes_to_is_passed_over(kept: Kept) -> None:
    kept.log.take(output("o-1"), output("o-2"))
    kept.pass_days(KEPT + 1)
    held = text("SELECT FROM output WHERE output_id = 'o-1' FOR UPDATE")
    with kept.database.transaction() as session:
        session.execute(held)
        kept.purge()
    assert kept.ids() == ["o-1"]
    kept.pass_days(1)
    kept.purge()
    assert kept.ids() == []


def test_corrections_that_come_meanwhile_are_never_without_an_output(kept: Kept) -> None:
    names = [f"o-{n}" for n in range(300)]
    kept.log.take(*(output(name) for name in names))
    kept.pass_days(KEPT + 1)

    def say() -> None:
        for name in names[::-1]:
            kept.log.take(correction(name, value="tax"))

    with ThreadPoolExecutor(1) as threads:
        saying = threads.submit(say)
        while not saying.done():
            kept.retention()
            kept.retention._outputs.begin_again()
        saying.result()
    assert kept.ids("correction") == kept.ids() == sorted(names)
    stored, overridden = "recorded_at IS NOT NULL", "overridden"
    query = f"SELECT count(*) FROM output WHERE ({stored}) <> coalesce({overridden}, false)"
    assert one(kept.database, query) == 0


def test_timeline_refuses_a_deletion_after_a_purge(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.log.relay()
    kept.close_cases()
    kept.pass_days(KEPT + 1)
    kept.purge()
    assert kept.ids("case_output") == ["o-2"]
    with (
        pytest.raises(DBAPIError, match="rows of timeline_entry are never changed"),
        kept.database.transaction() as session,
    ):
        session.execute(text("DELETE FROM timeline_entry"))
