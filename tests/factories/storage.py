"""What is stored, in raw SQL: read for what a test asserts, and filled in bulk."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import event, text

from services.kit.database import Database

_VERSION = """
INSERT INTO tool_version (tool, model) VALUES (%(tool)s, 'bench-1')
ON CONFLICT (tool, model, prompt, other) DO UPDATE SET first_seen_at = now() RETURNING id"""
_OUTPUTS = """
INSERT INTO output (tool, output_id, event_id, digest, version, model, kind, value, confidence,
    input, disposition, gate_disposition, gate_reason, exception, occurred_at, recorded_at)
SELECT %(tool)s, 'f-' || n, 'e-' || n, decode(md5(n::text), 'hex'), %(version)s, 'bench-1',
    'category', '"card_arrival"', CASE WHEN n <= %(cases)s THEN 0.4 ELSE 0.93 END,
    '{"text": "I still have not received my new card."}',
    CASE WHEN n <= %(cases)s THEN 'review' ELSE 'proceed' END,
    CASE WHEN n <= %(cases)s THEN 'review' ELSE 'proceed' END,
    CASE WHEN n <= %(cases)s THEN 'low_confidence' ELSE 'confident' END,
    CASE WHEN n <= %(cases)s THEN 'low_confidence' END,
    now(), now() - n * interval '1 millisecond'
FROM generate_series(1, %(outputs)s) n"""
_CASES = """
WITH opened AS (
    INSERT INTO "case" (subject_kind, subject_key, tool, trigger, queue, team, owner_team,
        priority, rule, routing_revision, ladder, opened_at, cycle_opened_at, owner_since,
        timezone, claim_within, resolve_within, claim_due_at, resolve_due_at, due_at)
    SELECT 'output', %(tool)s || '/f-' || n, %(tool)s, 'low_confidence', %(team)s, %(team)s,
        %(team)s, 'P3', 'catch-all', 'bench', '[]', now(), now(), now(),
        'UTC', '4h', '2d', now() + interval '4h', now() + interval '2d',
        now() + n * interval '1 second'
    FROM generate_series(1, %(cases)s) n
    RETURNING id, subject_key
)
INSERT INTO case_output (case_id, tool, output_id, model, kind, value, confidence, input)
SELECT id, %(tool)s, split_part(subject_key, '/', 2), 'bench-1', 'category', '"card_arrival"', 0.4,
    '{"text": "I still have not received my new card."}'
FROM opened"""

CASES = '"case" JOIN case_output ON case_id = id'
"""Cases with the outputs that they are about, for raw SQL."""


def fill(
    connection: "psycopg.Connection[Any]",
    *,
    tool: str,
    team: str,
    outputs: int,
    cases: int,
    analysed: bool = True,
) -> None:
    """Store so many outputs of `tool`, the first `cases` of them with an open case of `team`.

    Past the services, because that is a thousand times faster. Unless it is `analysed`, the
    server goes on with the plans that it has made.
    """
    given: dict[str, Any] = {"tool": tool, "team": team, "outputs": outputs, "cases": cases}
    found = connection.execute(_VERSION, given).fetchone()
    assert found is not None
    given["version"] = found[0]
    connection.execute(_OUTPUTS, given)
    connection.execute(_CASES, given)
    if analysed:
        connection.execute("VACUUM ANALYZE")


def rows(database: Database, query: str, **parameters: Any) -> list[Any]:
    """What raw SQL finds."""
    with database.transaction() as session:
        return list(session.execute(text(query), parameters))


def one(database: Database, query: str, **parameters: Any) -> Any:
    """The single value that raw SQL finds."""
    (row,) = rows(database, query, **parameters)
    return row[0] if len(row) == 1 else row


def total(database: Database, measure: str, label: str | None = None) -> int:
    """A count over all time."""
    return int(
        one(
            database,
            "SELECT coalesce(sum(n), 0) FROM total_count WHERE measure = :measure"
            " AND (CAST(:label AS text) IS NULL OR label = :label)",
            measure=measure,
            label=label,
        )
    )


@contextmanager
def counted(database: Database) -> Iterator[list[str]]:
    """The statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield sent
    event.remove(database.engine, "before_cursor_execute", note)
