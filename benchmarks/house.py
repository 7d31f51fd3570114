"""A server of its own for a benchmark, and what it costs: time, CPU, memory."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from services.kit.processes.embedded_postgres import connect_url

TOOL, THRESHOLD = "benched", 0.7
_BROKER = Path(__file__).parent.parent / "deploy" / "kafka" / "broker.py"
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60


@dataclass(frozen=True)
class Server:
    """A running `secondlook run` on a folder of its own."""

    process: "subprocess.Popen[str]"
    folder: Path
    address: str
    key: str
    environment: Mapping[str, str]

    @property
    def database_url(self) -> str:
        """Its PostgreSQL."""
        url = connect_url(self.folder)
        assert url is not None
        return url

    def command(self, *arguments: str) -> str:
        """Run a command beside the server; answers what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    def processes(self) -> list[int]:
        """The server's process, its roles and PostgreSQL with all its backends."""
        postmaster = (
            int((self.folder / "postgres" / "postmaster.pid").read_text().split()[0])
            if (self.folder / "postgres" / "postmaster.pid").exists()
            else _postmaster(self.folder)
        )
        return sorted(_tree(self.process.pid) | _tree(postmaster))

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


def _postmaster(folder: Path) -> int:
    (found,) = folder.rglob("postmaster.pid")
    return int(found.read_text().split()[0])


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
    folder = Path(tempfile.mkdtemp(prefix="secondlook-bench-", dir="/var/tmp"))
    folder.chmod(0o711)
    environment = {
        **os.environ,
        "SECONDLOOK_DATA_DIR": str(folder / "data"),
        "SECONDLOOK_METRICS_PORT": "0",
        "SECONDLOOK_LOG_LEVEL": "warning",
        **settings,
    }
    command = [sys.executable, "-m", "services.cli", "run", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = _announced(process)
        made = Server(process, folder / "data", address, "", environment)
        made.command("teams", "add", "bench")
        made.command(
            "people",
            "add",
            "owner@bench.example",
            "--name",
            "Owner",
            "--role",
            "owner",
            "--team",
            "bench",
        )
        made.command(
            "tools",
            "add",
            TOOL,
            "--kind",
            "category",
            "--team",
            "bench",
            "--threshold",
            str(THRESHOLD),
            "--maturity",
            "0s",
        )
        key = made.command("keys", "create", TOOL)
        yield Server(process, folder / "data", address, key, environment)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


def _announced(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    deadline = time.monotonic() + _START_SECONDS
    for line in process.stdout:
        if line.startswith("ready "):
            return line.split()[1]
        assert time.monotonic() < deadline
    raise RuntimeError("the server ended before it was ready")


@contextmanager
def broker() -> Iterator[str]:
    """A Kafka broker of its own; gives its bootstrap servers. Needs Java."""
    folder = tempfile.mkdtemp(prefix="secondlook-bench-kafka-", dir="/var/tmp")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(_BROKER), "{}", "--dir", folder, "--port", str(port)]
    try:
        subprocess.run([part.format("start") for part in command], check=True)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([part.format("stop") for part in command], check=False)
        shutil.rmtree(folder, ignore_errors=True)


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
