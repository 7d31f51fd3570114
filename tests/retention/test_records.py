"""Dead letters, counts, sign-ins and answers go when they are old; what is counted stays."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from services.insight.account import account
from services.kit import counts, throttle
from services.kit.consuming import dead_letters
from services.kit.counts import Count, hour_of
from services.kit.settings import Settings
from services.kit.web import idempotency
from tests.factories import (
    ADMIN,
    OWNER,
    TOOL,
    output,
    rows,
    total,
)
from tests.factories.ageing import KEPT, Kept
from tests.factories.people import browser_session, personal_token, sign_in_link


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


SLOW = throttle.Throttle(free=5, first=1.0, longest=60.0)


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
            throttle.seconds_to_wait(session, str(now), SLOW, now=now)

    use()
    kept.purge()
    assert {table: kept.count(table) >= 1 for table in tables} == dict.fromkeys(tables, True)
    kept.pass_days(KEPT + 365)
    kept.purge()
    assert {table: kept.count(table) for table in tables} == dict.fromkeys(tables, 0)


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
