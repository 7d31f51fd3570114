"""An installation in which anything happens, at any time: what the machine's steps do.

All of it lies in one transaction that is rolled back at the end, each verb in a savepoint: so
millions of steps leave nothing behind, and a step costs its statements and no more.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from secondlook import events
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from services.escalation import rerouting, service
from services.escalation.bulk import do_to_all
from services.escalation.consumer import EscalationConsumer
from services.escalation.leaving import CaseDuty
from services.escalation.policy.revisions import PolicyInForce, put
from services.escalation.routing import Router, policies
from services.escalation.verbs import Limits, Work
from services.kit.errors import SecondlookError
from services.kit.eventlog.port import Batch, Partition, Record
from services.people import absences, schedule_queries, schedules, skills
from services.people import queries as people_queries
from services.people import service as people_service
from services.people.rotations import read as read_schedule
from services.people.rules import Actor, Role
from services.tools.records import ParsedRecord
from services.tools.rules import VerdictKind
from tests.escalation_machine.checks import BROKEN, OFF_DUTY
from tests.escalation_machine.policies import SCHEDULES, policy, schedule
from tests.factories import ADMIN, LEAD, OTHER_TEAM, OUTSIDER, OWNER, REP, TEAM, TEAMMATE, TOOL
from tests.factories.people import OPERATOR

PEOPLE = (OWNER, TEAMMATE, LEAD, OUTSIDER, ADMIN, REP)
TEAMS = (TEAM, OTHER_TEAM, "third")
_TOLD = [name.split(".")[2] for name in sorted(events.CASE_EVENT_TYPES)]
_PARTITION = Partition(events.REVIEWS, 0)
_BATCH = Batch(_PARTITION, 0, 1, ())
_RECORD = Record(_PARTITION, 0, b"", b"", (), datetime(2026, 1, 1, tzinfo=UTC))
LEASE, PAUSE, WINDOW = timedelta(minutes=15), timedelta(days=3), timedelta(hours=2)
_LIMITS = Limits(lease=LEASE, reopen_window=WINDOW, pause=PAUSE)
_BESIDE = text("""
SELECT id FROM "case" c WHERE :case IN (id, incident)
    OR id = (SELECT incident FROM "case" WHERE id = :case) ORDER BY id
