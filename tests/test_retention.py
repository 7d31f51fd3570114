"""What is old goes, with all that belongs to it, and nothing that is still needed does."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.app.retention import Retention
from services.escalation import service as cases
from services.feedback import service as feedback
from services.feedback.consumer import FeedbackConsumer
from services.insight import queries as insight
from services.insight.account import account
from services.kit import counts, secrets
from services.kit.clock import DatabaseClock
from services.kit.consuming import dead_letters
from services.kit.counts import Count, hour_of
from services.kit.database import Database, make_engine
from services.kit.locks import Lock, try_lock
from services.kit.settings import Settings
from services.kit.web import idempotency
from services.tools import queries as tool_queries
from tests.factories import (
    ADMIN,
    OWNER,
    TOOL,
    Casework,
    Delivery,
    correction,
    one,
    output,
    populate,
    rows,
    total,
    withdrawal,
)
from tests.factories.people import browser_session, personal_token, sign_in_link

KEPT = 30
"""For how many days everything is kept here."""
_TABLES = ("output", "case", "dead_letter", "hourly_count", "idempotency_key", "sign_in")


class Ahead(DatabaseClock):
    """The database's clock, so many days ahead."""

    def __init__(self) -> None:
        self.days = 0.0

    def now(self, session: Session) -> datetime:
        return super().now(session) + timedelta(days=self.days)


