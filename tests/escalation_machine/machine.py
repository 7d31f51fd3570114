"""The machine: which steps there are. Hypothesis chooses, and shrinks what breaks."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from psycopg._preparing import PrepareManager
from sqlalchemy import Connection, text

from services.escalation.rules import Owner
from services.kit.database import Database
from services.people.rules import Role
from services.tools.rules import VerdictKind, Version
from services.tools.versions import ToolVersion, VersionCache
from tests.escalation_machine.ground import TEAMS
from tests.escalation_machine.policies import CALENDARS, SCHEDULES
from tests.escalation_machine.world import World
from tests.factories import ADMIN, LEAD, OUTSIDER, OWNER, TEAMMATE, TOOL

STEPS_A_WALK = 100

CASE = st.integers(0, 15)
WHO = st.integers(0, 11)
REVIEWER = st.integers(0, 47)
VALUE = st.sampled_from(["billing", "refund", "tax"])
HOURS = st.integers(1, 40).map(lambda hours: timedelta(hours=hours))
TOGETHER: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("verdict", {"verdict": "upheld"}),
    ("verdict", {"verdict": "not_actionable", "note": "so it is"}),
    ("undo", {}),
    ("claim", {}),
    ("unmerge", {}),
    ("snooze", {"reason": "later"}),
    ("reassign", {"owner": {"kind": "team", "id": TEAMS[0]}}),
    ("escalate", {}),
)
SAID = st.sampled_from(
    [("upheld", None), ("undecidable", None), ("corrected", "refund"), ("corrected", "billing")]
)

Change = tuple[Any, ...]
"""What changes, and what it takes."""


def _change(name: str, *given: st.SearchStrategy[Any]) -> st.SearchStrategy[Change]:
    return st.tuples(st.just(name), *given)


_TEAM, _SCHEDULE = st.sampled_from(TEAMS), st.sampled_from(SCHEDULES)
_ROLES = (Role.OWNER, Role.LEAD, Role.REP)
# Of each kind there is one rule, so that most steps are about cases, as they are in life.
OF_PEOPLE = st.one_of(
    _change("hire", st.sampled_from(_ROLES), _TEAM),
    _change("leave", WHO, st.booleans()),
    _change("promote", WHO, st.sampled_from([*_ROLES, Role.ADMIN])),
    _change("move", WHO, st.sets(_TEAM, max_size=3)),
    _change("empty", _TEAM),
    _change("remove", _TEAM),
    _change("manage", WHO, WHO, st.booleans()),
)
OF_PRESENCE = st.one_of(
    _change("away", WHO, st.none() | WHO, HOURS, st.sampled_from([0, 0, 5])),
    _change("back", WHO),
    _change("override", _SCHEDULE, WHO, HOURS),
)
OF_RULES = st.one_of(
    _change(
        "schedule",
        _SCHEDULE,
        st.lists(WHO, min_size=1, max_size=3),
        st.sampled_from([1, 12, 24]),
        st.sampled_from([-1, -1, 3]),
    ),
    _change("route", CASE, CASE, CASE, CASE),
    _change("reapply", st.booleans()),
    _change("calendar", st.sampled_from(CALENDARS), CASE, st.none() | _TEAM),
    _change("recount"),
)


class Escalation(RuleBasedStateMachine):
    """Everything that can happen, in any order."""

    connection: Connection
    steps = 0
    done: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.connection)

    def teardown(self) -> None:
        """Let nothing of it have been."""
        type(self).done += self.world.done
        self.world.close()

    @invariant()
    def keeps_its_promises(self) -> None:
        """After every step."""
        type(self).steps += 1
        self.world.check()

    def check_invariants(self, *given: Any, **named: Any) -> None:
        """Tell of what is broken at once: Hypothesis goes the same way again before it does."""
        try:
            super().check_invariants(*given, **named)
        except AssertionError as error:
            print(f"after {self.steps:,} steps: {error}", file=sys.stderr, flush=True)
            raise

    def _person(self, who: int) -> str:
        return self.world.people[who % len(self.world.people)]

    @initialize(first=CASE, second=CASE, rung=CASE, last=CASE, value=VALUE)
    def begin(self, first: int, second: int, rung: int, last: int, value: str) -> None:
        """A policy holds, and cases are open."""
        self.world.route(first, second, rung, last)
        self.world.ask(2, value)

    @rule(number=st.integers(1, 3), value=VALUE)
    def ask(self, number: int, value: str) -> None:
        if self.world.outputs < 12:
            self.world.ask(number, value)

    @rule(output=CASE, who=WHO, kind=st.sampled_from(["dispute", "appeal"]))
    def object(self, output: int, who: int, kind: str) -> None:
        self.world.object(output, self._person(who), kind)

    @rule(verb=st.sampled_from(["undo", "reopen"]), case=CASE, who=REVIEWER)
    def take_back(self, verb: str, case: int, who: int) -> None:
        getattr(self.world, verb)(case, who)

    @rule(verb=st.sampled_from(["release", "wake", "unmerge"]), case=CASE, who=REVIEWER)
    def plain(self, verb: str, case: int, who: int) -> None:
        getattr(self.world, verb)(case, who)

    @rule(case=CASE, who=REVIEWER)
    def claim(self, case: int, who: int) -> None:
        self.world.claim(case, who)

    @rule(case=CASE, who=REVIEWER, said=SAID)
    def decide(self, case: int, who: int, said: tuple[str, str | None]) -> None:
        kind, value = said
        self.world.decide(case, who, VerdictKind(kind), value)

    @rule(case=CASE, who=REVIEWER)
    def comment(self, case: int, who: int) -> None:
        self.world.comment(case, who)

    @rule(pause=st.sampled_from(["wait", "snooze"]), case=CASE, who=REVIEWER, span=HOURS)
    def pause(self, pause: str, case: int, who: int, span: timedelta) -> None:
        getattr(self.world, pause)(case, who, span)

    @rule(case=CASE, who=REVIEWER, more=st.integers(1, 5))
    def snooze_until_more(self, case: int, who: int, more: int) -> None:
        self.world.snooze_until_more(case, who, more)

    @rule(case=CASE, who=REVIEWER, together=st.sampled_from(TOGETHER))
    def together(self, case: int, who: int, together: tuple[str, Mapping[str, Any]]) -> None:
        self.world.together(case, who, *together)

    @rule(case=CASE, into=CASE)
    def merge(self, case: int, into: int) -> None:
        self.world.merge(case, LEAD, into)

    @rule(case=CASE, who=REVIEWER, owner=st.integers(0, 14))
    def reassign(self, case: int, who: int, owner: int) -> None:
        if owner < len(TEAMS):
            wanted = Owner("team", TEAMS[owner])
        else:
            wanted = Owner("person", self._person(owner))
        self.world.reassign(case, who, wanted)

    @rule(case=CASE, who=REVIEWER, level=st.integers(0, 2))
    def escalate(self, case: int, who: int, level: int) -> None:
        self.world.escalate(case, who, level)

    @rule(minutes=st.sampled_from([1, 20, 31, 61, 181, 300, 1500, -60, -5]))
    def jump(self, minutes: int) -> None:
        self.world.jump(timedelta(minutes=minutes))

    @rule(minutes=st.sampled_from([0, 31, 61, 181]), step=st.integers(0, 3))
    def engine(self, minutes: int, step: int) -> None:
        self.world.jump(timedelta(minutes=minutes))
        self.world.engine(step)

    @rule(step=st.integers(0, 2))
    def tick(self, step: int) -> None:
        self.world.engine(step)

    @rule(change=OF_PEOPLE)
    def people(self, change: Change) -> None:
        """Somebody comes, goes, or becomes something else."""
        self._do(change)

    @rule(change=OF_PRESENCE)
    def presence(self, change: Change) -> None:
        """Somebody is there, or is not."""
        self._do(change)

    @rule(change=OF_RULES)
    def routing(self, change: Change) -> None:
        """Other rules hold."""
        self._do(change)

    def _do(self, change: Change) -> None:
        name, *given = change
        getattr(self, f"_{name}")(*given)

    def _hire(self, role: Role, team: str) -> None:
        self.world.add_team()
        self.world.add_person(role, team)

    def _leave(self, who: int, active: bool) -> None:
        self.world.change(self._person(who), active=active)

    def _promote(self, who: int, role: Role) -> None:
        self.world.change(self._person(who), role=role)

    def _move(self, who: int, teams: set[str]) -> None:
        self.world.change(self._person(who), teams=sorted(teams))

    def _empty(self, team: str) -> None:
        self.world.empty(team)

    def _remove(self, team: str) -> None:
        self.world.remove_team(team)

    def _manage(self, who: int, manager: int, skilled: bool) -> None:
        self.world.manage(self._person(who), self._person(manager))
        self.world.teach(self._person(who), ("refunds",) if skilled else ())

    def _away(self, who: int, stand_in: int | None, span: timedelta, ahead: int) -> None:
        instead = self._person(stand_in) if stand_in is not None else None
        self.world.away(self._person(who), span, instead, timedelta(hours=ahead))

    def _back(self, who: int) -> None:
        self.world.back(who)

    def _override(self, slug: str, who: int, span: timedelta) -> None:
        self.world.override(slug, self._person(who), span)

    def _schedule(self, slug: str, people: list[int], every: int, ahead: int) -> None:
        self.world.schedule(slug, tuple(map(self._person, people)), every, ahead)

    def _route(self, first: int, second: int, rung: int, last: int) -> None:
        self.world.route(first, second, rung, last)

    def _calendar(self, slug: str, hours: int, team: str | None) -> None:
        self.world.calendar(slug, hours, team)

    def _recount(self) -> None:
        self.world.recount()

    def _reapply(self, also_reassigned: bool) -> None:
        self.world.reapply(also_reassigned=also_reassigned)


def prepare(database: Database) -> None:
    """What every walk finds: a version of the tool, as processes remember its number, schedules,
    calendars, and somebody who can do something."""
    with database.transaction() as session:
        VersionCache().ids(session, [ToolVersion(TOOL, Version())])
    with database.engine.connect() as connection:
        world = World(connection)
        world.schedule(SCHEDULES[0], (OWNER, TEAMMATE), 12, -1)
        world.schedule(SCHEDULES[1], (OUTSIDER, ADMIN), 24, -1)
        world.teach(OWNER, ("refunds",))
        for number, slug in enumerate(CALENDARS):
            world.calendar(slug, number + 1, None)
        world.close(keep=True)


@contextmanager
def _kept_small(database: Database) -> Iterator[Callable[[], None]]:
    """What was rolled back is cleared away now and then: the server would do it too late."""
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield lambda: connection.execute(text("VACUUM")).close()


class _Kept(PrepareManager):
    """Keeps what is prepared when something is taken back; psycopg forgets it, as a table may have
    been made in between. Here none is, and every third verb is refused."""

    def _should_discard(self, *_given: Any) -> bool:
        return False


def _plan_once(connection: Connection) -> None:
    """Have each statement planned once: of so few rows planning takes longer than doing."""
    driver = connection.connection.driver_connection
    assert driver is not None
    connection.exec_driver_sql("DEALLOCATE ALL")
    driver._prepared = _Kept()
    driver.prepare_threshold, driver.prepared_max = 0, 2_000
    connection.exec_driver_sql("SET plan_cache_mode = force_generic_plan")
    # A walk is one transaction, on a machine that may have other things to do.
    connection.exec_driver_sql("SET idle_in_transaction_session_timeout = 0")
    connection.commit()


def walk(
    database: Database,
    *,
    steps: int,
    at: int,
    shrink: bool = False,
    tell: Callable[[int], None] = lambda _: None,
) -> Counter[str]:
    """Take so many steps at least; answers how often each verb was done, and how often any was
    refused.

    Raises:
        Broken: a promise was, and the way to it is told; with `shrink` the shortest, in a while.
    """
    with _kept_small(database) as clear, database.engine.connect() as connection:
        _plan_once(connection)
        machine = type(
            "Walk", (Escalation,), {"connection": connection, "steps": 0, "done": Counter()}
        )
        number = 0
        while machine.steps < steps:
            run_state_machine_as_test(seed(at + number)(machine), settings=_settings(shrink))
            number += 1
            clear()
            tell(machine.steps)
    return Counter(machine.done)


def _settings(shrink: bool) -> settings:
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    return settings(
        max_examples=5,
        stateful_step_count=STEPS_A_WALK,
        deadline=None,
        database=None,
        phases=phases,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
