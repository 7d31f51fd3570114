"""What is still to be sent: in memory, and on disk where a folder is given.

What is on disk is older than what is in memory, so that sending disk first keeps the order.
"""

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from secondlook import _spill
from secondlook._spill import Segment, Spill
from secondlook._warn import Warner, logger

BATCH_ITEMS = 500
BATCH_BYTES = 1_048_576
LINGER_SECONDS = 0.2
_DISK_RETRY_SECONDS = 5.0


@dataclass(slots=True, eq=False)
class Batch:
    """What is sent together, in order: events without their source."""

    items: list[bytes]
    segment: Segment | None = None
    """The file that they came from."""
    done: int = 0
    """How many of them, from the first, were sent or refused."""

    @property
    def left(self) -> list[bytes]:
        """Those that are still to be sent."""
        return self.items[self.done :]


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
    """A bounded queue for any number of writers, one sender and one spiller."""

    def __init__(self, *, most_items: int, most_bytes: int, spill: Spill | None) -> None:
        """Hold at most so many events and bytes in memory."""
        self._most_items = most_items
        self._most_bytes = most_bytes
        self._spill = spill
        self._changed = threading.Condition()
        self._memory: deque[bytes] = deque()
        self._bytes = 0
        self._oldest_at = 0.0
        self._moving = False
        self._flying: Batch | None = None
        self._hurrying = 0
        self._hurries = 0
        self._stopped = False
        self._warner = Warner()
        waiting = spill.count if spill else 0
        self._tally = Tally(taken=waiting, spilled=waiting)

    # --- the tool's side -------------------------------------------------------------------

    def put(self, item: bytes) -> bool:
        """Queue an event; False, and counted, where there is no room. Waits for nothing."""
        with self._changed:
            self._tally.taken += 1
            room = not self._stopped and self._has_room(len(item))
            if room:
                self._append(item)
            else:
                self._tally.dropped += 1
        if not room:
            self._warner.warn("the buffer is full or closed: events are being dropped")
        return room

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
            self._hurrying += 1
            self._hurries += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(self._is_empty, timeout)
            finally:
                self._hurrying -= 1

    def stop(self) -> None:
        """Take nothing more, and let the sender and the spiller end."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    # --- the sender's side -----------------------------------------------------------------

    def take(self) -> Batch | None:
        """The next batch, oldest first; waits for one. None once stopped."""
        while batch := self._next():
            if batch.segment:
                self._load(batch, batch.segment)
            if batch.items:
                break
        return batch

    def settle(self, batch: Batch, count: int, *, sent: bool) -> None:
        """Count the next events of a batch as sent, or as refused."""
        with self._changed:
            if self._flying is not batch:
                return
            batch.done += count
            self._tally.sent += count if sent else 0
            self._tally.refused += 0 if sent else count
            self._leave(batch, count)
            if not batch.left:
                self._forget(batch)
            self._changed.notify_all()

    def _next(self) -> Batch | None:
        with self._changed:
            while not self._stopped:
                segment = self._spill.take() if self._spill and not self._moving else None
                wait = self._seconds_until_due()
                if segment or (wait is not None and wait <= 0):
                    self._flying = Batch([] if segment else self._pop(), segment)
                    return self._flying
                self._changed.wait(wait)
            return None

    def _load(self, batch: Batch, segment: Segment) -> None:
        """Read a batch from its file; without the lock, for disks can be slow."""
        items = _spill.read(segment)
        with self._changed:
            lost = segment.count - len(items)
            self._tally.spilled -= lost
            self._tally.dropped += lost
            batch.items = items
            if not items:
                self._forget(batch)
        if lost:
            logger.warning("%d spilled events are gone from disk", lost)

    def reclaim(self) -> None:
        """Take what is left of the batch in flight from the sender; it becomes the oldest again."""
        with self._changed:
            batch, self._flying = self._flying, None
            if not batch:
                return
            if batch.segment and self._spill and not batch.done:
                self._spill.put_back(batch.segment)
                return
            self._prepend(batch.left)
            if batch.segment:
                self._tally.spilled -= len(batch.left)
                self._tally.queued += len(batch.left)
                _spill.forget(batch.segment.path)

    def pause(self, seconds: float, *, may_hurry: bool = True) -> bool:
        """Wait before another try; False once stopped. A new flush cuts the wait short."""
        with self._changed:
            before = self._hurries
            self._changed.wait_for(
                lambda: self._stopped or (may_hurry and self._hurries > before), seconds
            )
            return not self._stopped

    # --- the spiller's side ----------------------------------------------------------------

    def spill_excess(self) -> None:
        """Move the oldest events to disk whenever memory is half full, until stopped."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopped or self._is_half_full())
                if self._stopped:
                    return
            if not self._move_to_disk():
                self.pause(_DISK_RETRY_SECONDS, may_hurry=False)

    def spill_rest(self) -> None:
        """Move all that is left to disk; count as dropped what finds no room there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._moving, _DISK_RETRY_SECONDS)
        self.reclaim()
        while self._memory and self._move_to_disk():
            pass
        with self._changed:
            left = len(self._pop_all())
            self._tally.queued -= left
            self._tally.dropped += left
        if left:
            logger.warning("closed before %d events could be sent: they are dropped", left)
        if self._spill:
            self._spill.close()

    def _move_to_disk(self) -> bool:
        """Move one batch; whether it is on disk now."""
        if not self._spill:
            return False
        with self._changed:
            items = self._pop()
            self._moving = True
        segment = self._write(self._spill, items)
        with self._changed:
            self._moving = False
            if segment:
                self._spill.add(segment)
                self._tally.queued -= len(items)
                self._tally.spilled += len(items)
            else:
                self._prepend(items)
            self._changed.notify_all()
        return segment is not None

    def _write(self, spill: Spill, items: list[bytes]) -> Segment | None:
        if not spill.has_room(sum(map(len, items))):
            self._warner.warn("the spill folder is as full as it may get")
            return None
        try:
            return _spill.write(spill.name_next(), items)
        except OSError as error:
            self._warner.warn("the spill folder can't be written to: %s", error)
            return None

    # --- with the lock held ----------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        return len(self._memory) < self._most_items and self._bytes + size <= self._most_bytes

    def _is_half_full(self) -> bool:
        return 2 * len(self._memory) > self._most_items or 2 * self._bytes > self._most_bytes

    def _is_empty(self) -> bool:
        return self._tally.queued == 0 and self._tally.spilled == 0

    def _is_due(self) -> bool:
        return len(self._memory) >= BATCH_ITEMS or self._bytes >= BATCH_BYTES

    def _append(self, item: bytes) -> None:
        before = (self._is_due(), self._is_half_full())
        if not self._memory:
            self._oldest_at = time.monotonic()
        self._memory.append(item)
        self._bytes += len(item)
        self._tally.queued += 1
        # Waking the other threads costs more than all the rest, so only for what they wait for.
        if len(self._memory) == 1 or (self._is_due(), self._is_half_full()) != before:
            self._changed.notify_all()

    def _prepend(self, items: Sequence[bytes]) -> None:
        self._memory.extendleft(reversed(items))
        self._bytes += sum(map(len, items))
        self._oldest_at = 0.0

    def _seconds_until_due(self) -> float | None:
        """How long the memory may still gather a batch; None where there is none to send."""
        if not self._memory or self._moving:
            return None
        if self._hurrying or self._is_due():
            return 0.0
        return self._oldest_at + LINGER_SECONDS - time.monotonic()

    def _pop(self) -> list[bytes]:
        """The oldest events in memory, as many as one batch takes; at least one."""
        items: list[bytes] = []
        size = 0
        while self._memory and len(items) < BATCH_ITEMS:
            size += len(self._memory[0])
            if items and size > BATCH_BYTES:
                break
            items.append(self._memory.popleft())
        self._bytes -= sum(map(len, items))
        self._oldest_at = 0.0
        return items

    def _pop_all(self) -> list[bytes]:
        items = list(self._memory)
        self._memory.clear()
        self._bytes = 0
        return items

    def _leave(self, batch: Batch, count: int) -> None:
        if batch.segment:
            self._tally.spilled -= count
        else:
            self._tally.queued -= count

    def _forget(self, batch: Batch) -> None:
        self._flying = None
        if batch.segment:
            _spill.forget(batch.segment.path)
