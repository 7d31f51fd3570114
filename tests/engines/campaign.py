"""The campaign: cases open, time passes in jumps, engines die and freeze, and every timer fires."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import text

from services.escalation.consumer import EscalationConsumer
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read as read_policy
from services.escalation.routing import Router
from services.kit.database import Database, make_engine
from services.people import calendars
from services.people import service as people
from tests.engines.engine import MovedClock
from tests.factories import Delivery, one, output, populate, rows
from tests.factories.people import OPERATOR
from tests.waiting import until

_ROOT = Path(__file__).parent.parent.parent
_ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney")
# Half an hour before the clocks go forward and back in each of them.
_CHANGES = (
    *(datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    *(datetime(2026, 3, 8, 6, 30, tzinfo=UTC), datetime(2026, 11, 1, 5, 30, tzinfo=UTC)),
    *(datetime(2026, 4, 4, 15, 30, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
)
_POLICY = """
version: 1
catch_all:
  team: support
  sla: {{claim: 1bh, resolve: 2bh, calendar: {calendar}}}
  escalate: standard
ladders:
  standard:
    - {{at: 0m, own: team:support}}
    - {{at: 3h, own: user:lea@example.org}}
    - {{at: 4h, own: user:ada@example.org}}
"""
_CALENDAR = """
timezone: {zone}
hours: {{mon-sun: ["00:00-24:00"]}}
"""
_STEPS = 4
"""To be claimed, to be resolved, and two rungs: an hour after each other."""
_HOUR, _AHEAD = timedelta(hours=1), timedelta(seconds=1)
_PATIENCE = 120.0


@dataclass
class Report:
    """What a campaign found."""

    timers: int = 0
    missed: int = 0
    doubled: int = 0
    displaced: int = 0
    """Deadlines that are not as many real hours after the opening as the policy says."""
    late: list[float] = field(default_factory=list)
    """Seconds, sorted."""

    @property
    def p99(self) -> float:
        """How late all but one in a hundred fire, at most."""
        return self.late[int(len(self.late) * 0.99)]

    @property
    def sound(self) -> bool:
        """Whether every timer fired once, and in time."""
        wrong = self.missed or self.doubled or self.displaced
        return not wrong and self.p99 <= 5 and self.late[-1] <= 30


class Engines:
    """Three of them, each a process of its own."""

    def __init__(self, url: str, every: float) -> None:
        self._url, self._every = url, str(every)
        self._running = [self._start() for _ in range(3)]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.engines.engine", self._url, self._every]
        return subprocess.Popen(command, cwd=_ROOT, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        """End one in the middle of what it does; another one is started in its place later."""
        self._running[0].kill()
        self._running[0].wait()

    def replace(self) -> None:
        """Start one for the one that was killed."""
        self._running[0] = self._start()

    def freeze(self) -> None:
        """Stop one as a debugger would."""
        os.kill(self._running[1].pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        os.kill(self._running[1].pid, signal.SIGCONT)

    def end(self) -> None:
        """End all."""
        for process in self._running:
            process.kill()
            process.wait()


class Campaign:
    """Cases in three time zones, and time that is moved under them."""

    def __init__(self, url: str, *, size: int, freeze: float, changes: int, every: float) -> None:
        self.database, self.clock = Database(make_engine(url)), MovedClock()
        self._changes = sorted(_CHANGES)[:changes]
        self._cases = -(-size // (_STEPS * (changes + 1)))
        self._freeze = freeze
        self._opened = 0
        self._run("CREATE TABLE moved_clock (shift interval NOT NULL)")
        self._run("INSERT INTO moved_clock VALUES ('0')")
        self._run("CREATE TABLE landing (at timestamptz NOT NULL)")
        populate(self.database)
        self._add_calendars()
        self.engines = Engines(url, every)

    def run(self) -> Report:
        """All of it."""
        for number, change in enumerate(self._changes):
            self._open_around(change)
            self._let_time_pass(disturbed=number == 0)
        self._open_around(max(_CHANGES) + timedelta(days=20))
        self._jump()
        return self._report()

    def close(self) -> None:
        """End the engines, and let go of the database."""
        self.engines.end()
        self.database.close()

    # --- cases ----------------------------------------------------------------------------

    def _add_calendars(self) -> None:
        with self.database.transaction() as session:
            now = self.clock.now(session)
            for number, zone in enumerate(_ZONES):
                read = calendars.read(_CALENDAR.format(zone=zone))
                people.put_calendar(session, f"zone-{number}", read, actor=OPERATOR, now=now)

    def _open_around(self, moment: datetime) -> None:
        """Open cases from a moment on, a few at a time, in all zones."""
        self._move_to(moment)
        deliveries = [self._delivery(n) for n in range(len(_ZONES))]
        for n in range(self._cases):
            self._opened += 1
            deliveries[n % len(_ZONES)].take(output(f"o-{self._opened}", confidence=0.1))

    def _delivery(self, number: int) -> Delivery:
        policy: RoutingPolicy = read_policy(_POLICY.format(calendar=f"zone-{number}"))
        found = Delivery(self.database, policy)
        found.escalation = EscalationConsumer(self.clock, Router(lambda _: policy))
        return found

    # --- time -----------------------------------------------------------------------------

    def _let_time_pass(self, *, disturbed: bool) -> None:
        """Go from deadline to deadline; engines die and freeze while the first one passes."""
        for step in range(1, _STEPS + 1):
            first, last = self._span()
            self._move_to(first + step * _HOUR - _AHEAD)
            if disturbed and step == 1:
                self._disturb(first + _HOUR)
            self._await_fired(last + step * _HOUR)

    def _disturb(self, first: datetime) -> None:
        until(lambda: self._now() >= first + _AHEAD, seconds=_PATIENCE)
        self.engines.kill()
        self.engines.freeze()
        time.sleep(self._freeze)
        self.engines.thaw()
        self.engines.replace()

    def _jump(self) -> None:
        """An hour forward at once, an hour back, and on to the end."""
        first, last = self._span()
        self._shift(_HOUR)
        self._await_fired(last + _HOUR)
        self._shift(-_HOUR)
        time.sleep(3)
        self._shift(_HOUR)
        for step in range(2, _STEPS + 1):
            self._move_to(first + step * _HOUR - _AHEAD)
            self._await_fired(last + step * _HOUR)

    def _span(self) -> tuple[datetime, datetime]:
        """When the first and the last of the cases opened that opened last."""
        found = one(
            self.database,
            'SELECT min(opened_at), max(opened_at) FROM (SELECT opened_at FROM "case"'
            " ORDER BY id DESC LIMIT :n) newest",
            n=self._cases,
        )
        return found[0], found[1]

    def _now(self) -> datetime:
        with self.database.transaction() as session:
            return self.clock.now(session)

    def _move_to(self, moment: datetime) -> None:
        self._shift(moment - self._now())

    def _shift(self, by: timedelta) -> None:
        self._run("UPDATE moved_clock SET shift = shift + :by", by=by)
        self._run("INSERT INTO landing SELECT clock_timestamp() + shift FROM moved_clock")

    def _await_fired(self, moment: datetime) -> None:
        """Wait until everything has fired that was due by a moment."""
        left = "SELECT count(*) FROM timer WHERE due_at <= :at AND fired_at IS NULL"
        until(lambda: self._now() > moment, seconds=_PATIENCE)
        until(lambda: one(self.database, left, at=moment) == 0, seconds=_PATIENCE, every=0.2)

    # --- what came of it ------------------------------------------------------------------

    def _report(self) -> Report:
        now = self._now()
        return Report(
            timers=one(self.database, "SELECT count(*) FROM timer WHERE fired_at IS NOT NULL"),
            missed=one(self.database, _MISSED, now=now),
            doubled=one(self.database, _DOUBLED),
            displaced=one(self.database, _DISPLACED),
            late=[float(row.late) for row in rows(self.database, _LATE)],
        )

    def _run(self, statement: str, **given: Any) -> None:
        with self.database.transaction() as session:
            session.execute(text(statement), given)


_MISSED = """
SELECT count(*) FROM timer WHERE fired_at IS NULL AND due_at < :now - interval '10 s'
"""
# What a timer does shows once on its case: a deadline is missed, or a rung is climbed.
_DOUBLED = """
SELECT count(*) FROM "case" c CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE event = 'overdue' AND detail->>'clock' = 'claim') AS claims,
        count(*) FILTER (WHERE event = 'overdue' AND detail->>'clock' = 'resolve') AS resolves,
        count(*) FILTER (WHERE event = 'escalated') AS climbed
    FROM timeline_entry t WHERE t.case_id = c.id) told
