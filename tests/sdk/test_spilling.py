"""What can't be sent waits on disk, and outlives the process."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from secondlook import Secondlook

Eventually = Callable[..., None]

CHILD = """
import os, sys, threading
from secondlook import Secondlook
url, key, folder, first, count, end = sys.argv[1:]
look = Secondlook(url, key, spill_dir=folder or None, buffer_size=3_000)
for number in range(int(first), int(first) + int(count)):
    look.output(f"t-{number}", kind="category", value="refund", confidence=0.9)
print("recorded", flush=True)
if end == "close":
    look.close(0.1)
elif end == "wait":
    threading.Event().wait(60)  # to be killed
"""


def child(server: Any, folder: Path | str, first: int, count: int, end: str) -> Any:
    """A tool in a process of its own; `end` is `close`, `exit` or `wait` (to be killed)."""
    arguments = [server.url, server.key, str(folder), str(first), str(count), end]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments], stdout=subprocess.PIPE, text=True
    )


def names(count: int) -> list[str]:
    return [f"t-{number}" for number in range(count)]


def record(look: Secondlook, first: int, count: int) -> None:
    for number in range(first, first + count):
        look.output(f"t-{number}", kind="category", value="refund", confidence=0.9)


def test_an_outage_longer_than_the_buffer_loses_nothing_and_keeps_the_order(
    down: Any, tmp_path: Path, eventually: Eventually
) -> None:
    with down.client(spill_dir=tmp_path, buffer_size=400) as look:
        record(look, 0, 3_000)
        assert look.stats().spilled >= 2_000
        assert look.stats().dropped == 0
        down.start()
        eventually(lambda: look.stats().sent == 3_000)
        stats = look.stats()
        assert (stats.taken, stats.queued, stats.spilled) == (3_000, 0, 0)
    assert down.ids == names(3_000)
    assert list(tmp_path.glob("held-*")) == []


def test_closing_in_an_outage_keeps_everything_for_the_next_start(
    down: Any, tmp_path: Path, eventually: Eventually
) -> None:
    look = down.client(spill_dir=tmp_path)
    record(look, 0, 1_200)
    assert not look.close(0.1)
    assert (look.stats().spilled, look.stats().dropped) == (1_200, 0)
    down.start()
    with down.client(spill_dir=tmp_path) as again:
        record(again, 1_200, 300)
        eventually(lambda: again.stats().sent == 1_500)
        assert again.stats().taken == 1_500
    assert down.ids == names(1_500)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_is_killed_loses_nothing(
    down: Any, tmp_path: Path, number: signal.Signals
) -> None:
    running = child(down, tmp_path, 0, 3_000, "wait")
    try:
        assert running.stdout.readline() == "recorded\n"
    finally:
        running.send_signal(number)
        running.wait()
        running.stdout.close()
    down.start()
    with down.client(spill_dir=tmp_path) as look:
        assert look.flush(10)
    assert down.ids == names(3_000)


def test_a_process_that_is_killed_while_the_server_hangs_loses_nothing(
    server: Any, tmp_path: Path, eventually: Eventually
) -> None:
    server.script = ["hang"] * 9
    running = child(server, tmp_path, 0, 100, "wait")
    try:
        assert running.stdout.readline() == "recorded\n"
        eventually(lambda: bool(server.posted_at))
    finally:
        running.terminate()
        running.wait()
        running.stdout.close()
    server.script = []
    with server.client(spill_dir=tmp_path) as look:
        assert look.flush(10)
    assert server.ids == names(100)


def test_a_resend_cut_short_is_begun_again(down: Any, tmp_path: Path) -> None:
    look = down.client(spill_dir=tmp_path)
    record(look, 0, 600)
    look.close(0.1)
    down.script = ["drop", "cut", 503]
    down.start()
    with down.client(spill_dir=tmp_path) as again:
        assert again.flush(15)
    assert set(down.ids) == set(names(600))


def test_folders_of_running_processes_are_left_alone(down: Any, tmp_path: Path) -> None:
    first = down.client(spill_dir=tmp_path, buffer_size=100)
    record(first, 0, 120)
    second = down.client(spill_dir=tmp_path)
    assert second.stats().taken == 0
    second.close(0.1)
    first.close(0.1)
    assert first.stats().spilled == 120 - first.stats().dropped


ORPHAN = """
import os, sys, threading
from secondlook import Secondlook

look = Secondlook(sys.argv[1], sys.argv[2], spill_dir=sys.argv[3], buffer_size=3_000)
for number in range(3_000):
    look.output(f"t-{number}", kind="category", value="refund", confidence=0.9)
