"""Counts kept up in the transaction that they are about: hourly, and over all time."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.orm import Session

from services.kit.database import affected


class Count(NamedTuple):
    """What is counted.

    `version` is a number that the domain gives its versions, 0 where there is none. `label` is
    the one further word that the measure is split by; of two, the words with `/` between.
    """

    measure: str
    tool: str
    hour: datetime
    version: int = 0
    label: str = ""


Counts = Counter[Count]

# Rows are taken in key order, so that two writers of the same rows wait instead of
# deadlocking.
_ADD = text("""
WITH given AS MATERIALIZED (
    SELECT * FROM json_to_recordset(CAST(:rows AS json))
        AS r(measure text, tool text, hour timestamptz, version bigint, label text, n bigint)
), hourly AS (
    INSERT INTO hourly_count AS c (measure, tool, hour, version, label, shard, n)
    SELECT measure, tool, hour, version, label, :shard, n FROM given
    ORDER BY measure, tool, hour, version, label
    ON CONFLICT (measure, tool, hour, version, label, shard)
    DO UPDATE SET n = c.n + excluded.n
)
INSERT INTO total_count AS c (measure, tool, version, label, shard, n)
SELECT measure, tool, version, label, :shard, sum(n) FROM given
GROUP BY measure, tool, version, label
ORDER BY measure, tool, version, label
ON CONFLICT (measure, tool, version, label, shard) DO UPDATE SET n = c.n + excluded.n
""")


def add(session: Session, counts: Mapping[Count, int], *, shard: int) -> None:
    """Add `counts` in one statement. Counts only ever rise: exporters show them as they are.

    `shard` is any number that differs between writers that work side by side, such as
    the partition that a consumer reads.
    """
    rows = [{**count._asdict(), "n": n} for count, n in counts.items() if n]
    if rows:
        session.execute(_ADD, {"rows": to_json(rows).decode(), "shard": shard})


def hour_of(moment: datetime) -> datetime:
    """The full hour that `moment` lies in."""
    return moment.replace(minute=0, second=0, microsecond=0)


_PURGE = text("""
DELETE FROM hourly_count WHERE (measure, tool, hour, version, label, shard) IN (
    SELECT measure, tool, hour, version, label, shard FROM hourly_count
    WHERE hour < :before ORDER BY hour LIMIT :limit)
""")


def purge(session: Session, *, before: datetime, limit: int) -> int:
    """Remove up to `limit` counts of hours before `before`; answers how many. Totals stay."""
    return affected(session.execute(_PURGE, {"before": before, "limit": limit}))


class Total(NamedTuple):
    """A count over all time, summed over shards."""

    measure: str
    tool: str
    version: int
    label: str
    n: int


class Hourly(NamedTuple):
    """A count of one hour, summed over shards."""

    hour: datetime
    version: int
    label: str
    n: int


_TOTALS = text("""
SELECT measure, tool, version, label, sum(n)::bigint FROM total_count
GROUP BY measure, tool, version, label ORDER BY measure, tool, version, label
""")

_LABELS = text("""
SELECT c.label, sum(c.n)::bigint AS n FROM unnest(CAST(:tools AS text[])) AS t(tool)
JOIN hourly_count c ON c.measure = :measure AND c.tool = t.tool AND c.hour >= :since
GROUP BY c.label
""")
_LABELS_EVER = text("""
SELECT label, sum(n)::bigint AS n FROM total_count WHERE measure = :measure GROUP BY label
""")

_HOURS = text("""
SELECT hour, version, label, sum(n)::bigint FROM hourly_count
WHERE measure = :measure AND tool = :tool AND hour >= :since AND hour < :until
GROUP BY hour, version, label ORDER BY hour
""")


def totals(session: Session) -> list[Total]:
    """Every count over all time."""
    return [Total(*row) for row in session.execute(_TOTALS)]


def hours(
    session: Session, measure: str, tool: str, *, since: datetime, until: datetime
) -> list[Hourly]:
    """One measure of one tool, hour by hour, from `since` up to but not at `until`."""
    given = {"measure": measure, "tool": tool, "since": since, "until": until}
    return [Hourly(*row) for row in session.execute(_HOURS, given)]


def by_label(
    session: Session, measure: str, *, tools: Iterable[str], since: datetime
) -> dict[str, int]:
    """One measure of these tools by its label, from the hour of `since` on."""
    given = {"measure": measure, "tools": list(tools), "since": hour_of(since)}
    return {row.label: row.n for row in session.execute(_LABELS, given)}


def ever_by_label(session: Session, measure: str) -> dict[str, int]:
    """One measure of all tools by its label, over all time."""
    return {row.label: row.n for row in session.execute(_LABELS_EVER, {"measure": measure})}
