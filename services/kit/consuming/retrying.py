"""What goes wrong while records are consumed: what to read again, and what to reject."""

from collections.abc import Mapping
from datetime import UTC, datetime

from services.kit.consuming.offsets import StaleOffset
from services.kit.database import is_infrastructure
from services.kit.eventlog.port import (
    LogUnavailable,
    OffsetOutOfRange,
    Partition,
    Record,
    Unreadable,
)

TRIES = 3
"""How often a record is tried alone that kills the process each time."""


class Paused(Exception):
    """Too much would have to be rejected: nothing is, until a person has looked."""


class Interrupted(Exception):
    """The process is asked to end in the middle of a batch; the rest is read again later."""


def must_retry(error: BaseException) -> bool:
    """Whether an error says nothing against the records: they are to be read again."""
    ours = (StaleOffset, Paused, Interrupted, LogUnavailable, OffsetOutOfRange)
    return isinstance(error, ours) or is_infrastructure(error)


def reason_of(error: Exception) -> str:
    """One word for a metric's label."""
    for kind, word in _WORDS.items():
        if isinstance(error, kind):
            return word
    return "database" if is_infrastructure(error) else "unexpected"


_WORDS: Mapping[type[Exception], str] = {
    StaleOffset: "stale",
    OffsetOutOfRange: "out_of_range",
    LogUnavailable: "log",
    Paused: "paused",
    Interrupted: "stopping",
}


def as_record(partition: Partition, item: Unreadable) -> Record:
    """Something to keep what cannot be read in."""
    headers = (
        ("secondlook-unreadable", item.reason.encode(errors="replace")),
        ("secondlook-offsets", f"{item.first}-{item.next - 1}".encode()),
    )
    return Record(partition, item.first, None, item.raw, headers, datetime.now(UTC))
