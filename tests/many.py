"""A database with much in it, filled past the services because that is a thousand times faster."""

from typing import Any

import psycopg

_OUTPUTS = """
INSERT INTO output (tool, output_id, event_id, digest, version, kind, value, confidence, input,
    disposition, occurred_at, recorded_at)
SELECT %(tool)s, 'f-' || n, 'e-' || n, decode(md5(n::text), 'hex'), 'bench-1', 'category',
    '"card_arrival"', 0.93, '{"text": "I still have not received my new card."}', 'proceed',
    now(), now() - n * interval '1 millisecond'
FROM generate_series(1, %(outputs)s) n"""
_CASES = """
INSERT INTO "case" (tool, output_id, tool_version, trigger, exception_trigger, kind, value,
    confidence, input, queue, team, owner_team, priority, rule, routing_revision, ladder, opened_at,
    cycle_opened_at, owner_since, claim_due_at, resolve_due_at, due_at)
SELECT %(tool)s, 'f-' || n, 'bench-1', 'low_confidence', 'low_confidence', 'category',
    '"card_arrival"', 0.4, '{"text": "I still have not received my new card."}', %(team)s, %(team)s,
    %(team)s, 'P3', 'catch-all', 'bench', '[]', now(), now(), now(), now() + interval '4h',
    now() + interval '2d', now() + n * interval '1 second'
FROM generate_series(1, %(cases)s) n"""


def fill(
    connection: "psycopg.Connection[Any]", *, tool: str, team: str, outputs: int, cases: int
) -> None:
    """Store so many outputs of `tool`, the first `cases` of them with an open case of `team`."""
    given = {"tool": tool, "team": team, "outputs": outputs, "cases": cases}
    connection.execute(_OUTPUTS, given)
    connection.execute(_CASES, given)
    connection.execute("VACUUM ANALYZE")
