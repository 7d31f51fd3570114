"""A real `secondlook run` in a folder of its own, with every process that belongs to it."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from migrations.run import upgrade
from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres, connect_url


@dataclass(frozen=True)
class Server:
    """The supervisor's process, where its data lie, and where it answers."""

    process: "subprocess.Popen[str]"
    folder: Path
    address: str
    url: str
    """Its database."""
    environment: Mapping[str, str]

    def command(self, *arguments: str) -> str:
        """Run a command beside the server; answers what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "services.cli", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def beside(self, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        """A process of ours that runs beside the server, as on another machine."""
        with (self.folder / "beside.log").open("a") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", *arguments],
                env=self.environment,
                stdout=said,
                stderr=said,
                text=True,
            )
            try:
                yield process
            finally:
                _end(process)

    def postmaster(self) -> int:
        """The process of its PostgreSQL.

        Raises:
            OSError, ValueError, IndexError: it is not there, or only just.
        """
        (found,) = self.folder.glob("postgres/cluster/postmaster.pid")
        return int(found.read_text().split()[0])


@contextmanager
def running_server(
    populated: Callable[[Database], None], *, parent: Path | None = None, **settings: str
) -> Iterator[Server]:
    """Start a server, and end it with everything that it made.

    `populated` is given the database before the start, which a routing policy's owners
    must not come after.
    """
    folder = Path(tempfile.mkdtemp(prefix="secondlook-server-", dir=parent))
    folder.chmod(0o711)
    data = folder / "data"
    environment = {
        **os.environ,
        "SECONDLOOK_DATA_DIR": str(data),
        "SECONDLOOK_METRICS_PORT": "0",
        "SECONDLOOK_LOG_LEVEL": "warning",
        **settings,
    }
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _prepare(data, populated)
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
        url = connect_url(data)
        assert url is not None
        yield Server(process, data, address, url, environment)


def _prepare(data: Path, populated: Callable[[Database], None]) -> None:
    postgres = EmbeddedPostgres(data)
    postgres.start()
    try:
        upgrade(postgres.url)
        database = Database(make_engine(postgres.url, pool_size=1))
        populated(database)
        database.close()
    finally:
        postgres.stop()


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
