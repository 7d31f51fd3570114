"""A campaign: traffic on a real server whose parts are killed, then the checker's word."""

import json
import math
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import psycopg
from secondlook import events

from services.app.roles import CONSUMED
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import EventLog, LogUnavailable
from tests.conservation.checker import check, figures
from tests.conservation.ledger import Ends, Ledger
from tests.conservation.people import Owner
from tests.conservation.rota import SCHEDULE, Rota
from tests.conservation.server import Victims, running
from tests.conservation.traffic import Traffic, plan
from tests.factories import LEAD, OWNER, TEAMMATE, add_tool, populate, tool_key
from tests.factories.broker import Broker
from tests.factories.people import add_schedule, personal_token
from tests.factories.server import Server
from tests.waiting import NeverHeld, until

COMEBACK_SECONDS = 20.0
QUIET_SECONDS = 240.0
# The tool that the poison pretends to be.
FORGED = "ticket-categoriser"
POLICY = """
version: 1
catch_all: {team: support, sla: {claim: 4s, resolve: 8s}, escalate: steep}
rules:
  - id: on-duty
    when: {trigger: low_confidence, predicted.category: refund}
    owner: {schedule: duty}
    escalate: steep
  - id: by-two
    when: {trigger: low_confidence, predicted.category: billing}
    owner: {team: support}
    reviewers: 2
  - id: given
    when: {trigger: tool_failure}
    owner: {team: support}
    assign: {by: least_loaded, max_open: 20}
  - id: taxes
    when: {predicted.category: tax}
    owner: {user: olga@example.org}
    priority: P1
    sla: {claim: 3s, resolve: 9s}
    escalate: slow
ladders:
  steep:
    - {at: 0s, own: team:support}
    - {at: 4s, own: user:lea@example.org}
    - {at: 10s, own: user:ada@example.org, repeat: 1h}
  slow:
    - {at: 6s, own: user:lea@example.org}
"""
_TOPICS = [topic.name for topic in events.TOPICS]
_PENDING = """
SELECT (SELECT count(*) FROM outbox WHERE sent_at IS NULL
           AND created_at < clock_timestamp() - make_interval(secs => %(age)s)),
       (SELECT count(*) FROM timer t JOIN "case" c ON c.id = t.case_id
         WHERE t.fired_at IS NULL AND t.stopped_at IS NULL
           AND t.due_at < clock_timestamp() - make_interval(secs => %(age)s)),
       (SELECT count(*) FROM "case" WHERE state = 'claimed'),
       (SELECT count(*) FROM timer t JOIN "case" c ON c.id = t.case_id
         WHERE t.fired_at IS NULL AND t.stopped_at IS NULL
           AND t.due_at < clock_timestamp() + interval '1 min')
"""

_HAPPENED = """
SELECT event, count(*) FROM timeline_entry GROUP BY event
UNION ALL SELECT 'notified', count(*) FROM notification ORDER BY 1
"""


@dataclass
class Report:
    """What a campaign found."""

    log: str
    seed: int
    events: int
    kills: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: dict[str, float] = field(default_factory=dict)
    resent: int = 0
    cases: int = 0
    fired: int = 0
    verdicts: int = 0
    happened: dict[str, int] = field(default_factory=dict)
    """How often each thing happened to a case, and how many were told of any."""
    account: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def note_comeback(self, victim: str, seconds: float, last: str) -> None:
        """Keep the slowest; one that was too slow is a violation."""
        self.slowest[victim] = round(max(seconds, self.slowest.get(victim, 0.0)), 1)
        if seconds > COMEBACK_SECONDS:
            self.violations.append(
                f"comeback: {seconds:.1f} s after {victim} was back, {last} had not moved on"
            )

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {**self.__dict__, "kills": dict(self.kills), "sound": not self.violations}


Positions = tuple[dict[str, int], dict[str, int]]


