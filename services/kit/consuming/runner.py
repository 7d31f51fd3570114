"""Runs a handler over the event log so that every record has its effect exactly once.

One poll is one transaction: the handler's rows and the move of the offsets are committed
together or not at all. What goes wrong is told apart:

* infrastructure (the database or the log is away): roll back, wait, read again, for ever;
* a record that the handler cannot take: found by halving, and given to `reject` in the
  same transaction as the move past it, so that nothing is dropped and nothing spins;
* a record that kills the process: found because starts are counted beside the offsets;
* one for which alone the server ends the transaction: rejected after some tries.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy.orm import Session

from services.kit.consuming.counters import Counters
from services.kit.consuming.cutting import halves, singles
from services.kit.consuming.handler import CRASHED, SLOW, UNREADABLE, Handler
from services.kit.consuming.offsets import Move, Offsets, Place, StaleOffset
from services.kit.consuming.retrying import (
    TRIES,
    Interrupted,
    Paused,
    as_record,
    must_retry,
    reason_of,
)
from services.kit.consuming.slowness import SlowPartitions
from services.kit.consuming.watchdog import Watchdog
from services.kit.database import Database, took_too_long
from services.kit.eventlog.port import Batch, EventLog, Partition, Record

_POLL_SECONDS = 1.0
_NAG_SECONDS = 60.0
_LEAST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_SLICE = 0.05

_log = structlog.get_logger()


class Consumer:
    """One member of the group of consumers called `name`.

    `should_pause` is asked every `look_seconds` and before a record is rejected; from a yes to
    the next no, nothing is read. `hang_seconds` is how long the loop may stand still before the
    process is ended.
    """

    def __init__(
        self,
        name: str,
        topics: Sequence[str],
        *,
        log: EventLog,
        database: Database,
        handler: Handler[Any],
        batch_records: int = 2000,
        should_pause: Callable[[Session], bool] | None = None,
        counters: Counters | None = None,
        hang_seconds: float = 60.0,
        look_seconds: float = 4.0,
    ) -> None:
        self.name = name
        self._topics = list(topics)
        self._log, self._database, self._handler = log, database, handler
        self._batch_records = batch_records
        self._slow = SlowPartitions(batch_records)
        self._should_pause = should_pause
        self._counters = counters or Counters()
        self._watchdog = Watchdog(hang_seconds)
        self._offsets = Offsets(name)
        self._member = log.consumer(f"secondlook-{name}", self._topics, start_at=self._start_at)
        self._expected: dict[Partition, int] = {}
        self._careful: dict[Partition, int] = {}
        self._counted: dict[Partition, int] = {}
        self._tried: dict[Partition, int] = {}
        self._paused = False
        self._failures = 0
        self._look_seconds, self._look_at = look_seconds, 0.0
        self._nagged_at: dict[Partition, float] = {}
        self._stopping = False

    # --- the loop -------------------------------------------------------------------------

    def run(self) -> None:
        """Consume until `stop` is called. Returns with everything closed but what was given."""
        with self._watchdog:
            try:
                while not self._stopping:
                    self._watchdog.tick()
                    self._turn()
            finally:
                self._member.close()

    def stop(self) -> None:
        """End `run` after the transaction at hand. May be called from a signal handler."""
        # A plain attribute: an Event's lock could be held by the very code interrupted.
        self._stopping = True

    @property
    def last_tick(self) -> float:
        """When the loop last went round, on the monotonic clock."""
        return self._watchdog.last_tick

    def _turn(self) -> None:
        """Poll and process once; whatever goes wrong is waited out."""
        batches: Sequence[Batch] = ()
        try:
            self._look_after()
            batches = self._member.poll(max_records=self._batch_records, timeout=_POLL_SECONDS)
            if self._take(batches):
                self._failures = 0
            elif batches:
                self._back_off()
        except Exception as error:  # the loop's top: nothing may end it
            self._put_off(batches, error)
            self._back_off()

    def _put_off(self, batches: Sequence[Batch], error: Exception) -> None:
        """Read again what was rolled back."""
        reason = reason_of(error)
        said = {"consumer": self.name, "reason": reason, "error": str(error)[:300]}
        if reason == "unexpected":
            _log.error("batch failed", **said, exc_info=error)
        else:
            _log.warning("batch put off", **said)
        if isinstance(error, Paused):
            self._pause()
        self._counters.retried(reason)
        self._member.rewind([batch.partition for batch in batches])

    def _back_off(self) -> None:
        """Wait, longer each time, not in step with others that failed alike."""
        longest = min(_LONGEST_PAUSE, _LEAST_PAUSE * 2 ** min(self._failures, 10))
        self._failures += 1
        self._sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            self._watchdog.tick()
            time.sleep(min(_SLICE, left))

    # --- where to start -------------------------------------------------------------------

    def _start_at(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Answer the log from the stored offsets, and count this process' starts."""
        # Read before the bounds: who moves on in between has not come past an end.
        with self._database.transaction() as session:
            seen = self._offsets.current(session)
        held = self._log.bounds(sorted({partition.topic for partition in partitions}))
        bounds = {partition: held[partition] for partition in partitions if partition in held}
        with self._database.transaction() as session:
            known = self._offsets.current(session)
            # A rewind is no new start: only a new process at the same place is.
            new = [p for p in bounds if self._counted.get(p) != known.get(p, bounds[p].first)]
            places = self._offsets.load(session, bounds, starting=new, seen=seen)
        for partition in partitions:
            self._expected.pop(partition, None)
        for partition, place in places.items():
            self._begin(partition, place)
        self._nag_about([p for p in partitions if p not in places])
        return {partition: place.next_offset for partition, place in places.items()}

    def _begin(self, partition: Partition, place: Place) -> None:
        self._counted[partition] = self._expected[partition] = place.next_offset
        self._careful.pop(partition, None)
        if place.careful:
            self._careful[partition] = place.next_offset + self._batch_records
            _log.warning(
                "one record at a time after crashes",
                consumer=self.name,
                partition=partition,
                offset=place.next_offset,
            )

    def _nag_about(self, cut_off: Sequence[Partition]) -> None:
        """Say every minute which partitions stand still, since only a person can help."""
        now = time.monotonic()
        for partition in cut_off:
            if now >= self._nagged_at.get(partition, 0.0):
                self._nagged_at[partition] = now + _NAG_SECONDS
                _log.error(
                    "partition ends before the stored offset; rewind it with `secondlook replay`",
                    consumer=self.name,
                    partition=partition,
                )

    # --- every few seconds -----------------------------------------------------------------

    def _look_after(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._look_seconds
        with self._database.transaction() as session:
            stored = self._offsets.current(session)
            pause = self._asks_to_pause(session)
        if pause:
            self._pause()
        elif self._paused:
            self._resume()
        assigned = self._member.assigned()
        self._member.rewind([p for p in assigned if self._moved(p, stored)])

    def _moved(self, partition: Partition, stored: Mapping[Partition, int]) -> bool:
        """Whether somebody moved the stored offset since we last did: a replay, say."""
        if partition in self._expected:
            return self._expected[partition] != stored.get(partition)
        return partition in self._counted or partition in self._nagged_at

    def _asks_to_pause(self, session: Session) -> bool:
        return self._should_pause is not None and self._should_pause(session)

    def _pause(self) -> None:
        """Read nothing, of partitions that came since either, until nobody asks to pause."""
        if not self._paused:
            _log.error("paused: too much is rejected; see `dead-letters list`", consumer=self.name)
        self._paused = True
        self._counters.paused(True)
        self._member.pause(sorted(self._member.assigned()))

    def _resume(self) -> None:
        self._paused = False
        self._counters.paused(False)
        self._member.resume(sorted(self._member.assigned()))

    # --- processing -----------------------------------------------------------------------

    def _take(self, batches: Sequence[Batch]) -> bool:
        """Take what can be; answers whether anything was. What took too long is read again."""
        suspected = [batch for batch in batches if self._slow.suspects(batch)]
        trusted = [batch for batch in batches if not self._slow.suspects(batch)]
        taken = [self._take_in_time(trusted)] if trusted else []
        return any([*taken, *map(self._take_in_parts, suspected)])

    def _take_in_parts(self, batch: Batch) -> bool:
        """Take a batch of a partition in which something took too long, by itself."""
        taken = False
        for part in self._slow.parts(batch):
            if self._stopping:
                raise Interrupted
            if self._slow.is_hopeless(part):
                self._reject(part, SLOW, careful=part.partition in self._careful)
            elif not self._take_in_time([part]):
                break
            taken = True
        return taken

    def _take_in_time(self, batches: Sequence[Batch]) -> bool:
        """Take these; False where they took too long, and are read again."""
        try:
            self._take_together(batches)
        except Exception as error:
            if not took_too_long(error):
                raise
            self._slow.note(batches)
            self._put_off(batches, error)
            return False
        return True

    def _take_together(self, batches: Sequence[Batch]) -> None:
        together = [batch for batch in batches if batch.partition not in self._careful]
        if together:
            self._process(together)
        for batch in batches:
            if batch.partition in self._careful:
                self._process_carefully(batch)

    def _process(self, batches: Sequence[Batch], *, careful: bool = False) -> None:
        """Commit these batches together or, where the handler cannot, in ever smaller parts."""
        error = self._try(batches, careful=careful)
        if error is None:
            return
        parts = halves(batches)
        for part in parts:
            self._process(part)
        if not parts:
            self._process_last(batches[0], error, careful=careful)

    def _process_last(self, batch: Batch, error: Exception, *, careful: bool) -> None:
        """Try a single record again, and reject it when it fails again."""
        if not batch.records:
            raise error
        again = self._try([batch], careful=careful)
        if again is not None:
            self._reject(batch, again, careful=careful)

    def _try(self, batches: Sequence[Batch], *, careful: bool) -> Exception | None:
        """Commit, or answer what the handler raised if that speaks of the records."""
        self._watchdog.tick()
        try:
            self._commit(batches, careful=careful)
        except Exception as error:
            if must_retry(error):
                raise
            return error
        return None

    def _process_carefully(self, batch: Batch) -> None:
        """Commit record by record, so that one which kills the process can be told."""
        partition = batch.partition
        for single in singles(batch):
            if self._stopping:
                raise Interrupted
            careful = single.next_offset < self._careful[partition]
            if single.records and self._is_hopeless(single):
                self._reject(single, CRASHED, careful=careful)
            else:
                self._process([single], careful=careful)
        if batch.next_offset >= self._careful[partition]:
            del self._careful[partition]

    def _is_hopeless(self, single: Batch) -> bool:
        """Count that this record is tried alone, once in the life of this process."""
        if self._tried.get(single.partition) == single.first_offset:
            return False
        with self._database.transaction() as session:
            tries = self._offsets.count_try(session, single.partition, single.first_offset)
        if tries > TRIES:
            return True
        self._tried[single.partition] = single.first_offset
        return False

    def _commit(self, batches: Sequence[Batch], *, careful: bool) -> None:
        """The one transaction: offsets first, so that a stale reader does no work in vain."""
        readable = [batch for batch in batches if batch.records]
        prepared = [self._prepare(record) for batch in readable for record in batch.records]
        with self._database.transaction() as session:
            self._advance(session, batches, careful=careful)
            self._keep_unreadable(session, batches)
            if readable:
                self._handler(session, readable, prepared)
        self._note_progress(batches)
        if readable:
            self._slow.passed()

    def _prepare(self, record: Record) -> Any:
        # Each is a step of its own: many that cost much are not a loop that hangs.
        self._watchdog.tick()
        return self._handler.prepare(record)

    def _keep_unreadable(self, session: Session, batches: Sequence[Batch]) -> None:
        for batch in batches:
            for item in batch.unreadable:
                self._handler.reject(session, as_record(batch.partition, item), UNREADABLE)

    def _reject(self, batch: Batch, error: Exception | str, *, careful: bool) -> None:
        """Move past a single record while keeping it where a person finds it."""
        record = batch.records[0]
        with self._database.transaction() as session:
            if self._asks_to_pause(session):
                raise Paused
            self._advance(session, [batch], careful=careful)
            self._keep_unreadable(session, [batch])
            self._handler.reject(session, record, error)
        reason = error if isinstance(error, str) else type(error).__name__
        place = {"partition": batch.partition, "offset": record.offset}
        _log.warning("record rejected", consumer=self.name, **place, reason=reason)
        self._counters.rejected(batch.partition, reason)
        self._note_progress([batch])

    def _advance(self, session: Session, batches: Sequence[Batch], *, careful: bool) -> None:
        moves = [
            Move(b.partition, b.first_offset, b.next_offset, len(b.records) + len(b.unreadable))
            for b in batches
        ]
        try:
            self._offsets.advance(session, moves, careful=careful)
        except StaleOffset:
            for batch in batches:
                self._counters.stale(batch.partition)
            raise

    def _note_progress(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            self._expected[batch.partition] = batch.next_offset
            self._slow.begin(batch.partition, batch.next_offset)
            self._counters.committed(batch.partition, len(batch.records))
            for _ in batch.unreadable:
                self._counters.rejected(batch.partition, UNREADABLE)
        self._member.publish_offsets({batch.partition: batch.next_offset for batch in batches})
