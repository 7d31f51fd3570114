"""A consumer that dies, hangs or is frozen leaves one effect a record."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.logs import running
from tests.kit.rig import Rig
from tests.waiting import throughout, until


def test_kill_in_a_transaction_leaves_one_effect(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARKER", str(tmp_path / "killed"))
    rig.append("1", "once", "2")
    assert rig.run_to_death() == -signal.SIGKILL
    assert rig.effects() == []
    child = rig.command()
    until(rig.done(3))
    rig.stop(child)
    assert rig.effects() == ["1", "once", "2"]


def dies(child: "subprocess.Popen[str]", done: Callable[[], bool]) -> bool:
    """Wait until all is done or a consumer was killed; answers whether it was killed."""
    until(lambda: done() or child.poll() is not None)
    if child.poll() is None:
        return False
    assert child.returncode == -signal.SIGKILL
    child.communicate()
    return True


@pytest.mark.slow
def test_record_that_kills_is_rejected_after_three_tries_alone(rig: Rig) -> None:
    rig.append("1", "2", "die", "3", "4")
    deaths = 0
    child = rig.command()
    while dies(child, rig.done(5)):
        deaths += 1
        assert deaths < 10
        child = rig.command()
    rig.stop(child)
    assert rig.effects() == ["1", "2", "3", "4"]
    assert rig.rows("SELECT place, reason FROM rejected") == [(2, "crashed_consumer")]
    # Twice together with its neighbours, then three times alone.
    assert deaths == 5


def test_starts_without_work_are_not_counted(rig: Rig) -> None:
    for _ in range(8):
        with running(rig.consumer()):
            until(lambda: rig.rows("SELECT 1 FROM consumer_offset"))
    rig.append("1")
    with running(rig.consumer()):
        until(rig.done(1))
    assert rig.rows("SELECT attempts FROM consumer_offset") == [0]
    assert rig.effects() == ["1"]


def test_stop_ends_a_process_quickly(rig: Rig) -> None:
    child = rig.command()
    rig.append("1")
    until(rig.done(1))
    # A fraction of a second at rest; the suite shares its cores with others.
    assert rig.stop(child) < 10


def test_watchdog_ends_a_process_that_hangs(rig: Rig) -> None:
    rig.append("hang")
    child = rig.command("2")
    before = time.monotonic()
    child.communicate(timeout=30)
    assert child.returncode == 70
    assert time.monotonic() - before < 20


def test_reading_many_costly_records_is_no_hang(rig: Rig) -> None:
    rig.append(*(f"costly {n}" for n in range(8)))
    child = rig.command("2")
    until(rig.done(8))
    assert child.poll() is None
    rig.stop(child)
    assert rig.rows("SELECT attempts FROM consumer_offset") == [0]


def test_frozen_process_goes_on_when_it_is_thawed(rig: Rig) -> None:
    child = rig.command("2")
    rig.append("1")
    until(rig.done(1))
    child.send_signal(signal.SIGSTOP)
    throughout(3, lambda: child.poll() is None)  # longer than a process may stand still
    child.send_signal(signal.SIGCONT)
    rig.append("2")
    until(rig.done(2))
    rig.stop(child)
    assert rig.effects() == ["1", "2"]
