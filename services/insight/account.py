"""Where every event is: what reached the log, and what became of it."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy.orm import Session

from services.escalation import queries as escalation
from services.feedback.rules import TOOLS_TOPICS
from services.kit import counts
from services.kit.consuming import dead_letters, offsets
from services.kit.eventlog.port import Bounds, Partition, Record
from services.tools import queries as tool_queries

CONSUMER = "feedback"
TOPICS = TOOLS_TOPICS
OUTCOMES = ("stored", "duplicate", "dead_lettered", "parked")
_PEEKED = 50_000

Peek = Callable[[Partition, int, int], Iterable[Record]]


def account(session: Session, bounds: Mapping[Partition, Bounds], peek: Peek) -> dict[str, Any]:
    """Explain every event, in all and by tool.

    `bounds` must have been read before the transaction of `session` began to read, so
    that what is consumed in between is not missing. A dead letter that was sent again is
    accounted for by the record that stands for it now.
    """
    found: dict[str, Counter[str]] = defaultdict(Counter)
    totals = counts.totals(session)
    for total in totals:
        if total.measure in OUTCOMES and of_tools(total):
            found[total.tool][total.measure] += total.n
    explained = sum(outcomes.total() for outcomes in found.values())
    _add_dead_letters(session, found)
    everything: Counter[str] = Counter()
    for outcomes in found.values():
        everything.update(outcomes)
    positions = _positions(session)
    taken = sum(at.taken for at in positions.values())
    waiting = _in_flight(session, bounds, peek, positions, found)
    slugs = {tool.slug for tool in tool_queries.tools(session)}
    cases = _cases(session, slugs, totals)
    # Taken is counted by the runner and explained by the handler: neither knows the other.
    everything["unexplained"] = waiting + taken - explained
    return {
        **_entry(everything),
        "cases": _sum(cases.values()),
        "tools": {slug: {**_entry(found[slug]), "cases": cases[slug]} for slug in sorted(slugs)},
    }


def _add_dead_letters(session: Session, found: dict[str, Counter[str]]) -> None:
    """Of each dead letter that was retried a new record is accounted for in its place.

    What other consumers could not use are our own events about a tool's outputs: each was
    received as well, and nobody else tells of it.
    """
    for kept in dead_letters.by_tool(session):
        outcome = "parked" if kept.parked else "dead_lettered"
        counted = kept.n if kept.consumer != CONSUMER else 0
        found[kept.tool][outcome] += counted - kept.retried


def of_tools(total: counts.Total) -> bool:
    """Whether an outcome's count is of records that tools sent; the others are our own events."""
    return total.label in TOPICS


def _positions(session: Session) -> dict[Partition, offsets.Position]:
    """How far the consumer that explains events has come."""
    return {
        Partition(at.topic, at.partition): at
        for at in offsets.positions(session)
        if at.consumer == CONSUMER and at.topic in TOPICS
    }


def _in_flight(
    session: Session,
    bounds: Mapping[Partition, Bounds],
    peek: Peek,
    positions: Mapping[Partition, offsets.Position],
    found: dict[str, Counter[str]],
) -> int:
    """Records that the consumer has not taken yet, and those that were gone before it could."""
    waiting = offsets.missing(session, CONSUMER, TOPICS)
    for partition, held in bounds.items():
        at = positions.get(partition)
        next_offset = at.next_offset if at is not None else held.first
        waiting += max(0, held.next - next_offset)
        if held.next > next_offset:
            for record in peek(partition, next_offset, min(_PEEKED, held.next - next_offset)):
                found[_tool_of(record)]["unexplained"] += 1
    return waiting


def _tool_of(record: Record) -> str:
    return (record.key or b"").partition(b"/")[0].decode(errors="replace")


def _entry(outcomes: Counter[str]) -> dict[str, int]:
    explained = {name: outcomes[name] for name in OUTCOMES}
    unexplained = outcomes["unexplained"]
    return {
        "received": sum(explained.values()) + unexplained,
        **explained,
        "unexplained": unexplained,
    }


def _cases(
    session: Session, slugs: Iterable[str], totals: Iterable[counts.Total]
) -> dict[str, dict[str, int]]:
    """Cases by how they stand; those that are gone because they were old are closed."""
    states, unowned = escalation.case_states(session), escalation.unowned(session)
    gone = Counter({t.tool: t.n for t in totals if t.measure == escalation.PURGED_CASES})
    return {
        slug: {
            "open": states.get(slug, (0, 0))[0],
            "closed": states.get(slug, (0, 0))[1] + gone[slug],
            "unowned": unowned.get(slug, 0),
        }
        for slug in slugs
    }


def _sum(cases: Iterable[dict[str, int]]) -> dict[str, int]:
    listed = list(cases)
    return {name: sum(one[name] for one in listed) for name in ("open", "closed", "unowned")}