class Pulse:
    """How far the consumers, the relay and the timers have come, seen from outside."""

    def __init__(self, server: Server, log: EventLog) -> None:
        self._url, self._log = server.url, log

    def positions(self) -> Positions | None:
        """What each consumer has taken, and what waits for it; None while nobody can say."""
        try:
            ends = self.ends()
            with psycopg.connect(self._url, connect_timeout=2) as connection:
                rows = connection.execute(
                    "SELECT consumer, topic, partition, next_offset FROM consumer_offset"
                ).fetchall()
        except (psycopg.Error, LogUnavailable):
            return None
        at = {(consumer, topic, number): offset for consumer, topic, number, offset in rows}
        taken: Counter[str] = Counter()
        lag: Counter[str] = Counter()
        for consumer, topics in CONSUMED.items():
            for (topic, number), end in ends.items():
                if topic in topics:
                    offset = at.get((consumer, topic, number), 0)
                    taken[consumer] += offset
                    lag[consumer] += end - offset
        return dict(taken), dict(lag)

    def ends(self) -> dict[tuple[str, int], int]:
        """Where the log ends."""
        return {tuple(place): held.next for place, held in self._log.bounds(_TOPICS).items()}  # type: ignore[misc]

    def pending(self, age: float) -> tuple[int, int, int, int] | None:
        """Unsent records and unfired steps older than `age`; claims; steps due within a minute."""
        try:
            with psycopg.connect(self._url, connect_timeout=2) as connection:
                return connection.execute(_PENDING, {"age": age}).fetchone()  # type: ignore[return-value]
        except psycopg.Error:
            return None


class Campaign:
    """Kills while traffic flows, then waits for quiet and asks the checker."""

    def __init__(self, victims: Victims, report: Report, *, kills: int, pace: float) -> None:
        self.victims, self.report, self.kills, self.pace = victims, report, kills, pace
        self.server = server = victims.server
        self.draw = random.Random(report.seed + 2)
        self.log = victims.open_log()
        self.pulse = Pulse(server, self.log)
        key, tokens = _ways_in(server.url)
        self.traffic = Traffic(
            server.address, key, self.log, plan(report.events, report.seed), report.seed
        )
        self.traffic.allowed = self._allowed
        self.owners = [
            Owner(server.address, email, token, self.traffic.ledger, threading.Lock(), number)
            for number, (email, token) in enumerate(tokens.items())
        ]
        self.rota = Rota(server.url, report.seed)
        self._begun = self._since = time.monotonic()
        self._killed = 0

    def _allowed(self) -> float:
        """Which part of the plan may be sent by now: ever less until the next kill, never nothing,
        so that there is traffic whenever something is killed and while it comes back."""
        if self._killed >= self.kills:
            return 1.0
        since = (time.monotonic() - self._since) / (2 * self.pace)
        return (self._killed + 1 - math.exp(-since)) / (self.kills + 1)

    def run(self) -> None:
        """All of it."""
        self._begun = self._since = time.monotonic()
        self.traffic.start()
        threads = [owner.start() for owner in self.owners]
        self.rota.start()
        try:
            for victim in self._order():
                self.traffic.stopping.wait(self.draw.uniform(0.2, self.pace / 2))
                self._kill(victim)
            self.traffic.join()
        finally:
            self.traffic.stopping.set()
            self.rota.stopping.set()
            for owner in self.owners:
                owner.stopping.set()
            for thread in threads:
                thread.join()
            self.rota.join()
        ends = self._await_quiet()
        self._review(ends)
        self.report.seconds = round(time.monotonic() - self._begun, 1)
        self.log.close()

    def _order(self) -> list[str]:
        """Everybody in turn, each round in another order."""
        found: list[str] = []
        while len(found) < self.kills:
            found += self.draw.sample(self.victims.names, len(self.victims.names))
        return found[: self.kills]

    def _kill(self, victim: str) -> None:
        self.victims.kill(victim)
        killed = time.monotonic()
        returned = self.victims.await_return(victim)
        back, last = self._await_comeback(returned)
        self.report.kills[victim] += 1
        self.report.note_comeback(victim, back, last)
        self._killed, self._since = self._killed + 1, time.monotonic()
        say = f"killed {victim}: returned after {returned - killed:.1f} s, back {back:.1f} s later"
        print(f"{say}, last {last}", file=sys.stderr, flush=True)

    def _await_comeback(self, returned: float) -> tuple[float, str]:
        """Seconds from the return until all have moved on, and who was the last to."""
        before, last = None, "nobody"

        def moved_on() -> bool:
            nonlocal before, last
            now = self.pulse.positions()
            pending = self.pulse.pending(time.monotonic() - returned)
            before = before or now
            waiting = self._waiting(returned, before, now, pending)
            last = ", ".join(waiting) or last
            return not waiting

        with suppress(NeverHeld):
            until(moved_on, seconds=3 * COMEBACK_SECONDS, every=0.1)
        return time.monotonic() - returned, last

    def _waiting(
        self, returned: float, before: Positions | None, now: Positions | None, pending: Any
    ) -> list[str]:
        """Who has not moved on since a part's return."""
        if now is None or before is None or pending is None:
            return ["whoever looks"]
        waiting = [c for c in CONSUMED if now[0][c] <= before[0][c] and now[1][c] > 0]
        if self.traffic.answered_at <= returned and not self.traffic.done:
            waiting.append("answers")
        names = ("relay", "timers")
        return waiting + [name for name, n in zip(names, pending[:2], strict=True) if n]

    def _await_quiet(self) -> Ends:
        """Wait until nothing is on its way; answers where the log ends then."""
        try:
            until(self._is_quiet, seconds=QUIET_SECONDS, every=0.1)
        except NeverHeld:
            self.report.violations.append(
                f"quiet: {self.pulse.positions()} {self.pulse.pending(0.0)} after {QUIET_SECONDS} s"
            )
        return self.pulse.ends()

    def _is_quiet(self) -> bool:
        """Whether it is twice in a row: what one consumer takes, another may hear of."""
        if not self._looks_quiet():
            return False
        time.sleep(0.5)
        return self._looks_quiet()

    def _looks_quiet(self) -> bool:
        # What fires puts something onto the log: who asks for that later sees it.
        pending, now = self.pulse.pending(0.0), self.pulse.positions()
        return now is not None and pending == (0, 0, 0, 0) and not any(now[1].values())

    def _review(self, ends: Ends) -> None:
        """What the checker finds, and whether `secondlook account` says the same."""
        report, url = self.report, self.server.url
        ledger: Ledger = self.traffic.ledger
        problems = [*self.traffic.problems, *(p for o in self.owners for p in o.problems)]
        report.violations += [f"answers: {problem}" for problem in problems]
        ended = [one for one in self.victims.beside if one.poll() is not None]
        said = (self.server.folder / "beside.log").read_text()[-2_000:] if ended else ""
        report.violations += [f"beside: {one.args!r} ended: {said}" for one in ended]
        broken = check(url, ledger, ends, repeats=self.victims.broker is not None)
        report.violations += [f"{name}: {found}" for name, found in broken]
        said = json.loads(self.server.command("account", "--json"))
        counted = figures(url, ends)
        report.account = {name: said[name] for name in counted}
        if report.account != counted:
            report.violations.append(f"account: it says {report.account}, there is {counted}")
        if said["cases"]["unowned"]:
            report.violations.append(f"account: {said['cases']['unowned']} cases are unowned")
        report.resent = self.traffic.resent
        report.verdicts = sum(entry.times for entry in ledger.verdicts.values())
        with psycopg.connect(url) as connection:
            row = connection.execute(
                'SELECT (SELECT count(*) FROM "case"), (SELECT count(fired_at) FROM timer)'
            ).fetchone()
            report.happened = dict(connection.execute(_HAPPENED).fetchall())
        report.cases, report.fired = row if row is not None else (0, 0)


