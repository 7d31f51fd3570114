"""From a request onto the log: decided in groups, durable before it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from secondlook import events

from services.feedback import queries
from services.kit.database import Database
from services.kit.errors import Conflict, Problem
from services.kit.eventlog.port import EventLog, NewRecord
from services.kit.web.group_commit import GroupWorker

ToolsEvent = (
    events.OutputRecorded
    | events.OutputFailed
    | events.CorrectionRecorded
    | events.CorrectionWithdrawn
)
"""What tools, and people about them, say."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a request, and where it stands in the request's body.

    `named`: the sender chose the event's id.
    """

    pointer: str
    event: ToolsEvent
    named: bool = False

    @property
    def identities(self) -> list[tuple[str, str, str]]:
        """What no other payload may have: the output's id and its event's, or the correction's."""
        if self.event.topic != events.OUTPUTS:
            return [("correction", self.event.tool, self.event.id)]
        found = [("output", self.event.tool, self.event.data.output_id)]
        return found + [("output event", self.event.tool, self.event.id)] * self.named


@dataclass(frozen=True, slots=True)
class Submission:
    """All events of one request: taken whole or refused whole."""

    entries: Sequence[Entry]


class Intake:
    """Puts requests' events onto the log, many requests in one append."""

    def __init__(self, database: Database, log: EventLog) -> None:
        self._database, self._log = database, log
        self.worker: GroupWorker[Submission] = GroupWorker(
            self._handle, size=lambda submission: len(submission.entries)
        )

    def say(self, said: Sequence[ToolsEvent]) -> None:
        """Put events of ours, such as a rep's on a page, onto the log; returns once durable."""
        entries = [Entry(f"/{position}", event) for position, event in enumerate(said)]
        self.worker.submit(Submission(entries)).result(timeout=10)

    def _handle(self, group: Sequence[Submission]) -> list[Exception | None]:
        """Refuse the submissions that clash, append all others."""
        clashes = self._clashes([entry for submission in group for entry in submission.entries])
        outcomes: list[Exception | None] = []
        records: list[NewRecord] = []
        for submission in group:
            wrong = [clashes[id(entry)] for entry in submission.entries if id(entry) in clashes]
            outcomes.append(_conflict(wrong) if wrong else None)
            if not wrong:
                records += [_record(entry.event) for entry in submission.entries]
        if records:
            self._log.append(records)
        return outcomes

    def _clashes(self, entries: Sequence[Entry]) -> dict[int, Problem]:
        """What is wrong with entries of which an id is taken, here or in the database."""
        first: dict[tuple[str, str, str], str] = {}
        clashes: dict[int, Problem] = {}
        rows: list[dict[str, Any]] = []
        asked = []
        for entry in entries:
            digest = events.digest(entry.event).hex()
            for kind, tool, name in entry.identities:
                if first.setdefault((kind, tool, name), digest) != digest:
                    clashes[id(entry)] = _clash(entry, kind, name)
                row = {"position": len(rows), "kind": kind, "tool": tool, "name": name}
                rows.append(row | {"digest": digest})
                asked.append((entry, kind, name))
        with self._database.transaction() as session:
            taken = queries.conflicting(session, to_json(rows).decode())
        for position in taken:
            clashes[id(asked[position][0])] = _clash(*asked[position])
        return clashes


def _record(event: ToolsEvent) -> NewRecord:
    return NewRecord(event.topic, event.key, events.encode(event))


def _clash(entry: Entry, kind: str, name: str) -> Problem:
    return Problem(
        f"{entry.pointer}/{'output_id' if kind == 'output' else 'id'}",
        f"'{name[:80]}' is taken by another payload",
        "Give it an id of its own, or send what was sent before.",
    )


def _conflict(problems: Sequence[Problem]) -> Conflict:
    said = "An id is taken by another payload; nothing was taken."
    return Conflict(said, problems=tuple(problems))
