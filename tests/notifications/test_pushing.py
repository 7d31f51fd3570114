"""What is mailed is pushed too: to each device once, encrypted, signed, and no further."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.notifications import choices, deliveries, mailing
from services.notifications import service as notifications
from services.notifications.channels.console import ConsoleChannel
from services.notifications.channels.http import Poster
from services.notifications.channels.outcome import Result, outcome
from services.notifications.channels.push import PushChannel
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.choices import Wanted
from services.notifications.deliveries import Due
from services.notifications.errors import NoDelivery
from services.notifications.rules import CHOOSABLE
from services.notifications.sending import Channels
from services.people import push_devices
from tests.factories import OWNER, TEAM, Delivery, actor_of, one, rows
from tests.factories.people import OPERATOR
from tests.notifications.browsers import FakeBrowser, add_device, claims_of
from tests.notifications.receivers import Web, web_server
from tests.notifications.test_sending import ADDRESS, SENDER, channels, drain, sender_of
from tests.notifications.test_telling import moved


@pytest.fixture
def service() -> Iterator[Web]:
    """A push service."""
    with web_server() as opened:
        yield opened


def pushes(database: Database) -> list[Any]:
    """What is to be pushed, or was: its state, its answer and where it went."""
    query = "SELECT state, answer, destination, attempts, device_id FROM delivery"
    return rows(database, f"{query} WHERE channel = 'push' ORDER BY id")


def send(database: Database, ways: Channels | None = None) -> None:
    """Send until nothing is left."""
    drain(sender_of(database, ways or channels()), database)


def test_case_is_pushed_to_each_device_which_alone_reads_it(
    database: Database, log: Delivery, service: Web
) -> None:
    phone = FakeBrowser(f"{service.url}/phone")
    laptop = FakeBrowser(f"{service.url}/laptop")
    for browser in (phone, laptop):
        add_device(database, browser)
    event = moved("escalated", OWNER)
    log.take(event)
    log.take(event)
    send(database)
    came = {path: (headers, body) for headers, body, path in service.came[""]}
    assert len(service.came[""]) == 2
    key = one(database, "SELECT public FROM push_key")
    for browser, path in ((phone, "/phone"), (laptop, "/laptop")):
        headers, body = came[path]
        shown = json.loads(browser.read(body))
        assert shown["path"] == "/c/7"
        assert "was escalated to you" in shown["text"]
        assert (headers["content-encoding"], headers["ttl"]) == ("aes128gcm", "86400")
        assert (headers["urgency"], headers["topic"]) == ("high", shown["tag"])
        assert b"escalated" not in body
        claims = claims_of(headers["authorization"], key)
        assert (claims["aud"], claims["sub"]) == (service.url, "mailto:sl@example.org")
        assert claims["exp"] - datetime.now(UTC).timestamp() < 24 * 3600
    found = [(row.state, row.destination) for row in pushes(database)]
    assert found == [("sent", OWNER)] * 2
    assert one(database, "SELECT count(*) FROM delivery WHERE channel = 'email'") == 1


@pytest.mark.parametrize("first", [500, 429, "cut", "hang"])
def test_push_comes_again_under_its_id(
    database: Database, log: Delivery, service: Web, first: int | str
) -> None:
    service.answers = lambda n: first if n == 1 else 201
    browser = FakeBrowser(f"{service.url}/1")
    add_device(database, browser)
    log.take(moved("opened", OWNER))
    send(database)
    ids = [json.loads(browser.read(body))["id"] for _, body, _ in service.came[""]]
    assert len(ids) == 2
    assert ids[0] == ids[1] == one(database, "SELECT message_id FROM delivery WHERE lane <> 'mail'")
    assert [(row.state, row.attempts) for row in pushes(database)] == [("sent", 2)]
    assert one(database, "SELECT count(*) FROM push_device WHERE last_error IS NULL") == 1


@pytest.mark.parametrize("status", [404, 410])
def test_device_that_is_gone_is_removed(
    database: Database, log: Delivery, service: Web, status: int
) -> None:
    service.by_path = {"/gone": lambda _: status}
    add_device(database, FakeBrowser(f"{service.url}/gone"))
    add_device(database, FakeBrowser(f"{service.url}/there"))
    log.take(moved("opened", OWNER))
    send(database)
    assert [row.endpoint for row in rows(database, "SELECT endpoint FROM push_device")] == [
        f"{service.url}/there"
    ]
    there, gone = sorted(pushes(database), key=lambda row: row.state, reverse=True)
    assert (gone.state, gone.attempts, gone.device_id) == ("failed", 1, None)
    assert gone.answer.startswith(str(status))
    assert there.state == "sent"
    number = one(database, "SELECT id FROM delivery WHERE state = 'failed'")
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        with pytest.raises(NoDelivery):
            notifications.retry(session, number, actor=OPERATOR, now=now)


def test_nothing_is_pushed_to_a_forbidden_address(
    database: Database, log: Delivery, service: Web
) -> None:
    add_device(database, FakeBrowser(f"{service.url}/1"))
    log.take(moved("opened", OWNER))
    poster = Poster(())
    slack = SlackChannel(poster, lambda: ADDRESS)
    ways = Channels(ConsoleChannel(), slack, WebhookChannel(poster), PushChannel(poster, SENDER))
    send(database, ways)
    assert service.came == {}
    (row,) = pushes(database)
    assert row.state == "failed"
    assert "SECONDLOOK_OUTBOUND_ALLOW" in row.answer
    assert "SECONDLOOK_OUTBOUND_ALLOW" in one(database, "SELECT last_error FROM push_device")


def test_device_that_is_removed_gets_nothing_more(
    database: Database, log: Delivery, service: Web
) -> None:
    number = add_device(database, FakeBrowser(f"{service.url}/1"))
    log.take(moved("opened", OWNER))
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        push_devices.remove(session, number, actor=actor_of(session, OWNER), now=now)
    send(database)
    assert service.came == {}
    assert [(row.state, row.answer) for row in pushes(database)] == [
        ("failed", "the device was removed")
    ]


def test_answer_of_an_attempt_that_was_overtaken_removes_the_device_all_the_same(
    database: Database, log: Delivery
) -> None:
    add_device(database, FakeBrowser("https://push.example.org/1"))
    log.take(moved("opened", OWNER))
    with database.transaction() as session:
        session.execute(text("DELETE FROM delivery WHERE channel = 'email'"))
        now = DatabaseClock().now(session)
        (first,) = deliveries.claim(session, limit=9, each=9, busy={}, now=now)
        later = now + timedelta(minutes=2)
        (again,) = deliveries.claim(session, limit=9, each=9, busy={}, now=later)
        assert not deliveries.record(session, first, outcome(Result.GONE, "410"), now=now)
        assert deliveries.record(session, again, outcome(Result.AGAIN, "500"), now=now)
    assert one(database, "SELECT count(*) FROM push_device") == 0


def test_device_is_removed_while_its_answer_is_written_down(
    database: Database, log: Delivery
) -> None:
    """Both need the device and its deliveries, and take them in the same order."""
    for n in range(8):
        number = add_device(database, FakeBrowser(f"https://push.example.org/{n}"))
        log.take(moved("opened", OWNER, case_id=str(n)))
        with database.transaction() as session:
            now = DatabaseClock().now(session)
            due = deliveries.claim(session, limit=99, each=99, busy={}, now=now)
        (mine,) = [one for one in due if one.device_id == number]
        together = Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            written = pool.submit(_write_down, database, mine, together)
            removed = pool.submit(_remove, database, number, together)
            assert written.result() is True
            removed.result()
    assert one(database, "SELECT count(*) FROM push_device") == 0
    assert one(database, "SELECT count(*) FROM delivery WHERE device_id IS NOT NULL") == 0


def _write_down(database: Database, due: Due, together: Barrier) -> bool:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        together.wait()
        return deliveries.record(session, due, outcome(Result.AGAIN, "500"), now=now)


def _remove(database: Database, number: int, together: Barrier) -> None:
    with database.transaction() as session:
        actor, now = actor_of(session, OWNER), DatabaseClock().now(session)
        together.wait()
        push_devices.remove(session, number, actor=actor, now=now)


def test_who_wants_no_push_gets_mail_alone(database: Database, log: Delivery) -> None:
    add_device(database, FakeBrowser("https://push.example.org/1"))
    mailed = [what.value for what in CHOOSABLE]
    with database.transaction() as session:
        wanted = Wanted(mailed, "0", "", "", "UTC", pushed=False)
        now = DatabaseClock().now(session)
        choices.choose(session, wanted, actor=actor_of(session, OWNER), now=now)
    log.take(moved("opened", OWNER))
    assert pushes(database) == []
    assert one(database, "SELECT count(*) FROM delivery") == 1


def test_what_is_gathered_is_pushed_once(database: Database, log: Delivery, service: Web) -> None:
    browser = FakeBrowser(f"{service.url}/1")
    add_device(database, browser)
    log.take(*(moved("opened", TEAM, case_id=str(n)) for n in range(1, 6)))
    assert pushes(database) == []
    with database.transaction() as session:
        session.execute(text("UPDATE notification SET mail_at = now()"))
        mailing.gather(session, now=datetime.now(UTC))
    send(database)
    ((headers, body, _),) = service.came[""]
    shown = json.loads(browser.read(body))
    assert (shown["text"], shown["path"]) == ("5 things wait for you in Secondlook", "/inbox")
    assert headers["urgency"] == "normal"


def test_urgent_case_of_a_team_is_pushed_at_once_and_wakes_the_device(
    database: Database, log: Delivery, service: Web
) -> None:
    add_device(database, FakeBrowser(f"{service.url}/1"))
    log.take(moved("opened", TEAM, priority="P1"))
    send(database)
    ((headers, _, _),) = service.came[""]
    assert headers["urgency"] == "high"


def test_slow_push_service_delays_no_other(database: Database, log: Delivery) -> None:
    add_device(database, FakeBrowser("https://one.example.org/1"))
    add_device(database, FakeBrowser("https://two.example.org/1"))
    log.take(moved("opened", OWNER))
    lanes = [row.lane for row in rows(database, "SELECT lane FROM delivery ORDER BY lane")]
    assert lanes == ["mail", "push one.example.org", "push two.example.org"]
