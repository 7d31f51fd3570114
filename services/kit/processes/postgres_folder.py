"""The folder of an embedded PostgreSQL: where things lie, who holds it, what runs in it."""

import contextlib
import fcntl
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from services.kit.errors import SecondlookError
from services.kit.processes.existence import exists

USER = "secondlook"
DATABASE = "secondlook"
HOST = "127.0.0.1"
POLL = 0.01
LEFTOVER_SECONDS = 10.0


class CannotStart(SecondlookError):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""

    status = 503
    title = "The embedded PostgreSQL cannot be used"


class AlreadyRunning(CannotStart):
    """Another process holds the data folder."""

    title = "Secondlook runs on this data folder already"


class Postmaster(NamedTuple):
    """What `postmaster.pid` says of a server, which may be long dead."""

    pid: int
    port: int
    status: str


@dataclass(frozen=True, slots=True)
class Folder:
    """Where things lie inside the data folder."""

    data_dir: Path

    @property
    def root(self) -> Path:
        """Everything that we write."""
        return self.data_dir / "postgres"

    @property
    def cluster(self) -> Path:
        """PostgreSQL's own files."""
        return self.root / "cluster"

    @property
    def password(self) -> Path:
        """What lets us in."""
        return self.root / "password"

    @property
    def config(self) -> Path:
        """Our settings."""
        return self.root / "postgresql.conf"

    @property
    def own_settings(self) -> Path:
        """The operator's settings."""
        return self.root / "local.conf"

    @property
    def access(self) -> Path:
        """Who may connect."""
        return self.root / "pg_hba.conf"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.root / "server.log"

    def postmaster(self) -> Postmaster | None:
        """What the server wrote about itself, or None before it has."""
        try:
            lines = (self.cluster / "postmaster.pid").read_text().splitlines()
            return Postmaster(int(lines[0]), int(lines[3]), lines[7].strip())
        except (OSError, IndexError, ValueError):
            return None

    def url(self, port: int, database: str = DATABASE) -> str:
        """The address of a database of the server on `port`."""
        return f"postgresql://{USER}:{self.password.read_text()}@{HOST}:{port}/{database}"


def hold(folder: Folder) -> int:
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
            if (holder.isdigit() and exists(int(holder))) or time.monotonic() > deadline:
                os.close(handle)
                raise AlreadyRunning(_held_by(folder, holder)) from None
            time.sleep(0.05)
    os.ftruncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
    return handle


def _held_by(folder: Folder, holder: str) -> str:
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


def serves(pid: int, cluster: Path) -> bool:
    """Whether a process is a live one of PostgreSQL in `cluster`: numbers are used again."""
    process = Path(f"/proc/{pid}")
    if not Path("/proc/self").exists():
        return exists(pid)
    try:
        named = (process / "comm").read_text().strip() == "postgres"
        return named and (process / "cwd").readlink() == cluster.resolve()
    except OSError:
        return False


def _leftovers(cluster: Path) -> Iterator[int]:
    """Processes that work in the cluster's folder: of a killed server, what still lives."""
    for entry in Path("/proc").glob("[0-9]*"):
        if serves(int(entry.name), cluster):
            yield int(entry.name)


def clear_leftovers(cluster: Path) -> None:
    """Wait for the remains of a killed server, then end them: two must never write at once."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while remains := list(_leftovers(cluster)):
        if time.monotonic() > deadline - LEFTOVER_SECONDS / 2:
            number = signal.SIGKILL if time.monotonic() > deadline else signal.SIGQUIT
            for pid in remains:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        time.sleep(POLL)
    if not Path("/proc/self").exists():
        return
    (cluster / "postmaster.pid").unlink(missing_ok=True)
