"""From a request onto the log: judged in groups, durable before it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import to_json
from secondlook import events

from services.feedback import queries
from services.kit.database import Database
from services.kit.errors import Conflict, Problem
from services.kit.eventlog.port import EventLog, NewRecord
from services.kit.group import GroupWorker


@dataclass(frozen=True, slots=True)
class Entry:
    """One event of a request, and where it stands in the request's body."""

    pointer: str
    event: Any

    @property
    def identity(self) -> tuple[str, str, str]:
        """What no other payload may have: the output's id, or the correction's event id."""
        if self.event.topic == events.OUTPUTS:
            return "output", self.event.tool, self.event.data.output_id
        return "correction", self.event.tool, self.event.id


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

    def say(self, said: Sequence[Any]) -> None:
        """Put events of ours, such as a rep's on a page, onto the log; returns once durable."""
        entries = [Entry(f"/{position}", event) for position, event in enumerate(said)]
        self.worker.submit(Submission(entries)).result(timeout=10)

    def _handle(self, group: Sequence[Submission]) -> list[Exception | None]:
        """Refuse the submissions that clash, append all others."""
        clashes = self._clashes([entry for submission in group for entry in submission.entries])
        outcomes: list[Exception | None] = []
        records: list[NewRecord] = []
        for submission in group:
            wrong = [entry for entry in submission.entries if id(entry) in clashes]
            outcomes.append(_conflict(wrong) if wrong else None)
            if not wrong:
                records += [_record(entry.event) for entry in submission.entries]
        if records:
            self._log.append(records)
        return outcomes

    def _clashes(self, entries: Sequence[Entry]) -> set[int]:
        """Entries whose identity is taken by another payload, here or in the database."""
        first: dict[tuple[str, str, str], str] = {}
        clashes, rows = set(), []
        for position, entry in enumerate(entries):
            digest = events.digest(entry.event).hex()
            if first.setdefault(entry.identity, digest) != digest:
                clashes.add(id(entry))
            kind, tool, name = entry.identity
            rows.append(
                {"position": position, "kind": kind, "tool": tool, "name": name, "digest": digest}
            )
        with self._database.transaction() as session:
            taken = queries.conflicting(session, to_json(rows).decode())
        return clashes | {id(entries[position]) for position in taken}


def _record(event: Any) -> NewRecord:
    return NewRecord(event.topic, event.key, events.encode(event))


def _conflict(entries: Sequence[Entry]) -> Conflict:
    problems = tuple(
        Problem(
            f"{entry.pointer}/{'output_id' if entry.identity[0] == 'output' else 'id'}",
            f"'{entry.identity[2][:80]}' is taken by another payload",
            "Give it an id of its own, or send what was sent before.",
        )
        for entry in entries
    )
    return Conflict("An id is taken by another payload; nothing was taken.", problems=problems)
