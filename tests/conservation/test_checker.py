"""The checker finds what is wrong: each test plants one bug and reads the bug's name."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from copy import deepcopy
from typing import Any

import psycopg
import pytest
from secondlook import events
from secondlook.testing import POISON
from sqlalchemy import text

from services.escalation import service as escalation
from services.escalation import timers
from services.feedback import service as feedback
from services.kit import counts
from services.kit.consuming import dead_letters
from services.kit.consuming.outbox import Relay
from services.kit.consuming.runner import Consumer
from services.kit.eventlog.port import Batch
from tests.conservation.checker import Ledger
from tests.conservation.small import Small, small_house
from tests.house import OWNER, TEAMMATE, correction, failure, output

EXPECTED = {"invalid": "refused", "unknown_type": "parked"}


@pytest.fixture(scope="module")
def told(postgres_url: str) -> Iterator[Ledger]:
    """The ledger of a story that is told once, in the database `story`."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE story TEMPLATE template")
        with small_house(named(postgres_url, "story")) as opened:
            tell_the_story(opened)
        yield opened.ledger
        connection.execute("DROP DATABASE story WITH (FORCE)")


@pytest.fixture
def house(postgres_url: str, told: Ledger) -> Iterator[Small]:
    """A copy of the house after the story, to plant a bug in."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE planted TEMPLATE story")
        with small_house(named(postgres_url, "planted"), deepcopy(told)) as opened:
            yield opened
        connection.execute("DROP DATABASE planted WITH (FORCE)")


def named(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


def tell_the_story(house: Small) -> None:
    """A day in the house with everything in it that the checker looks at."""
    early = correction("late", value="refund", note="n-1")
    house.say(early, output("sure"), output("unsure", confidence=0.2), output("late"))
    house.say(output("doubted"), failure("broken"), output("overdue", confidence=0.1))
    house.say(correction("doubted", kind="dispute", note="n-2"))
    house.say(output("sure"), output("unsure", confidence=0.2), early)
    house.say(correction("sure", kind="confirmation", note="n-3"))
    for number, poison in enumerate(p for p in POISON[-60:] if p.expected in EXPECTED):
        if not poison.headers:
            house.throw(f"poison-{number}", poison.raw, fate=EXPECTED[poison.expected])
    house.settle()
    house.judge(OWNER, house.case("unsure"))
    house.claim(OWNER, house.case("broken"), seconds=0)
    house.judge(TEAMMATE, house.case("broken"), token=None)
    house.fire(hours=0.6)
    house.settle()
    house.say(correction("unsure", kind="appeal", note="n-4"))
    house.settle()
    house.fire(hours=5)
    house.settle()


def found(house: Small) -> set[str]:
    return {violation.check for violation in house.check()}


def run(house: Small, statement: str, **given: Any) -> None:
    with house.database.transaction() as session:
        assert session.execute(text(statement), given).rowcount > 0  # type: ignore[attr-defined]


def test_sound_house_has_no_violations(house: Small) -> None:
    assert house.check() == []


# --- in the consumer ----------------------------------------------------------------------


class Crash(BaseException):
    """The process dies here."""


class OffsetFirst(Consumer):
    """Commits the offset, then dies before the rows."""

    def _commit(self, batches: Sequence[Batch], *, careful: bool) -> None:
        with self._database.transaction() as session:
            self._advance(session, batches, careful=careful)
        if any(batch.records for batch in batches):
            raise Crash


def die_after_the_offset(house: Small, consumer: str) -> None:
    member = house.consumer(consumer, OffsetFirst)
    with suppress(Crash):
        while house.behind(consumer):
            member._turn()
    member._member.close()
    house.settle()


def test_offset_committed_first_is_found(house: Small) -> None:
    house.say(output("gone"))
    die_after_the_offset(house, "feedback")
    assert found(house) >= {"lost", "explained"}


def test_offset_committed_first_by_escalation_is_found(house: Small) -> None:
    house.say(output("gone", confidence=0.1))
    die_after_the_offset(house, "escalation")
    assert found(house) == {"cases"}


def test_no_unique_key_is_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    run_ddl(house, "ALTER TABLE correction DROP CONSTRAINT pk_correction")
    insert = str(feedback._STORE_CORRECTIONS).replace("ON CONFLICT (tool, event_id) DO NOTHING", "")
    monkeypatch.setattr(feedback, "_STORE_CORRECTIONS", text(insert))
    monkeypatch.setattr(feedback, "_drop_known", lambda _s, _known, rows, _taken: list(rows))
    said = correction("sure", value="tax", note="n-9", minutes=9)
    for _ in range(2):
        house.say(said)
        house.settle()
    assert "once" in found(house)


def run_ddl(house: Small, statement: str) -> None:
    with house.database.transaction() as session:
        session.execute(text(statement))


def test_counts_added_twice_are_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    add = counts.add

    def twice(*given: Any, **more: Any) -> None:
        add(*given, **more)
        add(*given, **more)

    monkeypatch.setattr(feedback.counts, "add", twice)
    house.say(output("one-more"))
    house.settle()
    assert found(house) >= {"explained", "totals", "hours"}


def test_hour_counted_without_its_total_is_found(house: Small) -> None:
    run(house, "UPDATE hourly_count SET n = n + 1 WHERE measure = 'outputs'")
    assert found(house) == {"hours"}


def test_dropped_poison_is_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letters, "keep", lambda _s, _c, refused, **_: [True] * len(refused))
    house.throw("bad", b"{")
    house.settle()
    assert found(house) >= {"letters", "totals"}


def test_lost_dead_letter_is_found(house: Small) -> None:
    run(house, "DELETE FROM dead_letter WHERE id = (SELECT min(id) FROM dead_letter)")
    assert found(house) == {"letters", "totals", "arrived"}


def test_halves_that_missed_each_other_are_found(
    house: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback, "_meet", lambda *_given, **_more: None)
    house.say(correction("later", value="refund", note="n-5"))
    house.settle()
    house.say(output("later"))
    house.settle()
    assert found(house) == {"totals", "truth"}


# --- claims -------------------------------------------------------------------------------


def test_no_fencing_is_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    unfenced = str(escalation._RESOLVE).replace(
        "AND claimant = :me AND claim_seq = :token", "AND coalesce(:token, :token) IS NOT NULL"
    )
    assert unfenced != str(escalation._RESOLVE)
    monkeypatch.setattr(escalation, "_RESOLVE", text(unfenced))
    case = house.case("overdue")
    token = house.claim(OWNER, case, seconds=0)
    house.claim(TEAMMATE, case)
    house.judge(OWNER, case, token=token)
    house.settle()
    assert found(house) == {"fencing"}


def test_write_past_the_lease_is_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    unleased = str(escalation._RESOLVE).replace("AND claimant = :me AND claim_seq = :token", "")
    unleased = unleased.replace("state = 'claimed'", "coalesce(:token, :token) IS NOT NULL")
    unleased = unleased.replace(f"AND lease_expires_at > {escalation._PRESENT}", "")
    monkeypatch.setattr(escalation, "_RESOLVE", text(unleased))
    case = house.case("overdue")
    token = house.claim(OWNER, case, seconds=0)
    with house.database.transaction() as session:
        timers.expire_leases(session, now=house.clock.now(session))
    house.judge(OWNER, case, token=token)
    house.settle()
    assert found(house) == {"fencing"}


def test_acknowledged_verdict_that_is_not_there_is_found(house: Small) -> None:
    house.ledger.verdict(house.case("overdue"), OWNER).times += 1
    assert found(house) == {"verdicts"}


def test_owner_deactivated_behind_the_back_is_found(house: Small) -> None:
    run_ddl(house, "ALTER TABLE person DISABLE TRIGGER USER")
    run(house, "UPDATE person SET active = false WHERE role IN ('owner', 'lead', 'admin')")
    assert found(house) == {"owned"}


def test_judges_demoted_behind_the_back_are_found(house: Small) -> None:
    house.say(output("young", confidence=0.1))
    house.settle()
    run_ddl(house, "ALTER TABLE person DISABLE TRIGGER USER")
    run(house, "UPDATE person SET role = 'rep' WHERE role IN ('owner', 'lead')")
    assert "owned" in found(house)


def test_team_without_anybody_who_judges_is_found(house: Small) -> None:
    house.say(output("young", confidence=0.1))
    house.settle()
    run_ddl(house, "ALTER TABLE membership DISABLE TRIGGER USER")
    run(house, "DELETE FROM membership WHERE team = 'support'")
    assert found(house) == {"owned"}


# --- timers -------------------------------------------------------------------------------


def a_timer(house: Small, clock: str) -> int:
    house.say(output("young", confidence=0.1))
    house.settle()
    query = text("SELECT id FROM timer WHERE case_id = :case AND clock = :clock")
    with house.database.transaction() as session:
        return int(session.execute(query, {"case": house.case("young"), "clock": clock}).scalar())


@pytest.mark.parametrize(("clock", "check"), [("claim", "deadlines"), ("rung", "rungs")])
def test_timer_fired_outside_its_transaction_is_found(house: Small, clock: str, check: str) -> None:
    timer = a_timer(house, clock)
    run(house, "UPDATE timer SET fired_at = clock_timestamp() WHERE id = :timer", timer=timer)
    assert check in found(house)


def test_timer_fired_twice_is_found(house: Small) -> None:
    timer = a_timer(house, "claim")
    for _ in range(2):
        with house.database.transaction() as session:
            row = session.execute(text("SELECT * FROM timer WHERE id = :t"), {"t": timer}).one()
            now = house.clock.now(session)
            session.execute(
                text("UPDATE timer SET fired_at = :n WHERE id = :t"), {"n": now, "t": timer}
            )
            timers._miss_deadline(session, row, now=now)
    house.settle()
    assert "deadlines" in found(house)


def test_escalated_twice_to_one_level_is_found(house: Small) -> None:
    a_timer(house, "rung")
    case = house.case("young")
    for _ in range(2):
        with house.database.transaction() as session:
            timers.climb(session, case, from_level=0, now=house.clock.now(session))
            timers._tell_escalated(session, case, "rung", house.clock.now(session))
            session.execute(text('UPDATE "case" SET level = 0 WHERE id = :c'), {"c": case})
    run(house, 'UPDATE "case" SET level = 1 WHERE id = :c', c=case)
    house.settle()
    assert found(house) == {"rungs"}


def test_timer_that_does_not_fire_is_found(house: Small) -> None:
    timer = a_timer(house, "claim")
    run(house, "UPDATE timer SET due_at = now() - interval '1 min' WHERE id = :t", t=timer)
    assert found(house) == {"unfired"}


def test_case_without_its_clocks_is_found(house: Small) -> None:
    timer = a_timer(house, "resolve")
    run(house, "DELETE FROM timer WHERE id = :t", t=timer)
    assert found(house) == {"clocks"}


def test_objection_that_its_case_never_learned_of_is_found(house: Small) -> None:
    run(house, "DELETE FROM objection WHERE said->>'note' = 'n-2'")
    assert found(house) == {"objections"}


def test_objection_that_nobody_took_back_is_found(house: Small) -> None:
    run(house, "UPDATE objection SET withdrawn_at = now() WHERE said->>'note' = 'n-2'")
    assert found(house) == {"objections"}


# --- the log and the outbox -----------------------------------------------------------------


def test_lost_outbox_row_is_found(house: Small) -> None:
    query = "(SELECT max(id) FROM outbox WHERE topic = 'secondlook.cases')"
    run(house, f"DELETE FROM outbox WHERE id = {query}")
    assert found(house) == {"told"}


def test_outbox_that_stands_still_is_found(house: Small) -> None:
    run(house, "UPDATE outbox SET sent_at = NULL WHERE topic = 'secondlook.cases'")
    assert found(house) == {"outbox"}


def test_marked_before_it_was_sent_is_found(house: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Relay, "_send", lambda self, claimed: self._mark(claimed))
    house.judge(OWNER, house.case("overdue"))
    house.settle()
    assert found(house) >= {"arrived", "outbox"}


def test_acknowledged_before_it_was_durable_is_found(house: Small) -> None:
    house.note(output("never-there"))
    assert found(house) == {"received", "lost"}


def test_hole_in_the_log_is_found(house: Small) -> None:
    run(house, 'DELETE FROM log_record WHERE "offset" = 0')
    assert found(house) == {"offsets"}


def test_offset_past_the_end_is_found(house: Small) -> None:
    run(house, "UPDATE consumer_offset SET next_offset = next_offset + 1")
    assert found(house) == {"offsets"}


def test_stored_without_being_sent_is_found(house: Small) -> None:
    del house.ledger.sent[events.OUTPUTS, "sure"]
    assert found(house) == {"received", "unknown"}
