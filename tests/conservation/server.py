"""A real server on a folder of its own, whose parts can be killed one by one."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import psycopg

from migrations.run import upgrade
from services.kit.eventlog import open_log
from services.kit.eventlog.port import EventLog
from services.kit.processes.embedded_postgres import EmbeddedPostgres, connect_url
from services.kit.settings import Settings
from tests.conftest import Broker

ROLES = ("web", "feedback", "escalation", "tick")
POSTGRES, BROKER = "postgres", "broker"
PARTITIONS = "4"


@dataclass
class Server:
    """A running `secondlook run`: its supervisor, roles, PostgreSQL and, perhaps, broker."""

    process: "subprocess.Popen[str]"
    folder: Path
    address: str
    url: str
    environment: Mapping[str, str]
    broker: Broker | None = None
    pids: dict[str, int] = field(default_factory=dict)

    @property
    def victims(self) -> tuple[str, ...]:
        """Everything that can be killed."""
        return (*ROLES, POSTGRES, *([BROKER] if self.broker is not None else []))

    def open_log(self) -> EventLog:
        """The event log, from outside."""
        kafka = self.broker.address if self.broker is not None else None
        return open_log(Settings(kafka_bootstrap_servers=kafka), self.url)

    def pid(self, victim: str) -> int | None:
        """The process that does a part's work now."""
        try:
            if victim == BROKER:
                assert self.broker is not None
                return self.broker.pid
            if victim == POSTGRES:
                (found,) = self.folder.glob("postgres/cluster/postmaster.pid")
                return int(found.read_text().split()[0])
        except (OSError, ValueError, IndexError):
            return None
        return _child(self.process.pid, f"sl-{victim}")

    def kill(self, victim: str) -> None:
        """End a part at once, with nothing said."""
        pid = None
        while pid is None:
            pid = self.pid(victim)
        self.pids[victim] = pid
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def await_return(self, victim: str, *, seconds: float = 60) -> float:
        """Wait until a killed part is there again; answers when that was."""
        if victim == BROKER:
            assert self.broker is not None
            _await_end(self.pids[victim])
            self.broker.run("start")
            return time.monotonic()
        deadline = time.monotonic() + seconds
        while not self._is_back(victim):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{victim} has not come back in {seconds:.0f} s")
            time.sleep(0.05)
        return time.monotonic()

    def _is_back(self, victim: str) -> bool:
        pid = self.pid(victim)
        if pid is None or pid == self.pids[victim]:
            return False
        if victim == POSTGRES:
            return _answers(self.url)
        if victim == "web":
            return _is_ready(self.address)
        return True

    def command(self, *arguments: str) -> str:
        """Run a command beside the server; answers what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


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


def _await_end(pid: int) -> None:
    """Wait until a killed process has let go of its ports and files."""
    while True:
        try:
            if b"kafka" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
        except OSError:
            return
        time.sleep(0.05)


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
    broker: Broker | None = None,
    *,
    furnish: Callable[[str], None] = lambda _url: None,
    **settings: str,
) -> Iterator[Server]:
    """Start a server, and end it with everything that it made.

    `furnish` is given the database before the start, which a routing policy's owners
    must not come after.
    """
    folder = Path(tempfile.mkdtemp(prefix="secondlook-conservation-"))
    folder.chmod(0o711)
    kafka = {"SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS": broker.address} if broker is not None else {}
    environment = {
        **os.environ,
        "SECONDLOOK_DATA_DIR": str(folder / "data"),
        "SECONDLOOK_METRICS_PORT": "0",
        "SECONDLOOK_LOG_LEVEL": "warning",
        "SECONDLOOK_LOG_PARTITIONS": PARTITIONS,
        **kafka,
        **settings,
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        postgres = EmbeddedPostgres(folder / "data")
        postgres.start()
        try:
            upgrade(postgres.url)
            furnish(postgres.url)
        finally:
            postgres.stop()
        said = stack.enter_context((folder / "server.log").open("w"))
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "run", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        )
        stack.callback(_end, process)
        address = _announced(process, folder / "server.log")
        found = connect_url(folder / "data")
        assert found is not None
        yield Server(process, folder / "data", address, found, environment, broker)


def _announced(process: "subprocess.Popen[str]", log: Path) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("ready "):
            return line.split()[1]
    raise RuntimeError(f"the server ended before it was ready:\n{log.read_text()[-4000:]}")


def _end(process: "subprocess.Popen[str]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
    if process.stdout is not None:
        process.stdout.close()


@contextmanager
def a_broker() -> Iterator[Broker]:
    """A Kafka broker of our own, on a port that it will find free again after a kill."""
    with tempfile.TemporaryDirectory(prefix="secondlook-kafka-") as folder:
        broker = Broker(Path(folder), _free_port())
        broker.run("start")
        try:
            yield broker
        finally:
            broker.run("stop")


def _free_port() -> int:
    """A port that nobody listens on, outside the range of outgoing connections."""
    while True:
        port = random.randrange(10_000, 15_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
