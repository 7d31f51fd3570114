"""Whether everything is where it must be, asked of the tables in raw SQL.

Imports nothing of Secondlook: what a package believes of itself is what is being checked. Give
it the sender's own ledger and where the log ends; it answers violations in plain words, none
where all is well. It is meant for a quiet installation: nothing in flight, no timer about to fire.
"""

from collections.abc import Iterable
from typing import Any

import psycopg

from tests.conservation.case_checks import CASE_CHECKS
from tests.conservation.event_checks import EVENT_CHECKS
from tests.conservation.ledger import CORRECTIONS, OUTPUTS, Ends, Ledger, Violation
from tests.conservation.notice_checks import NOTICE_CHECKS
from tests.conservation.opinion_checks import OPINION_CHECKS

_GIVEN = """
CREATE TEMP TABLE sent (topic text, name text, fate text, times bigint, unanswered bigint);
CREATE TEMP TABLE reviewed (case_id bigint, actor text, times bigint, unanswered bigint);
CREATE TEMP TABLE log_end (topic text, number bigint, next_offset bigint);
"""

# What the counts must be, from the rows that they count. A version of 0 or an hour of NULL
# is one that the rows do not keep.
_RAW = """
CREATE TEMP VIEW raw_count AS
SELECT 'outputs' AS measure, tool, version, disposition AS label,
       date_trunc('hour', recorded_at, 'UTC') AS hour, count(*) AS n
  FROM output WHERE recorded_at IS NOT NULL GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'overridden', tool, version, disposition, date_trunc('hour', recorded_at, 'UTC'), count(*)
  FROM output WHERE recorded_at IS NOT NULL AND overridden GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'corrections', c.tool, o.version, c.kind, NULL, count(*)
  FROM correction c JOIN output o USING (tool, output_id)
 WHERE o.recorded_at IS NOT NULL GROUP BY 2, 3, 4
UNION ALL
SELECT 'cases', tool, 0, trigger, date_trunc('hour', opened_at, 'UTC'), count(*)
  FROM "case" WHERE subject_kind = 'output' GROUP BY 2, 4, 5
UNION ALL
SELECT 'routed', c.tool, 0, t.detail->>'rule', date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'opened' AND c.subject_kind = 'output' GROUP BY 2, 4, 5
UNION ALL
SELECT 'monitored', c.tool, 0, (t.detail->>'routing_revision') || '/' || (tried->>'rule'),
       date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 CROSS JOIN LATERAL jsonb_array_elements(c.monitored) AS listed (tried)
 WHERE t.event = 'opened' AND c.subject_kind = 'output' GROUP BY 2, 4, 5
UNION ALL
SELECT 'exceptions', tool, version, exception, date_trunc('hour', recorded_at, 'UTC'), count(*)
  FROM output WHERE exception IS NOT NULL GROUP BY 2, 3, 4, 5
UNION ALL
SELECT 'verdicts', c.tool, 0, t.detail->>'verdict', date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'resolved' AND c.subject_kind = 'output' GROUP BY 2, 4, 5
UNION ALL
SELECT 'overdue', c.tool, 0, (t.detail->>'queue') || '/' || (t.detail->>'clock'),
       date_trunc('hour', t.at, 'UTC'), count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'overdue' GROUP BY 2, 4, 5
UNION ALL
SELECT 'escalations', c.tool, 0, '', NULL, count(*)
  FROM timeline_entry t JOIN "case" c ON c.id = t.case_id
 WHERE t.event = 'escalated' GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.outputs', NULL, count(*)
  FROM output WHERE recorded_at IS NOT NULL GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.corrections', NULL, count(*)
  FROM (SELECT tool FROM correction UNION ALL SELECT tool FROM withdrawal) s GROUP BY 2
UNION ALL
SELECT 'stored', tool, 0, 'secondlook.verdicts', NULL, count(*)
  FROM (SELECT tool FROM verdict UNION ALL SELECT tool FROM undone_verdict) s GROUP BY 2
UNION ALL
SELECT CASE WHEN parked THEN 'parked' ELSE 'dead_lettered' END, coalesce(tool, ''), 0, topic,
       NULL, count(*)
  FROM dead_letter WHERE consumer = 'feedback' GROUP BY 1, 2, 4
UNION ALL
SELECT 'deliveries', '', 0, channel || '/' || state, NULL, count(*)
  FROM delivery WHERE state IN ('sent', 'failed') GROUP BY 4;

CREATE TEMP VIEW kept_count AS
SELECT CASE measure WHEN 'overrides_withdrawn' THEN 'overridden' ELSE measure END AS measure, tool,
       CASE WHEN measure IN ('outputs', 'overridden', 'overrides_withdrawn', 'corrections',
                            'exceptions')
            THEN version ELSE 0 END AS version,
       CASE measure WHEN 'escalations' THEN '' ELSE label END AS label,
       hour, CASE measure WHEN 'overrides_withdrawn' THEN -n ELSE n END AS n
  FROM (SELECT measure, tool, version, label, NULL::timestamptz AS hour, n FROM total_count
        UNION ALL SELECT measure, tool, version, label, hour, n FROM hourly_count) counted
 WHERE measure NOT IN ('duplicate', 'gate_disagreements')
   AND NOT (measure = 'deliveries' AND label LIKE '%/retried');

-- What we published, wherever it is: sent by way of the outbox, or put onto the log itself.
-- A table, so that nothing but our own events is read as JSON.
CREATE TEMP TABLE published AS
SELECT topic, convert_from(value, 'UTF8')::jsonb AS event, created_at FROM outbox
 WHERE topic IN ('secondlook.cases', 'secondlook.reviews', 'secondlook.verdicts')
UNION ALL
SELECT p.topic, convert_from(r.value, 'UTF8')::jsonb, r.appended_at
  FROM log_record r JOIN log_partition p ON p.id = r.partition_id
 WHERE p.topic IN ('secondlook.cases', 'secondlook.reviews') AND r.appended_at IS NOT NULL
   AND NOT EXISTS (SELECT FROM outbox o WHERE o.topic = p.topic AND o.value = r.value);

CREATE TEMP VIEW requested AS
SELECT event->'data'->>'tool' AS tool, event->'data'->>'output_id' AS output_id,
       event->'data'->>'trigger' AS trigger, event->'data'->'output' AS facts,
       event->'data'->'objection'->>'correction_id' AS correction_id
  FROM published WHERE event->>'type' = 'secondlook.review.requested.v1';

-- The timeline with the cycle that each entry belongs to, and the word before it on who holds.
CREATE TEMP VIEW told AS
SELECT t.*, 1 + count(*) FILTER (WHERE event = 'reopened') OVER up_to_here AS cycle
  FROM timeline_entry t WINDOW up_to_here AS (PARTITION BY case_id ORDER BY id);

CREATE TEMP VIEW holding AS
SELECT case_id, id, event, actor,
       lag(event) OVER before AS event_before, lag(actor) OVER before AS actor_before
  FROM timeline_entry WHERE event IN ('claimed', 'released', 'reassigned', 'resolved', 'reviewed',
       'waiting', 'snoozed', 'merged') AND NOT coalesce(detail ? 'incident', false)
       -- What goes on to whoever is on duty stays in the hands of its claimant.
       AND NOT (event = 'reassigned' AND actor = 'secondlook')
WINDOW before AS (PARTITION BY case_id ORDER BY id);
"""

