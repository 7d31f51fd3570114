"""The campaign: cases open, time passes in jumps, engines die and freeze, and every timer fires."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
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
from tests.engines.processes import Engines
from tests.engines.shifts import BEGINS, ENDS, due_after
from tests.factories import Delivery, one, output, populate, rows
from tests.factories.people import OPERATOR
from tests.waiting import until

_ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney")
# Half an hour before the clocks go forward and back, and in which of them.
_CHANGES = (
    (datetime(2026, 3, 29, 0, 30, tzinfo=UTC), 0),
    (datetime(2026, 10, 25, 0, 30, tzinfo=UTC), 0),
    (datetime(2026, 3, 8, 6, 30, tzinfo=UTC), 1),
    (datetime(2026, 11, 1, 5, 30, tzinfo=UTC), 1),
    (datetime(2026, 4, 4, 15, 30, tzinfo=UTC), 2),
    (datetime(2026, 10, 3, 15, 30, tzinfo=UTC), 2),
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
hours: {{mon-sun: ["{hours}"]}}
"""
_HOURS = {"always": "00:00-24:00", "nights": f"{BEGINS:%H:%M}-{ENDS:%H:%M}"}
_STEPS = 4
"""To be claimed, to be resolved, and two rungs: an hour after each other."""
_HOUR, _DAY, _AHEAD = timedelta(hours=1), timedelta(days=1), timedelta(seconds=1)
_JUMPS = (_HOUR, -_HOUR, _DAY, -_DAY)
_PATIENCE = 120.0
_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass
class Report:
    """What a campaign found."""

    timers: int = 0
    missed: int = 0
    doubled: int = 0
    displaced: int = 0
    """Deadlines that are not as many real working hours after the opening as the policy says."""
    breached: int = 0
    """Timers that fired while the clock was wrong."""
    held: bool = False
    """Whether the engine that was frozen held timers."""
    late: list[float] = field(default_factory=list)
    """Seconds, sorted: of what was due while all engines ran, or one was dead."""
    late_frozen: list[float] = field(default_factory=list)
    """The same of what was due while one was frozen, with what it held."""

    @property
    def p99(self) -> float:
        """How late all but one in a hundred fire, at most."""
        return self.late[int(len(self.late) * 0.99)]

    @property
    def sound(self) -> bool:
        """Whether every timer fired once, and in time."""
        wrong = self.missed or self.doubled or self.displaced or self.breached
        return not wrong and self.p99 <= 5 and max(*self.late, *self.late_frozen) <= 30


