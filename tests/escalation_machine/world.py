"""An installation in which anything happens, at any time: what the machine's steps do."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from secondlook import events
from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

from services.escalation import service
from services.escalation.bulk import do_to_all
from services.escalation.consumer import EscalationConsumer
from services.escalation.routing import Router
from services.escalation.verbs import Limits, Work
from services.kit.errors import NotFound
from services.kit.eventlog.port import Batch, Partition, Record
from services.people import queries as people_queries
from services.people.rules import Actor
from services.tools.records import ParsedRecord
from services.tools.rules import VerdictKind
from tests.escalation_machine.ground import AT_ONCE, BEGIN, Broken
from tests.escalation_machine.people import People
from tests.factories import TOOL

_PARTITION = Partition(events.REVIEWS, 0)
_BATCH = Batch(_PARTITION, 0, 1, ())
_RECORD = Record(_PARTITION, 0, b"", b"", (), datetime(2026, 1, 1, tzinfo=UTC))
LEASE, PAUSE, WINDOW = timedelta(minutes=15), timedelta(days=3), timedelta(hours=2)
_LIMITS = Limits(lease=LEASE, reopen_window=WINDOW, pause=PAUSE)
_BESIDE = text("""
SELECT id FROM "case" c WHERE :case IN (id, incident)
    OR id = (SELECT incident FROM "case" WHERE id = :case) ORDER BY id
""")
_FITTING = text('SELECT id FROM "case" WHERE state = ANY(:states) ORDER BY id')
_WORKING = text("""
SELECT p.email FROM person p JOIN "case" c ON c.id = :case
WHERE p.active AND (p.role = 'admin' OR (p.role IN ('owner', 'lead') AND EXISTS (
    SELECT FROM membership m WHERE m.person = p.email AND m.team = c.team)))
