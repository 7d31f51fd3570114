"""Whatever is done, rows are locked in one order: nobody deadlocks.

Cases before teams and those before people; outputs by their names.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import text

from services.escalation import verbs
from services.escalation.bulk import do_to_all
from services.escalation.leaving import CaseDuty
from services.escalation.policy.read import read as read_policy
from services.escalation.reapply import reapply
from services.escalation.rules import Owner
from services.kit.database import Database
from services.people import service as people_service
from services.people.rules import Role
from tests.factories import (
    LEAD,
    LEASE,
    OTHER_TEAM,
    OWNER,
    TEAM,
    TEAMMATE,
    Casework,
    Delivery,
    actor_of,
    add_schedule,
    as_batches,
    correction,
    one,
    output,
    rows,
)
from tests.factories.people import OPERATOR
from tests.factories.rota import HOUR, Rota

POLICY = read_policy(f"""
version: 1
catch_all: {{team: {TEAM}, sla: {{claim: 30m, resolve: 2h}}, escalate: long}}
rules:
  - {{id: taxes, when: {{predicted.category: "ta*"}}, owner: {{user: {LEAD}}}}}
  - {{id: refunds, when: {{predicted.category: "re*"}}, owner: {{schedule: primary}}}}
ladders:
  long:
    - {{at: 0m, own: team:{TEAM}}}
    - {{at: 1h, own: user:{LEAD}}}
    - {{at: 3h, own: team:{OTHER_TEAM}}}
""")
GIVEN = read_policy(f"""
version: 1
catch_all: {{team: {TEAM}, sla: {{claim: 30m, resolve: 2h}}, assign: {{by: round_robin}}}}
""")
OF_TEAMS = read_policy(f"version: 1\ncatch_all: {{team: {TEAM}, sla: {{claim: 1h, resolve: 2h}}}}")
SWAPPED = read_policy(f"""
version: 1
catch_all: {{user: {OWNER}, sla: {{claim: 30m, resolve: 2h}}}}
rules: [{{id: taxes, when: {{predicted.category: "ta*"}}, owner: {{team: {OTHER_TEAM}}}}}]
""")


class Work:
    """Three cases, the second one a person's and the third a schedule's, and all that is done to
    cases."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.casework = Casework(database)
        self.log = Delivery(database, POLICY)
        given = {"confidence": 0.1}
        with database.transaction() as session:
            add_schedule(session, "primary", LEAD)
        self.rota = Rota(database, (CaseDuty(lambda _: None),))
        self.rota.away(LEAD, begin=9 * HOUR, end=12 * HOUR)
        self.log.take(output("o-1", **given), output("o-2", value="tax", **given))
        self.log.take(output("o-r", value="refund", **given))

    def decide(self) -> None:
        """Somebody reviews both cases."""
        for case in (1, 2):
            self.casework.give_verdict(OWNER, case)

    def reassign(self) -> None:
        self.casework.do("reassign", LEAD, 1, owner=Owner("team", OTHER_TEAM))

    def escalate(self) -> None:
        self.casework.do("escalate", LEAD, 1, level=0)

    def reopen(self) -> None:
        self.casework.do("reopen", LEAD, 1)

    def undo(self) -> None:
        self.casework.undo(LEAD, 1, window=HOUR)

    def fire(self) -> None:
        self.casework.fire(HOUR)

    def leave(self) -> int:
        """The owner of the second case does, whose team is named by the policy."""
        with self.database.transaction() as session:
            now = self.casework.clock.now(session)
            given = {"actor": OPERATOR, "duties": (CaseDuty(lambda _: OF_TEAMS),), "now": now}
            return people_service.change_person(session, LEAD, active=False, **given)

    def all_at_once(self, verb: str, ids: list[int], **body: Any) -> None:
        """A lead does a verb to several cases."""
        with self.database.transaction() as session:
            now, limit = self.casework.clock.now(session), 24 * HOUR
            limits = verbs.Limits(lease=LEASE, reopen_window=limit, pause=limit)
            do_to_all(verbs.Work(session, actor_of(session, LEAD), 0, limits, now), verb, ids, body)

    def demote(self) -> int:
        """Who holds the first case may review no more, as it is said on the page."""
        self.casework.claim(TEAMMATE, 1)
        with self.database.transaction() as session:
            now = self.casework.clock.now(session)
            given = {"actor": OPERATOR, "duties": (CaseDuty(lambda _: OF_TEAMS),), "now": now}
            seen = (Role.OWNER, [TEAM])
            return people_service.change_person(
                session, TEAMMATE, role=Role.REP, teams=[TEAM], seen=seen, **given
            )

    def override(self) -> None:
        """Somebody else has the duty of a schedule that owns the third case."""
        self.rota.override(OWNER, end=HOUR)

    def away(self) -> None:
        """The owner of the second case goes away, whose duty it is, too."""
        self.rota.away(LEAD, end=HOUR)

    def pass_on(self) -> None:
        """The clock does: the lead is away, and nothing was handed over yet."""
        self.rota.pass_on(10 * HOUR)

    def assign(self) -> None:
        """A new case is given to somebody of a team, and the old ones are objected to."""
        self.log = Delivery(self.database, GIVEN)
        self.object()

    def reapply(self) -> None:
        """Both cases are routed anew, by a policy that names other owners."""
        reapply(self.database, self.casework.clock, lambda _: SWAPPED, actor=OPERATOR)

    def object(self) -> None:
        """A new case is opened in one batch with objections to those that are there."""
        appeals = (correction(f"o-{n}", kind="appeal", note="look again") for n in (2, 1))
        self.log.feed(self.log.feedback, batch(self, *appeals))
        more = output("o-3", value="tax", confidence=0.1)
        self.log.feed(self.log.feedback, batch(self, more))
        self.log.relay()


