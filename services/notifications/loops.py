"""What is done again and again: gathering what is due to be mailed, and sending."""

from collections.abc import Callable
from functools import partial

import psycopg

from services.kit.clock import Clock
from services.kit.clock_guard import ClockGuard
from services.kit.database import Database
from services.kit.processes.loops import Loop
from services.kit.settings import Settings
from services.kit.wakeup import Wakeup
from services.notifications import deliveries, mailing
from services.notifications.channels.console import ConsoleChannel
from services.notifications.channels.email import EmailChannel, MailServer
from services.notifications.channels.http import Poster
from services.notifications.channels.push import PushChannel
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.sending import Channels, Mailer, Sender

Connect = Callable[[], psycopg.Connection]


def make_channels(settings: Settings, address: Callable[[], str]) -> Channels:
    """The ways out, as the settings have them; `address` is where people reach the pages."""
    poster = Poster(settings.outbound_allow)
    mail: Mailer = ConsoleChannel()
    if settings.smtp_url is not None:
        server = MailServer.of(settings.smtp_url.get_secret_value())
        mail = EmailChannel(server, settings.mail_from, address)
    push = PushChannel(poster, settings.mail_from)
    return Channels(mail, SlackChannel(poster, address), WebhookChannel(poster), push)


def make_loops(
    database: Database, clock: Clock, guard: ClockGuard, channels: Channels, connect: Connect
) -> list[Loop]:
    """The loops; `connect` makes a connection that hears when something waits to be sent."""
    sender = Sender(database, clock, channels)
    wakeup = Wakeup(connect, deliveries.WAKE_CHANNEL)

    def close() -> None:
        sender.close()
        wakeup.close()

    return [
        Loop("digests", partial(_gather, database, guard), every=2.0),
        Loop("sender", sender.step, every=2.0, wait=wakeup.wait, close=close),
    ]


def _gather(database: Database, guard: ClockGuard) -> bool:
    with database.transaction() as session:
        now = guard.now(session)
        return now is not None and mailing.gather(session, now=now) >= mailing.BATCH
