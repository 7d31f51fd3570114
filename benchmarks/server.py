"""A server of its own for a benchmark, and what it costs: time, CPU, memory."""

import os
import re
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from migrations import run
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from services.people import service as people_service
from tests.factories import OWNER, TEAM, add_person, add_tool, populate
from tests.factories.broker import running_broker
from tests.factories.people import OPERATOR
from tests.factories.server import Server as Running
from tests.factories.server import running_server

TOOL, THRESHOLD = "benched", 0.7
# Not in memory: what is measured ends on a disk.
_PARENT = Path("/var/tmp")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Server:
    """A running `secondlook run` on a folder of its own, and its tool's key."""

    running: Running
    key: str

    @property
    def address(self) -> str:
        """Where it answers."""
        return self.running.address

    @property
    def database_url(self) -> str:
        """Its PostgreSQL."""
        return self.running.url

    def command(self, *arguments: str) -> str:
        """Run a command beside the server; answers what it printed."""
        return self.running.command(*arguments)

    def processes(self) -> list[int]:
        """The server's process, its roles and PostgreSQL with all its backends."""
        return sorted(_tree(self.running.process.pid) | _tree(self.running.postmaster()))

    @contextmanager
    def frozen(self, *roles: str) -> Iterator[None]:
        """Stop these roles in their tracks for a while, as a debugger would."""
        pids = [pid for pid in self.processes() if _role(pid) in roles]
        assert len(pids) == len(roles)
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)

    def cpu_seconds(self) -> float:
        """CPU that these processes have used, ended children included."""
        return sum(_cpu(pid) for pid in self.processes())

    def memory_mib(self) -> float:
        """Proportional set size of all of them: shared pages are counted once."""
        return sum(_pss(pid) for pid in self.processes()) / 1024


def _tree(pid: int) -> set[int]:
    found, waiting = set(), [pid]
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    while waiting:
        one = waiting.pop()
        found.add(one)
        waiting += children.get(one, [])
    return found


def _role(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _cpu(pid: int) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(field) for field in stat[11:15]) / _TICKS


def _pss(pid: int) -> int:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+)", rollup, re.MULTILINE)
    return int(found[1]) if found else 0


@contextmanager
def server(**settings: str) -> Iterator[Server]:
    """Start a server with one tool, and end it with everything that it made."""
    with running_server(_populate, parent=_PARENT, **settings) as running:
        yield Server(running, running.command("keys", "create", TOOL))


def _populate(database: Database) -> None:
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        people_service.add_team(session, TEAM, name=None, actor=OPERATOR, now=now)
        add_person(session, OWNER)
        add_tool(session, TOOL, categories=(), threshold=THRESHOLD)


@contextmanager
def database() -> Iterator[Database]:
    """A database alone, with the people and the tool of all tests."""
    with tempfile.TemporaryDirectory(dir=_PARENT, prefix="secondlook-") as folder:
        Path(folder).chmod(0o711)
        postgres = EmbeddedPostgres(Path(folder) / "data")
        postgres.start()
        run.upgrade(postgres.url)
        opened = Database(make_engine(postgres.url))
        populate(opened)
        yield opened
        opened.close()
        postgres.stop()


@contextmanager
def broker() -> Iterator[str]:
    """A Kafka broker of its own; gives its bootstrap servers. Needs Java."""
    with running_broker(_PARENT) as running:
        yield running.address


def await_taken(url: str, consumers: Sequence[tuple[str, str]], *, timeout: float = 300) -> None:
    """Wait until each consumer has taken everything of its topic on the embedded log."""
    query = """
        SELECT coalesce(sum(p.next_offset - o.next_offset), 0), count(o.consumer)
        FROM log_partition p LEFT JOIN consumer_offset o
            ON o.topic = p.topic AND o.partition = p.number AND o.consumer = %s
        WHERE p.topic = %s AND p.next_offset > 0"""
    deadline = time.monotonic() + timeout
    with psycopg.connect(url, autocommit=True) as connection:
        for consumer, topic in consumers:
            while time.monotonic() < deadline:
                row = connection.execute(query, (consumer, topic)).fetchone()
                if row is not None and row[0] == 0 and row[1] > 0:
                    break
                time.sleep(0.01)
            else:
                raise TimeoutError(f"{consumer} did not take all of {topic}")
