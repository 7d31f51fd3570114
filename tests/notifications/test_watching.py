"""What operators see of deliveries: metrics, `doctor` in words, and what goes when it is old."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from services.commands.doctor import _look_at_notifications, _look_at_timers
from services.kit import counts
from services.kit.clock import DatabaseClock
from services.kit.database import Database, Session
from services.kit.metrics import Samples
from services.notifications import deliveries, metrics, retention
from services.notifications.channels.outcome import Outcome, Result
from services.notifications.deliveries import NewDelivery
from services.notifications.rules import Channel
from tests.factories import OWNER, Delivery, output, rows

AGED = "UPDATE delivery SET created_at = created_at - interval '2 h', next_attempt_at = :at"


def put(session: Session, number: int = 1) -> None:
    """So many mails to send."""
    wanted = [NewDelivery(Channel.EMAIL, OWNER, "{}", str(n)) for n in range(number)]
    deliveries.write(session, wanted, now=DatabaseClock().now(session))


def attempt(session: Session, result: Result) -> None:
    """One attempt at one of them."""
    now = DatabaseClock().now(session)
    (due,) = deliveries.claim(session, limit=1, each=9, busy={}, now=now)
    deliveries.record(session, due, Outcome(result, "said"), now=now)


def scraped(session: Session) -> dict[str, dict[tuple[str, ...], float]]:
    """What the exporter tells."""
    samples = Samples()
    now = DatabaseClock().now(session)
    metrics.read(session, samples, counts.totals(session), now=now)
    return samples.of


def test_attempts_are_counted_by_what_came_of_them(session: Session) -> None:
    put(session, 3)
    for result in (Result.SENT, Result.NEVER, Result.AGAIN):
        attempt(session, result)
    told = scraped(session)
    found = {labels: n for labels, n in told["secondlook_deliveries"].items() if n}
    assert found == {(f"{Channel.EMAIL}", word): 1 for word in ("sent", "failed", "retried")}
    assert len(told["secondlook_deliveries"]) == len(Channel) * 3
    assert told["secondlook_waiting_deliveries"][("email",)] == 1


def test_how_long_something_is_due_is_told(session: Session) -> None:
    put(session)
    now = DatabaseClock().now(session)
    session.execute(text(AGED), {"at": now - timedelta(minutes=5)})
    assert scraped(session)["secondlook_oldest_due_delivery_seconds"][()] >= 300
    session.execute(text(AGED), {"at": now + timedelta(minutes=5)})
    assert scraped(session)["secondlook_oldest_due_delivery_seconds"][()] == 0


def test_how_long_a_mail_is_due_that_nobody_makes_is_told(
    database: Database, log: Delivery
) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        assert scraped(session)["secondlook_oldest_ungathered_mail_seconds"][()] == 0
        session.execute(text("UPDATE notification SET mail_at = now() - interval '3 h'"))
        assert scraped(session)["secondlook_oldest_ungathered_mail_seconds"][()] >= 10_800


class _Found:
    """As much of an installation as `doctor` looks at."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock = database, DatabaseClock()


@pytest.mark.parametrize(
    ("changes", "problem", "warning"),
    [
        ("attempts = 0", "", ""),
        ("next_attempt_at = now() - interval '5 min'", "2 deliveries wait to be sent", ""),
        (
            "attempts = 5, answer = '500', next_attempt_at = now() + interval '1 h'",
            "",
            f"2 deliveries to {OWNER} are tried again and again (500)",
        ),
        ("state = 'failed', answer = '550 no'", "", f"2 deliveries to {OWNER} were given up"),
    ],
)
def test_doctor_says_in_words_what_is_wrong(
    database: Database, changes: str, problem: str, warning: str
) -> None:
    with database.transaction() as session:
        put(session, 2)
        session.execute(text(f"UPDATE delivery SET {changes}"))
    found: Any = _Found(database)
    said = _look_at_notifications(found)
    assert said.problem.startswith(problem)
    assert said.warning.startswith(warning)
    assert bool(said.problem) == bool(problem)
    assert bool(said.warning) == bool(warning)


@pytest.mark.parametrize(("ago", "says"), [("3 h", True), ("10 s", False), ("-10 min", False)])
def test_doctor_says_that_mails_and_timers_are_overdue(
    ago: str, says: bool, database: Database, log: Delivery
) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        for due in ("notification SET mail_at", "timer SET due_at"):
            session.execute(text(f"UPDATE {due} = now() - CAST(:ago AS interval)"), {"ago": ago})
    found: Any = _Found(database)
    mails, timers = _look_at_notifications(found).problem, _look_at_timers(found)
    if says:
        assert mails.startswith("mail to 3 people has been due to be made for 1080")
        assert timers.startswith("a timer has been due for 1080")
    else:
        assert (mails, timers) == ("", "")


def test_doctor_says_nothing_of_timers_that_are_over(database: Database, log: Delivery) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        over = "due_at = now() - interval '3 h', stopped_at = now()"
        session.execute(text(f"UPDATE timer SET {over}"))
    found: Any = _Found(database)
    assert _look_at_timers(found) == ""


def test_old_ones_go_but_what_waits_stays(database: Database, log: Delivery) -> None:
    log.take(output("o-1", confidence=0.1))
    with database.transaction() as session:
        put(session, 2)
        attempt(session, Result.SENT)
        later = DatabaseClock().now(session) + timedelta(days=1)
        assert retention.purge_deliveries(session, before=later, limit=10) == 1
        assert retention.purge_notifications(session, before=later, limit=10) == 0
        session.execute(text("UPDATE notification SET mail_at = NULL"))
        assert retention.purge_notifications(session, before=later, limit=2) == 2
    assert [row.state for row in rows(database, "SELECT state FROM delivery")] == ["waiting"]
