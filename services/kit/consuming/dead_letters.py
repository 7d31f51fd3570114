"""Keeping what could not be used: whole, with the reason, in the consumer's transaction."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Update, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from services.kit.consuming import outbox
from services.kit.errors import NotFound, Problem, invalid
from services.kit.eventlog.headers import headers_from_json, headers_to_json
from services.kit.eventlog.port import Headers, NewRecord, Partition, Record
from services.kit.models import WAITING, DeadLetter
from services.kit.web.storable import unstorable

RETRY_HEADER = "secondlook-retry"
"""On a record that was sent again: the number of the dead letter that it was."""

_REASON_HEADER = "secondlook-reason"
_PLACE_HEADER = "secondlook-place"
_REASON_LENGTH = 1_000


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a record could not be used. `parked`: a later version of Secondlook may know it."""

    reason: str
    problems: tuple[Problem, ...] = ()
    tool: str | None = None
    parked: bool = False


def keep(
    session: Session, consumer: str, refused: Sequence[tuple[Record, Refusal]], *, topic: str | None
) -> list[bool]:
    """Keep records with their bytes, and send those bytes to the dead-letter topic.

    The same record refused twice by the same consumer is kept once. `topic` is where a
    copy of the bytes goes; None sends none.

    Returns:
        Of each record, whether it was kept now: False where it had been kept before.
    """
    if not refused:
        return []
    rows = [_row(consumer, record, refusal) for record, refusal in refused]
    statement = (
        insert(DeadLetter)
        .values(rows)
        .on_conflict_do_nothing()
        .returning(DeadLetter.topic, DeadLetter.partition, DeadLetter.offset)
    )
    kept = {(Partition(t, number), offset) for t, number, offset in session.execute(statement)}
    fresh = [(record.partition, record.offset) in kept for record, _ in refused]
    if topic is not None:
        copies = [
            NewRecord(topic, record.key or b"", record.value, _headers(record, refusal))
            for (record, refusal), new in zip(refused, fresh, strict=True)
            if new
        ]
        outbox.enqueue(session, copies)
    return fresh


def _row(consumer: str, record: Record, refusal: Refusal) -> dict[str, Any]:
    return {
        "consumer": consumer,
        "topic": record.partition.topic,
        "partition": record.partition.number,
        "offset": record.offset,
        "key": record.key,
        "value": record.value,
        "headers": headers_to_json(record.headers),
        "tool": refusal.tool,
        "parked": refusal.parked,
        "reason": refusal.reason,
        "problems": [asdict(problem) for problem in refusal.problems],
        "received_at": record.appended_at,
    }


def _headers(record: Record, refusal: Refusal) -> Headers:
    place = f"{record.partition.topic}/{record.partition.number}/{record.offset}"
    return (
        *record.headers,
        (_REASON_HEADER, refusal.reason.encode()),
        (_PLACE_HEADER, place.encode()),
    )


OUR_FAULTS = (
    "cannot_be_stored",
    "cannot_be_told",
    "cannot_open_case",
    "crashed_consumer",
    "took_too_long",
)
"""Reasons that speak of a fault of ours rather than of what was sent."""

_FAULTS_LATELY = text(f"""
SELECT count(*) FROM dead_letter
WHERE consumer = :consumer AND kept_at > clock_timestamp() - interval '1 hour'
  AND {WAITING} AND reason = ANY(:faults)
GROUP BY tool
""")