class Kept:
    """An installation that grows old."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clock = Ahead()
        self.database = Database(make_engine(url))
        days = {f"retention_{table}": KEPT * 86400 for table in _TABLES}
        given = Settings(database_url=SecretStr(url), **{**days, **settings})
        self.retention = Retention(Resources(given, self.database, url, self.clock))
        self.log = Delivery(self.database)
        self.log.feedback = FeedbackConsumer(self.clock)
        self.work = Casework(self.database)
        self.work.clock = self.clock

    def pass_days(self, days: float) -> None:
        self.clock.days += days

    def purge(self) -> None:
        while self.retention():
            pass

    def close_cases(self) -> None:
        with self.database.transaction() as session:
            now = self.clock.now(session)
            cases.close_resolved(session, now=now, before=now)

    def ids(self, table: str = "output") -> list[str]:
        return [r[0] for r in rows(self.database, f"SELECT output_id FROM {table} ORDER BY 1")]

    def count(self, table: str) -> int:
        return int(one(self.database, f'SELECT count(*) FROM "{table}"'))

    def case(self, output_id: str) -> int:
        query = "SELECT case_id FROM case_output WHERE output_id = :o"
        return int(one(self.database, query, o=output_id))


@pytest.fixture
def make(fresh_database: Callable[[], str]) -> Iterator[Callable[..., Kept]]:
    made: list[Kept] = []

    def make_one(*, maturity_seconds: int = 0, **settings: Any) -> Kept:
        made.append(Kept(fresh_database(), **settings))
        populate(made[-1].database, maturity_seconds=maturity_seconds)
        return made[-1]

    yield make_one
    for each in made:
        each.database.close()


@pytest.fixture
def kept(make: Callable[..., Kept]) -> Kept:
    return make()


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
    kept.work.give_verdict(OWNER, kept.case("o-1"), "corrected", value="tax")
    kept.log.relay()
    kept.pass_days(KEPT + 1)
    kept.close_cases()
    kept.purge()
    assert (kept.ids(), kept.count("case")) == (["o-1"], 1), "it was closed just now"
    kept.pass_days(KEPT + 1)
    kept.purge()
    for table in ("output", "correction", "verdict", "case", "case_output"):
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
    kept = make(**{f"retention_{table}": None for table in _TABLES})
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


# --- others at work meanwhile -------------------------------------------------------------


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


# --- what is no fact of an output ---------------------------------------------------------


def explained(kept: Kept) -> Any:
    with kept.database.transaction() as session:
        return (
            account(session, {}, lambda *_: ()),
            sorted(dead_letters.by_reason(session)),
            sorted(dead_letters.by_tool(session)),
        )


def test_dead_letters_that_were_dealt_with_go_and_are_counted_on(kept: Kept) -> None:
    for record in (b"one", b"two", b"three"):
        kept.log.take(record, topic="secondlook.outputs")
    with kept.database.transaction() as session:
        now = kept.clock.now(session)
        dead_letters.retry(session, 1, now=now)
        dead_letters.discard(session, 2, reason="broken", actor=ADMIN, now=now)
    before = explained(kept)
    assert before[0]["dead_lettered"] == 2
    kept.pass_days(KEPT + 1)
    kept.purge()
    assert rows(kept.database, "SELECT id FROM dead_letter") == [(3,)]
    assert explained(kept) == before


def test_dead_letter_discarded_lately_stays(kept: Kept) -> None:
    kept.log.take(b"one", topic="secondlook.outputs")
    kept.pass_days(KEPT + 1)
    with kept.database.transaction() as session:
        dead_letters.discard(session, 1, reason="broken", actor=ADMIN, now=kept.clock.now(session))
    kept.purge()
    assert kept.count("dead_letter") == 1


def test_account_counts_on_cases_that_are_gone(kept: Kept) -> None:
    kept.log.take(output("o-1", confidence=0.1), output("o-2", confidence=0.1))
    kept.work.give_verdict(OWNER, kept.case("o-1"))
    kept.log.relay()
    kept.close_cases()
    before = explained(kept)[0]
    assert before["cases"] == {"open": 1, "closed": 1, "unowned": 0}
    kept.pass_days(KEPT + 1)
    kept.purge()
    assert kept.count("case") == 1
    assert explained(kept)[0] == before


def test_hourly_counts_go_and_totals_stay(make: Callable[..., Kept]) -> None:
    kept = make(retention_hourly_count=1)
    with kept.database.transaction() as session:
        now = kept.clock.now(session)
        for days in (1, 27, 60):
            hour = hour_of(now - timedelta(days=days))
            counts.add(session, {Count("outputs", TOOL, hour, 0, "proceed"): 7}, shard=0)
    kept.purge()
    ages = rows(kept.database, "SELECT now() - hour FROM hourly_count WHERE n = 7 ORDER BY 1")
    assert [age[0].days for age in ages] == [1, 27], "the rates of 28 days need them"
    assert total(kept.database, "outputs") == 21


def test_sign_ins_answers_and_full_buckets_go(kept: Kept) -> None:
    tables = ("sign_in", "sign_in_link", "personal_token", "idempotency_key", "rate_bucket")

    def use() -> None:
        with kept.database.transaction() as session:
            now = kept.clock.now(session)
            browser_session(session, OWNER)
            sign_in_link(session, OWNER)
            personal_token(session, OWNER)
            key = {"actor": OWNER, "key": f"k-{kept.clock.days}", "digest": b"d"}
            idempotency.once(session, **key, do=lambda: 1)
            secrets.take_token(session, str(now), now=now, size=5, per_minute=1)

    use()
    kept.purge()
    assert {table: kept.count(table) >= 1 for table in tables} == dict.fromkeys(tables, True)
    kept.pass_days(KEPT + 365)
    kept.purge()
    assert {table: kept.count(table) for table in tables} == dict.fromkeys(tables, 0)


# --- settings -----------------------------------------------------------------------------


def test_retention_is_a_duration_or_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECONDLOOK_RETENTION_OUTPUT", "180d")
    monkeypatch.setenv("SECONDLOOK_RETENTION_CASE", "forever")
    given = Settings()
    assert (given.retention_output, given.retention_case) == (180 * 86400, None)


def test_defaults_keep_what_the_law_asks_for() -> None:
    at_least = {"output": 183, "case": 183, "dead_letter": 30, "hourly_count": 731}
    for table, days in at_least.items():
        kept = getattr(Settings(), f"retention_{table}")
        assert kept is None or kept >= days * 86400
