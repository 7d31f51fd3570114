"""The queue page and the next case, with many outputs and many open cases."""

import http.client
import time
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import urlsplit

import psycopg

from benchmarks.server import TOOL, Server, server
from benchmarks.table import Row
from tests.factories import OWNER, TEAM, fill

Ask = Callable[[http.client.HTTPConnection, str, int], None]

_ASKED = 100


def rows(outputs: int, cases: int) -> list[Row]:
    """p50 and p95 of the queue page and of going to the next case, one client."""
    with server() as running:
        with psycopg.connect(running.database_url, autocommit=True) as connection:
            fill(connection, tool=TOOL, team=TEAM, outputs=outputs, cases=cases)
        cookie = _sign_in(running)
        size = f"{outputs:,} outputs, {cases:,} open cases"
        found = []
        for what, ask, aim in (
            ("queue page", _open_queue, 10),
            ("verdict to next case", _review, 15),
        ):
            times = _time(running, ask, cookie)
            found += [
                Row(f"{what}, {size}, p50", times[len(times) // 2], "ms"),
                Row(f"{what}, {size}, p95", times[int(len(times) * 0.95)], "ms", aim, "aim"),
            ]
        return found


def _sign_in(running: Server) -> str:
    """A browser session: the link's page, then its button."""
    link = urlsplit(running.command("people", "link", OWNER))
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


def _review(connection: http.client.HTTPConnection, cookie: str, case: int) -> None:
    """Press the verdict's button: claims the case, reviews it, and shows the next one."""
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
