"""The queue between the tool and the sender: order, batches, counts, and what is on disk."""

import os
import threading
from pathlib import Path

import pytest
from secondlook._backlog import BATCH_BYTES, BATCH_ITEMS, Backlog
from secondlook._spill import Spill


def a_backlog(
    folder: Path | None = None, *, most_items: int = 1_000, most_bytes_on_disk: int = 10**6
) -> Backlog:
    spill = Spill(folder, most_bytes=most_bytes_on_disk, adopt=True) if folder else None
    return Backlog(most_items=most_items, most_bytes=10**8, spill=spill)


def put(backlog: Backlog, *names: str) -> None:
    for name in names:
        assert backlog.put(name.encode())


def test_a_batch_is_bounded_in_events_and_bytes() -> None:
    backlog = a_backlog()
    for _ in range(BATCH_ITEMS + 1):
        backlog.put(b"x")
    batch = backlog.take()
    assert batch is not None
    assert len(batch.items) == BATCH_ITEMS
    backlog.settle(batch, BATCH_ITEMS, sent=True)
    for _ in range(3):
        backlog.put(b"y" * (BATCH_BYTES // 2))
    batch = backlog.take()
    assert batch is not None
    assert [len(item) for item in batch.items] == [1, BATCH_BYTES // 2]


def test_an_event_larger_than_a_batch_is_a_batch() -> None:
    backlog = a_backlog()
    backlog.put(b"x" * (BATCH_BYTES + 1))
    batch = backlog.take()
    assert batch is not None
    assert len(batch.items) == 1


def drain(backlog: Backlog) -> list[bytes]:
    """Send everything there is, in order."""
    sent: list[bytes] = []
    while backlog.tally().queued + backlog.tally().spilled:
        batch = backlog.take()
        assert batch is not None
        sent += batch.left
        backlog.settle(batch, len(batch.left), sent=True)
    return sent


def on_disk(folder: Path) -> list[bytes]:
    files = sorted(folder.glob("held-*/*.jsonl"))
    return [line for file in files for line in file.read_bytes().split(b"\n")[:-1]]


def test_what_is_reclaimed_is_taken_again_first() -> None:
    backlog = a_backlog()
    put(backlog, "a", "b", "c")
    batch = backlog.take()
    assert batch is not None
    put(backlog, "d")
    backlog.settle(batch, 1, sent=True)
    backlog.reclaim()
    again = backlog.take()
    assert again is not None
    assert again.left == [b"b", b"c"]
    backlog.settle(again, 2, sent=True)
    assert drain(backlog) == [b"d"]
    assert backlog.tally().sent == 4


def test_a_batch_that_was_taken_back_counts_no_more() -> None:
    backlog = a_backlog()
    put(backlog, "a")
    batch = backlog.take()
    assert batch is not None
    backlog.reclaim()
    backlog.settle(batch, 1, sent=True)
    assert (backlog.tally().sent, backlog.tally().queued) == (0, 1)


def test_every_event_is_on_disk_as_soon_as_it_is_queued(tmp_path: Path) -> None:
    backlog = a_backlog(tmp_path)
    for number in range(BATCH_ITEMS + 3):
        put(backlog, f"e{number}")
        assert on_disk(tmp_path)[-1] == f"e{number}".encode()
    assert len(on_disk(tmp_path)) == BATCH_ITEMS + 3
    assert drain(backlog) == [f"e{number}".encode() for number in range(BATCH_ITEMS + 3)]
    assert on_disk(tmp_path) == []


def test_beyond_memory_events_are_on_disk_alone_and_keep_their_order(tmp_path: Path) -> None:
    backlog = a_backlog(tmp_path, most_items=5)
    names = [f"e{number}" for number in range(12)]
    put(backlog, *names)
    assert (backlog.tally().queued, backlog.tally().spilled) == (5, 7)
    batch = backlog.take()
    assert batch is not None
    put(backlog, "late")
    assert (backlog.tally().queued, backlog.tally().spilled) == (6, 7)
    backlog.settle(batch, 5, sent=True)
    assert drain(backlog) == [name.encode() for name in [*names[5:], "late"]]
    assert on_disk(tmp_path) == []


def test_a_backlog_that_was_never_closed_is_found_by_the_next(tmp_path: Path) -> None:
    before = a_backlog(tmp_path)
    put(before, "a", "b")
    before._spill.release()  # as the end of the process would
    (file,) = tmp_path.glob("held-*/*.jsonl")
    file.write_bytes(file.read_bytes() + b'{"cut short')
    backlog = a_backlog(tmp_path)
    put(backlog, "c")
    assert backlog.tally().taken == 3
    assert drain(backlog) == [b"a", b"b", b"c"]


def test_a_segment_that_is_partly_sent_keeps_what_is_left(tmp_path: Path) -> None:
    backlog = a_backlog(tmp_path)
    put(backlog, "a", "b", "c")
    batch = backlog.take()
    assert batch is not None
    backlog.settle(batch, 1, sent=True)
    backlog.stop()
    backlog.close()
    assert backlog.tally().spilled == 2
    assert on_disk(tmp_path) == [b"b", b"c"]
    assert drain(a_backlog(tmp_path)) == [b"b", b"c"]


def test_a_full_disk_leaves_memory_and_drops_what_finds_no_room(tmp_path: Path) -> None:
    backlog = a_backlog(tmp_path, most_items=3, most_bytes_on_disk=4)
    put(backlog, "a", "b")
    put(backlog, "c")
    assert not backlog.put(b"d")
    assert on_disk(tmp_path) == [b"a", b"b"]
    backlog.stop()
    backlog.close()
    assert (backlog.tally().spilled, backlog.tally().dropped) == (2, 2)


def test_a_line_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segment = Spill(tmp_path, most_bytes=10**6, adopt=False).begin(b"first")
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, raw: write(handle, raw[:3]))
    with pytest.raises(OSError, match="no room"):
        segment.append(b"second")
    monkeypatch.undo()
    segment.append(b"third")
    assert segment.read() == [b"first", b"third"]


def test_a_file_that_is_gone_is_counted_and_holds_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = a_backlog(tmp_path)
    put(before, "a", "b")
    before.stop()
    before.close()
    backlog = a_backlog(tmp_path)
    for file in tmp_path.glob("held-*/*.jsonl"):
        file.unlink()
    put(backlog, "c")
    assert drain(backlog) == [b"c"]
    assert backlog.tally().dropped == 2
    assert "2 spilled events can't be read" in caplog.text


def test_a_stopped_backlog_hands_out_and_takes_nothing() -> None:
    backlog = a_backlog()
    backlog.stop()
    assert backlog.take() is None
    assert not backlog.put(b"a")
    assert backlog.tally().dropped == 1
    assert not backlog.pause(60)


def test_a_flush_cuts_a_pause_short() -> None:
    backlog = a_backlog()
    put(backlog, "a")
    paused = threading.Thread(target=backlog.pause, args=(60,))
    paused.start()
    while paused.is_alive():
        backlog.flush(0.01)
    assert backlog.tally().queued == 1
