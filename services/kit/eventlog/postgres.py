"""The event log as tables in PostgreSQL: the embedded default.

Offsets are gap-free because an append locks the rows of its partitions, takes the next
offsets and commits records and counters together. Whoever comes later waits, so no
record can become visible after one with a higher offset, and readers may ask for
"everything from here" without ever missing one.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, cast

import psycopg
import sqlalchemy
from sqlalchemy.orm import Session

from services.kit.database import connect_alone, make_engine
from services.kit.eventlog.appending import append_placed
from services.kit.eventlog.headers import headers_from_json
from services.kit.eventlog.partitioner import partition_of
from services.kit.eventlog.port import (
    Bounds,
    LogConsumer,
    LogUnavailable,
    NewRecord,
    Partition,
    Record,
    StartAt,
    TopicSpec,
)
from services.kit.eventlog.postgres_member import PostgresConsumer
from services.kit.locks import Lock

# Most that one poll holds in memory, whatever the number of records.
_POLL_BYTES = 32 * 1024 * 1024
_TRIM_RECORDS = 5_000
_READ = """
    SELECT id, "offset", key, value, headers, appended_at
      FROM (SELECT wanted.id, r.*, sum(octet_length(r.value)) OVER
                   (ORDER BY wanted.rank, r."offset") - octet_length(r.value) AS before
              FROM unnest(%(ids)s::bigint[], %(starts)s::bigint[])
                   WITH ORDINALITY AS wanted (id, start, rank)
             CROSS JOIN LATERAL (
                   SELECT * FROM log_record
                    WHERE partition_id = wanted.id AND "offset" >= wanted.start
                    ORDER BY "offset" LIMIT %(limit)s) AS r
             ORDER BY wanted.rank, r."offset" LIMIT %(limit)s) AS found
     WHERE before < %(bytes)s
