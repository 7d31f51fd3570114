"""From a request onto the log: checked in groups, durable before it is answered."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic_core import to_json
from secondlook import events
from sqlalchemy.orm import Session

from services.feedback import queries
from services.feedback.receiving import Entry, Identity, entry_of
from services.kit.database import Database
from services.kit.errors import Conflict, Problem
from services.kit.eventlog.port import EventLog, NewRecord
from services.kit.web.group_commit import GroupWorker

AppendWithin = Callable[[Session, Sequence[NewRecord]], None]
"""Appends to the log as the last act of a session's transaction."""


@dataclass(frozen=True, slots=True)
class Submission:
    """All events of one request: taken whole or refused whole."""

    entries: Sequence[Entry]


class Intake:
    """Puts requests' events onto the log, many requests in one append.

    `append_within`: where the log is in the same database, asking for conflicts and appending
    are one transaction.
    """

    def __init__(
        self, database: Database, log: EventLog, append_within: AppendWithin | None = None
    ) -> None:
        self._database, self._log, self._append_within = database, log, append_within
        self.worker: GroupWorker[Submission] = GroupWorker(
            self._handle, size=lambda submission: len(submission.entries)
        )

    def say(self, said: Sequence[events.AnyEvent]) -> None:
        """Put events of ours, such as a rep's on a page, onto the log; returns once durable."""
        entries = [entry_of(f"/{position}", event) for position, event in enumerate(said)]
        self.worker.submit(Submission(entries)).result(timeout=10)

    def _handle(self, group: Sequence[Submission]) -> list[Exception | None]:
        """Refuse the submissions that clash, append all others."""
        with self._database.transaction() as session:
            clashes = self._clashes(session, [e for one in group for e in one.entries])
            outcomes: list[Exception | None] = []
            records: list[NewRecord] = []
            for submission in group:
                wrong = [clashes[id(e)] for e in submission.entries if id(e) in clashes]
                outcomes.append(_conflict(wrong) if wrong else None)
                if not wrong:
                    records += [entry.record for entry in submission.entries]
            if records and self._append_within is not None:
                self._append_within(session, records)
        if records and self._append_within is None:
            self._log.append(records)
        return outcomes

    @staticmethod
    def _clashes(session: Session, entries: Sequence[Entry]) -> dict[int, Problem]:
        """What is wrong with entries of which an id is taken, here or in the database."""
        first: dict[Identity, str] = {}
        clashes: dict[int, Problem] = {}
        rows: list[dict[str, object]] = []
        asked: list[tuple[Entry, Identity]] = []
        for entry in entries:
            for identity in entry.identities:
                if first.setdefault(identity, entry.digest) != entry.digest:
                    clashes[id(entry)] = _clash(entry, identity)
                row = {"position": len(rows), "digest": entry.digest}
                rows.append(row | identity._asdict())
                asked.append((entry, identity))
        for position in _taken(session, rows):
            clashes[id(asked[position][0])] = _clash(*asked[position])
        return clashes


def _taken(session: Session, rows: Sequence[dict[str, object]]) -> list[int]:
    return queries.conflicting(session, to_json(rows).decode()) if rows else []


def _clash(entry: Entry, identity: Identity) -> Problem:
    return Problem(
        f"{entry.pointer}/{'output_id' if identity.kind == 'output' else 'id'}",
        f"'{identity.name[:80]}' is taken by another payload",
        "Give it an id of its own, or send what was sent before.",
    )


def _conflict(problems: Sequence[Problem]) -> Conflict:
    said = "An id is taken by another payload; nothing was taken."
    return Conflict(said, problems=tuple(problems))
