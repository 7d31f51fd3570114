"""How records get into the tables of the embedded log, with offsets that have no gaps."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from services.kit.eventlog.headers import headers_to_json
from services.kit.eventlog.port import NewRecord

CHANNEL = "secondlook_log"
"""Where readers hear of which topics something was appended to."""

_RESERVE = """
    UPDATE log_partition p
       SET next_offset = p.next_offset + wanted.n,
           appended_at = greatest(p.appended_at, clock_timestamp())
      FROM unnest(%s::bigint[], %s::bigint[]) AS wanted (id, n)
     WHERE p.id = wanted.id
 RETURNING p.id, p.next_offset - wanted.n, p.appended_at
"""
_COPY = """
    COPY log_record (partition_id, "offset", key, value, headers, appended_at)
    FROM STDIN (FORMAT BINARY)
"""
_COPY_TYPES = ("int8", "int8", "bytea", "bytea", "jsonb", "timestamptz")

# A record alone, as most requests bring: one statement instead of five.
_APPEND_ONE = """
    WITH reserved AS (
        UPDATE log_partition
           SET next_offset = next_offset + 1,
               appended_at = greatest(appended_at, clock_timestamp())
         WHERE id = %(partition)s
     RETURNING id, next_offset - 1 AS at, appended_at
    ), written AS (
        INSERT INTO log_record (partition_id, "offset", key, value, headers, appended_at)
        SELECT id, at, %(key)b, %(value)b, %(headers)s::jsonb, appended_at FROM reserved
    )
    SELECT pg_notify(%(channel)s, %(topic)s)
"""


def append_placed(
    connection: psycopg.Connection[Any], placed: Mapping[int, Sequence[NewRecord]]
) -> None:
    """Append records to the partitions with these ids, in a transaction of the caller's.

    The partitions stay locked until it ends.
    """
    if len(placed) == 1:
        ((partition, new),) = placed.items()
        if len(new) == 1:
            _append_one(connection, partition, new[0])
            return
    starts = _reserve(connection, {partition: len(new) for partition, new in placed.items()})
    with connection.cursor() as cursor, cursor.copy(_COPY) as copy:
        copy.set_types(_COPY_TYPES)
        for partition, new in placed.items():
            start, moment = starts[partition]
            for offset, record in enumerate(new, start):
                headers = _headers(record)
                copy.write_row((partition, offset, record.key, record.value, headers, moment))
    topics = sorted({record.topic for new in placed.values() for record in new})
    connection.execute("SELECT pg_notify(%s, t) FROM unnest(%s::text[]) t", (CHANNEL, topics))


def _append_one(connection: psycopg.Connection[Any], partition: int, record: NewRecord) -> None:
    given = {
        "partition": partition,
        "key": record.key,
        "value": record.value,
        "headers": _headers(record),
        "channel": CHANNEL,
        "topic": record.topic,
    }
    connection.execute(_APPEND_ONE, given)


def _headers(record: NewRecord) -> Jsonb | None:
    stored = headers_to_json(record.headers)
    return None if stored is None else Jsonb(stored)


def _reserve(
    connection: psycopg.Connection[Any], counts: Mapping[int, int]
) -> dict[int, tuple[int, datetime]]:
    """Lock the partitions, in one order for all so that nobody waits in a circle."""
    ids = sorted(counts)
    connection.execute(
        "SELECT FROM log_partition WHERE id = ANY(%s) ORDER BY id FOR UPDATE", (ids,)
    )
    rows = connection.execute(_RESERVE, (ids, [counts[row] for row in ids])).fetchall()
    return {row: (start, moment) for row, start, moment in rows}
