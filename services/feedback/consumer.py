"""From the log into feedback's tables, each batch stored and counted in one transaction."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple, Protocol

from secondlook import events
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from services.feedback import corrections, outputs, verdicts
from services.feedback.placing import place
from services.feedback.rows import (
    Identified,
    OutputRow,
    Row,
    StoreResult,
)
from services.kit import counts
from services.kit.clock import Clock
from services.kit.consuming import dead_letters
from services.kit.consuming.dead_letters import Refusal
from services.kit.counts import Count, Counts, hour_of
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.tools.policies import PolicyHistory
from services.tools.queries import ToolCache
from services.tools.records import ParsedRecord, parse, with_tool
from services.tools.rules import Version
from services.tools.versions import ToolVersion, VersionCache

NAME = "feedback"
TOPICS = (events.OUTPUTS, events.CORRECTIONS, events.VERDICTS)
"""What this consumer reads."""

Refused = tuple[Record, Refusal]


class _Transaction(NamedTuple):
    """What every step of one transaction needs."""

    session: Session
    now: datetime
    shard: int
    tally: Counts


class FeedbackConsumer:
    """The handler that `secondlook consume feedback` runs."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tools = ToolCache()
        self._policies = PolicyHistory()
        self._versions = VersionCache()

    def prepare(self, record: Record) -> ParsedRecord:
        """Read what a record says, outside of any transaction."""
        return parse(record)

    def __call__(
        self, session: Session, batches: Sequence[Batch], prepared: Sequence[ParsedRecord]
    ) -> None:
        """Take everything that these batches hold; afterwards every record is explained."""
        tools = self._tools.tools(session)
        found = place(prepared, tools, partial(self._policies.read, session))
        self._number_versions(session, found.outputs)
        work = _Transaction(session, self._clock.now(session), _shard(batches), Counter())
        found.refused += [
            *_store(work, outputs.store, found.outputs, events.OUTPUTS),
            *_store(work, corrections.store, found.corrections, events.CORRECTIONS),
            *_store(work, corrections.store_withdrawals, found.withdrawals, events.CORRECTIONS),
            *_store(work, verdicts.store, found.verdicts, events.VERDICTS),
            *_store(work, verdicts.store_undone, found.undone, events.VERDICTS),
        ]
        _keep(work, found.refused)
        counts.add(session, work.tally, shard=work.shard)

    def _number_versions(self, session: Session, found: Sequence[tuple[OutputRow, Record]]) -> None:
        """Give each output the number that its version is counted under."""
        versions = [
            ToolVersion(row["tool"], Version(row["model"], row["prompt"])) for row, _ in found
        ]
        ids = self._versions.ids(session, versions)
        for (row, _), version in zip(found, versions, strict=True):
            row["version"] = ids[version]

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that cannot be stored whatever is done, with the reason."""
        now = self._clock.now(session)
        work = _Transaction(session, now, record.partition.number, Counter())
        refusal = with_tool(_refusal_for(error), record, self._tools.tools(session))
        _keep(work, [(record, refusal)])
        counts.add(session, work.tally, shard=work.shard)


def _shard(batches: Sequence[Batch]) -> int:
    return min(batch.partition.number for batch in batches)


class _Store(Protocol[Row]):
    """Stores rows of one kind."""

    def __call__(
        self, session: Session, rows: Sequence[Row], *, now: datetime
    ) -> StoreResult[Row]: ...


def _store(
    work: _Transaction, verb: _Store[Row], pairs: Sequence[tuple[Row, Record]], topic: str
) -> list[Refused]:
    """Store rows of one kind and count what became of them; answers what clashes."""
    if not pairs:
        return []
    rows = [row for row, _ in pairs]
    result = verb(work.session, rows, now=work.now)
    work.tally.update(result.tally)
    for measure, alike in (("stored", result.stored), ("duplicate", result.duplicates)):
        for tool, n in Counter(row["tool"] for row in alike).items():
            work.tally[Count(measure, tool, hour_of(work.now), 0, topic)] += n
    if not result.conflicts:
        return []
    record_of = {id(row): record for row, record in pairs}
    return [(record_of[id(row)], _conflict(row)) for row in result.conflicts]


def _keep(work: _Transaction, refused: Sequence[Refused]) -> None:
    """Keep what could not be stored, and count it: twice refused is once kept."""
    fresh = dead_letters.keep(work.session, NAME, refused, topic=events.DEAD_LETTERS)
    for (record, refusal), is_new in zip(refused, fresh, strict=True):
        outcome = ("parked" if refusal.parked else "dead_lettered") if is_new else "duplicate"
        topic = record.partition.topic
        work.tally[Count(outcome, refusal.tool or "", hour_of(work.now), 0, topic)] += 1


def _conflict(row: Identified) -> Refusal:
    problem = Problem(
        "/data/output_id",
        f"the id '{row['output_id'][:80]}', or the event's own, stands for another payload",
        "Give every output and every event an id of its own; what came first stays.",
    )
    return Refusal("conflict", (problem,), row["tool"])


def _refusal_for(error: Exception | str) -> Refusal:
    """The reason for a record that could not be stored."""
    if isinstance(error, IntegrityError):
        problem = Problem("/id", "it clashes with what is stored", "Use an id of its own.")
        return Refusal("conflict", (problem,))
    reason = error if isinstance(error, str) else "cannot_be_stored"
    problem = Problem("", str(error)[:200], "Retry it after the cause is gone.")
    return Refusal(reason, (problem,))
