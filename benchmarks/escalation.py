"""Escalation under load: ten thousand of one cause, a race for one case, a million timers, mail."""

import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from typing import Any

import httpx2
import psycopg
from secondlook import events
from sqlalchemy import text
from sqlalchemy.orm import Session

from benchmarks.opening import unsure
from benchmarks.server import TOOL, Server, server
from benchmarks.table import Row
from services.escalation import service
from services.escalation.service import Judgement
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import NewRecord
from services.kit.eventlog.postgres import PostgresLog
from services.tools.rules import VerdictKind
from tests.factories import LEASE, NOON, OWNER, TEAM, actor_of, add_person, fill
from tests.factories.broker import free_port
from tests.factories.people import personal_token
from tests.notifications.receivers import Mailbox, mail_server
from tests.waiting import until

_PATIENCE = 300.0


def rows(scale: int = 1) -> list[Row]:
    """All of it; `scale` divides the sizes."""
    return [
        *_incident(10_000 // scale),
        *_claims(1_000 // scale),
        *_timers(1_000_000 // scale, 6_000 // scale),
        *_mail(300 // scale),
    ]


@contextmanager
def _database(running: Server) -> Iterator[Database]:
    database = Database(make_engine(running.database_url, pool_size=1))
    yield database
    database.close()


# --- ten thousand cases of one cause --------------------------------------------------------

_JOINED = "SELECT coalesce(max(children), 0) FROM \"case\" WHERE subject_kind = 'incident'"
_WHOLE = text("SELECT id FROM \"case\" WHERE subject_kind = 'incident'")
_TOLD = "SELECT count(*) FROM notification WHERE what = 'opened'"


def _incident(size: int) -> list[Row]:
    with server() as running, psycopg.connect(running.database_url, autocommit=True) as seen:
        begun = time.monotonic()
        _fail(running, size)
        until(lambda: _one(seen, _JOINED) == size, seconds=_PATIENCE)
        formed = time.monotonic() - begun
        with _database(running) as database:
            resolved = _resolve(database)
        what = f"incident of {size:,} cases"
        return [
            Row(f"{what}, from the first failure to one open case", formed, "s"),
            Row(f"{what}, times that its owner is told", _one(seen, _TOLD), "", 1, "aim"),
            Row(f"{what}, all resolved, each with its verdict", resolved, "s", 5, "aim"),
        ]


def _fail(running: Server, size: int) -> None:
    """So many failures of one kind, as the tool would tell of them."""
    log = PostgresLog(running.database_url)
    error = events.ToolError(kind="timeout", message="took too long")
    told = (
        events.output_failed(TOOL, events.OutputFailure(output_id=f"f-{n}", error=error), time=NOON)
        for n in range(size)
    )
    log.append([NewRecord(one.topic, one.key, events.encode(one)) for one in told])
    log.close()


def _resolve(database: Database) -> float:
    """Seconds until a verdict on all is stored, in the one transaction of the button."""
    said = Judgement(VerdictKind.NOT_ACTIONABLE, note="the provider was down")
    begun = time.monotonic()
    with database.transaction() as session:
        now, actor = DatabaseClock().now(session), actor_of(session, OWNER)
        (whole,) = session.scalars(_WHOLE)
        ids = [one.id for one in service.merged_into(session, actor, whole)]
        found = service.decide(session, actor, ids, said, lease=LEASE, now=now)
    assert len(found.done) == len(ids)
    assert found.wholes == [whole]
    return time.monotonic() - begun


# --- a race for one case --------------------------------------------------------------------


def _claims(count: int) -> list[Row]:
    with server() as running, psycopg.connect(running.database_url, autocommit=True) as seen:
        fill(seen, tool=TOOL, team=TEAM, outputs=1, cases=1)
        with _database(running) as database, database.transaction() as session:
            tokens = [_newcomer(session, f"p-{n}@example.org") for n in range(count)]
        # One thread a person, and none begins before all are there.
        together = Barrier(count + 1)
        with ThreadPoolExecutor(count) as threads:
            asked = [threads.submit(_claim, running, token, together) for token in tokens]
            together.wait()
            begun = time.monotonic()
            answers = Counter(one.result() for one in asked)
        seconds = time.monotonic() - begun
    assert set(answers) == {200, 409}
    what = f"{count:,} people claim one case at once"
    return [
        Row(f"{what}, winners", answers[200], "", 1, "aim"),
        Row(f"{what}, all answered", seconds, "s"),
    ]


def _newcomer(session: Session, email: str) -> str:
    add_person(session, email)
    return personal_token(session, email)


def _claim(running: Server, token: str, together: Barrier) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx2.Client(base_url=running.address, headers=headers, timeout=120) as client:
        together.wait()
        return client.post("/v1/cases/1/claim").status_code


# --- a million timers -----------------------------------------------------------------------

_CLOCKS = """
INSERT INTO timer (case_id, cycle, kind, rung, due_at)
SELECT id, 1, kind, 0, now() + interval '30 days'
FROM "case", (VALUES ('claim'), ('resolve')) k(kind)
"""
_DUE = """
UPDATE timer t SET due_at = now() + interval '5 s' + n.n * interval '10 ms'
FROM (SELECT id, row_number() OVER () AS n FROM (
    SELECT id FROM timer WHERE kind = 'claim' ORDER BY id LIMIT %s) chosen) n WHERE t.id = n.id
"""
_FIRED = "SELECT count(*) FROM timer WHERE fired_at IS NOT NULL"
_LATE = """
SELECT percentile_cont(ARRAY[0.5, 0.99])
    WITHIN GROUP (ORDER BY extract(epoch FROM fired_at - due_at))
FROM timer WHERE fired_at IS NOT NULL
"""


def _timers(count: int, due: int) -> list[Row]:
    """How late timers fire of which 100 a second are due, beside all that are not yet."""
    with server() as running, psycopg.connect(running.database_url, autocommit=True) as seen:
        fill(seen, tool=TOOL, team=TEAM, outputs=count // 2, cases=count // 2)
        seen.execute(_CLOCKS)
        seen.execute("VACUUM ANALYZE timer")
        seen.execute(_DUE, (due,))
        until(lambda: _one(seen, _FIRED) == due, seconds=_PATIENCE, every=0.5)
        p50, p99 = _one(seen, _LATE)
    what = f"timers, 100 due a second, {count:,} open"
    return [
        Row(f"{what}, late by p50", p50, "s"),
        Row(f"{what}, late by p99", p99, "s", 5, "aim"),
    ]


# --- from an event to a mail ----------------------------------------------------------------

_POLICY = """
version: 1
catch_all: {{user: {owner}, sla: {{claim: 4h, resolve: 1d}}}}
"""
_A_SECOND = 10
_LINK = re.compile(r"/c/(\d+)\b")
_CASE_OF = "SELECT output_id, case_id FROM case_output"


def _mail(count: int) -> list[Row]:
    """From an output that needs a person to the mail in the hands of the mail server."""
    with TemporaryDirectory() as folder, mail_server(free_port()) as mailbox:
        policy = Path(folder) / "routing.yaml"
        policy.write_text(_POLICY.format(owner=OWNER))
        settings = {"SECONDLOOK_ROUTING_FILE": str(policy), "SECONDLOOK_SMTP_URL": mailbox.url}
        with server(**settings) as running:
            arrived: dict[int, float] = {}
            with ThreadPoolExecutor(1) as threads:
                watching = threads.submit(_watch, mailbox, arrived, count)
                sent = _send(running, count)
                watching.result()
            with psycopg.connect(running.database_url) as seen:
                cases: dict[str, int] = dict(seen.execute(_CASE_OF).fetchall())
    waits = sorted(arrived[cases[output]] - at for output, at in sent.items())
    what = f"event to e-mail handed over, {_A_SECOND} cases/s"
    return [
        Row(f"{what}, p50", waits[len(waits) // 2], "s"),
        Row(f"{what}, p99", waits[int(len(waits) * 0.99)], "s", 3, "aim"),
    ]


def _send(running: Server, count: int) -> dict[str, float]:
    sent: dict[str, float] = {}
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {running.key}", "Content-Type": "application/json"}
    with httpx2.Client(base_url=running.address, headers=headers) as client:
        for n in range(count):
            time.sleep(max(0.0, begun + n / _A_SECOND - time.monotonic()))
            sent[f"m-{n}"] = time.monotonic()
            client.post("/v1/outputs", content=unsure(f"m-{n}")).raise_for_status()
    return sent


def _watch(mailbox: Mailbox, arrived: dict[int, float], count: int) -> None:
    """When each case was first named in a mail."""
    read = 0

    def all_there() -> bool:
        nonlocal read
        for mail in mailbox.mails[read:]:
            read += 1
            for case in _LINK.findall(_text(mail)):
                arrived.setdefault(int(case), time.monotonic())
        return len(arrived) >= count

    until(all_there, seconds=_PATIENCE)


def _text(mail: Message) -> str:
    parts = [part for part in mail.walk() if part.get_content_type() == "text/plain"]
    return b"".join(bytes(part.get_payload(decode=True)) for part in parts).decode()


def _one(connection: psycopg.Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


if __name__ == "__main__":
    for row in rows(int(sys.argv[1]) if len(sys.argv) > 1 else 1):
        print(row.what, f"{row.value:.3g}", row.unit, row.ratio)
