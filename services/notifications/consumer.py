"""From what happens to cases, verdicts and tools to who is told of it.

Whoever disputed or corrected an output is known from the corrections, which feedback has checked
already: what cannot be used there is kept by feedback, and passed over here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from secondlook import events
from sqlalchemy.orm import Session

from services.kit.clock import Clock
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.notifications import deliveries, feed, mailing, telling, webhooks
from services.notifications.webhooks import Heard

NAME = "notifications"
TOPICS = (events.CASES, events.VERDICTS, events.TOOLS, events.CORRECTIONS)
"""What this consumer reads."""


class Parsed(NamedTuple):
    """A record, and what it says or why it says nothing."""

    record: Record
    event: events.AnyEvent | None
    refusal: Refusal | None


@dataclass(slots=True)
class _News:
    """A batch by what is done about it."""

    moved: list[events.CaseMoved] = field(default_factory=list)
    verdicts: list[feed.Given] = field(default_factory=list)
    heard: list[tuple[Heard, str]] = field(default_factory=list)
    said: list[events.CorrectionRecorded] = field(default_factory=list)
    withdrawn: list[events.CorrectionWithdrawn] = field(default_factory=list)
    refused: list[tuple[Record, Refusal]] = field(default_factory=list)


class NotificationsConsumer:
    """The handler that `secondlook consume notifications` runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def prepare(self, record: Record) -> Parsed:
        """Read what a record says, outside of any transaction."""
        try:
            return Parsed(record, events.decode(record.value, record.headers), None)
        except events.UnknownEventType as error:
            problem = Problem("/type", str(error), "Upgrade Secondlook, then retry it.")
            return Parsed(record, None, Refusal("unknown_type", (problem,), parked=True))
        except events.InvalidEvent as error:
            found = tuple(Problem(p.pointer, p.problem, p.hint) for p in error.problems)
            return Parsed(record, None, Refusal("invalid", found))

    def __call__(
        self, session: Session, batches: Sequence[Batch], prepared: Sequence[Parsed]
    ) -> None:
        """Tell everybody whom these batches concern, and keep what is to be sent."""
        found = _place(prepared)
        now = self._clock.now(session)
        news = telling.remember(session, found.said, now=now)
        telling.forget(session, found.withdrawn)
        feed.add(session, found.verdicts, now=now)
        news += telling.of_cases(session, found.moved, now=now)
        news += telling.of_verdicts(session, found.verdicts)
        if telling.tell(session, news, now=now):
            mailing.gather(session, now=now)
        deliveries.write(session, webhooks.deliveries_of(session, found.heard), now=now)
        dead_letters.keep(session, NAME, found.refused, topic=events.DEAD_LETTERS)

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that nobody can be told of, with the reason."""
        reason = error if isinstance(error, str) else "cannot_be_told"
        problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
        refused = [(record, Refusal(reason, (problem,)))]
        dead_letters.keep(session, NAME, refused, topic=events.DEAD_LETTERS)


def _place(prepared: Sequence[Parsed]) -> _News:
    found = _News()
    for one in prepared:
        if one.event is not None:
            _place_event(found, one.event)
        elif one.refusal is not None and one.record.partition.topic != events.CORRECTIONS:
            found.refused.append((one.record, one.refusal))
    return found


def _place_event(found: _News, event: events.AnyEvent) -> None:
    """Put an event into its lists."""
    if isinstance(event, events.CorrectionRecorded):
        found.said.append(event)
    elif isinstance(event, events.CorrectionWithdrawn):
        found.withdrawn.append(event)
    elif isinstance(event, webhooks.Heard):
        found.heard.append((event, events.encode(event).decode()))
        if isinstance(event, events.CaseMoved):
            found.moved.append(event)
        elif isinstance(event, feed.Given):
            found.verdicts.append(event)