_CHECKS = (*EVENT_CHECKS, *CASE_CHECKS, *OPINION_CHECKS, *NOTICE_CHECKS)
_NO_LIMIT = 1_000_000_000


def check(
    url: str, ledger: Ledger, ends: Ends | None = None, *, repeats: bool = False
) -> list[Violation]:
    """Every broken promise. `ends` are of Kafka; without them the log in the database counts.

    `repeats`: the log's client may write a record again without its sender's knowledge, as
    Kafka's does when a broker dies after writing. What it writes must be explained all the same.
    """
    with psycopg.connect(url) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        _prepare(connection, ledger, ends, spare=_NO_LIMIT if repeats else 0)
        found = []
        for name, sql in _CHECKS:
            found += [Violation(name, row[0]) for row in connection.execute(sql)]
        connection.rollback()
    return found


def _prepare(
    connection: "psycopg.Connection[Any]", ledger: Ledger, ends: Ends | None, *, spare: int
) -> None:
    """Put what is known outside of the database beside its tables, for this transaction."""
    connection.execute(_GIVEN)
    sent = ((s.topic, s.name, s.fate, s.times, s.unanswered + spare) for s in ledger.sent.values())
    _copy(connection, "sent", sent)
    reviewed = (
        (case, actor, s.times, s.unanswered) for (case, actor), s in ledger.verdicts.items()
    )
    _copy(connection, "reviewed", reviewed)
    if ends is None:
        connection.execute(
            "INSERT INTO log_end SELECT topic, number, next_offset FROM log_partition"
        )
    else:
        _copy(connection, "log_end", ((*place, end) for place, end in ends.items()))
    connection.execute(_RAW)


def _copy(
    connection: "psycopg.Connection[Any]", table: str, rows: Iterable[tuple[Any, ...]]
) -> None:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


_FIGURES = """
SELECT (SELECT count(*) FROM output WHERE recorded_at IS NOT NULL)
       + (SELECT count(*) FROM correction) + (SELECT count(*) FROM withdrawal),
       (SELECT count(*) FROM dead_letter WHERE consumer = 'feedback' AND NOT parked),
       (SELECT count(*) FROM dead_letter WHERE consumer = 'feedback' AND parked)
"""


def figures(url: str, ends: Ends | None = None) -> dict[str, int]:
    """What `secondlook account` must say, counted from the rows and the log alone."""
    with psycopg.connect(url) as connection:
        if ends is None:
            rows = connection.execute("SELECT topic, number, next_offset FROM log_partition")
            ends = {(topic, number): end for topic, number, end in rows}
        stored, dead, parked = connection.execute(_FIGURES).fetchone() or (0, 0, 0)
    received = sum(end for (topic, _), end in ends.items() if topic in (OUTPUTS, CORRECTIONS))
    return {
        "received": received,
        "stored": stored,
        "duplicate": received - stored - dead - parked,
        "dead_lettered": dead,
        "parked": parked,
        "unexplained": 0,
    }