def _populate(database: Database) -> None:
    """People, the tool, and the one that the poison pretends to be."""
    populate(database, audit_rate=0.02)
    with database.transaction() as session:
        add_tool(session, FORGED)
        add_schedule(session, SCHEDULE, OWNER, TEAMMATE, every="12h")


def _ways_in(url: str) -> tuple[str, dict[str, str]]:
    """The tool's key, and the tokens of those who give verdicts."""
    database = Database(make_engine(url, pool_size=1))
    with database.transaction() as session:
        key = tool_key(session)
        tokens = {email: personal_token(session, email) for email in (OWNER, TEAMMATE, LEAD)}
    database.close()
    return key, tokens


@contextmanager
def _policy_file() -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(POLICY)
        file.flush()
        yield file.name


def campaign(
    *, size: int, kills: int, seed: int, broker: Broker | None = None, pace: float = 6.0
) -> Report:
    """Run one campaign, on Kafka where a broker is given, and answer what it found."""
    report = Report("kafka" if broker is not None else "postgres", seed, size)
    with (
        _policy_file() as policy,
        running(
            _populate, broker, SECONDLOOK_ROUTING_FILE=policy, SECONDLOOK_LEASE="5s"
        ) as victims,
    ):
        Campaign(victims, report, kills=kills, pace=pace).run()
    return report