""")
AT_ONCE = 100
# The same in every walk, and so far ahead that the database's own clock is never the later one.
BEGIN = datetime(2040, 3, 23, 8, tzinfo=UTC)


class Broken(AssertionError):
    """A promise was broken."""


class World:
    """One installation, and what was done to it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._around = connection.begin()
        self.moment = BEGIN
        self._policy = PolicyInForce()
        self._duties = (CaseDuty(self._policy),)
        self._consumer = EscalationConsumer(self, Router(self._policy))
        self.outputs = 0
        self.cases: list[int] = []
        self.people = list(PEOPLE)
        self._claims: dict[int, tuple[str, str]] = {}
        self._away: list[str] = []
        self.touched = True
        self._words = 0
        self.refused = 0

    def now(self, _session: Session) -> datetime:
        """The time, as the machine has it: a clock like any other."""
        return self.moment

    def close(self) -> None:
        """Let nothing of it have been."""
        self._around.rollback()

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with (
            Session(
                self._connection,
                join_transaction_mode="create_savepoint",
                expire_on_commit=False,
                autoflush=False,
            ) as session,
            session.begin(),
        ):
            yield session
        self.touched = True

    def attempt(self, verb: Callable[[Session], Any]) -> Any:
        """Do something that may be refused, in a transaction; answers None where it is."""
        try:
            with self._transaction() as session:
                return verb(session)
        except SecondlookError:
            self.refused += 1
            return None

    def check(self) -> None:
        """Whether every promise is kept; what was refused has changed nothing.

        Raises:
            Broken: one is not; it says which.
        """
        if not self.touched:
            return
        self.touched = False
        given = {"asked": self.outputs, "told": _TOLD}
        found = self._connection.execute(BROKEN, given).all()
        if found:
            raise Broken("; ".join(f"{row.n} x {row.broken}" for row in found))

    # --- cases ------------------------------------------------------------------------------

    def ask(self, number: int, value: str) -> None:
        """Reviews of so many new outputs are requested."""
        first, self.outputs = self.outputs, self.outputs + number
        self._take([self._request(f"o-{n}", value) for n in range(first, self.outputs)])
        known = text('SELECT id FROM "case" WHERE id > :last ORDER BY id')
        given = {"last": self.cases[-1] if self.cases else 0}
        self.cases += self._connection.execute(known, given).scalars().all()

    def object(self, output: int, who: str) -> None:
        """Somebody disputes an output that has a case."""
        if self.outputs:
            self._words += 1
            said = events.Correction(
                output_id=f"o-{output % self.outputs}",
                kind="dispute",
                actor=events.Actor(id=who),
                occurred_at=self.moment,
            )
            objection = events.Objection(correction_id=f"c-{self._words}", correction=said)
            self._take([self._request(said.output_id, "tax", objection)])

    def _request(self, output_id: str, value: str, objection: Any = None) -> Any:
        output = events.ReviewedOutput(kind="category", value=value, confidence=0.1)
        trigger = "low_confidence" if objection is None else "dispute"
        return events.review_requested(
            tool=TOOL,
            output_id=output_id,
            trigger=trigger,  # type: ignore[arg-type]
            output=output,
            objection=objection,
            time=self.moment,
        )

    def _take(self, requests: list[Any]) -> None:
        parsed = [ParsedRecord(_RECORD, event, "", None) for event in requests]
        with self._transaction() as session:
            self._consumer(session, [_BATCH], parsed)

    def _on_case(self, number: int, who: str, verb: Any, **given: Any) -> Any:
        """Somebody does a verb of `service` on a case."""
        if not self.cases:
            return None
        case = self.cases[number % len(self.cases)]

        def do(session: Session) -> Any:
            actor = people_queries.actor(session, who)
            return actor and verb(session, actor, case, **given, now=self.moment)

        return self.attempt(do)

    def claim(self, number: int, who: str) -> None:
        """Somebody takes a case."""
        found = self._on_case(number, who, service.claim, lease=LEASE)
        if found:
            self._claims[self.cases[number % len(self.cases)]] = who, found.token

    def _claim(self, number: int, who: str) -> tuple[str, str]:
        """Who claimed a case last, and their token, good or not; else `who` without one."""
        known = self.cases[number % len(self.cases)] if self.cases else 0
        return self._claims.get(known, (who, "0"))

    def release(self, number: int, who: str) -> None:
        """Whoever claimed a case gives it back."""
        who, token = self._claim(number, who)
        self._on_case(number, who, service.release, token=token)

    def wait(self, number: int, who: str, span: timedelta) -> None:
        """Whoever claimed a case lets it wait."""
        who, token = self._claim(number, who)
        given = {"token": token, "reason": "the bank", "limit": PAUSE}
        self._on_case(number, who, service.wait, until=self.moment + span, **given)

    def snooze(self, number: int, who: str, span: timedelta) -> None:
        """Somebody puts a case off, until a time."""
        self._put_off(number, who, until=self.moment + span)

    def snooze_until_more(self, number: int, who: str, more: int) -> None:
        """Somebody puts a case off, until so many more of its cause came."""
        self._put_off(number, who, more=more)

    def _put_off(self, number: int, who: str, **until: Any) -> None:
        given = {"token": self._claim(number, who)[1], "reason": "later", "limit": PAUSE}
        self._on_case(number, who, service.snooze, **until, **given)

    def wake(self, number: int, who: str) -> None:
        """Somebody ends a pause."""
        self._on_case(number, who, service.wake)

    def decide(self, number: int, who: str, kind: VerdictKind) -> None:
        """Somebody reviews a case."""

        def give(session: Session, actor: Actor, case: int, **given: Any) -> Any:
            read = service.case_for_reviewer(session, actor, case, lock=True)
            return service.give_verdict(session, actor, read, token=None, lease=LEASE, **given)

        self._on_case(number, who, give, verdict=kind, note="so it is")

    def together(self, number: int, who: str, verb: str, body: Mapping[str, Any]) -> None:
        """Somebody does a verb to a case, what it is part of, and all of its parts, at once."""

        def do(session: Session, actor: Actor, case: int, *, now: datetime) -> None:
            ids = session.scalars(_BESIDE, {"case": case}).all()
            do_to_all(Work(session, actor, 0, _LIMITS, now), verb, ids, body)

        self._on_case(number, who, do)

    def undo(self, number: int, who: str) -> None:
        """Somebody takes a verdict back."""
        self._on_case(number, who, service.undo, window=WINDOW)

    def reopen(self, number: int, who: str) -> None:
        """Somebody opens a decided case again."""
        self._on_case(number, who, service.reopen)

    def merge(self, number: int, who: str, into: int) -> None:
        """Somebody makes a case part of another one."""
        if self.cases:
            self._on_case(number, who, service.merge, into=self.cases[into % len(self.cases)])

    def unmerge(self, number: int, who: str) -> None:
        """Somebody takes a case out again."""
        self._on_case(number, who, service.unmerge)

    def reassign(self, number: int, who: str, owner: Any) -> None:
        """Somebody makes somebody else accountable."""
        self._on_case(number, who, service.reassign, owner=owner, token=self._claim(number, who)[1])

    def escalate(self, number: int, who: str, level: int) -> None:
        """Somebody moves a case on to its next rung."""
        self._on_case(number, who, service.escalate, level=level)

    # --- time -------------------------------------------------------------------------------

    def jump(self, span: timedelta) -> None:
        """The clock jumps, ahead or back."""
        self.moment = max(self.moment + span, BEGIN)

    def engine(self, step: int) -> None:
        """One of the loops does its step, to the end."""
        before = self.moment - WINDOW
        steps: list[Callable[[Session], int]] = [
            lambda s: service.fire_due(s, now=self.moment, limit=AT_ONCE),
            lambda s: service.expire_leases(s, now=self.moment, limit=AT_ONCE),
            lambda s: service.pass_on(s, now=self.moment, limit=AT_ONCE),
            lambda s: service.close_resolved(s, now=self.moment, before=before, limit=AT_ONCE),
        ]
        do = steps[step % len(steps)]
        for _ in range(10):
            with self._transaction() as session:
                if do(session) < AT_ONCE:
                    break
        if do is steps[2]:
            with self._transaction() as session:
                if do(session):
                    raise Broken("what was passed on is passed on again")

    # --- people, teams and schedules --------------------------------------------------------

    def _manage(self, verb: Any, *given: Any, **named: Any) -> Any:
        by = {"actor": OPERATOR, "now": self.moment}
        return self.attempt(lambda session: verb(session, *given, **named, **by))

    def add_person(self, role: Role, team: str) -> None:
        """Somebody comes."""
        email = f"p{len(self.people)}@example.org"
        teams = [team] if team in TEAMS[:2] else []
        if len(self.people) < 12:
            given = {"name": email, "role": role, "teams": teams}
            self._manage(people_service.add_person, email, **given)
            self.people.append(email)

    def add_team(self) -> None:
        """The third team is founded, where it is not there."""
        self._manage(people_service.add_team, TEAMS[2], name=None)

    def change(self, who: str, **change: Any) -> None:
        """Somebody changes role or teams, leaves or comes again."""
        self._manage(people_service.change_person, who, **change, duties=self._duties)

    def empty(self, team: str) -> None:
        """Everybody leaves a team who may."""
        query = text("SELECT person FROM membership WHERE team = :team ORDER BY person")
        for who in self._connection.execute(query, {"team": team}).scalars().all():
            self.change(who, teams=[other for other in TEAMS[:2] if other != team][:1])

    def manage(self, who: str, manager: str | None) -> None:
        """Somebody gets another manager."""
        self._manage(people_service.change_manager, who, manager=manager)

    def teach(self, who: str, wanted: tuple[str, ...]) -> None:
        """Somebody can do something else."""
        self._manage(skills.change_skills, who, skills=wanted)

    def away(self, who: str, span: timedelta, stand_in: str | None, ahead: timedelta) -> None:
        """Somebody is away from a time on."""
        begin = self.moment + ahead
        given = {"begin": begin, "end": begin + span, "stand_in": stand_in}
        if self._manage(absences.go_away, who, **given, duties=self._duties) is not None:
            self._away.append(who)

    def back(self, who: int) -> None:
        """Somebody who went away is back."""
        if self._away:
            gone = self._away.pop(who % len(self._away))
            self._manage(absences.come_back, gone, duties=self._duties)

    def schedule(self, slug: str, people: tuple[str, ...], every: int, ahead: int) -> None:
        """A schedule is said anew; where it begins later, it has a hole until then."""
        start = f"{self.moment + timedelta(hours=ahead):%Y-%m-%dT%H:%M}"
        document = read_schedule(schedule(people, every, start))
        given = {"team": TEAM if slug == SCHEDULES[0] else OTHER_TEAM, "duties": self._duties}
        refused = self.refused
        self._manage(schedules.put_schedule, slug, document, **given)
        if self.refused == refused:
            self._require_duty(slug)

    def override(self, slug: str, who: str, span: timedelta) -> None:
        """Somebody has a schedule's duty for a span."""
        given = {"begin": self.moment, "end": self.moment + span, "duties": self._duties}
        if self._manage(schedules.override, slug, who, **given) is not None:
            self._require_duty(slug)

    def _require_duty(self, slug: str) -> None:
        with self._transaction() as session:
            person = schedule_queries.on_duty(session, [slug], self.moment).get(slug)
            given = {"slug": slug, "person": person}
            if found := session.execute(OFF_DUTY, given).all():
                raise Broken(f"{person} has the duty of {slug}, and does not own {found}")

    def reapply(self, *, also_reassigned: bool) -> None:
        """All open cases are routed anew by the policy in force."""

        def do(session: Session) -> None:
            given = {"also_reassigned": also_reassigned, "now": self.moment}
            known = policies(session, self._policy(session))
            rerouting.reroute(session, known, self.cases, actor=OPERATOR, **given)

        self.attempt(do)

    def route(self, first: int, second: int, rung: int, last: int) -> None:
        """Another policy is put into force, where it can be."""
        content = policy(first, second, rung, last)
        self.attempt(lambda s: put(s, content, actor=OPERATOR, now=self.moment))
