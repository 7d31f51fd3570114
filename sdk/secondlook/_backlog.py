"""What is still to be sent: in memory, and on disk as well where a folder is given.

It is a queue of segments. A segment is what one batch sends; its events are in memory, in a file,
or in both. Each event is written to the file as it is recorded, so that nothing is lost where the
process is killed; memory only saves the reading.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass, replace

from secondlook._spill import SegmentFile, Spill
from secondlook._warn import Warner, logger

BATCH_ITEMS = 500
BATCH_BYTES = 1_048_576
LINGER_SECONDS = 0.2
_DISK_RETRY_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class Segment:
    """Events that are sent together, in order, without their source."""

    items: list[bytes] | None
    """None where they are only in the file, until `Backlog.take` has read them."""
    file: SegmentFile | None
    began_at: float
    size: int = 0
    count: int = 0
    done: int = 0
    """How many of them, from the first, were sent or refused."""
    loaded: bool = False
    """Whether `items` were read from the file for sending, and count as on disk."""

    @property
    def left(self) -> list[bytes]:
        """Those that are still to be sent."""
        return (self.items or [])[self.done :]

    @property
    def is_full(self) -> bool:
        """Whether it is as large as a batch may be."""
        return self.count >= BATCH_ITEMS or self.size >= BATCH_BYTES

    @property
    def in_memory(self) -> bool:
        """Whether its events count as in memory."""
        return self.items is not None and not self.loaded


@dataclass(slots=True)
class Tally:
    """Where everything that was taken is now: `taken` is the sum of the other five."""

    taken: int = 0
    queued: int = 0
    spilled: int = 0
    sent: int = 0
    refused: int = 0
    dropped: int = 0


class Backlog:
    """A bounded queue for any number of writers and one sender."""

    def __init__(self, *, most_items: int, most_bytes: int, spill: Spill | None) -> None:
        """Hold at most so many events and bytes in memory."""
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._spill = spill
        self._changed = threading.Condition()
        found = spill.found if spill else []
        self._segments: deque[Segment] = deque(
            Segment(None, file, 0.0, size=file.size, count=file.count) for file in found
        )
        self._open: Segment | None = None
        self._items = 0
        self._bytes = 0
        self._in_flight: Segment | None = None
        self._flushing = 0
        self._flushes = 0
        self._stopped = False
        self._disk_again_at = 0.0
        self._disk_trouble = ""
        self._warner = Warner()
        waiting = sum(file.count for file in found)
        self._tally = Tally(taken=waiting, spilled=waiting)

    # --- the tool's side -------------------------------------------------------------------

    def put(self, item: bytes) -> bool:
        """Queue an event; False, and counted, where there is no room. Never waits for room."""
        with self._changed:
            self._tally.taken += 1
            kept = not self._stopped and self._append(item)
            if not kept:
                self._tally.dropped += 1
            trouble, self._disk_trouble = self._disk_trouble, ""
        if trouble:
            self._warner.warn("the spill folder can't be written to: %s", trouble)
        if not kept:
            self._warner.warn("the buffer is full or closed: events are being dropped")
        return kept

    def count_dropped(self) -> None:
        """Count an event that was not fit to be queued."""
        with self._changed:
            self._tally.taken += 1
            self._tally.dropped += 1

    def tally(self) -> Tally:
        """The counts at this moment."""
        with self._changed:
            return replace(self._tally)

    def flush(self, timeout: float) -> bool:
        """Wait until all has been sent, at most so many seconds; whether it has."""
        with self._changed:
            self._flushing += 1
            self._flushes += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(self._is_empty, timeout)
            finally:
                self._flushing -= 1

    def stop(self) -> None:
        """Take nothing more, and let the sender end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # --- the sender's side -----------------------------------------------------------------

    def take(self) -> Segment | None:
        """The next batch, oldest first; waits for one. None once stopped."""
        while segment := self._next():
            if segment.items is None:
                self._load(segment)
            if segment.items:
                break
        return segment

    def settle(self, segment: Segment, count: int, *, sent: bool) -> None:
        """Count the next events of a batch as sent, or as refused."""
        with self._changed:
            if self._in_flight is not segment:
                return
            segment.done += count
            self._tally.sent += count if sent else 0
            self._tally.refused += 0 if sent else count
            self._leave(segment, count)
            finished = segment.done == segment.count
            if finished:
                self._forget(segment)
            self._changed.notify_all()
        if finished and segment.file:
            segment.file.remove()

    def reclaim(self) -> None:
        """Take what is left of the batch in flight from the sender; it becomes the oldest again."""
        with self._changed:
            segment, self._in_flight = self._in_flight, None
            if segment:
                self._hold(segment, 1)
                self._segments.appendleft(segment)

    def pause(self, seconds: float, *, until_flush: bool = True) -> bool:
        """Wait before another try; False once stopped. A new flush cuts the wait short."""
        with self._changed:
            before = self._flushes
            self._changed.wait_for(
                lambda: self._stopped or (until_flush and self._flushes > before), seconds
            )
            return not self._stopped

    def sync(self) -> None:
        """Make what is on disk outlive a power cut; for an outage, when it may stay there long."""
        with self._changed:
            files = [s.file for s in (*self._segments, self._in_flight) if s and s.file]
        for file in files:
            file.sync()

    def close(self) -> None:
        """Once stopped: leave what is left on disk for the next start, else count it as dropped."""
        self.reclaim()
        with self._changed:
            self._seal()
            dropped = 0
            while self._segments:
                segment = self._segments.popleft()
                left = segment.count - segment.done
                is_kept = self._keep(segment)
                self._leave(segment, left)
                self._tally.spilled += left if is_kept else 0
                dropped += 0 if is_kept else left
            self._tally.dropped += dropped
        if dropped:
            logger.warning("closed before %d events could be sent: they are dropped", dropped)
        if self._spill:
            self._spill.close()

    def release(self) -> None:
        """In a forked child: close what the parent writes to. Its lock may be held for ever."""
        if self._open and self._open.file:
            self._open.file.seal()

    def _next(self) -> Segment | None:
        with self._changed:
            while not self._stopped:
                wait = self._seconds_until_due()
                if wait is not None and wait <= 0:
                    segment = self._in_flight = self._segments.popleft()
                    self._hold(segment, -1)
                    if segment is self._open:
                        self._seal()
                    return segment
                self._changed.wait(wait)
            return None

    def _load(self, segment: Segment) -> None:
        """Read a batch from its file; without the lock, for disks can be slow."""
        items, why = self._read(segment)
        with self._changed:
            lost = segment.count - len(items)
            self._tally.spilled -= lost
            self._tally.dropped += lost
            segment.items, segment.loaded, segment.count = items, True, len(items)
            if not items:
                self._forget(segment)
        if lost:
            logger.warning("%d spilled events can't be read: %s", lost, why)

    @staticmethod
    def _read(segment: Segment) -> tuple[list[bytes], str]:
        """The events of a segment's file, and why where there are too few."""
        if segment.file is None:
            return [], ""
        try:
            items = segment.file.read()
        except OSError as error:
            return [], str(error)
        if not items:  # a line cut short is all there is
            segment.file.remove()
        return items, "the file was shortened"

    # --- with the lock held ----------------------------------------------------------------

    def _append(self, item: bytes) -> bool:
        """Add an event to the newest segment, or begin one; False where there is no room."""
        in_memory = self._items < self._most_items and self._bytes + len(item) <= self._most_bytes
        segment = self._write(item, in_memory=in_memory)
        if segment is None:
            if not in_memory:
                return False
            segment = self._newest(len(item), in_memory=True, on_disk=False)
            segment = segment or Segment([], None, time.monotonic())
        self._add(segment, item)
        return True

    def _write(self, item: bytes, *, in_memory: bool) -> Segment | None:
        """The newest segment on disk, with the event in its file; None where that can't be."""
        spill = self._spill
        if not spill or time.monotonic() < self._disk_again_at:
            return None
        if not spill.has_room(len(item) + 1):
            self._disk_trouble = "it is as full as it may get"
            return None
        try:
            segment = self._newest(len(item), in_memory=in_memory, on_disk=True)
            if segment and segment.file:
                segment.file.append(item)
            else:
                file = spill.begin(item)
                segment = Segment([] if in_memory else None, file, time.monotonic())
        except OSError as error:
            self._disk_trouble = str(error)
            self._disk_again_at = time.monotonic() + _DISK_RETRY_SECONDS
            self._seal()
            return None
        spill.count_bytes(len(item) + 1)
        return segment

    def _newest(self, size: int, *, in_memory: bool, on_disk: bool) -> Segment | None:
        """The newest segment, where it has room and keeps its events in these places."""
        newest = self._open
        if newest is None or newest.is_full or newest.size + size > BATCH_BYTES:
            return None
        places = (newest.items is not None, newest.file is not None)
        return newest if places == (in_memory, on_disk) else None

    def _add(self, segment: Segment, item: bytes) -> None:
        if segment is not self._open:
            self._seal()
            self._segments.append(segment)
            self._open = segment
        segment.count += 1
        segment.size += len(item)
        if segment.items is not None:
            segment.items.append(item)
            self._items += 1
            self._bytes += len(item)
            self._tally.queued += 1
        else:
            self._tally.spilled += 1
        # Waking the sender costs more than all the rest, so only for what it waits for.
        if segment.count == 1 or segment.is_full:
            self._changed.notify_all()

    def _seal(self) -> None:
        """Let nothing more be added to the newest segment."""
        if self._open and self._open.file:
            self._open.file.seal()
        self._open = None

    def _seconds_until_due(self) -> float | None:
        """How long the oldest segment may still gather events; None where there is none."""
        if not self._segments:
            return None
        oldest = self._segments[0]
        if self._flushing or oldest is not self._open or oldest.is_full:
            return 0.0
        return oldest.began_at + LINGER_SECONDS - time.monotonic()

    def _hold(self, segment: Segment, sign: int) -> None:
        """Count a segment's events as held in memory, or as held no longer."""
        if segment.in_memory:
            self._items += sign * len(segment.left)
            self._bytes += sign * segment.size

    def _keep(self, segment: Segment) -> bool:
        """Leave what is left of a segment on disk; False where it can't be."""
        if segment.file and not segment.done:
            return True
        try:
            if self._spill:
                self._spill.keep(segment.left)
        except OSError as error:
            logger.warning("the spill folder can't be written to: %s", error)
            # A file with what was sent already does no harm: the server knows it again.
            return segment.file is not None
        if segment.file:
            segment.file.remove()
        return self._spill is not None

    def _is_empty(self) -> bool:
        return self._tally.queued == 0 and self._tally.spilled == 0

    def _leave(self, segment: Segment, count: int) -> None:
        if segment.in_memory:
            self._tally.queued -= count
        else:
            self._tally.spilled -= count

    def _forget(self, segment: Segment) -> None:
        self._in_flight = None
        if segment.file and self._spill:
            self._spill.count_bytes(-segment.file.size)
