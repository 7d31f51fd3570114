"""A sender in a process of its own, to be killed: `… -m tests.notifications.sender DB SMTP`."""

import sys
import time
from datetime import timedelta
from ipaddress import ip_network

from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.notifications.channels.email import EmailChannel, MailServer
from services.notifications.channels.http import Poster
from services.notifications.channels.push import PushChannel
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.sending import Channels, Sender

ADDRESS = "https://secondlook.example.org"
SENDER = "Secondlook <sl@example.org>"
LEASE, FIRST_PAUSE = timedelta(seconds=4), timedelta(milliseconds=100)
SECONDS = 1.0


def main(url: str, mail: str) -> None:
    """Send until killed. All that differs from `tick` is how long everything takes."""
    poster = Poster((ip_network("127.0.0.1/32"),), seconds=SECONDS)
    mailer = EmailChannel(MailServer.of(mail), SENDER, lambda: ADDRESS)
    ways = Channels(
        mailer,
        SlackChannel(poster, lambda: ADDRESS),
        WebhookChannel(poster),
        PushChannel(poster, SENDER),
    )
    database = Database(make_engine(url, pool_size=8))
    sender = Sender(database, DatabaseClock(), ways, first_pause=FIRST_PAUSE, lease=LEASE)
    while True:
        if not sender.step():
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
