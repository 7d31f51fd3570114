"""How long it takes to try another routing policy on the past.

`python -m benchmarks.replay` prints it, `--profile` where the time goes.
"""

import argparse
import cProfile
import pstats
import time
from datetime import timedelta
from functools import partial

import psycopg

from benchmarks.server import database
from benchmarks.table import Row
from services.escalation.policy.model import RoutingPolicy
from services.escalation.policy.read import read
from services.escalation.policy.replay import Replay, replay
from services.escalation.routing import policies
from services.kit.clock import DatabaseClock
from services.kit.database import Database
from tests.factories import OTHER_TEAM, OWNER, TEAM, TOOL
from ui.routing.propose import MOST

_SHOWN = 25
_RULES = 40
_DAYS = 30
# Of a month: categories, confidences and reasons as they come.
_CASES = """
WITH opened AS (
    INSERT INTO "case" (subject_kind, subject_key, tool, trigger, queue, team, owner_team,
        priority, rule, routing_revision, ladder, opened_at, cycle_opened_at, owner_since,
        timezone, claim_within, resolve_within, claim_due_at, resolve_due_at, due_at)
    SELECT 'output', %(tool)s || '/r-' || n, %(tool)s,
        (ARRAY['low_confidence', 'dispute', 'policy'])[1 + n %% 3], %(team)s, %(team)s,
        %(team)s, 'P3', 'catch-all', 'bench', '[]', at, at, at, 'UTC', '4h', '2d', at, at, at
    FROM (SELECT n, now() - n * interval '25 seconds' AS at
        FROM generate_series(%(cases)s, 1, -1) n) made
    RETURNING id, subject_key
)
INSERT INTO case_output (case_id, tool, output_id, model, kind, value, confidence, input,
    attributes)
SELECT id, %(tool)s, split_part(subject_key, '/', 2), 'bench-1', 'category',
    to_jsonb('category-' || id %% 77), id %% 100 / 100.0,
    jsonb_build_object('text', repeat('I still have not received my new card. ', 8)),
    jsonb_build_object('plan', (ARRAY['free', 'gold'])[1 + id %% 2], 'amount', (id %% 900)::text)
FROM opened
"""


def _policy(claim: str, swapped: str) -> RoutingPolicy:
    """Forty rules; each other one sends its cases to another team where they are `swapped`."""
    rules = "\n".join(
        f"  - {{id: r{n}, when: {{predicted.category: 'category-{n}*', confidence: {{lt: 0.9}}}},"
        f" owner: {{team: {swapped if n % 2 else TEAM}}},"
        f" sla: {{claim: {claim}, resolve: 2bd}}}}"
        for n in range(_RULES)
    )
    catch_all = f"{{team: {TEAM}, sla: {{claim: 4bh, resolve: 2bd}}, escalate: one}}"
    ladder = f"[{{at: 0m, own: team:{TEAM}}}, {{at: 4h, own: user:{OWNER}}}]"
    return read(
        f"version: 1\ncatch_all: {catch_all}\nrules:\n{rules}\nladders: {{one: {ladder}}}\n"
    )


def _replay(found: Database, most: int | None) -> Replay:
    with found.transaction() as session:
        now = DatabaseClock().now(session)
        before = policies(session, _policy("2bh", TEAM))
        against, since = _policy("3bh", OTHER_TEAM), now - timedelta(days=_DAYS)
        return replay(session, before, against, since=since, now=now, most=most)


def _fill(found: Database, cases: int) -> None:
    url = found.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_CASES, {"tool": TOOL, "team": TEAM, "cases": cases})
        connection.execute("VACUUM ANALYZE")


def rows(cases: int) -> list[Row]:
    """Seconds that a replay of so many cases takes, and that of a page."""
    with database() as found:
        _fill(found, cases)
        whole = _seconds(partial(_replay, found, None), cases)
        page = _seconds(partial(_replay, found, MOST), min(MOST, cases))
    return [
        Row(f"route replay, {cases:,} cases", whole, "s", 60, "aim"),
        Row(f"the same on a page, the newest {MOST:,}", page, "s", 5, "aim"),
    ]


def _seconds(work: "partial[Replay]", expected: int) -> float:
    begun = time.monotonic()
    done = work()
    assert (done.cases, done.moved > 0, done.later > 0) == (expected, True, True)
    return time.monotonic() - begun


def main() -> None:
    """Print how long it takes, or what it spends that on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="CPU by function")
    asked = parser.parse_args()
    if not asked.profile:
        for row in rows(asked.cases):
            print(f"{row.what}: {row.value:.2f} {row.unit}")
        return
    with database() as found:
        _fill(found, asked.cases)
        profile = cProfile.Profile(time.process_time)
        profile.runcall(_replay, found, None)
    pstats.Stats(profile).sort_stats("cumulative").print_stats(_SHOWN)


if __name__ == "__main__":
    main()
