"""Records of the log into events, before any transaction is opened. Pure.

Reading a record is the one thing whose cost its sender decides, so no lock and no connection
may wait for it.
"""

import time
from collections.abc import Container
from dataclasses import replace
from typing import NamedTuple

from secondlook import events

from services.kit.consuming.dead_letters import Refusal
from services.kit.errors import Problem
from services.kit.eventlog.port import Record
from services.tools.contracts import as_problems

# The contracts bound what a record of 1 MiB can cost; what is past this all the same is
# a fault of theirs, and must not be met again and again.
_COSTLY_SECONDS = 2.0


class ParsedRecord(NamedTuple):
    """A record, and what it says or why it says nothing."""

    record: Record
    event: events.AnyEvent | None
    digest: str
    """Of the event, in hexadecimal; empty where there is none."""
    refusal: Refusal | None


def parse(record: Record) -> ParsedRecord:
    """What a record says."""
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
    return _refused(record, Refusal("too_costly", (problem,)))


def _parse(record: Record) -> ParsedRecord:
    try:
        event = events.decode(record.value, record.headers)
    except events.UnknownEventType as error:
        problem = Problem("/type", str(error), "Upgrade Secondlook, then retry it.")
        return _refused(record, Refusal("unknown_type", (problem,), parked=True))
    except events.InvalidEvent as error:
        return _refused(record, Refusal("invalid", as_problems(error)))
    if event.topic != record.partition.topic:
        hint = f"Send it to {event.topic}."
        problem = Problem("/type", f"{event.type} does not belong here", hint)
        return _refused(record, Refusal("wrong_topic", (problem,)))
    return ParsedRecord(record, event, events.digest(event).hex(), None)


def _refused(record: Record, refusal: Refusal) -> ParsedRecord:
    return ParsedRecord(record, None, "", refusal)


def with_tool(refusal: Refusal, record: Record, tools: Container[str]) -> Refusal:
    """A refusal that names the tool which the record's key speaks of, if it is one of ours."""
    name = (record.key or b"").partition(b"/")[0].decode(errors="replace")
    return replace(refusal, tool=name) if refusal.tool is None and name in tools else refusal
