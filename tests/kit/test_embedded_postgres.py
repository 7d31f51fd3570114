"""The embedded PostgreSQL: starts, crashes, neighbours and accounts, with real processes."""

import multiprocessing
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from services.kit.processes import embedded_postgres, postgres_folder, postgres_programs
from services.kit.processes.embedded_postgres import (
    AlreadyRunning,
    CannotStart,
    EmbeddedPostgres,
    connect_url,
)
from tests.waiting import until

AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can be another account")

# A supervisor that starts the server, says so and waits to be killed.
SUPERVISOR = """
import signal, sys
from pathlib import Path
from services.kit.processes.embedded_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
signal.pause()
"""


@pytest.fixture
def folder(memory_folder: Path) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=memory_folder))
    yield made
    _end_whatever_runs(made)
    shutil.rmtree(made)


def _end_whatever_runs(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    try:
        server.start()
    except CannotStart:
        return
    server.stop()


@pytest.fixture
def server(folder: Path) -> Iterator[EmbeddedPostgres]:
    made = EmbeddedPostgres(folder)
    made.start()
    yield made
    made.stop()


def _value(url: str, query: str) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]


def _write_rows(url: str, n: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT * FROM generate_series(1, %s)", (n,))


def _supervisor(folder: Path) -> tuple[subprocess.Popen[str], int]:
    child = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    return child, int(child.stdout.readline())


def _kill_supervisor(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()


def test_start_makes_a_durable_server_for_us_alone(server: EmbeddedPostgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert _value(server.url, f"SHOW {setting}") == "on"
    assert _value(server.url, "SHOW shared_buffers") == "128MB"
    assert _value(server.url, "SHOW listen_addresses") == "127.0.0.1"
    head, _, tail = server.url.partition("@")
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        psycopg.connect(f"{head}x@{tail}")


def test_stop_and_start_keeps_the_data(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    _write_rows(server.url, 10)
    server.stop()
    assert connect_url(folder) is None
    server.start()
    assert _value(server.url, "SELECT count(*) FROM kept") == 10
    server.stop()


def test_secrets_and_data_are_closed_to_others(server: EmbeddedPostgres, folder: Path) -> None:
    assert (folder / "postgres" / "password").stat().st_mode & 0o777 == 0o600
    assert (folder / "postgres" / "cluster").stat().st_mode & 0o777 == 0o700
    assert (folder / "postgres" / "server.log").stat().st_mode & 0o777 == 0o600


def test_ensure_running_brings_a_killed_server_back_on_its_port(server: EmbeddedPostgres) -> None:
    _write_rows(server.url, 1000)
    url, pid = server.url, server.pid
    assert not server.ensure_running()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while not server.ensure_running():
        assert time.monotonic() < deadline
    assert server.url == url
    assert server.pid != pid
    assert _value(url, "SELECT count(*) FROM kept") == 1000


def test_ensure_running_ends_what_a_killed_server_left_busy(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_folder, "LEFTOVER_SECONDS", 1.0)
    with psycopg.connect(server.url, autocommit=True) as busy:
        pid = busy.info.backend_pid
        os.kill(pid, signal.SIGSTOP)  # it cannot notice that its postmaster is gone
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        until(server.ensure_running)
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()
    assert _value(server.url, "SELECT 1") == 1


def test_start_refuses_a_folder_that_is_held(folder: Path) -> None:
    child, _ = _supervisor(folder)
    with pytest.raises(AlreadyRunning, match=rf"Process {child.pid} .*SECONDLOOK_DATA_DIR"):
        EmbeddedPostgres(folder).start()
    _kill_supervisor(child)


def test_start_takes_over_the_server_of_a_killed_supervisor(folder: Path) -> None:
    child, pid = _supervisor(folder)
    url = connect_url(folder)
    assert url is not None
    _write_rows(url, 10)
    _kill_supervisor(child)
    server = EmbeddedPostgres(folder)
    server.start()
    assert server.pid == pid
    assert _value(server.url, "SELECT count(*) FROM kept") == 10
    server.stop()
    assert connect_url(folder) is None


def test_start_recovers_when_server_and_supervisor_were_killed(folder: Path) -> None:
    child, pid = _supervisor(folder)
    url = connect_url(folder)
    assert url is not None
    _write_rows(url, 10)
    os.kill(pid, signal.SIGKILL)
    _kill_supervisor(child)
    server = EmbeddedPostgres(folder)
    server.start()
    assert _value(server.url, "SELECT count(*) FROM kept") == 10
    server.stop()


def test_start_ignores_a_pid_that_is_somebody_elses_now(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    assert connect_url(folder) is None
    server.start()
    assert server.pid != os.getpid()
    server.stop()


def test_start_replaces_a_half_made_cluster(folder: Path) -> None:
    half = folder / "postgres" / "cluster.new" / "base"
    half.mkdir(parents=True)
    server = EmbeddedPostgres(folder)
    server.start()
    assert not half.exists()
    server.stop()


def test_start_names_another_major_version(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    (folder / "postgres" / "cluster" / "PG_VERSION").write_text("17\n")
    with pytest.raises(CannotStart, match=r"written by PostgreSQL 17; .* brings PostgreSQL 18"):
        EmbeddedPostgres(folder).start()


def test_start_reads_the_operators_own_settings(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    (folder / "postgres" / "local.conf").write_text("work_mem = '9MB'\n")
    server.start()
    assert _value(server.url, "SHOW work_mem") == "9MB"
    server.stop()


def test_start_repeats_what_the_server_said(folder: Path) -> None:
    with pytest.raises(CannotStart, match="no_such_setting"):
        EmbeddedPostgres(folder, options={"no_such_setting": "1"}).start()
    assert connect_url(folder) is None


def test_log_is_bounded(server: EmbeddedPostgres, folder: Path) -> None:
    log = folder / "postgres" / "server.log"
    with log.open("ab") as file:
        file.write(b"x" * (embedded_postgres._LOG_BYTES + 1))
    server.ensure_running()
    assert log.stat().st_size < 1000
    assert log.with_suffix(".log.1").stat().st_size > embedded_postgres._LOG_BYTES


@only_root
def test_root_runs_the_server_as_another_account(server: EmbeddedPostgres, folder: Path) -> None:
    owner = Path(f"/proc/{server.pid}").stat().st_uid
    assert owner != 0
    assert pwd.getpwuid(owner).pw_name in ("postgres", "nobody")
    status = Path(f"/proc/{server.pid}/status").read_text()
    groups = next(line for line in status.splitlines() if line.startswith("Groups:"))
    assert "0" not in groups.split()[1:]


@only_root
def test_root_keeps_the_owner_of_an_existing_cluster(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    server = EmbeddedPostgres(folder)
    server.start()
    _write_rows(server.url, 3)
    server.stop()
    for path in ((cluster := folder / "postgres" / "cluster"), *cluster.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid == nobody.pw_uid
    assert _value(server.url, "SELECT count(*) FROM kept") == 3
    server.stop()


@only_root
def test_root_takes_a_cluster_that_was_restored_as_root(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    _write_rows(server.url, 3)
    server.stop()
    for path in ((cluster := folder / "postgres" / "cluster"), *cluster.rglob("*")):
        os.chown(path, 0, 0)
    server.start()
    assert _value(server.url, "SELECT count(*) FROM kept") == 3
    server.stop()


@only_root
def test_root_names_the_parent_that_keeps_the_account_out(folder: Path) -> None:
    inner = folder / "inner"
    inner.mkdir()
    with pytest.raises(CannotStart, match=rf"cannot pass through {folder}\. Set SECONDLOOK_DATA_"):
        EmbeddedPostgres(inner).start()
    assert folder.stat().st_mode & 0o777 == 0o700


@only_root
def test_root_copies_programs_that_the_account_cannot_reach(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = postgres_programs.package_folder()
    hidden = tmp_path / "site-packages"  # pytest's folders are closed to other accounts
    hidden.mkdir()
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, hidden / source.name)
    monkeypatch.setattr(postgres_programs, "package_folder", lambda: hidden / package.name)
    server = EmbeddedPostgres(folder)
    server.start()
    assert folder in Path(f"/proc/{server.pid}/exe").readlink().parents
    server.stop()
    server.start()
    server.stop()


def _start_and_stop_as(uid: int, gid: int, folder: Path) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    server = EmbeddedPostgres(folder)
    server.start()
    assert _value(server.url, "SELECT 1") == 1
    server.stop()


@only_root
def test_an_ordinary_account_runs_the_server_itself(folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    # Forked, because that account may not reach the interpreter to start it.
    child = multiprocessing.get_context("fork").Process(
        target=_start_and_stop_as, args=(nobody.pw_uid, nobody.pw_gid, folder)
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "postgres").stat().st_uid == nobody.pw_uid