@pytest.fixture
def work(populated: Database) -> Work:
    return Work(populated)


def waiting(work: Work) -> int:
    query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    return int(one(work.database, query))


@contextmanager
def held_up(work: Work, verb: Callable[[], Any], lock: str) -> Iterator[Any]:
    """What is so while `verb` waits for rows locked in the transaction that this answers."""
    with ThreadPoolExecutor(1) as threads:
        with work.database.transaction() as session:
            session.execute(text(lock))
            doing = threads.submit(verb)
            end = time.monotonic() + 10
            while not waiting(work) and not doing.done() and time.monotonic() < end:
                time.sleep(0.01)
            assert waiting(work)
            yield session
        doing.result(10)


def free(work: Work, table: str, key: str) -> list[Any]:
    """The rows of a table that nobody has locked."""
    found = rows(work.database, f"SELECT {key} FROM {table} ORDER BY 1 FOR UPDATE SKIP LOCKED")
    return [row[0] for row in found]


def test_feedback_locks_awaited_outputs_in_the_order_of_their_names(work: Work) -> None:
    names = ["w-3", "w-1", "w-2"]
    work.log.feed(
        work.log.feedback, batch(work, *(correction(name, value="tax") for name in names))
    )

    def come() -> None:
        work.log.feed(work.log.feedback, batch(work, *(output(name) for name in names)))

    with held_up(work, come, "SELECT FROM output WHERE output_id = 'w-2' FOR UPDATE"):
        assert free(work, "output WHERE output_id LIKE 'w-%'", "output_id") == ["w-3"]
    assert one(work.database, "SELECT count(*) FROM output WHERE recorded_at IS NULL") == 0


def batch(work: Work, *events: Any) -> Any:
    """What feedback takes in one transaction."""
    return as_batches(work.log.records(events))


TEAMS, PEOPLE = (f"SELECT FROM {table} FOR NO KEY UPDATE" for table in ("team", "person"))
VERBS = {
    "reassign": {1},
    "escalate": {1},
    "reopen": {1},
    "undo": {1},
    "fire": {1, 2, 3},
    "leave": {2, 3},
    "demote": {1},
    "override": {3},
    "away": {2, 3},
    "pass_on": {2, 3},
    "object": {1, 2},
    "assign": {1, 2},
    "reapply": {1, 2, 3},
}


@pytest.mark.parametrize("verb", VERBS)
def test_verb_locks_its_cases_before_teams_and_those_before_people(verb: str, work: Work) -> None:
    if verb in ("reopen", "undo", "object", "assign"):
        work.decide()
    everybody = free(work, "person", "email")
    with held_up(work, getattr(work, verb), TEAMS):
        assert set(free(work, '"case"', "id")) == {1, 2, 3} - VERBS[verb]
        assert free(work, "person", "email") == everybody


def test_merging_many_into_what_was_part_of_another_locks_that_one_first(work: Work) -> None:
    work.casework.do("merge", LEAD, 3, into=1)
    work.all_at_once("verdict", [3], verdict="upheld")
    work.casework.do("reopen", LEAD, 3)
    whole = 'SELECT FROM "case" WHERE id = 1 FOR UPDATE'
    with held_up(work, lambda: work.all_at_once("merge", [2], into=3), whole):
        assert free(work, '"case"', "id") == [2, 3]
    assert rows(work.database, 'SELECT incident FROM "case" WHERE id = 2') == [(3,)]


def test_case_that_becomes_somebodys_while_they_leave_is_handed_over_too(work: Work) -> None:
    with held_up(work, work.leave, PEOPLE) as session:
        theirs = f"owner_team = NULL, owner_person = '{LEAD}'"
        session.execute(text(f'UPDATE "case" SET {theirs} WHERE id = 1'))
    assert rows(work.database, 'SELECT owner_team FROM "case"') == [(TEAM,)] * 3
