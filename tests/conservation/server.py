"""A real server whose parts can be killed one by one."""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import Popen

import httpx2
import psycopg

from services.app.roles import CONSUMED
from services.kit.database import Database
from services.kit.eventlog import open_log
from services.kit.eventlog.port import EventLog
from services.kit.settings import Settings
from tests.factories.broker import Broker
from tests.factories.server import Server, running_server
from tests.waiting import until

ROLES = ("web", "feedback", "escalation", "tick")
POSTGRES, BROKER = "postgres", "broker"
PARTITIONS = "4"


class Victims:
    """The parts of a running server: its roles, PostgreSQL and, perhaps, a broker.

    `beside` are more consumers, which nobody kills: they share the partitions, take those of the
    killed, and commit while the others do.
    """

    def __init__(
        self, server: Server, broker: Broker | None, beside: Sequence["Popen[str]"] = ()
    ) -> None:
        self.server, self.broker, self.beside = server, broker, beside
        self._killed: dict[str, int] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Everything that can be killed."""
        return (*ROLES, POSTGRES, *([BROKER] if self.broker is not None else []))

    def open_log(self) -> EventLog:
        """The event log, from outside."""
        kafka = self.broker.address if self.broker is not None else None
        return open_log(Settings(kafka_bootstrap_servers=kafka), self.server.url)

    def pid(self, victim: str) -> int | None:
        """The process that does a part's work now."""
        try:
            if victim == BROKER:
                assert self.broker is not None
                return self.broker.pid
            if victim == POSTGRES:
                return self.server.postmaster()
        except (OSError, ValueError, IndexError):
            return None
        return _child(self.server.process.pid, f"sl-{victim}")

    def kill(self, victim: str) -> None:
        """End a part at once, with nothing said."""
        pid = until(lambda: self.pid(victim))
        assert pid is not None
        self._killed[victim] = pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def await_return(self, victim: str, *, seconds: float = 60) -> float:
        """Wait until a killed part is there again; answers when that was."""
        if victim == BROKER:
            assert self.broker is not None
            until(lambda: _has_ended(self._killed[victim]))
            self.broker.run("start")
        else:
            until(lambda: self._is_back(victim), seconds=seconds)
        return time.monotonic()

    def _is_back(self, victim: str) -> bool:
        pid = self.pid(victim)
        if pid is None or pid == self._killed[victim]:
            return False
        if victim == POSTGRES:
            return _answers(self.server.url)
        if victim == "web":
            return _is_ready(self.server.address)
        return True


def _child(parent: int, name: str) -> int | None:
    """The child of a process that goes by a name and lives."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                comm, _, rest = (entry / "stat").read_text().partition("(")[2].rpartition(")")
                state, above = rest.split()[:2]
                if comm == name and int(above) == parent and state != "Z":
                    return int(entry.name)
    return None


def _has_ended(pid: int) -> bool:
    """Whether a killed broker has let go of its ports and files."""
    try:
        return b"kafka" not in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return True


def _consuming(url: str) -> list[str]:
    """The consumers with more than one connection: that of the server, and of the one beside it,
    as far as connections tell."""
    query = """SELECT application_name FROM pg_stat_activity
        WHERE application_name LIKE 'secondlook consume %' GROUP BY 1 HAVING count(*) > 1"""
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute(query)]


def _answers(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=2):
            return True
    except psycopg.OperationalError:
        return False


def _is_ready(address: str) -> bool:
    try:
        return bool(httpx2.get(f"{address}/readyz", timeout=2).status_code == 200)
    except httpx2.HTTPError:
        return False


@contextmanager
def running(
    populated: Callable[[Database], None], broker: Broker | None = None, **settings: str
) -> Iterator[Victims]:
    """A server on the embedded log, or on a broker where one is given."""
    kafka = {"SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS": broker.address} if broker is not None else {}
    given = {"SECONDLOOK_LOG_PARTITIONS": PARTITIONS, **kafka, **settings}
    with running_server(populated, **given) as server, ExitStack() as stack:
        beside = [stack.enter_context(server.beside("consume", name)) for name in CONSUMED]
        # One that finds no database when it starts ends, to be started again by others.
        until(lambda: len(_consuming(server.url)) == len(beside), seconds=60)
        yield Victims(server, broker, beside)
