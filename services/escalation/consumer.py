"""From requested reviews into cases."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from secondlook import events
from sqlalchemy.orm import Session

from services.escalation import bars, handover, incidents, objections, opening
from services.escalation.routing import Router
from services.kit.clock import Clock
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.tools.queries import ToolCache
from services.tools.records import ParsedRecord, parse, with_tool
from services.tools.versions import VersionCache

NAME = "escalation"
TOPICS = (events.REVIEWS,)
"""What this consumer reads."""


@dataclass(slots=True)
class ParsedBatch:
    """A batch by what it does to cases."""

    requests: list[events.ReviewRequest] = field(default_factory=list)
    withdrawals: list[events.ReviewWithdrawal] = field(default_factory=list)
    bars: list[events.ReviewBar] = field(default_factory=list)
    refused: list[tuple[Record, Refusal]] = field(default_factory=list)


class EscalationConsumer:
    """The handler that `secondlook consume escalation` runs.

    It has no gate and reads nothing of the tools': whether a person is needed was decided
    where the output was stored.
    """

    def __init__(self, clock: Clock, router: Router) -> None:
        self._clock = clock
        self._router = router
        self._tools = ToolCache()
        self._versions = VersionCache()

    def prepare(self, record: Record) -> ParsedRecord:
        """Read what a record says, outside of any transaction."""
        return parse(record)

    def __call__(
        self, session: Session, batches: Sequence[Batch], prepared: Sequence[ParsedRecord]
    ) -> None:
        """Open a case for each output that these batches request a review of."""
        tools = self._tools.tools(session)
        found = _place(prepared, tools.keys())
        now = self._clock.now(session)
        bars.add(session, found.bars, now=now)
        bars.lift(session, found.withdrawals, now=now)
        asked = opening.first_of_each(found.requests)
        choices = self._router.choose(session, asked, tools=tools)
        alike = incidents.hold(session, choices, now=now)
        locked = objections.lock_cases(
            session, found.requests, found.withdrawals, found.bars, beside=alike
        )
        opened = opening.open_cases(
            session,
            self._router,
            choices,
            versions=self._versions,
            alike=alike,
            beside=locked.wanted,
            now=now,
            shard=min(batch.partition.number for batch in batches),
        )
        known = [one for one in found.requests if id(one) not in opened]
        objections.add(session, known, now=now)
        objections.withdraw(session, found.withdrawals, now=now)
        handover.pass_over(session, locked.own, now=now)
        dead_letters.keep(session, NAME, found.refused, topic=events.DEAD_LETTERS)

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that no case can be made of, with the reason."""
        reason = error if isinstance(error, str) else "cannot_open_case"
        problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
        refusal = with_tool(Refusal(reason, (problem,)), record, self._tools.tools(session))
        dead_letters.keep(session, NAME, [(record, refusal)], topic=events.DEAD_LETTERS)


def _place(parsed: Sequence[ParsedRecord], tools: Container[str]) -> ParsedBatch:
    found = ParsedBatch()
    for one in parsed:
        refusal = one.refusal
        if one.event is not None:
            refusal = _place_event(one.event, tools, found)
        if refusal is not None:
            found.refused.append((one.record, with_tool(refusal, one.record, tools)))
    return found


def _place_event(
    event: events.AnyEvent, tools: Container[str], found: ParsedBatch
) -> Refusal | None:
    """Put an event into its list, or say why it cannot be used."""
    if event.tool not in tools:
        problem = Problem("/data/tool", f"there is no tool '{event.tool}'", "Register it.")
        return Refusal("unknown_tool", (problem,))
    if isinstance(event, events.ReviewRequested):
        found.requests.append(event.data)
    elif isinstance(event, events.ReviewWithdrawn):
        found.withdrawals.append(event.data)
    elif isinstance(event, events.ReviewBarred):
        found.bars.append(event.data)
    return None
