"""The clock jumps under `tick`, and nothing is set off by that; each of its loops is held to it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from services.app.resources import Resources, ensure_topics
from services.app.roles import make_loops
from services.escalation.policy.read import read as read_policy
from services.kit.database import Database, make_engine
from services.kit.settings import Settings
from services.people import access
from tests.factories import (
    OWNER,
    POLICY,
    TEAMMATE,
    Casework,
    Delivery,
    correction,
    one,
    output,
    populate,
)
from tests.factories.clocks import Clocks
from tests.factories.people import OPERATOR

CASES = 20
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
YEARS = timedelta(days=3650)
# What is not decided by the clock: the guard's own row, and who is a member of the log.
_APART = {"clock_watch", "log_member", "alembic_version"}


class Ticking:
    """An installation with `tick` beside it, by clocks that can be moved."""

    def __init__(self, url: str, **settings: Any) -> None:
        self.clocks, self.database = Clocks(), Database(make_engine(url, pool_size=3))
        given = Settings(database_url=SecretStr(url), **settings)
        self.resources = Resources(given, self.database, url, self.clocks, self.clocks.steady)
        ensure_topics(self.resources)
        populate(self.database)
        self._loops = make_loops(self.resources)
        self.log = Delivery(self.database, read_policy(POLICY))

    def turn(self) -> None:
        """Every loop does what it finds to do."""
        for loop in self._loops:
            while loop.step():
                pass

    def everything(self) -> dict[str, Any]:
        """What all tables hold, by a digest of each."""
        names = "SELECT array_agg(tablename::text) FROM pg_tables WHERE schemaname = 'public'"
        digest = "SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM \"{}\" t"
        found = set(one(self.database, names)) - _APART
        return {name: one(self.database, digest.format(name)) for name in sorted(found)}

    def overdue(self) -> int:
        """How many cases are past a deadline, as the engine has it."""
        query = 'SELECT count(*) FROM "case" WHERE overdue_since IS NOT NULL'
        return int(one(self.database, query))

    def missed(self) -> int:
        """How often a case was told to be past its claim deadline."""
        query = """SELECT count(*) FROM timeline_entry
            WHERE event = 'overdue' AND detail->>'clock' = 'claim'"""
        return int(one(self.database, query))

    def close(self) -> None:
        """End all."""
        for loop in self._loops:
            loop.close()
        self.resources.close()


@pytest.fixture
def ticking(fresh_database: Callable[[], str]) -> Iterator[Callable[..., Ticking]]:
    made: list[Ticking] = []

    def make(**settings: Any) -> Ticking:
        made.append(Ticking(fresh_database(), **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def _open_cases(tick: Ticking) -> None:
    tick.log.take(*[output(f"o-{n}", confidence=0.4) for n in range(CASES)])
    tick.turn()
    assert tick.overdue() == 0


@pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY, -DAY])
def test_clock_that_jumps_and_comes_back_makes_nothing_overdue_and_loses_nothing(
    jump: timedelta, ticking: Callable[..., Ticking]
) -> None:
    tick = ticking()
    _open_cases(tick)
    tick.clocks.moved = jump
    for _ in range(3):
        tick.clocks.passed += timedelta(minutes=2)
        tick.turn()
    assert tick.overdue() == 0
    tick.clocks.moved = timedelta()
    tick.turn()
    assert tick.overdue() == 0
    tick.clocks.passed += HOUR  # beyond the deadline of every case
    tick.turn()
    tick.turn()
    assert (tick.overdue(), tick.missed()) == (CASES, CASES)


def test_clock_that_stays_where_it_is_fires_again_after_the_time_that_is_set(
    ticking: Callable[..., Ticking],
) -> None:
    tick = ticking(clock_confirm=600)
    _open_cases(tick)
    tick.clocks.moved = DAY
    for _ in range(10):
        tick.turn()
        assert tick.overdue() == 0
        tick.clocks.passed += timedelta(minutes=1)
    tick.turn()
    tick.turn()
    assert (tick.overdue(), tick.missed()) == (CASES, CASES)


def _leave_much_to_time(tick: Ticking) -> None:
    """A case of every kind that time goes on with, and what else it sets off."""
    tick.log.take(*[output(f"o-{n}", confidence=0.4) for n in range(4)])
    tick.log.take(output("sure", confidence=0.99), correction("not-there-yet", value="travel"))
    work = Casework(tick.database)
    cases = [int(one(tick.database, _CASE, output=f"o-{n}")) for n in range(4)]
    work.claim(OWNER, cases[1])
    work.give_verdict(OWNER, cases[2])
    with tick.database.transaction() as session:
        now = tick.clocks.now(session)
        access.create_link(session, TEAMMATE, actor=OPERATOR, now=now, length=HOUR)
        session.execute(text("UPDATE notification SET mail_at = :at"), {"at": now + HOUR})
    tick.turn()


_CASE = "SELECT case_id FROM case_output WHERE output_id = :output"


def test_no_loop_changes_anything_by_a_clock_that_jumped(ticking: Callable[..., Ticking]) -> None:
    tick = ticking()
    _leave_much_to_time(tick)
    before = tick.everything()
    tick.clocks.moved = YEARS
    tick.turn()
    assert tick.everything() == before


def test_the_same_clock_would_change_much_if_it_were_believed(
    ticking: Callable[..., Ticking],
) -> None:
    tick = ticking(clock_confirm=0)
    _leave_much_to_time(tick)
    before = tick.everything()
    tick.clocks.moved = YEARS
    tick.turn()
    after = tick.everything()
    changed = {name for name, digest in before.items() if after[name] != digest}
    assert changed >= {"case", "timer", "timeline_entry", "output", "sign_in_link", "notification"}
