"""The queue between the tool and the threads: order, batches and counts."""

import threading
from pathlib import Path

import pytest
from secondlook import _backlog, _spill
from secondlook._backlog import BATCH_BYTES, BATCH_ITEMS, Backlog
from secondlook._spill import Segment, Spill


def a_backlog(folder: Path | None = None, *, most_items: int = 1_000) -> Backlog:
    spill = Spill(folder, most_bytes=10**6, adopt=True) if folder else None
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
    assert again.items == [b"b", b"c", b"d"]
    backlog.settle(batch, 2, sent=True)
    assert backlog.tally().sent == 1, "a batch that was taken back counts no more"
    backlog.settle(again, 3, sent=True)
    assert backlog.tally().sent == 4


def test_a_segment_that_is_reclaimed_is_taken_again(tmp_path: Path) -> None:
    before = a_backlog(tmp_path)
    put(before, "a", "b")
    before.stop()
    before.spill_rest()
    backlog = a_backlog(tmp_path)
    put(backlog, "c")
    assert backlog.take() is not None
    backlog.reclaim()
    again = backlog.take()
    assert again is not None
    assert again.items == [b"a", b"b"]
    backlog.settle(again, 1, sent=True)
    backlog.reclaim()
    assert backlog.tally().spilled == 0
    assert list(tmp_path.glob("held-*/*.jsonl")) == []
    rest = backlog.take()
    assert rest is not None
    assert rest.items == [b"b", b"c"]


def test_newer_events_wait_while_older_ones_go_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing, may_go_on = threading.Event(), threading.Event()
    write = _spill.write

    def slowly(path: Path, lines: list[bytes]) -> Segment:
        writing.set()
        assert may_go_on.wait(10)
        return write(path, lines)

    monkeypatch.setattr(_backlog._spill, "write", slowly)
    backlog = a_backlog(tmp_path, most_items=4)
    spiller = threading.Thread(target=backlog.spill_excess)
    spiller.start()
    put(backlog, "a", "b", "c")
    assert writing.wait(10)
    put(backlog, "d")
    threading.Timer(0.3, may_go_on.set).start()
    first = backlog.take()
    backlog.stop()
    spiller.join()
    assert first is not None
    assert first.items == [b"a", b"b", b"c"]


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
