"""What is due leaves, once at least, under one id, and nobody slow holds up the others."""

import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.notifications import deliveries, rules, webhooks
from services.notifications.channels.console import ConsoleChannel
from services.notifications.channels.email import EmailChannel, MailServer
from services.notifications.channels.http import Poster
from services.notifications.channels.message import Line, message_of
from services.notifications.channels.outcome import Result, outcome
from services.notifications.channels.push import PushChannel
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.deliveries import NewDelivery
from services.notifications.rules import Channel
from services.notifications.sending import EACH, Channels, Mailer, Sender
from tests.factories import one, rows
from tests.factories.people import OPERATOR
from tests.notifications.receivers import Mailbox, Web, mail_server, web_server
from tests.waiting import until

LOOPBACK = (ip_network("127.0.0.0/8"),)
ADDRESS = "https://secondlook.example.org"
SENDER = "Secondlook <sl@example.org>"
SOON = timedelta(milliseconds=20)


@pytest.fixture
def web() -> Iterator[Web]:
    """A receiver of webhooks."""
    with web_server() as opened:
        yield opened


@pytest.fixture
def mailbox(free_port: Callable[[], int]) -> Iterator[Mailbox]:
    """A mail server."""
    with mail_server(free_port()) as opened:
        yield opened


def channels(mailbox: Mailbox | None = None, *, seconds: float = 0.5) -> Channels:
    """The ways out, to this machine's own receivers."""
    poster = Poster(LOOPBACK, seconds=seconds)
    mail: Mailer = ConsoleChannel()
    if mailbox is not None:
        server = MailServer.of(mailbox.url)
        mail = EmailChannel(server, SENDER, lambda: ADDRESS)
    return Channels(
        mail,
        SlackChannel(poster, lambda: ADDRESS),
        WebhookChannel(poster),
        PushChannel(poster, SENDER),
    )


def sender_of(database: Database, ways: Channels) -> Sender:
    """A sender that tries again soon."""
    return Sender(database, DatabaseClock(), ways, first_pause=SOON)


def connect(database: Database, url: str, *, channel: Channel = Channel.WEBHOOK) -> int:
    """A webhook; answers its number."""
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        given: Any = {"types": ["case.opened"], "allowed": LOOPBACK, "channel": channel}
        return webhooks.add(session, url, **given, actor=OPERATOR, now=now).id


def put(database: Database, *wanted: NewDelivery) -> None:
    """Things to send."""
    with database.transaction() as session:
        deliveries.write(session, wanted, now=DatabaseClock().now(session))


def mail_to(address: str, about: str = "n-1") -> NewDelivery:
    """A mail of one line."""
    message = message_of((Line(text="Case 7 of <triage> waits.", path="/c/7"),))
    return NewDelivery(Channel.EMAIL, address, message.model_dump_json(), about)


def event_to(web: Web, hook: int, about: str, path: str = "/hook") -> NewDelivery:
    """An event for a webhook."""
    return NewDelivery(Channel.WEBHOOK, web.url + path, f'{{"id":"{about}"}}', about, hook)


def states(database: Database) -> dict[str, int]:
    """How many deliveries are in which state."""
    return dict(rows(database, "SELECT state, count(*) FROM delivery GROUP BY state"))  # type: ignore[arg-type]


def drain(sender: Sender, database: Database, *, seconds: float = 20.0) -> None:
    """Send until nothing is left to be sent."""
    until(lambda: not (sender.step() or _left(database)), seconds=seconds)
    sender.close()


def _left(database: Database) -> bool:
    return bool(rows(database, "SELECT FROM delivery WHERE state IN ('waiting', 'unknown')"))


