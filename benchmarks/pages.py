"""The queue page and the next case, with many outputs and many open cases."""

import http.client
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

import psycopg

from benchmarks.house import TOOL, Server, server
from benchmarks.table import Row

Ask = Callable[[http.client.HTTPConnection, str, int], None]

_ASKED = 100
_FILL_OUTPUTS = """
INSERT INTO output (tool, output_id, event_id, digest, version, kind, value, confidence, input,
    disposition, occurred_at, recorded_at)
SELECT %(tool)s, 'f-' || n, 'e-' || n, decode(md5(n::text), 'hex'), 'bench-1', 'category',
    '"card_arrival"', 0.93, '{"text": "I still have not received my new card."}', 'proceed',
    now(), now() - n * interval '1 millisecond'
FROM generate_series(1, %(outputs)s) n"""
_FILL_CASES = """
INSERT INTO "case" (tool, output_id, tool_version, trigger, exception_trigger, kind, value,
    confidence, input, queue, team, owner_team, priority, rule, routing_revision, ladder, opened_at,
    cycle_opened_at, owner_since, claim_due_at, resolve_due_at, due_at)
SELECT %(tool)s, 'f-' || n, 'bench-1', 'low_confidence', 'low_confidence', 'category',
    '"card_arrival"', 0.4, '{"text": "I still have not received my new card."}', 'bench', 'bench',
    'bench', 'P3', 'catch-all', 'bench', '[]', now(), now(), now(), now() + interval '4h',
    now() + interval '2d', now() + n * interval '1 second'
FROM generate_series(1, %(cases)s) n"""


def rows(outputs: int, cases: int) -> list[Row]:
    """p50 and p95 of the queue page and of going to the next case, one client."""
    with server() as running:
        with psycopg.connect(running.database_url, autocommit=True) as connection:
            given = {"tool": TOOL, "outputs": outputs, "cases": cases}
            connection.execute(_FILL_OUTPUTS, given)
            connection.execute(_FILL_CASES, given)
            connection.execute("VACUUM ANALYZE")
        cookie = _sign_in(running)
        size = f"{outputs:,} outputs, {cases:,} open cases"
        found = []
        for what, ask in (("queue page", _open_queue), ("verdict to next case", _judge)):
            times = _time(running, ask, cookie)
            found += [
                Row(f"{what}, {size}, p50", times[len(times) // 2], "ms"),
                Row(f"{what}, {size}, p95", times[int(len(times) * 0.95)], "ms", 25, "aim"),
            ]
        return found


def _sign_in(running: Server) -> str:
    """A browser session: the link's page, then its button."""
    link = urlsplit(running.command("people", "link", "owner@bench.example"))
    connection = http.client.HTTPConnection(link.hostname or "", link.port)
    connection.request("GET", link.path)
    shown = connection.getresponse()
    page = shown.read().decode()
    visitor = shown.headers["set-cookie"].partition(";")[0]
    token = _token_in(page)
    headers = {
        "Cookie": visitor,
        "Content-Type": "application/x-www-form-urlencoded",
        "Sec-Fetch-Site": "same-origin",
    }
    connection.request("POST", link.path, f"csrf_token={token}", headers)
    answer = connection.getresponse()
    answer.read()
    (session,) = (
        value.partition(";")[0]
        for name, value in answer.getheaders()
        if name == "set-cookie" and value.startswith("secondlook=")
    )
    return session


def _open_queue(connection: http.client.HTTPConnection, cookie: str, _: int) -> None:
    connection.request("GET", "/queue", headers={"Cookie": cookie})


def _judge(connection: http.client.HTTPConnection, cookie: str, case: int) -> None:
    """Press the verdict's button: claims the case, judges it, and shows the next one."""
    headers = {
        "Cookie": cookie,
        "Content-Type": "application/x-www-form-urlencoded",
        "HX-Request": "true",
        "Sec-Fetch-Site": "same-origin",
        "X-CSRF-Token": _csrf_token(connection, cookie),
    }
    connection.request("POST", f"/c/{case}/verdict", "choice=upheld", headers)


@lru_cache
def _csrf_token(connection: http.client.HTTPConnection, cookie: str) -> str:
    connection.request("GET", "/queue", headers={"Cookie": cookie})
    return _token_in(connection.getresponse().read().decode())


def _token_in(page: str) -> str:
    return page.partition('name="csrf_token" value="')[2].partition('"')[0]


def _time(running: Server, ask: Ask, cookie: str) -> list[float]:
    """Milliseconds from request to the answer's end, sorted; the first ten are warm-up."""
    where = urlsplit(running.address)
    connection = http.client.HTTPConnection(where.hostname or "", where.port)
    times = []
    for case in range(1, _ASKED + 11):
        begun = time.monotonic()
        ask(connection, cookie, case)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200, answer.status
        times.append((time.monotonic() - begun) * 1000)
    return sorted(times[10:])