class Campaign:
    """Cases in three time zones, and time that is moved under them."""

    def __init__(self, url: str, *, size: int, freeze: float, changes: int, every: float) -> None:
        self.database, self.clock = Database(make_engine(url)), MovedClock()
        self._changes = sorted(_CHANGES)[:changes]
        self._cases = -(-size // (_STEPS * (changes + 1)))
        self._freeze, self._every = freeze, every
        self._opened = self._breached = 0
        self._held, self._frozen = False, (_NEVER, _NEVER)
        self._run("CREATE TABLE moved_clock (passed interval NOT NULL, jumped interval NOT NULL)")
        self._run("INSERT INTO moved_clock VALUES ('0', '0')")
        self._run("CREATE TABLE landing (at timestamptz NOT NULL)")
        populate(self.database)
        self._add_calendars()
        self.engines = Engines(url, every)

    def run(self) -> Report:
        """All of it."""
        for number, (change, zone) in enumerate(self._changes):
            self._open_around(change, zone)
            self._let_time_pass(disturbed=number == 0)
        self._open_around(max(self._changes)[0] + timedelta(days=20), 0)
        self._jump()
        self._let_time_pass()
        return self._report()

    def close(self) -> None:
        """End the engines, and let go of the database."""
        self.engines.end()
        self.database.close()

    # --- cases ----------------------------------------------------------------------------

    def _add_calendars(self) -> None:
        with self.database.transaction() as session:
            now = self.clock.now(session)
            for name, hours in _HOURS.items():
                for number, zone in enumerate(_ZONES):
                    read = calendars.read(_CALENDAR.format(zone=zone, hours=hours))
                    slug = f"{name}-{number}"
                    people.put_calendar(session, slug, read, actor=OPERATOR, now=now)

    def _open_around(self, moment: datetime, zone: int) -> None:
        """Open cases from a moment on, a few at a time: in all zones, and in a night of one."""
        self._move_to(moment)
        names = [*(f"always-{n}" for n in range(len(_ZONES))), f"nights-{zone}"]
        deliveries = [self._delivery(name) for name in names]
        for n in range(self._cases):
            self._opened += 1
            deliveries[n % len(names)].take(output(f"o-{self._opened}", confidence=0.1))

    def _delivery(self, calendar: str) -> Delivery:
        policy: RoutingPolicy = read_policy(_POLICY.format(calendar=calendar))
        found = Delivery(self.database, policy)
        found.escalation = EscalationConsumer(self.clock, Router(lambda _: policy))
        return found

    # --- time -----------------------------------------------------------------------------

    def _let_time_pass(self, *, disturbed: bool = False) -> None:
        """Go from deadline to deadline; engines die and freeze while the first ones pass."""
        while (due := self._next_due()) is not None:
            self._move_to(due - _AHEAD)
            if disturbed:
                self._disturb(due)
                disturbed = False
            self._await_fired(due)

    def _disturb(self, first: datetime) -> None:
        until(lambda: self._now() >= first, seconds=_PATIENCE)
        self._held = self.engines.freeze(self.database)
        self.engines.kill()
        time.sleep(self._freeze)
        self.engines.thaw()
        self._frozen = (first, self._now())
        self.engines.replace()

    def _jump(self) -> None:
        """The clock jumps and comes back: half an hour before anything is due, and over it."""
        due = self._next_due()
        assert due is not None
        self._move_to(due - _HOUR / 2)
        for jump in _JUMPS:
            self._be_wrong(jump)
        self._move_to(due - _AHEAD)
        self._be_wrong(_HOUR)

    def _be_wrong(self, jump: timedelta) -> None:
        """Let every engine look a few times at a clock that has jumped."""
        fired = "SELECT count(*) FROM timer WHERE fired_at IS NOT NULL"
        self._run("UPDATE moved_clock SET jumped = :jump", jump=jump)
        before = one(self.database, fired)
        time.sleep(_AHEAD.total_seconds() + 3 * self._every)
        self._breached += one(self.database, fired) - before
        self._run("UPDATE moved_clock SET jumped = '0'")
        self._land()
        time.sleep(2 * self._every)

    def _next_due(self) -> datetime | None:
        due = "SELECT min(due_at) FROM timer WHERE fired_at IS NULL"
        found: datetime | None = one(self.database, due)
        return found

    def _now(self) -> datetime:
        with self.database.transaction() as session:
            return self.clock.now(session)

    def _move_to(self, moment: datetime) -> None:
        """Let time pass until then, for engines too; back only before anything was opened."""
        by = moment - self._now()
        if by > timedelta() or not self._opened:
            self._run("UPDATE moved_clock SET passed = passed + :by", by=by)
            self._land()

    def _land(self) -> None:
        """From now on engines can fire what is due."""
        self._run("INSERT INTO landing SELECT clock_timestamp() + passed FROM moved_clock")

    def _await_fired(self, moment: datetime) -> None:
        """Wait until everything has fired that was due by a moment."""
        left = "SELECT count(*) FROM timer WHERE due_at <= :at AND fired_at IS NULL"
        until(lambda: self._now() > moment, seconds=_PATIENCE)
        until(lambda: one(self.database, left, at=moment) == 0, seconds=_PATIENCE, every=0.1)
        assert self.engines.all_run(), "an engine has ended by itself"

    # --- what came of it ------------------------------------------------------------------

    def _report(self) -> Report:
        now, (begun, ended) = self._now(), self._frozen
        late = rows(self.database, _LATE)
        return Report(
            timers=one(self.database, "SELECT count(*) FROM timer WHERE fired_at IS NOT NULL"),
            missed=one(self.database, _MISSED, now=now),
            doubled=one(self.database, _DOUBLED),
            displaced=sum(row.due_at != _expected(row) for row in rows(self.database, _DEADLINES)),
            breached=self._breached,
            held=self._held,
            late=[float(row.late) for row in late if not begun <= row.due_at <= ended],
            late_frozen=[float(row.late) for row in late if begun <= row.due_at <= ended],
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
_DEADLINES = """
SELECT t.kind, t.due_at, c.opened_at, c.calendar FROM timer t JOIN "case" c ON c.id = t.case_id
WHERE t.kind IN ('claim', 'resolve')
"""


def _expected(row: Any) -> datetime:
    """When a deadline should be: an hour or two later, of real time or of the zone's nights."""
    hours = 1 if row.kind == "claim" else 2
    name, _, zone = row.calendar.partition("-")
    opened: datetime = row.opened_at
    if name == "always":
        return opened + timedelta(hours=hours)
    return due_after(opened, hours, _ZONES[int(zone)])


_LATE = """
SELECT extract(epoch FROM t.fired_at - greatest(t.due_at, (
    SELECT max(l.at) FROM landing l WHERE l.at <= t.fired_at))) AS late, t.due_at
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