WHERE (told.claims, told.resolves, told.climbed) IS DISTINCT FROM (1, 1, c.level)
"""
_DISPLACED = """
SELECT count(*) FROM timer t JOIN "case" c ON c.id = t.case_id
WHERE (t.kind = 'claim' AND t.due_at <> c.opened_at + interval '1 hour')
    OR (t.kind = 'resolve' AND t.due_at <> c.opened_at + interval '2 hours')
"""
_LATE = """
SELECT extract(epoch FROM t.fired_at - greatest(t.due_at, (
    SELECT max(l.at) FROM landing l WHERE l.at <= t.fired_at))) AS late
FROM timer t WHERE t.fired_at IS NOT NULL ORDER BY late
"""


@contextmanager
def campaign(
    url: str,
    *,
    size: int,
    freeze: float,
    changes: int = len(_CHANGES),
    every: float = 2.0,
) -> Iterator[Campaign]:
    """A campaign of so many timers, or a few more.

    Args:
        url: of an empty, migrated database.
        size: how many timers, at least.
        freeze: for how many seconds one engine stands still.
        changes: of summer time that it goes over.
        every: how many seconds an engine rests between two looks, as in `services.app.roles`.
    """
    opened = Campaign(url, size=size, freeze=freeze, changes=changes, every=every)
    try:
        yield opened
    finally:
        opened.close()
