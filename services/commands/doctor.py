"""`doctor`: is everything there that should be, and if not, what to do."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import typer

from services.app import resources as app_resources
from services.app.resources import Resources
from services.app.roles import CONSUMED
from services.commands.shared import AsJson, answer, in_words, resources
from services.escalation import queries as escalation
from services.escalation import service as escalation_service
from services.insight.account import TOPICS
from services.kit import audit, clock_guard
from services.kit.consuming import dead_letters, lateness, offsets, outbox
from services.kit.consuming.lateness import Late
from services.kit.durations import Duration
from services.kit.errors import SecondlookError
from services.notifications import queries as notifications
from services.notifications.rules import DeliveryState

_SOON = timedelta(minutes=1)
"""How long a record may wait for its consumer where all is well."""


_PERSISTENT = 4
"""After so many attempts a receiver is not just busy."""


class Finding(NamedTuple):
    """One thing that was looked at; `problem` is empty where all is well.

    A `warning` tells of what may be meant so.
    """

    looked_at: str
    problem: str = ""
    warning: str = ""

    def __str__(self) -> str:
        warning = f" (warning: {self.warning})" if self.warning else ""
        return f"{self.looked_at}: {self.problem or 'well'}{warning}"


def doctor(as_json: AsJson = False) -> None:
    """Look at everything that can be wrong; exit 1 where something is."""
    with resources("doctor") as found:
        findings = list(_findings(found))
    answer([f._asdict() for f in findings], as_json=as_json, lines=[str(f) for f in findings])
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)


def _findings(found: Resources) -> Iterator[Finding]:
    database = _looked("database", _look_at_database, found)
    yield database
    if database.problem:  # All that follows would say the same.
        return
    for name, look in (
        ("schema and log", _look_at_readiness),
        ("clock", _look_at_clock),
        ("routing policy", _look_at_routing),
        ("events", _look_at_events),
        ("consumers", _look_at_consumers),
        ("owners", _look_at_owners),
        ("timers", _look_at_timers),
        ("notifications", _look_at_notifications),
        ("audit log", _look_at_audit),
    ):
        yield _looked(name, look, found)


def _looked(name: str, look: Callable[[Resources], str | Finding], found: Resources) -> Finding:
    try:
        with in_words():
            looked = look(found)
    except SecondlookError as error:
        return Finding(name, error.detail)
    return looked if isinstance(looked, Finding) else Finding(name, looked)


def _look_at_database(found: Resources) -> str:
    with found.database.engine.connect():
        return ""


def _look_at_readiness(found: Resources) -> str:
    app_resources.require_ready(found)
    return ""


def _look_at_clock(found: Resources) -> str:
    with found.database.transaction() as session:
        watched = clock_guard.watched(session, now=found.clock.now(session))
    worst = next((one for one in watched if not one.believed), None)
    if worst is None:
        return ""
    which = "ahead" if worst.divergence > timedelta() else "back"
    confirm = Duration(found.settings.clock_confirm)
    return (
        f"the database's clock was moved {which} by {_seconds(abs(worst.divergence))} s, and what"
        " goes by it stands still: deadlines, leases, digests, retention. It goes on once the"
        f" clock is put right, or has gone on evenly for {confirm}; where it is right as it is now,"
        " `secondlook clock confirm`"
    )


def _look_at_routing(found: Resources) -> Finding:
    with found.database.transaction() as session:
        policy = app_resources.routing_to_come(found, session)
        if policy is None:
            return Finding("routing policy")
        seen = escalation_service.policy_findings(session, policy, now=found.clock.now(session))
    problems, warnings = ("; ".join(map(str, findings)) for findings in seen)
    return Finding("routing policy", problems, warnings)


def _look_at_events(found: Resources) -> str:
    with found.database.transaction() as session:
        waiting = dead_letters.waiting(session, limit=1)
        gone = offsets.missing(session, "feedback", TOPICS)
        unsent = outbox.waiting(session)
    problems = []
    if waiting:
        problems.append("dead letters wait: see `secondlook dead-letters list`")
    if gone:
        problems.append(f"{gone} events were gone before they were taken")
    if unsent:
        problems.append(f"{unsent} events of ours wait to be sent: is `tick` running?")
    return "; ".join(problems)


def _look_at_consumers(found: Resources) -> str:
    with found.database.transaction() as session:
        positions, now = offsets.positions(session), found.clock.now(session)
    late = lateness.late(found.log, positions, CONSUMED, before=now - _SOON)
    return "; ".join(_in_words(one, now) for one in late)


def _in_words(late: Late, now: datetime) -> str:
    number = "1 record waits" if late.records == 1 else f"{late.records} records wait"
    waiting = f"{number} for {late.consumer}, the oldest since {_seconds(now - late.oldest)} s"
    if late.progressed_at is None:
        return f"{waiting}; it has never taken one there: is `consume {late.consumer}` running?"
    idle = now - late.progressed_at
    if idle <= _SOON:
        return f"{waiting}; it is catching up: wait, or start another `consume {late.consumer}`"
    return (
        f"{waiting}; it took none there for {_seconds(idle)} s: is `consume {late.consumer}`"
        " running? If so, its log says what it fails at"
    )


def _seconds(span: timedelta) -> int:
    return round(span.total_seconds())


def _look_at_owners(found: Resources) -> str:
    with found.database.transaction() as session:
        unowned = escalation.unowned(session)
    return f"open cases without an active owner: {unowned}" if unowned else ""


def _look_at_timers(found: Resources) -> str:
    with found.database.transaction() as session:
        now = found.clock.now(session)
        parked = escalation.parked_timers(session, limit=5)
        due = escalation.oldest_unfired_timer(session)
    problems = [
        f"timer {timer.kind} of case {timer.case_id} failed {timer.failures} times: {timer.error}"
        for timer in parked
    ]
    if due is not None and now - due > _SOON:
        problems.insert(0, f"a timer has been due for {_seconds(now - due)} s: is `tick` running?")
    return "; ".join(problems)


def _look_at_notifications(found: Resources) -> Finding:
    with found.database.transaction() as session:
        now = found.clock.now(session)
        backlog = notifications.backlog(session, now=now)
        ungathered = notifications.ungathered(session, now=now)
        failing = notifications.failing(
            session, attempts=_PERSISTENT, since=now - timedelta(days=1), limit=5
        )
    waiting = sum(backlog.waiting.values())
    late = backlog.due_since is not None and now - backlog.due_since > _SOON
    problems = [f"{waiting} deliveries wait to be sent: is `tick` running?"] if late else []
    if ungathered.since is not None and now - ungathered.since > _SOON:
        whom = "1 person" if ungathered.people == 1 else f"{ungathered.people} people"
        since = _seconds(now - ungathered.since)
        problems.append(f"mail to {whom} has been due to be made for {since} s: is `tick` running?")
    warnings = "; ".join(map(_of_failing, failing))
    return Finding("notifications", "; ".join(problems), warnings)


def _of_failing(one: notifications.Failing) -> str:
    if one.state == DeliveryState.FAILED:
        return (
            f"{one.n} deliveries to {one.to} were given up ({one.answer}): mend the cause,"
            " then `secondlook deliveries retry`"
        )
    return f"{one.n} deliveries to {one.to} are tried again and again ({one.answer})"


def _look_at_audit(found: Resources) -> str:
    with found.database.transaction() as session:
        broken = next(audit.verify(session), None)
    return f"entry {broken.entry}: {broken.problem}" if broken is not None else ""
