"""From a request onto the log: checked in groups, durable before it is answered."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from pydantic_core import to_json
from secondlook import events

from services.feedback import queries
from services.feedback.receiving import Entry, Identity, entry_of
from services.kit.database import KeptConnection
from services.kit.errors import Conflict, Problem, Unavailable
from services.kit.eventlog.port import EventLog, LogUnavailable, NewRecord
from services.kit.web.group_commit import GroupWorker

_PATIENCE_SECONDS = 10.0

Append = Callable[[psycopg.Connection[Any], Sequence[NewRecord]], None]
"""Appends to the log on a connection to the database that it lies in."""


@dataclass(frozen=True, slots=True)
class Submission:
    """All events of one request: taken whole or refused whole."""

    entries: Sequence[Entry]


_PEOPLE = "people on pages"  # no tool can be called so


class Intake:
    """Puts requests' events onto the log, many requests in one append.

    `append_on`: where the log is in the same database, what is asked there and what is appended
    goes over one connection.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection[Any]],
        log: EventLog,
        append_on: Append | None = None,
    ) -> None:
        """`connect` makes a connection to the database that commits each statement."""
        self._connection = KeptConnection(connect)
        self._log, self._append_on = log, append_on
        self.worker: GroupWorker[Submission] = GroupWorker(
            self._handle, size=lambda submission: len(submission.entries)
        )

    def say(self, said: Sequence[events.AnyEvent]) -> None:
        """Put events of ours, such as a rep's on a page, onto the log; returns once durable.

        Raises:
            Conflict: an id is taken by another payload.
            TooMany: more waits already than can be stored just now.
            Unavailable: the log cannot be reached, or takes too long.
        """
        entries = [entry_of(f"/{position}", event) for position, event in enumerate(said)]
        # A tool that sends too much does not keep its people from saying so.
        try:
            submitted = self.worker.submit(Submission(entries), caller=_PEOPLE)
            submitted.result(timeout=_PATIENCE_SECONDS)
        except TimeoutError:
            raise Unavailable(
                "Storing takes longer than usual. Look in a moment whether it is there before"
                " you send it again."
            ) from None
        except LogUnavailable:
            raise Unavailable("The event log cannot be reached just now. Try again.") from None

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        self.worker.close()
        self._connection.close()

    def _handle(self, group: Sequence[Submission]) -> list[Exception | None]:
        """Refuse the submissions that clash, append all others."""
        with self._connection.open() as connection:
            stored = _stored_clashes(connection, [e for one in group for e in one.entries])
            outcomes: list[Exception | None] = []
            records: list[NewRecord] = []
            held: dict[Identity, str] = {}
            for submission in group:
                wrong = _problems(submission, stored, held)
                outcomes.append(_conflict(wrong) if wrong else None)
                if not wrong:
                    records += [entry.record for entry in submission.entries]
            if records and self._append_on is not None:
                self._append_on(connection, records)
        if records and self._append_on is None:
            self._log.append(records)
        return outcomes


def _problems(
    submission: Submission, stored: Mapping[int, Problem], held: dict[Identity, str]
) -> list[Problem]:
    """What is wrong with a submission's entries.

    `held`: the digests of those that this group appends, by their ids. A submission that is
    taken adds its own; one that is refused holds none, as if it had never come.
    """
    own: dict[Identity, str] = {}
    wrong = []
    for entry in submission.entries:
        problem = stored.get(id(entry))
        for identity in entry.identities:
            first = held.get(identity) or own.setdefault(identity, entry.digest)
            if first != entry.digest and problem is None:
                problem = _clash(entry, identity)
        if problem is not None:
            wrong.append(problem)
    if not wrong:
        held.update(own)
    return wrong


def _stored_clashes(
    connection: psycopg.Connection[Any], entries: Sequence[Entry]
) -> dict[int, Problem]:
    """What is wrong with the entries of which an id is taken in the database, by `id(entry)`."""
    asked = [(entry, identity) for entry in entries for identity in entry.identities]
    rows = [
        {"position": position, "digest": entry.digest, **identity._asdict()}
        for position, (entry, identity) in enumerate(asked)
    ]
    return {id(asked[at][0]): _clash(*asked[at]) for at in _taken(connection, rows)}


def _taken(connection: psycopg.Connection[Any], rows: Sequence[dict[str, object]]) -> list[int]:
    return queries.conflicting(connection, to_json(rows).decode()) if rows else []


def _clash(entry: Entry, identity: Identity) -> Problem:
    return Problem(
        f"{entry.pointer}/{'output_id' if identity.kind == 'output' else 'id'}",
        f"'{identity.name[:80]}' is taken by another payload",
        "Give it an id of its own, or send what was sent before.",
    )


def _conflict(problems: Sequence[Problem]) -> Conflict:
    said = "An id is taken by another payload; nothing was taken."
    return Conflict(said, problems=tuple(problems))