if os.fork() == 0:
    print(os.getpid(), flush=True)
threading.Event().wait(60)  # to be killed
"""


def test_a_child_that_outlives_its_parent_does_not_hold_its_folder(
    down: Any, tmp_path: Path
) -> None:
    running = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ORPHAN, down.url, down.key, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
    )
    child = int(running.stdout.readline())
    running.kill()
    running.wait()
    running.stdout.close()
    try:
        look = down.client(spill_dir=tmp_path)
        assert look.stats().spilled > 0
        look.close(0)
    finally:
        os.kill(child, signal.SIGKILL)


def test_the_folder_is_bounded(
    down: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = down.client(spill_dir=tmp_path)
    monkeypatch.setattr(look._engine._spill, "_most_bytes", 300_000)
    record(look, 0, 2_000)
    look.close(0.1)
    stats = look.stats()
    assert stats.dropped + stats.spilled == 2_000
    assert 0 < sum(f.stat().st_size for f in tmp_path.glob("held-*/*.jsonl")) <= 300_000
    assert "as full as it may get" in caplog.text


def test_a_folder_that_can_not_be_written_to_costs_only_what_finds_no_room(
    down: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    look = down.client(spill_dir=tmp_path / "gone", buffer_size=100)
    (tmp_path / "gone").rmdir()
    record(look, 0, 300)
    look.close(0.1)
    stats = look.stats()
    assert (stats.spilled, stats.dropped) == (0, 300)
    assert "can't be written to" in caplog.text


def test_a_damaged_file_costs_only_its_damaged_lines(
    down: Any, tmp_path: Path, eventually: Eventually
) -> None:
    look = down.client(spill_dir=tmp_path)
    record(look, 0, 4)
    look.close(0.1)
    (segment,) = tmp_path.glob("held-*/*.jsonl")
    lines = segment.read_bytes().split(b"\n")
    segment.write_bytes(b"\n".join([lines[0], b"{damaged", *lines[2:]]))
    down.start()
    with down.client(spill_dir=tmp_path) as again:
        eventually(lambda: again.stats().spilled == 0)
        assert (again.stats().sent, again.stats().refused) == (3, 1)
    assert down.ids == ["t-0", "t-2", "t-3"]


def test_the_end_of_the_interpreter_sends_what_is_left(server: Any) -> None:
    running = child(server, "", 0, 300, "exit")
    assert running.wait(20) == 0
    running.stdout.close()
    assert server.ids == names(300)


def test_the_end_of_the_interpreter_in_an_outage_spills(down: Any, tmp_path: Path) -> None:
    running = child(down, tmp_path, 0, 300, "close")
    assert running.wait(20) == 0
    running.stdout.close()
    lines = b"".join(path.read_bytes() for path in sorted(tmp_path.glob("held-*/*.jsonl")))
    assert lines.count(b"\n") == 300


FORK = """
import multiprocessing, os, sys
from secondlook import Secondlook

look = Secondlook(sys.argv[1], sys.argv[2], spill_dir=sys.argv[3] or None)
assert look.wait_for_policy()

def work(first):
    for number in range(first, first + 100):
        look.output(f"t-{number}", kind="category", value="refund", confidence=0.9)

work(0)
fork = multiprocessing.get_context("fork")
processes = [fork.Process(target=work, args=(first,)) for first in (100, 200)]
[process.start() for process in processes]
pid = os.fork()
if pid == 0:
    work(300)
    sys.exit(0 if look.close() and look.stats().sent == 100 else 1)
status = os.waitpid(pid, 0)[1]
[process.join() for process in processes]
work(400)
assert look.close()
assert look.stats().sent == 200, look.stats()
sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.parametrize("with_folder", [False, True])
def test_forked_children_send_their_own_and_only_their_own(
    server: Any, tmp_path: Path, with_folder: bool
) -> None:
    folder = str(tmp_path) if with_folder else ""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, server.url, server.key, folder],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert sorted(server.ids) == sorted(names(500))


def test_many_threads_record_at_once(server: Any) -> None:
    with server.client() as look:
        threads = [
            threading.Thread(target=record, args=(look, first, 500))
            for first in range(0, 4_000, 500)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert look.flush(10)
    assert sorted(server.ids) == sorted(names(4_000))


def test_the_folder_is_for_this_account_alone(down: Any, tmp_path: Path) -> None:
    look = down.client(spill_dir=tmp_path / "events")
    record(look, 0, 1)
    look.close(0.1)
    assert (tmp_path / "events").stat().st_mode & 0o077 == 0
