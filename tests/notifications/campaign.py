"""Notifications against receivers that misbehave, with senders that are killed as they send.

Promise P16: each is delivered once at least, repeats have the same id, none is lost, and none goes
to a forbidden address.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from secondlook import events
from secondlook.events import models as contracts

from migrations import run as migrations
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from services.notifications import webhooks
from services.notifications.channels import slack
from services.notifications.channels.message import Message
from services.notifications.rules import Channel
from tests.factories import OWNER, TEAM, TOOL, Delivery, populate, rows
from tests.factories.people import OPERATOR
from tests.notifications.browsers import FakeBrowser, add_device
from tests.notifications.receivers import Answer, Mailbox, Web, mail_server, web_server
from tests.notifications.sender import ADDRESS
from tests.waiting import until

FORBIDDEN = "127.0.0.2"
"""Of this machine, too, so that a connection would be noticed; senders may reach 127.0.0.1."""
PATIENCE = 600.0

RECEIVERS: dict[str, Answer] = {
    "/well": lambda _: 200,
    "/broken": lambda n: 500 if n < 3 else 200,
    "/cut": lambda n: "cut" if n == 1 else 204,
    "/silent": lambda n: "hang" if n == 1 else 200,
    "/slow": lambda n: "drip" if n == 1 else 200,
    "/late": lambda _: "late",
    "/taken": lambda n: "taken, then cut" if n == 1 else 200,
}
"""Webhooks by path, and what each answers to the n-th attempt with one id."""
SLACKS: dict[str, Answer] = {
    "/slack/well": lambda _: 200,
    "/slack/broken": lambda n: 500 if n < 3 else 200,
    "/slack/taken": lambda n: "taken, then cut" if n == 1 else 200,
}
"""The same of incoming webhooks of Slack's."""
PUSH_SERVICES: dict[str, Answer] = {
    "/push/well": lambda _: 201,
    "/push/broken": lambda n: 500 if n < 3 else 201,
    "/push/cut": lambda n: "cut" if n == 1 else 201,
    "/push/silent": lambda n: "hang" if n == 1 else 201,
    "/push/late": lambda _: "late",
}
"""The same of the devices of whoever is told."""
EACH_EVENT = len(RECEIVERS) + len(SLACKS) + len(PUSH_SERVICES) + 3
"""Deliveries of one event: to all of these, to the trap as a webhook and as a device, by mail."""
TAKEN_TWICE = 3
"""So many of them are taken before the line is cut: by mail, as a webhook, and by Slack."""


def mail_server_answers(n: int) -> int | str:
    """It puts the first attempt off, and cuts the line after it took the second one."""
    return {1: 451, 2: "taken, then cut"}.get(n, 250)


@dataclass(slots=True)
class Report:
    """What became of everything that was to be sent."""

    deliveries: int = 0
    sent: int = 0
    pushed: int = 0
    """So many of those that were sent were pushed to a device."""
    forbidden: int = 0
    attempts: int = 0
    repeated: int = 0
    """Ids that a receiver accepted and that came again: the line was cut before its answer, or the
    sender was killed."""
    kills: int = 0
    seconds: float = 0.0
    violations: list[str] = field(default_factory=list)


# A push goes to its device, whoever is named as its destination.
_DELIVERIES = """
SELECT d.channel, coalesce(p.endpoint, d.destination) AS led_to, d.message_id, d.state,
    d.attempts, d.payload
FROM delivery d LEFT JOIN push_device p ON p.id = d.device_id
"""


_HEARING: Any = {"types": ["case.escalated"], "allowed": (ip_network("127.0.0.0/8"),)}


