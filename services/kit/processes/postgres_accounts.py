"""The account that an embedded PostgreSQL runs as, where it may not run as ours: as root.

One that exists is borrowed, and nothing outside the data folder is changed for it.
"""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from services.kit.processes.postgres_folder import CannotStart, Folder


class Account(NamedTuple):
    """An account of the system that PostgreSQL runs as."""

    uid: int
    gid: int
    name: str


def choose_account(cluster: Path) -> Account | None:
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
        return Account(owner, cluster.stat().st_gid, f"number {owner}")
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid, name)
    raise CannotStart(
        "PostgreSQL refuses to run as root and there is neither an account 'postgres' nor "
        "'nobody' to run as. Start Secondlook as an ordinary account."
    )


def as_account(account: Account | None) -> dict[str, Any]:
    """What `subprocess` needs to start a program as `account`, with nothing inherited."""
    clean: dict[str, Any] = {
        "cwd": "/",
        "umask": 0o077,
        "env": {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
    }
    if account is not None:
        clean.update(user=account.uid, group=account.gid, extra_groups=[])
    return clean


def run_as(
    account: Account | None, command: Sequence[str | Path]
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; one that cannot even be started counts as failed."""
    try:
        return subprocess.run(  # noqa: S603 - our own binaries and `test`
            command, check=False, capture_output=True, text=True, **as_account(account)
        )
    except OSError as error:
        return subprocess.CompletedProcess(list(command), 126, "", str(error))


def let_in(folder: Folder, account: Account) -> None:
    """Make sure that `account` can pass through to our folder, changing nothing above it.

    Raises:
        CannotStart: a parent folder keeps it out.
    """
    for own in (folder.data_dir, folder.root):
        mode = own.stat().st_mode
        if not mode & 0o001:
            own.chmod(mode & 0o7777 | 0o001)
    for parent in (*reversed(folder.root.parents), folder.root):
        if run_as(account, ["test", "-x", parent]).returncode != 0:
            raise CannotStart(
                f"As root, PostgreSQL runs as the account {account.name}, which cannot pass "
                f"through {parent}. Set SECONDLOOK_DATA_DIR to a folder that every account can "
                "reach, such as /var/lib/secondlook, or start Secondlook as an ordinary account."
            )


def own(folder: Path, account: Account | None) -> None:
    """Give a folder of ours, restored or made by root, to the account that needs it."""
    if account is None or folder.stat().st_uid == account.uid:
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, account.uid, account.gid, follow_symlinks=False)
    folder.chmod(0o700)


def write(path: Path, text: str, *, mode: int, account: Account | None = None) -> None:
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


def sync_folder(folder: Path) -> None:
    """Make a change of names in a folder survive a crash of the machine."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