def test_names_that_are_looked_up_for_ever_hold_up_no_mail(
    database: Database, mailbox: Mailbox, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, real = threading.Event(), socket.getaddrinfo

    def look_up(host: Any, *given: Any, **more: Any) -> Any:
        if host == "slow.example.org":
            answered.wait(30)
        return real(host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    hook = connect(database, web.url)
    slow = [
        NewDelivery(Channel.WEBHOOK, "https://slow.example.org/hook", "{}", f"e-{n}", hook)
        for n in range(EACH)
    ]
    put(database, *slow)
    sender = sender_of(database, channels(mailbox, seconds=20))
    try:
        sender.step()
        put(database, mail_to("olga@example.org"))
        until(lambda: sender.step() and states(database).get("sent") == 1, seconds=20)
        assert not answered.is_set()
    finally:
        answered.set()
        sender.close()


def test_mail_says_what_to_do_with_a_link(database: Database, mailbox: Mailbox) -> None:
    put(database, mail_to("olga@example.org"))
    drain(sender_of(database, channels(mailbox)), database)
    (mail,) = mailbox.mails
    assert (mail["To"], mail["Subject"]) == ("olga@example.org", "Case 7 of <triage> waits.")
    text, html = mail.get_payload()
    assert f"{ADDRESS}/c/7" in text.get_payload(decode=True).decode()
    written = html.get_payload(decode=True).decode()
    assert f'href="{ADDRESS}/c/7"' in written
    assert "&lt;triage&gt;" in written
    assert states(database) == {"sent": 1}
    assert one(database, "SELECT answer FROM delivery") == "taken"


def test_mail_that_is_put_off_or_cut_comes_again_under_its_id(
    database: Database, mailbox: Mailbox
) -> None:
    mailbox.answers = lambda n: [451, "cut", 250][n - 1]
    put(database, mail_to("olga@example.org"))
    drain(sender_of(database, channels(mailbox)), database)
    assert list(mailbox.tried.values()) == [3]
    assert one(database, "SELECT attempts FROM delivery") == 3


def test_mail_to_nobody_fails_and_says_why(database: Database, mailbox: Mailbox) -> None:
    mailbox.refuse = {"gone@example.org"}
    put(database, mail_to("gone@example.org"), mail_to("olga@example.org"))
    drain(sender_of(database, channels(mailbox)), database)
    assert states(database) == {"sent": 1, "failed": 1}
    said = one(database, "SELECT answer FROM delivery WHERE state = 'failed'")
    assert said == "550 nobody here has that name"


def test_without_a_mail_server_mails_are_logged(database: Database) -> None:
    put(database, mail_to("olga@example.org"))
    drain(sender_of(database, channels()), database)
    assert "SECONDLOOK_SMTP_URL is not set" in one(database, "SELECT answer FROM delivery")


def test_webhook_is_signed_and_has_the_event_as_its_body(database: Database, web: Web) -> None:
    from standardwebhooks.webhooks import Webhook

    hook = connect(database, f"{web.url}/hook")
    put(database, event_to(web, hook, "e-1"))
    drain(sender_of(database, channels()), database)
    ((headers, body, path),) = next(iter(web.came.values()))
    secret = one(database, "SELECT secret FROM webhook")
    assert Webhook(secret).verify(body, headers) == {"id": "e-1"}
    assert (path, headers["content-type"]) == ("/hook", "application/cloudevents+json")
    assert headers["host"] == f"127.0.0.1:{web.port}"


@pytest.mark.parametrize("first", [500, 404, 429, 302, "cut", "hang", "drip"])
def test_webhook_comes_again_under_its_id(database: Database, web: Web, first: int | str) -> None:
    web.answers = lambda n: first if n == 1 else 200
    web.location = "http://127.0.0.1:1/elsewhere" if first == 302 else ""
    hook = connect(database, web.url)
    put(database, event_to(web, hook, "e-1"))
    drain(sender_of(database, channels()), database)
    assert [len(attempts) for attempts in web.came.values()] == [2]
    assert states(database) == {"sent": 1}


def test_receiver_that_is_gone_is_not_asked_again(database: Database, web: Web) -> None:
    web.answers = lambda _: 410
    hook = connect(database, web.url)
    put(database, event_to(web, hook, "e-1"))
    drain(sender_of(database, channels()), database)
    assert states(database) == {"failed": 1}


def test_nothing_is_sent_to_a_forbidden_address(database: Database, web: Web) -> None:
    hook = connect(database, web.url)
    put(database, event_to(web, hook, "e-1"))
    poster = Poster(())
    ways = Channels(
        ConsoleChannel(),
        SlackChannel(poster, lambda: ADDRESS),
        WebhookChannel(poster),
        PushChannel(poster, SENDER),
    )
    drain(sender_of(database, ways), database)
    assert web.came == {}
    assert "SECONDLOOK_OUTBOUND_ALLOW" in one(database, "SELECT answer FROM delivery")


def test_slow_receiver_delays_no_other(database: Database, web: Web) -> None:
    web.by_path = {"/slow": lambda _: "hang"}
    slow, quick = connect(database, f"{web.url}/slow"), connect(database, f"{web.url}/quick")
    put(database, *(event_to(web, slow, f"s-{n}", "/slow") for n in range(100)))
    put(database, *(event_to(web, quick, f"q-{n}", "/quick") for n in range(20)))
    sender = sender_of(database, channels(seconds=20))
    sent = "SELECT count(*) FROM delivery WHERE state = 'sent'"
    until(lambda: sender.step() and one(database, sent) == 20, seconds=10)
    under_way = "SELECT count(*) FROM delivery WHERE state = 'unknown'"
    assert one(database, under_way) == 8
    sender.close()


def test_answer_of_an_attempt_that_was_overtaken_is_dropped(database: Database) -> None:
    put(database, mail_to("olga@example.org"))
    later = timedelta(minutes=2)
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        (first,) = deliveries.claim(session, limit=9, each=9, busy={}, now=now)
        assert deliveries.claim(session, limit=9, each=9, busy={}, now=now) == []
        (again,) = deliveries.claim(session, limit=9, each=9, busy={}, now=now + later)
        assert (again.message_id, again.attempts) == (first.message_id, 2)
        came = outcome(Result.NEVER, "no")
        assert not deliveries.record(session, first, came, now=now)
        assert deliveries.record(session, again, outcome(Result.SENT, "ok"), now=now)
    assert states(database) == {"sent": 1}


def test_delivery_is_given_up_after_three_days(database: Database) -> None:
    put(database, mail_to("olga@example.org"))
    with database.transaction() as session:
        session.execute(text("UPDATE delivery SET created_at = created_at - interval '4 days'"))
        now = DatabaseClock().now(session)
        (due,) = deliveries.claim(session, limit=9, each=9, busy={}, now=now)
        deliveries.record(session, due, outcome(Result.AGAIN, "500"), now=now)
    assert states(database) == {"failed": 1}


def test_pauses_begin_within_a_minute_and_grow_to_an_hour() -> None:
    now = datetime(2026, 11, 29, tzinfo=UTC)
    pauses = [(rules.next_attempt(n, now=now) - now).total_seconds() for n in range(1, 9)]
    assert pauses == [10, 30, 90, 270, 810, 2430, 3600, 3600]
