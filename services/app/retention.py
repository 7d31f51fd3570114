"""What goes when it is old: the packages' purges, wired and put in order."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from services.app.resources import Resources
from services.escalation import queries as escalation_queries
from services.escalation import retention as escalation_retention
from services.escalation.retention import Freed
from services.feedback import retention as feedback_retention
from services.feedback.retention import OutputPurge
from services.insight.queries import WINDOW
from services.kit import clock_guard, counts, throttle
from services.kit.consuming.retention import purge_dead_letters
from services.kit.locks import Lock, try_lock
from services.kit.settings import Settings
from services.kit.web import idempotency
from services.notifications import retention as notification_retention
from services.people import access
from services.tools import queries as tool_queries

_CASES, _ROWS = 500, 2_000
"""How many go in one step, whose locks nobody waits for long."""
_FULL_WALK = timedelta(hours=1)
"""How often all old outputs are looked at, those that had to stay before included."""

Step = Callable[[Session, datetime], bool]
"""Does one step as of a moment, and says whether there is more."""


class Retention:
    """One step at a time of what has to go, the first that has something first.

    Cases come before outputs, which stay as long as their case. Of several processes only one
    does a step at a time.
    """

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._outputs = OutputPurge(escalation_queries.outputs_with_case)
        self._walked_at: datetime | None = None

    def __call__(self) -> bool:
        """One step; answers whether there is more."""
        return any(self._once(step) for step in self._steps())

    def _once(self, step: Step) -> bool:
        with self._resources.database.transaction() as session:
            if not try_lock(session, Lock.PURGE):
                return False
            # By a clock that was moved, what is to stay for a year could go today.
            now = self._resources.clock_guard.now(session)
            return now is not None and step(session, now)

    def _steps(self) -> Sequence[Step]:
        kept = self._resources.settings
        return (
            *_aged(kept.retention_case, self._purge_cases),
            *_aged(kept.retention_output, self._purge_outputs),
            *_aged(kept.retention_dead_letter, _purge_dead_letters),
            *_aged(kept.retention_hourly_count, _purge_hourly_counts),
            *_aged(kept.retention_idempotency_key, _purge_idempotency_keys),
            *_aged(kept.retention_sign_in, _purge_sign_ins),
            *_aged(kept.retention_notification, _purge_notifications),
            *_aged(kept.retention_delivery, _purge_deliveries),
            *_aged(kept.retention_case, _purge_words),
            _purge_rate_buckets,
            _purge_clock_watches,
        )

    def _purge_cases(self, session: Session, now: datetime, kept: timedelta) -> bool:
        freed = escalation_retention.purge_cases(session, before=now - kept, now=now, limit=_CASES)
        self._let_go(session, freed, now)
        return len(freed) == _CASES

    def _let_go(self, session: Session, freed: Iterable[Freed], now: datetime) -> None:
        """The outputs of cases that are gone go too, where they are old enough."""
        since = _output_times(session, self._resources.settings, now)
        by_tool: dict[str, list[str]] = defaultdict(list)
        for tool, output_id in freed:
            if output_id is not None and tool in since:
                by_tool[tool].append(output_id)
        for tool, ids in by_tool.items():
            feedback_retention.remove(session, tool, ids, before=since[tool])

    def _purge_outputs(self, session: Session, now: datetime, _kept: timedelta) -> bool:
        if self._walked_at is None or now - self._walked_at >= _FULL_WALK:
            self._outputs.begin_again()
            self._walked_at = now
        since = _output_times(session, self._resources.settings, now)
        return self._outputs.step(session, since, limit=_ROWS)


Aged = Callable[[Session, datetime, timedelta], bool]


def _aged(seconds: int | None, purge: Aged) -> Sequence[Step]:
    """A purge with how long is kept; nothing where that is for ever."""
    if seconds is None:
        return ()
    return (lambda session, now: purge(session, now, timedelta(seconds=seconds)),)


def _output_times(session: Session, settings: Settings, now: datetime) -> dict[str, datetime]:
    """Before which time outputs go, by tool; none where they stay for ever."""
    if settings.retention_output is None:
        return {}
    kept = timedelta(seconds=settings.retention_output)
    return {
        tool.slug: feedback_retention.keep_since(tool, now=now, kept=kept)
        for tool in tool_queries.tools(session)
    }


def _purge_dead_letters(session: Session, now: datetime, kept: timedelta) -> bool:
    return purge_dead_letters(session, before=now - kept, now=now, limit=_ROWS) == _ROWS


def _purge_hourly_counts(session: Session, now: datetime, kept: timedelta) -> bool:
    """The window of the rates stays, and what has not matured: totals are read less those."""
    cutoffs = [tool.cutoff(now) for tool in tool_queries.tools(session)]
    before = min(now - kept, *(moment - WINDOW for moment in (now, *cutoffs)))
    return counts.purge(session, before=counts.hour_of(before), limit=_ROWS) == _ROWS


def _purge_idempotency_keys(session: Session, now: datetime, kept: timedelta) -> bool:
    return idempotency.forget(session, before=now - kept, limit=_ROWS) == _ROWS


def _purge_sign_ins(session: Session, now: datetime, kept: timedelta) -> bool:
    return access.forget(session, before=now - kept, limit=_ROWS) >= _ROWS


def _purge_notifications(session: Session, now: datetime, kept: timedelta) -> bool:
    before = now - kept
    return notification_retention.purge_notifications(session, before=before, limit=_ROWS) == _ROWS


def _purge_deliveries(session: Session, now: datetime, kept: timedelta) -> bool:
    return notification_retention.purge_deliveries(session, before=now - kept, limit=_ROWS) == _ROWS


def _purge_words(session: Session, now: datetime, kept: timedelta) -> bool:
    """Who spoke up is told as long as there may be a case."""
    return notification_retention.purge_words(session, before=now - kept, limit=_ROWS) == _ROWS


def _purge_rate_buckets(session: Session, now: datetime) -> bool:
    return throttle.forget_full_buckets(session, now=now, limit=_ROWS) == _ROWS


def _purge_clock_watches(session: Session, now: datetime) -> bool:
    return clock_guard.forget(session, now=now, limit=_ROWS) == _ROWS
