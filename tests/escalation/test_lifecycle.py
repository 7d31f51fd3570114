"""A case under whatever people and clocks do to it, in any order (hypothesis, stateful)."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import count
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import text

from services.escalation import queries, service
from services.escalation.policy.read import read as read_policy
from services.escalation.rules import Owner
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.errors import SecondlookError
from services.tools.rules import VerdictKind
from tests.factories import (
    LEAD,
    LEASE,
    OWNER,
    POLICY,
    TEAMMATE,
    Delivery,
    actor_of,
    correction,
    output,
    populate,
)
from tests.factories.cases import give_verdict
from tests.factories.storage import CASES

PEOPLE = st.sampled_from([OWNER, TEAMMATE, LEAD])
NUMBERS = count()


class Case(RuleBasedStateMachine):
    """One case; every write is held against what its row said before."""

    database: ClassVar[Database]
    log: ClassVar[Delivery]

    @initialize()
    def open(self) -> None:
        self.output_id = f"o-{next(NUMBERS)}"
        self.log.take(output(self.output_id, confidence=0.1))
        self.tokens = ["", "0", "1"]
        self.entries: list[Any] = []
        self.seq = 0
        with self.database.transaction() as session:
            self.now = DatabaseClock().now(session)
        self.case = int(self.row()["id"])

    def row(self) -> Any:
        query = f"SELECT * FROM {CASES} WHERE output_id = :id"
        with self.database.transaction() as session:
            return session.execute(text(query), {"id": self.output_id}).mappings().one()

    def do(self, verb: Callable[..., Any], who: str, **given: Any) -> Any:
        """What a verb answers, or None where it was refused; then nothing has changed."""
        before = self.row()
        try:
            with self.database.transaction() as session:
                return (
                    verb(session, actor_of(session, who), self.case, now=self.now, **given) or True
                )
        except SecondlookError:
            assert self.row() == before
            return None

    def holds(self, who: str, token: str) -> bool:
        """Whether this token is that of a live claim, by the row alone."""
        row = self.row()
        mine = row["state"] == "claimed" and row["claimant"] == who
        return mine and str(row["claim_seq"]) == token and row["lease_expires_at"] > self.now

    def has_a_part(self, who: str) -> bool:
        """Whether somebody disputes the output, or gave a verdict that was objected to."""
        query = """SELECT EXISTS (SELECT FROM timeline_entry t
            JOIN timeline_entry r ON r.case_id = t.case_id AND r.id > t.id AND r.event = 'reopened'
            JOIN objection o ON o.case_id = t.case_id AND o.withdrawn_at IS NULL AND o.at >= r.at
            WHERE t.case_id = :id AND t.event = 'resolved' AND t.actor = :who)"""
        with self.database.transaction() as session:
            appealed = session.execute(text(query), {"id": self.case, "who": who}).scalar_one()
        return bool(appealed) or self.row()["disputed_by"] == who

    @rule(who=PEOPLE)
    def claim(self, who: str) -> None:
        row = self.row()
        free = row["state"] == "open" or (
            row["state"] == "claimed"
            and (row["claimant"] == who or row["lease_expires_at"] <= self.now)
        )
        won = self.do(service.claim, who, lease=LEASE)
        assert (won is not None) == (free and not self.has_a_part(who))
        if won is not None:
            self.tokens.append(won.token)

    @rule(who=PEOPLE, choice=st.integers(-3, -1))
    def release(self, who: str, choice: int) -> None:
        token = self.tokens[choice]
        held = self.holds(who, token)
        assert (self.do(service.release, who, token=token) is not None) == held

    @rule(
        who=PEOPLE, choice=st.integers(-3, -1), verdict=st.sampled_from(["upheld", "undecidable"])
    )
    def review(self, who: str, choice: int, verdict: str) -> None:
        token = self.tokens[choice]
        may = self.holds(who, token) and not self.has_a_part(who)
        given = {"token": token, "verdict": VerdictKind(verdict), "note": "torn", "lease": LEASE}
        assert (self.do(give_verdict, who, **given) is not None) == may

    @rule(who=PEOPLE, to=st.sampled_from([Owner("team", "support"), Owner("person", LEAD)]))
    def reassign(self, who: str, to: Owner) -> None:
        if self.do(service.reassign, who, owner=to, note="yours"):
            row = self.row()
            assert (row["owner_team"] or row["owner_person"]) == to.id

    @rule(minutes=st.sampled_from([1, 16, 31, 130]))
    def wait(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)
        with self.database.transaction() as session:
            service.expire_leases(session, now=self.now)
        for _ in range(5):
            with self.database.transaction() as session:
                service.fire_due(session, now=self.now)

    @rule(kind=st.sampled_from(["dispute", "appeal"]))
    def object(self, kind: str) -> None:
        said = correction(self.output_id, kind=kind, reason="no", event_id=f"d-{next(NUMBERS)}")
        self.log.take(said)

    @invariant()
    def has_an_owner(self) -> None:
        row = self.row()
        assert (row["owner_team"] is None) != (row["owner_person"] is None)
        with self.database.transaction() as session:
            assert queries.unowned(session) == {}

    @invariant()
    def is_held_by_somebody_just_while_it_is_claimed(self) -> None:
        row = self.row()
        claimed = row["state"] == "claimed"
        assert (row["claimant"] is not None) == (row["lease_expires_at"] is not None) == claimed
        assert row["claim_seq"] >= self.seq, "tokens of the past must stay in the past"
        self.seq = row["claim_seq"]

    @invariant()
    def timeline_only_grows(self) -> None:
        query = "SELECT id, event, actor, at FROM timeline_entry WHERE case_id = :id ORDER BY id"
        with self.database.transaction() as session:
            entries = [tuple(e) for e in session.execute(text(query), {"id": self.case})]
        assert entries[: len(self.entries)] == self.entries
        self.entries = entries

    @invariant()
    def each_step_fired_once_and_none_runs_on_after_the_verdict(self) -> None:
        query = """
            SELECT count(*) FILTER (WHERE n > 1), coalesce(sum(running), 0) FROM (
                SELECT count(*) AS n, count(*) FILTER (WHERE fired_at IS NULL
                    AND stopped_at IS NULL) AS running
                FROM timer WHERE case_id = :id GROUP BY cycle, kind, rung) AS steps"""
        with self.database.transaction() as session:
            twice, running = session.execute(text(query), {"id": self.case}).one()
        assert twice == 0
        assert running == 0 or self.row()["state"] in ("open", "claimed")


@pytest.fixture
def machine(fresh_database: Callable[[], str]) -> Iterator[type[Case]]:
    Case.database = Database(make_engine(fresh_database()))
    populate(Case.database)
    Case.log = Delivery(Case.database, read_policy(POLICY))
    yield Case
    Case.database.close()


def test_case_keeps_its_promises(machine: type[Case]) -> None:
    asked = settings(
        max_examples=25,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(machine, settings=asked)
