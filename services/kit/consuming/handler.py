"""What a consumer gives its records to."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from sqlalchemy.orm import Session

from services.kit.eventlog.port import Batch, Record

CRASHED = "crashed_consumer"
SLOW = "took_too_long"
UNREADABLE = "unreadable"
"""Reasons for which a record is rejected that its handler knows nothing of."""

P = TypeVar("P")


class Handler(Protocol[P]):
    """What is done with records: read without a transaction, then stored in one."""

    def prepare(self, record: Record) -> P:
        """Read what a record says.

        No transaction is open: what a record costs to read is up to whoever sent it.
        """
        ...

    def __call__(self, session: Session, batches: Sequence[Batch], prepared: Sequence[P]) -> None:
        """Take every record of these batches, in as few statements as possible.

        All in the session given, which the runner commits. `prepared` is what `prepare` made of
        each record, in their order.
        """
        ...

    def reject(self, session: Session, record: Record, error: Exception | str) -> None:
        """Keep a record that cannot be taken, with the reason.

        `error` is what the handler raised, or a word: `crashed_consumer` for a record
        that killed its reader, `took_too_long` for one whose transaction the server ended,
        `unreadable` for bytes that are no record (then `value` is those bytes, and headers
        say what is wrong with them).
        """
        ...
