"""Bytes from the log into events, before any transaction is opened. Pure.

Reading a record is the one thing whose cost its sender decides, so no lock and no connection
may wait for it.
"""

import time
from collections.abc import Sequence
from typing import NamedTuple

from secondlook import events

from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Batch, Record
from services.tools.contracts import as_problems

# The contracts bound what a record of 1 MiB can cost; what is past this all the same is
# a fault of theirs, and must not be met again and again.
_COSTLY_SECONDS = 2.0


class Parsed(NamedTuple):
    """A record, and what it says or why it says nothing."""

    record: Record
    event: events.AnyEvent | None
    digest: str
    """Of the event, in hexadecimal; empty where there is none."""
    refusal: Refusal | None


def parse(batches: Sequence[Batch]) -> list[Parsed]:
    """Every record of these batches, in their order."""
    return [_parse_in_time(record) for batch in batches for record in batch.records]


def _parse_in_time(record: Record) -> Parsed:
    begun = time.monotonic()
    parsed = _parse(record)
    if time.monotonic() - begun < _COSTLY_SECONDS:
        return parsed
    # Perhaps it was the machine that stood still. The clock that tells is too dear for each record.
    begun = time.thread_time()
    parsed = _parse(record)
    spent = time.thread_time() - begun
    if spent < _COSTLY_SECONDS:
        return parsed
    problem = Problem("", f"it takes {spent:.0f} s to read", "Send less in one record.")
    return Parsed(record, None, "", Refusal("too_costly", (problem,)))


def _parse(record: Record) -> Parsed:
    try:
        event = events.decode(record.value, record.headers)
    except events.UnknownEventType as error:
        problem = Problem("/type", str(error), "Upgrade Secondlook, then retry it.")
        return Parsed(record, None, "", Refusal("unknown_type", (problem,), parked=True))
    except events.InvalidEvent as error:
        return Parsed(record, None, "", Refusal("invalid", as_problems(error)))
    return Parsed(record, event, events.digest(event).hex(), None)
