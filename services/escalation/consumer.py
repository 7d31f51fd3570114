"""From requested reviews into cases."""

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from secondlook import events
from secondlook.text import SLUG
from sqlalchemy.orm import Session

from services.escalation import objections, opening
from services.escalation.routing import Router
from services.kit.clock import Clock
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.tools.contracts import as_problems
from services.tools.queries import ToolCache
from services.tools.versions import VersionCache

NAME = "escalation"
TOPICS = (events.REVIEWS,)
"""What this consumer reads."""


class Parsed(NamedTuple):
    """A record, and what it says or why it says nothing."""

    record: Record
    event: events.ReviewRequested | events.ReviewWithdrawn | None
    refusal: Refusal | None


@dataclass(slots=True)
class ParsedBatch:
    """A batch by what it does to cases."""

    requests: list[events.ReviewRequest] = field(default_factory=list)
    withdrawals: list[events.ReviewWithdrawal] = field(default_factory=list)
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

    def prepare(self, batches: Sequence[Batch]) -> list[Parsed]:
        """Read what these batches say, outside of any transaction."""
        return [_parse(record) for batch in batches for record in batch.records]

    def __call__(self, session: Session, batches: Sequence[Batch], prepared: list[Parsed]) -> None:
        """Open a case for each output that these batches request a review of."""
        tools = self._tools.tools(session)
        found = _place(prepared, tools.keys())
        now = self._clock.now(session)
        known = opening.open_cases(
            session,
            self._router,
            found.requests,
            tools=tools,
            versions=self._versions,
            now=now,
            shard=min(batch.partition.number for batch in batches),
        )
        for request in known:
            objections.add(session, request, now=now)
        objections.withdraw(session, found.withdrawals, now=now)
        dead_letters.keep(session, NAME, found.refused, topic=events.DEAD_LETTERS)

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that no case can be made of, with the reason."""
        reason = error if isinstance(error, str) else "cannot_open_case"
        problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
        refusal = Refusal(reason, (problem,), _tool_of_key(record))
        dead_letters.keep(session, NAME, [(record, refusal)], topic=events.DEAD_LETTERS)


def _parse(record: Record) -> Parsed:
    try:
        event = events.decode(record.value, record.headers)
    except events.UnknownEventType as error:
        problem = Problem("/type", str(error), "Upgrade Secondlook, then retry it.")
        refusal = Refusal("unknown_type", (problem,), _tool_of_key(record), parked=True)
        return Parsed(record, None, refusal)
    except events.InvalidEvent as error:
        return Parsed(record, None, Refusal("invalid", as_problems(error), _tool_of_key(record)))
    if isinstance(event, events.ReviewRequested | events.ReviewWithdrawn):
        return Parsed(record, event, None)
    problem = Problem("/type", f"{event.type} does not belong here", f"Send it to {event.topic}.")
    return Parsed(record, None, Refusal("wrong_topic", (problem,), _tool_of_key(record)))


def _tool_of_key(record: Record) -> str | None:
    """The tool that a record's key speaks of, if that can be one."""
    name = (record.key or b"").partition(b"/")[0].decode(errors="replace")
    return name if re.fullmatch(SLUG, name) else None


def _place(parsed: Sequence[Parsed], tools: Container[str]) -> ParsedBatch:
    found = ParsedBatch()
    for record, event, refusal in parsed:
        if event is None:
            assert refusal is not None
            found.refused.append((record, refusal))
        elif event.data.tool not in tools:
            problem = Problem("/data/tool", f"there is no tool '{event.data.tool}'", "Register it.")
            found.refused.append((record, Refusal("unknown_tool", (problem,), event.data.tool)))
        elif isinstance(event, events.ReviewRequested):
            found.requests.append(event.data)
        else:
            found.withdrawals.append(event.data)
    return found
