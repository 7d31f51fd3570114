"""Old outputs that go while others come: what that costs those who send.

`python -m benchmarks.retention [OUTPUTS]`. By turns the loops stand still and do their work while
ingest goes on, so that both rates are of the same tables at the same time; then the rest goes.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg

from benchmarks.load import BATCH, outputs, post_all
from benchmarks.server import TOOL, Server, server
from benchmarks.table import Row
from tests.factories import OWNER, TEAM

_CONNECTIONS = 4
_WINDOW_SECONDS, _PAIRS = 10.0, 12
_WAITING = 20_000
"""So many outputs are on their way at most: what is sent is no faster than what is stored."""
_SETTINGS = {
    "SECONDLOOK_RETENTION_OUTPUT": "30d",
    "SECONDLOOK_RETENTION_CASE": "30d",
    "SECONDLOOK_LOG_RETENTION": "1d",
}
_CORRECTED, _WITH_CASE = 10, 20
"""One old output in so many."""

_OLD = "now() - interval '60 days'"
_OUTPUTS = f"""
INSERT INTO output (tool, output_id, event_id, digest, version, kind, value, confidence, input,
    alternatives, attributes, subject, disposition, gate_disposition, gate_reason, occurred_at,
    recorded_at)
SELECT %(tool)s, 'old-' || n, 'old-e-' || n, sha256(n::text::bytea), %(version)s, 'category',
    '"card_arrival"', 0.93, jsonb_build_object('text', repeat('I still have no card. ', 14)),
    '[{{"value": "lost_card", "confidence": 0.04}}]', '{{"channel": "mail"}}', 'ticket-' || n,
    'proceed', 'proceed', 'confident', {_OLD}, {_OLD} - n * interval '1 millisecond'
FROM generate_series(1, %(outputs)s) n"""
_CORRECTIONS = f"""
INSERT INTO correction (tool, event_id, digest, output_id, kind, value, actor, occurred_at,
    recorded_at)
SELECT %(tool)s, 'old-c-' || n, sha256(n::text::bytea), 'old-' || n, 'correction', '"lost_card"',
    %(owner)s, {_OLD}, {_OLD}
FROM generate_series(1, %(outputs)s, {_CORRECTED}) n"""
_VERDICTS = f"""
INSERT INTO verdict (event_id, digest, tool, output_id, case_id, verdict, actor, blind, at,
    recorded_at)
SELECT 'old-v-' || n, sha256(n::text::bytea), %(tool)s, 'old-' || n, n, 'upheld', %(owner)s, false,
    {_OLD}, {_OLD}