def too_many_faults(
    session: Session, consumer: str, *, limit: int, tools: Callable[[Session], int]
) -> bool:
    """Whether this consumer seems to be at fault: it could not take `limit` records or more of
    several tools within the hour. What was retried or discarded does not count.

    No tool counts for more than half of the limit, since its bad day alone pauses nobody: but
    where there is one alone, of the number that `tools` answers, nobody else is to be spared.
    """
    given = {"consumer": consumer, "faults": list(OUR_FAULTS)}
    by_tool = list(session.scalars(_FAULTS_LATELY, given))
    if sum(min(n, (limit + 1) // 2) for n in by_tool) >= limit:
        return True
    return sum(by_tool) >= limit and tools(session) <= 1


_OVER_LIMIT = text(f"""
SELECT tool FROM dead_letter
WHERE kept_at > clock_timestamp() - interval '1 hour' AND {WAITING} AND tool IS NOT NULL
GROUP BY tool HAVING count(*) > :limit
""")


def tools_over_limit(session: Session, *, limit: int) -> frozenset[str]:
    """The tools of which more than `limit` records were kept within the hour, refused or parked."""
    return frozenset(row.tool for row in session.execute(_OVER_LIMIT, {"limit": limit}))


def retry(session: Session, *numbers: int, now: datetime) -> None:
    """Send dead letters' bytes to their topics again, so that every consumer sees them.

    They leave through the outbox, written with the mark that they were retried.

    Raises:
        NotFound: there is no such dead letter, or it was retried or discarded already.
    """
    statement = _those_waiting(numbers).values(retried_at=now).returning(DeadLetter)
    kept = sorted(session.execute(statement).scalars(), key=lambda one: one.id)
    _require_all(numbers, [one.id for one in kept])
    outbox.enqueue(session, [_again(one) for one in kept])


def _again(kept: DeadLetter) -> NewRecord:
    headers = (h for h in headers_from_json(kept.headers) if h[0] != RETRY_HEADER)
    mark = (RETRY_HEADER, str(kept.id).encode())
    return NewRecord(kept.topic, kept.key or b"", kept.value, (*headers, mark))


def discard(session: Session, *numbers: int, reason: str, actor: str, now: datetime) -> None:
    """Let dead letters be: they stay where they are, with who decided so and why.

    Raises:
        NotFound: there is no such dead letter, or it was retried or discarded already.
        InvalidInput: no reason is given, or it is too long.
    """
    said = reason.strip()
    too_long = f"it is over {_REASON_LENGTH:,} characters" if len(said) > _REASON_LENGTH else None
    problem = unstorable(said) or too_long if said else "it is empty"
    if problem:
        raise invalid("reason", problem, f"Say why, in {_REASON_LENGTH:,} characters at most.")
    end = {"discarded_at": now, "discarded_by": actor, "discard_reason": said}
    statement = _those_waiting(numbers).values(end).returning(DeadLetter.id)
    _require_all(numbers, list(session.scalars(statement)))


def _those_waiting(numbers: Sequence[int]) -> Update:
    return update(DeadLetter).where(DeadLetter.id.in_(numbers), text(WAITING))


def _require_all(numbers: Sequence[int], found: Sequence[int]) -> None:
    for number in sorted(set(numbers).difference(found)):
        raise NotFound(f"There is no dead letter {number} that waits.")


# --- reads --------------------------------------------------------------------------------


class DeadLetterListed(NamedTuple):
    """A dead letter in a list: all but the bytes, of which there may be very many."""

    id: int
    consumer: str
    topic: str
    partition: int
    offset: int
    tool: str | None
    parked: bool
    reason: str
    problems: list[dict[str, str]]
    received_at: datetime
    retried_at: datetime | None
    discarded_at: datetime | None


class DeadLetterRow(NamedTuple):
    """A dead letter, whole."""

    id: int
    consumer: str
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: list[list[str]] | None
    tool: str | None
    parked: bool
    reason: str
    problems: list[dict[str, str]]
    received_at: datetime
    retried_at: datetime | None
    discarded_at: datetime | None
    discarded_by: str | None
    discard_reason: str | None


_LIST = """
SELECT id, consumer, topic, partition, "offset", tool, parked, reason, coalesce(problems, '[]'),
    received_at, retried_at, discarded_at
FROM dead_letter WHERE {which} id > :after
  AND (CAST(:tools AS text[]) IS NULL OR tool = ANY(:tools))
ORDER BY id LIMIT :limit
"""
_WAITING = text(_LIST.format(which=f"{WAITING} AND"))
_ALL = text(_LIST.format(which=""))
_ONE = text("""
SELECT id, consumer, topic, partition, "offset", key, value, headers, tool, parked, reason,
    coalesce(problems, '[]'), received_at, retried_at, discarded_at, discarded_by, discard_reason
FROM dead_letter WHERE id = :id
""")


def waiting(
    session: Session,
    *,
    everything: bool = False,
    tools: Collection[str] | None = None,
    after: int = 0,
    limit: int = 1000,
) -> list[DeadLetterListed]:
    """Dead letters that wait for somebody, the oldest first; `everything` adds those dealt with.

    `tools`: those of these tools alone. What names no tool is in a list without one.
    """
    given = {"after": after, "limit": limit, "tools": None if tools is None else list(tools)}
    found = session.execute(_ALL if everything else _WAITING, given)
    return [DeadLetterListed(*row) for row in found]


class Matching(NamedTuple):
    """Which dead letters are meant: those of a tool, those with a reason, or both; else all.

    `up_to` is the last number: what comes while they are dealt with nobody has looked at. `after`
    is the last one that was dealt with.
    """

    tool: str | None
    reason: str | None
    up_to: int
    after: int = 0

    def beyond(self, numbers: Sequence[int]) -> "Matching":
        """The same without these, which were the first."""
        return self._replace(after=numbers[-1])


_MATCHING = text(f"""
SELECT id FROM dead_letter
WHERE {WAITING} AND id > :after AND id <= :up_to AND (CAST(:tool AS text) IS NULL OR tool = :tool)
  AND (CAST(:reason AS text) IS NULL OR reason = :reason)
  AND (CAST(:tools AS text[]) IS NULL OR tool = ANY(:tools))
ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED
""")


def matching(
    session: Session, which: Matching, *, tools: Collection[str] | None, limit: int
) -> list[int]:
    """The first that wait and match, kept from others until the transaction ends.

    `tools`: as for `waiting`.
    """
    seen = None if tools is None else list(tools)
    given = {**which._asdict(), "tools": seen, "limit": limit}
    return list(session.scalars(_MATCHING, given))


_NEWEST = text("SELECT coalesce(max(id), 0) FROM dead_letter")


def newest(session: Session) -> int:
    """The number of the last one."""
    return int(session.execute(_NEWEST).scalar_one())


def one(session: Session, number: int) -> DeadLetterRow:
    """One dead letter, whole.

    Raises:
        NotFound: there is none of that number.
    """
    found = session.execute(_ONE, {"id": number}).first()
    if found is None:
        raise NotFound(f"There is no dead letter {number}.")
    return DeadLetterRow(*found)


class ReasonCount(NamedTuple):
    """How many dead letters of a topic were kept for one reason, and how many of them wait."""

    topic: str
    reason: str
    parked: bool
    n: int
    waiting: int


PURGED = "purged_dead_letters"
"""Counted when dead letters go because they are old, each under its `purged_label`."""


def purged_label(consumer: str, topic: str, reason: str, *, parked: bool, retried: bool) -> str:
    """What stays known of a dead letter that is gone; no word of it holds a slash."""
    end = "retried" if retried else "discarded"
    return "/".join((consumer, topic, reason, "parked" if parked else "refused", end))


_PURGED = f"""
SELECT tool, split_part(label, '/', 1) AS consumer, split_part(label, '/', 2) AS topic,
       split_part(label, '/', 3) AS reason, split_part(label, '/', 4) = 'parked' AS parked,
       split_part(label, '/', 5) = 'retried' AS retried, n
FROM total_count WHERE measure = '{PURGED}'
"""

_BY_REASON = text(f"""
SELECT topic, reason, parked, sum(n)::bigint, sum(waiting)::bigint FROM (
    SELECT topic, reason, parked, count(*) AS n, count(*) FILTER (WHERE {WAITING}) AS waiting
    FROM dead_letter GROUP BY topic, reason, parked
    UNION ALL SELECT topic, reason, parked, n, 0 FROM ({_PURGED}) AS purged
) AS kept GROUP BY topic, reason, parked
""")


def by_reason(session: Session) -> list[ReasonCount]:
    """How many dead letters and parked events there were ever, by topic and reason."""
    return [ReasonCount(*row) for row in session.execute(_BY_REASON)]


class ToolCount(NamedTuple):
    """How many dead letters of a tool one consumer kept; without a tool, of none that is known."""

    consumer: str
    tool: str
    parked: bool
    n: int
    retried: int


_BY_TOOL = text(f"""
SELECT consumer, tool, parked, sum(n)::bigint, sum(retried)::bigint FROM (
    SELECT consumer, coalesce(tool, '') AS tool, parked, count(*) AS n,
           count(*) FILTER (WHERE retried_at IS NOT NULL) AS retried
    FROM dead_letter GROUP BY 1, 2, 3
    UNION ALL SELECT consumer, tool, parked, n, CASE WHEN retried THEN n ELSE 0 END
    FROM ({_PURGED}) AS purged
) AS kept GROUP BY consumer, tool, parked
""")


def by_tool(session: Session) -> list[ToolCount]:
    """How many dead letters each consumer kept, by tool. For each that was retried a new record
    stands, which is accounted for by itself."""
    return [ToolCount(*row) for row in session.execute(_BY_TOOL)]