class Campaign:
    """One run."""

    def __init__(self, database: Database, url: str, web: Web, trap: Web, mail: Mailbox) -> None:
        self.database, self.url, self.web, self.trap, self.mail = database, url, web, trap, mail
        self.report = Report()
        self._random = random.Random(2_026_1129)

    def prepare(self, size: int) -> None:
        """Connect the webhooks, give the owner devices, and let as many events happen as make so
        many deliveries."""
        trap = f"http://{FORBIDDEN}:{self.trap.port}/trap"
        with self.database.transaction() as session:
            now, urls = (
                DatabaseClock().now(session),
                [f"{self.web.url}{path}" for path in RECEIVERS],
            )
            for url in (*urls, trap):
                webhooks.add(session, url, **_HEARING, actor=OPERATOR, now=now)
            for path in SLACKS:
                given = {**_HEARING, "channel": Channel.SLACK}
                webhooks.add(session, f"{self.web.url}{path}", **given, actor=OPERATOR, now=now)
        self.web.browsers = {path: FakeBrowser(f"{self.web.url}{path}") for path in PUSH_SERVICES}
        for browser in (*self.web.browsers.values(), FakeBrowser(f"{trap}/push")):
            add_device(self.database, browser)
        log = Delivery(self.database)
        for number in range(-(-size // EACH_EVENT)):
            log.take(_escalated(number))

    def run(self, kills: int) -> Report:
        """Send everything, killing the sender so many times."""
        begun = time.monotonic()
        sender = self._start()
        try:
            for _ in range(kills):
                time.sleep(self._random.uniform(0.8, 2.0))
                sender.send_signal(signal.SIGKILL)
                sender.wait()
                self.report.kills += 1
                sender = self._start()
            until(lambda: not self._left(), seconds=PATIENCE, every=0.2)
        finally:
            sender.kill()
            sender.wait()
        self.report.seconds = round(time.monotonic() - begun, 1)
        self._check()
        return self.report

    def _start(self) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "tests.notifications.sender", self.url, self.mail.url]
        return subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)

    def _left(self) -> int:
        query = "SELECT count(*) FROM delivery WHERE state IN ('waiting', 'unknown')"
        return int(rows(self.database, query)[0][0])

    def _check(self) -> None:
        report, web = self.report, self.web
        found = rows(self.database, _DELIVERIES)
        report.deliveries, report.attempts = len(found), sum(row.attempts for row in found)
        mailed = self._mailed()
        arrived = {*web.accepted, *mailed}
        for row in found:
            if FORBIDDEN in row.led_to:
                report.forbidden += row.state == "failed"
                self._require(row.state == "failed", f"{row.message_id} to a forbidden address")
                continue
            report.sent += row.state == "sent"
            report.pushed += row.state == "sent" and row.channel == "push"
            self._require(row.state == "sent", f"{row.message_id} is {row.state}")
            self._require(row.message_id in arrived, f"{row.message_id} did not arrive")
            bodies = mailed.get(row.message_id) or [
                body for _, body, _ in web.came.get(row.message_id, ())
            ]
            self._require(
                _are_one(set(bodies), row.channel, row.payload),
                f"{row.message_id} was another thing, or another one on a repeat",
            )
        known = {row.message_id for row in found}
        self._require(arrived <= known, "something arrived that nobody sent")
        self._require(not self.trap.came, "a forbidden address was reached")
        again = sum(web.accepted_times[name] > 1 for name in web.accepted)
        report.repeated = again + sum(len(texts) > 1 for texts in mailed.values())

    def _mailed(self) -> dict[str, list[bytes]]:
        """The texts of the mails that were taken, by the ids that they came under."""
        found: dict[str, list[bytes]] = {}
        for mail in self.mail.mails:
            words: Any = mail.get_payload(0)
            name = mail["Message-ID"].strip("<>").partition("@")[0]
            found.setdefault(name, []).append(words.get_payload(decode=True))
        return found

    def _require(self, holds: object, words: str) -> None:
        if not holds:
            self.report.violations.append(words)


def _are_one(bodies: set[bytes], channel: str, payload: str) -> bool:
    """Whether all of them say what the delivery was to say, as its receiver reads it."""
    if channel == Channel.WEBHOOK:
        return bodies == {payload.encode()}
    if channel == Channel.EMAIL:
        lines = [line["text"].encode() for line in json.loads(payload)["lines"]]
        return len(bodies) == 1 and all(line in body for line in lines for body in bodies)
    if channel == Channel.SLACK:
        said = slack.as_text(Message.model_validate_json(payload), ADDRESS)
        return bodies == {json.dumps({"text": said}).encode()}
    wanted = json.loads(payload)
    shown = [json.loads(body) for body in bodies]
    return [(one["text"], one["path"]) for one in shown] == [(wanted["text"], wanted["path"])]


def _escalated(number: int) -> events.CaseMoved:
    return events.case_event(
        "escalated",
        case_id=str(number + 1),
        output_id=f"o-{number}",
        tool=TOOL,
        trigger="low_confidence",
        queue="q",
        owner=contracts.Owner(kind="person", id=OWNER),
        state="open",
        level=1,
        priority="P2",
        team=TEAM,
        at=datetime.now(UTC),
    )


@contextmanager
def installation(url: str, free_port: Callable[[], int]) -> Iterator[Campaign]:
    """Receivers, and a campaign on a migrated, empty database."""
    with ExitStack() as stack:
        web = stack.enter_context(web_server())
        trap = stack.enter_context(web_server(FORBIDDEN))
        mail = stack.enter_context(mail_server(free_port()))
        web.by_path = RECEIVERS | SLACKS | PUSH_SERVICES
        mail.answers = mail_server_answers
        database = Database(make_engine(url))
        stack.callback(database.close)
        populate(database)
        yield Campaign(database, url, web, trap, mail)


def campaign(*, size: int, kills: int, free_port: Callable[[], int]) -> Report:
    """A run on a PostgreSQL of its own."""
    with tempfile.TemporaryDirectory(prefix="secondlook-notifications-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "data", options={"fsync": "off"})
        postgres.start()
        try:
            migrations.upgrade(postgres.url)
            with installation(postgres.url, free_port) as made:
                made.prepare(size)
                return made.run(kills)
        finally:
            postgres.stop()