FROM generate_series(1, %(outputs)s, {_WITH_CASE}) n"""
_CASES = f"""
WITH made AS (
    INSERT INTO "case" (subject_kind, subject_key, tool, trigger, queue, team, owner_team, priority,
        rule, routing_revision, ladder, state, owner_since, opened_at, cycle_opened_at,
        timezone, claim_within, resolve_within, claim_due_at, resolve_due_at, due_at, verdict,
        verdict_id, verdict_by, resolved_at, closed_at)
    SELECT 'output', %(tool)s || '/old-' || n, %(tool)s, 'low_confidence', %(team)s, %(team)s,
        %(team)s, 'P3', 'catch-all', 'bench', '[]', 'closed', {_OLD}, {_OLD}, {_OLD},
        'UTC', '4h', '2d', {_OLD}, {_OLD}, {_OLD}, 'upheld', 'old-v-' || n, %(owner)s, {_OLD},
        {_OLD}
    FROM generate_series(1, %(outputs)s, {_WITH_CASE}) n
    RETURNING id, split_part(subject_key, '/', 2) AS output_id
), facts AS (
    INSERT INTO case_output (case_id, tool, output_id, kind, value, confidence, input)
    SELECT id, %(tool)s, output_id, 'category', '"card_arrival"', 0.4,
        jsonb_build_object('text', repeat('I still have no card. ', 14)) FROM made
), entries AS (
    INSERT INTO timeline_entry (case_id, at, event, actor)
    SELECT id, {_OLD}, event, %(owner)s FROM made,
        unnest(ARRAY['opened', 'claimed', 'resolved', 'closed']) AS event
)
INSERT INTO timer (case_id, cycle, kind, rung, due_at, stopped_at)
SELECT id, 1, kind, 0, {_OLD}, {_OLD} FROM made, unnest(ARRAY['claim', 'resolve']) AS kind"""
_VERSION = "INSERT INTO tool_version (tool, model) VALUES (%s, 'old-1') RETURNING id"


def rows(count: int) -> list[Row]:
    """How fast `count` old outputs go, and what the others notice of it."""
    with (
        server(**_SETTINGS) as running,
        psycopg.connect(running.database_url, autocommit=True) as connection,
    ):
        with running.frozen("sl-tick"):
            _fill(connection, count)
        with _ingest(running) as ingest:
            found = _by_turns(running, connection, ingest)
        gone = count - _left(connection)
        begun = time.monotonic()
        while _left(connection):
            time.sleep(1)
        rest = time.monotonic() - begun
    ratio = found.during / found.without
    return [
        Row("outputs stored while nothing goes", found.without, "outputs/s"),
        Row(f"… while {count:,} old ones go", found.during, "outputs/s", found.without, "without"),
        Row("… of what it was", ratio, "", 0.9, "aim"),
        Row("old outputs that go meanwhile", gone / found.seconds, "outputs/s"),
        Row(f"old outputs that go while nothing else does, {count - gone:,}", rest, "s"),
    ]


def _fill(connection: "psycopg.Connection[Any]", count: int) -> None:
    """Store old outputs with corrections, verdicts and closed cases, past the services."""
    version = connection.execute(_VERSION, (TOOL,)).fetchone()
    assert version is not None
    given = {
        "tool": TOOL,
        "team": TEAM,
        "owner": OWNER,
        "outputs": count,
        "version": version[0],
    }
    for statement in (_OUTPUTS, _CORRECTIONS, _VERDICTS, _CASES):
        connection.execute(statement, given)
    connection.execute("VACUUM ANALYZE")


# --- ingest -------------------------------------------------------------------------------


@dataclass
class _Ingest:
    """Sends until it is told to end, and never more than `_WAITING` ahead of what is stored."""

    running: Server
    sent: int = 0
    stored: int = 0
    ended: bool = False

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._may_send = threading.Event()

    def send(self) -> None:
        """What one connection does."""
        while not self.ended:
            self._may_send.wait(1)
            if self.sent - self.stored < _WAITING:
                post_all(self.running, "/v1/outputs", [self._body()])

    def _body(self) -> bytes:
        with self._lock:
            start, self.sent = self.sent, self.sent + BATCH
        return json.dumps(list(outputs(BATCH, start=start))).encode()

    def watch(self) -> None:
        """See how much is stored."""
        with psycopg.connect(self.running.database_url, autocommit=True) as connection:
            while not self.ended:
                self.stored = _stored(connection)
                if self.sent - self.stored < _WAITING:
                    self._may_send.set()
                else:
                    self._may_send.clear()
                time.sleep(0.05)
        self._may_send.set()


@contextmanager
def _ingest(running: Server) -> Iterator[_Ingest]:
    found = _Ingest(running)
    with ThreadPoolExecutor(_CONNECTIONS + 1) as threads:
        work = [threads.submit(found.send) for _ in range(_CONNECTIONS)]
        work.append(threads.submit(found.watch))
        try:
            yield found
        finally:
            found.ended = True
    for each in work:
        each.result()


def _stored(connection: "psycopg.Connection[Any]") -> int:
    query = "SELECT coalesce(sum(n), 0)::bigint FROM total_count WHERE measure = 'outputs'"
    row = connection.execute(query).fetchone()
    return int(row[0]) if row is not None else 0


# --- by turns -----------------------------------------------------------------------------


@dataclass
class _Found:
    """Outputs stored a second without and during, and for how long old ones went meanwhile."""

    without: float
    during: float
    seconds: float


def _by_turns(running: Server, connection: "psycopg.Connection[Any]", ingest: _Ingest) -> _Found:
    stored, seconds = [0, 0], [0.0, 0.0]
    with running.frozen("sl-tick"):
        _window(ingest)  # to warm up
    for _ in range(_PAIRS):
        with running.frozen("sl-tick"):
            _add(stored, seconds, 0, _window(ingest))
        _add(stored, seconds, 1, _window(ingest))
        if not _left(connection):
            break
    return _Found(stored[0] / seconds[0], stored[1] / seconds[1], seconds[1])


def _window(ingest: _Ingest) -> tuple[int, float]:
    """Outputs stored within a window, and how long it really was."""
    before, begun = ingest.stored, time.monotonic()
    time.sleep(_WINDOW_SECONDS)
    return ingest.stored - before, time.monotonic() - begun


def _add(stored: list[int], seconds: list[float], turn: int, window: tuple[int, float]) -> None:
    stored[turn] += window[0]
    seconds[turn] += window[1]
    sys.stderr.write(f"{'while they go' if turn else 'without'}: {window[0] / window[1]:,.0f}/s\n")


def _left(connection: "psycopg.Connection[Any]") -> int:
    query = f"SELECT count(*) FROM output WHERE recorded_at < {_OLD} + interval '1 hour'"
    row = connection.execute(query).fetchone()
    return int(row[0]) if row is not None else 0


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000):
        sys.stdout.write(f"{row.what}: {row.value:,.2f} {row.unit} {row.ratio}\n")