ORDER BY p.email
""")
Who = str | int
"""Somebody by address, or by number."""


class World(People):
    """One installation, and all that is done to it."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._consumer = EscalationConsumer(self, Router(self._policy))
        self._claims: dict[int, tuple[str, str]] = {}
        self._words = 0

    # --- cases ------------------------------------------------------------------------------

    def ask(self, number: int, value: str) -> None:
        """Reviews of so many new outputs are requested."""
        first, self.outputs = self.outputs, self.outputs + number
        self._take([self._request(f"o-{n}", value) for n in range(first, self.outputs)])
        known = text('SELECT id FROM "case" WHERE id > :last ORDER BY id')
        given = {"last": self.cases[-1] if self.cases else 0}
        self.cases += self._connection.execute(known, given).scalars().all()

    def object(self, output: int, who: str, kind: str) -> None:
        """Somebody disputes an output that has a case, or appeals against its verdict."""
        if self.outputs:
            self._words += 1
            said = events.Correction(
                output_id=f"o-{output % self.outputs}",
                kind=kind,  # type: ignore[arg-type]
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

    def _case(self, number: int, *fitting: str) -> int:
        """A case by number, mostly one of those that are in a state that fits; 0 where none is."""
        if fitting and number % 4:
            given = {"states": list(fitting)}
            fit = self._connection.execute(_FITTING, given).scalars().all()
            if fit:
                return int(fit[number % len(fit)])
        return self.cases[number % len(self.cases)] if self.cases else 0

    def _acting(self, case: int, who: Who) -> str:
        """Somebody by number, mostly one of those who may work on the case."""
        if isinstance(who, str):
            return who
        if who % 4:
            fit = self._connection.execute(_WORKING, {"case": case}).scalars().all()
            if fit:
                return str(fit[who % len(fit)])
        return self.people[who % len(self.people)]

    def _on_case(self, case: int, who: Who, verb: Any, **given: Any) -> Any:
        """Somebody does a verb of `service` on a case."""
        if not case:
            return None
        acting = self._acting(case, who)

        def do(session: Session) -> Any:
            actor = people_queries.actor(session, acting)
            if actor is None:
                raise NotFound(f"There is no {acting}.")
            return verb(session, actor, case, **given, now=self.moment)

        return self.attempt(do, verb.__name__)

    def claim(self, number: int, who: Who) -> None:
        """Somebody takes a case."""
        case = self._case(number, "open")
        who = self._acting(case, who)
        found = self._on_case(case, who, service.claim, lease=LEASE)
        if found:
            self._claims[case] = who, found.token

    def _claim(self, case: int, who: Who) -> tuple[Who, str]:
        """Who claimed a case last, and their token, good or not; else `who` without one."""
        return self._claims.get(case, (who, "0"))

    def release(self, number: int, who: Who) -> None:
        """Whoever claimed a case gives it back."""
        case = self._case(number, "claimed")
        who, token = self._claim(case, who)
        self._on_case(case, who, service.release, token=token)

    def wait(self, number: int, who: Who, span: timedelta) -> None:
        """Whoever claimed a case lets it wait."""
        case = self._case(number, "claimed")
        who, token = self._claim(case, who)
        given = {"token": token, "reason": "the bank", "limit": PAUSE}
        self._on_case(case, who, service.wait, until=self.moment + span, **given)

    def snooze(self, number: int, who: Who, span: timedelta) -> None:
        """Somebody puts a case off, until a time."""
        self._put_off(self._case(number, "open"), who, until=self.moment + span)

    def snooze_until_more(self, number: int, who: Who, more: int) -> None:
        """Somebody puts a case off, until so many more of its cause came."""
        self._put_off(self._case(number, "open"), who, more=more)

    def _put_off(self, case: int, who: Who, **until: Any) -> None:
        given = {"token": self._claim(case, who)[1], "reason": "later", "limit": PAUSE}
        self._on_case(case, who, service.snooze, **until, **given)

    def wake(self, number: int, who: Who) -> None:
        """Somebody ends a pause."""
        self._on_case(self._case(number, "waiting", "snoozed"), who, service.wake)

    def decide(self, number: int, who: Who, kind: VerdictKind, value: str | None) -> None:
        """Somebody reviews a case."""

        def give_verdict(session: Session, actor: Actor, case: int, **given: Any) -> Any:
            read = service.case_for_reviewer(session, actor, case, lock=True)
            return service.give_verdict(session, actor, read, token=None, lease=LEASE, **given)

        said = {"verdict": kind, "value": value, "note": "so it is"}
        self._on_case(self._case(number, "open", "claimed"), who, give_verdict, **said)

    def comment(self, number: int, who: Who) -> None:
        """Somebody says something of a case; where they hold it, their claim is renewed."""
        case = self._case(number, "claimed")
        who, token = self._claim(case, who)
        given = {"note": "looked at it", "token": None if token == "0" else token, "lease": LEASE}
        self._on_case(case, who, service.comment, **given)

    def together(self, number: int, who: Who, verb: str, body: Mapping[str, Any]) -> None:
        """Somebody does a verb to a case, what it is part of, and all of its parts, at once."""
        case = self._case(number)
        if verb in ("snooze", "wait"):
            body = {**body, "until": self.moment + timedelta(hours=1)}

        def together(session: Session, actor: Actor, case: int, *, now: datetime) -> None:
            ids = session.scalars(_BESIDE, {"case": case}).all()
            found = do_to_all(Work(session, actor, 0, _LIMITS, now), verb, ids, body)
            self.done[f"bulk {verb}"] += len(found.done)

        self._on_case(case, who, together)

    def undo(self, number: int, who: Who) -> None:
        """Somebody takes a verdict back."""
        self._on_case(self._case(number, "resolved"), who, service.undo, window=WINDOW)

    def reopen(self, number: int, who: Who) -> None:
        """Somebody opens a decided case again."""
        self._on_case(self._case(number, "resolved", "closed"), who, service.reopen)

    def merge(self, number: int, who: Who, into: int) -> None:
        """Somebody makes a case part of another one."""
        whole = self._case(into, "open", "claimed", "waiting", "snoozed")
        self._on_case(self._case(number), who, service.merge, into=whole)

    def unmerge(self, number: int, who: Who) -> None:
        """Somebody takes a case out again."""
        self._on_case(self._case(number, "merged"), who, service.unmerge)

    def reassign(self, number: int, who: Who, owner: Any) -> None:
        """Somebody makes somebody else accountable."""
        case = self._case(number, "open", "claimed")
        token = self._claim(case, who)[1]
        self._on_case(case, who, service.reassign, owner=owner, token=token)

    def escalate(self, number: int, who: Who, level: int) -> None:
        """Somebody moves a case on to its next rung."""
        self._on_case(self._case(number, "open", "claimed"), who, service.escalate, level=level)

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