"""


class PostgresLog:
    """The event log in a migrated PostgreSQL, with connections of its own."""

    def __init__(self, url: str, *, pool_size: int = 5) -> None:
        self._url = url
        engine = make_engine(url, pool_size=pool_size, application_name="secondlook log")
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._ids: dict[Partition, int] = {}
        self._counts: dict[str, int] = {}

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection that commits each statement, or what `transaction()` holds together.

        Raises:
            LogUnavailable: for whatever goes wrong between us and the server.
        """
        try:
            with self._engine.connect() as checked_out:
                yield cast("psycopg.Connection[Any]", checked_out.connection.driver_connection)
        except (
            psycopg.OperationalError,
            psycopg.InterfaceError,
            sqlalchemy.exc.OperationalError,
            sqlalchemy.exc.InterfaceError,
            sqlalchemy.exc.TimeoutError,
        ) as error:
            raise LogUnavailable(f"PostgreSQL: {error}") from error

    def own_connection(self) -> psycopg.Connection[Any]:
        """A connection that is nobody else's and not of the pool; whoever asks closes it."""
        return connect_alone(self._url)

    def ensure_topics(self, topics: Sequence[TopicSpec]) -> None:
        """Make the topics that are missing. Compacted ones keep everything here."""
        with self.connection() as connection, connection.transaction():
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (Lock.MAKE_TOPICS,))
            for topic in topics:
                connection.execute(
                    "INSERT INTO log_partition (topic, number)"
                    " SELECT %(name)s, number FROM generate_series(0, %(count)s - 1) AS number"
                    " WHERE NOT EXISTS (SELECT 1 FROM log_partition WHERE topic = %(name)s)",
                    {"name": topic.name, "count": topic.partitions},
                )

    def partition_ids(self, topics: Sequence[str]) -> dict[Partition, int]:
        """The partitions that these topics have now, with the ids of their rows."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT topic, number, id FROM log_partition WHERE topic = ANY(%s)",
                (list(topics),),
            ).fetchall()
        return {Partition(topic, number): row_id for topic, number, row_id in rows}

    def append(self, records: Sequence[NewRecord]) -> None:
        """Append in one transaction: all of them are durable, or none is there."""
        if not records:
            return
        with self.connection() as connection:
            self.append_on(connection, records)

    def append_on(self, connection: psycopg.Connection[Any], records: Sequence[NewRecord]) -> None:
        """The same on a connection to the same database that commits each statement."""
        placed = self._place(records)
        if len(records) == 1:
            append_placed(connection, placed)
            return
        with connection.transaction():
            append_placed(connection, placed)

    def append_within(self, session: Session, records: Sequence[NewRecord]) -> None:
        """Append in the transaction of a session on the same database, as its last act.

        Its partitions stay locked until it ends.
        """
        placed = self._place(records)
        connection = session.connection().connection.driver_connection
        append_placed(cast("psycopg.Connection[Any]", connection), placed)

    def _place(self, records: Sequence[NewRecord]) -> dict[int, list[NewRecord]]:
        """The records per partition, each in the order given."""
        self._know({record.topic for record in records})
        placed: dict[int, list[NewRecord]] = defaultdict(list)
        for record in records:
            number = partition_of(record.key, self._counts[record.topic])
            placed[self._ids[Partition(record.topic, number)]].append(record)
        return placed

    def _know(self, topics: set[str]) -> None:
        """Learn the partitions of topics not met before; those of a topic never change."""
        unknown = topics - self._counts.keys()
        if not unknown:
            return
        found = self.partition_ids(sorted(unknown))
        self._ids.update(found)
        for topic in unknown:
            count = sum(partition.topic == topic for partition in found)
            if count == 0:
                raise LogUnavailable(f"There is no topic {topic}")
            self._counts[topic] = count

    def bounds(self, topics: Sequence[str]) -> dict[Partition, Bounds]:
        """What each partition of these topics holds now."""
        with self.connection() as connection:
            rows = connection.execute(
                "SELECT topic, number, first_offset, next_offset FROM log_partition"
                " WHERE topic = ANY(%s)",
                (list(topics),),
            ).fetchall()
        return {Partition(topic, number): Bounds(*ends) for topic, number, *ends in rows}

    def offset_at(self, partition: Partition, moment: datetime) -> int:
        """Found by halving: in a partition `appended_at` never goes back."""
        low, high = self.bounds([partition.topic])[partition]
        row = self.partition_ids([partition.topic])[partition]
        with self.connection() as connection:
            while low < high:
                middle = (low + high) // 2
                found = connection.execute(
                    "SELECT appended_at >= %s FROM log_record"
                    ' WHERE partition_id = %s AND "offset" = %s',
                    (moment, row, middle),
                ).fetchone()
                if found is not None and found[0]:
                    high = middle
                else:
                    low = middle + 1
        return low

    def read(self, partition: Partition, *, start: int, limit: int) -> list[Record]:
        """Up to `limit` records, fewer where they are large."""
        row = self.partition_ids([partition.topic])[partition]
        return self.read_rows({row: partition}, {row: start}, limit)

    def read_rows(
        self, partitions: Mapping[int, Partition], starts: Mapping[int, int], limit: int
    ) -> list[Record]:
        """Records of several partitions with one query, those named first in `starts` first."""
        wanted = {
            "ids": list(starts),
            "starts": list(starts.values()),
            "limit": limit,
            "bytes": _POLL_BYTES,
        }
        with self.connection() as connection, connection.cursor(binary=True) as cursor:
            rows = cursor.execute(_READ, wanted).fetchall()
        return [
            Record(partitions[row], offset, key, value, headers_from_json(stored), moment)
            for row, offset, key, value, stored, moment in rows
        ]

    def trim(self, before: datetime, keep_from: Mapping[Partition, int]) -> int:
        """Remove records older than `before` that lie below `keep_from`, in small steps.

        A partition that `keep_from` does not name keeps everything, as those of
        compacted topics have to.

        Returns:
            How many records were removed.
        """
        removed = 0
        ids = self.partition_ids(sorted({partition.topic for partition in keep_from}))
        for partition in sorted(keep_from.keys() & ids.keys()):
            end = min(keep_from[partition], self.offset_at(partition, before))
            while step := self._trim_step(ids[partition], end):
                removed += step
        return removed

    def _trim_step(self, row: int, end: int) -> int:
        with self.connection() as connection, connection.transaction():
            done = connection.execute(
                "DELETE FROM log_record r USING log_partition p WHERE p.id = %s"
                ' AND r.partition_id = p.id AND r."offset" >= p.first_offset'
                ' AND r."offset" < least(p.first_offset + %s, %s)',
                (row, _TRIM_RECORDS, end),
            ).rowcount
            # Last, because appends wait for this row until we commit.
            connection.execute(
                "UPDATE log_partition SET first_offset = first_offset + %s WHERE id = %s",
                (done, row),
            )
        return done

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        """Join `group` on `topics`."""
        return PostgresConsumer(self, group, topics, start_at)

    def close(self) -> None:
        """Give back every connection."""
        self._engine.dispose()
