"""A member of a Kafka consumer group whose positions are kept elsewhere."""

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any, cast

from kafka import ConsumerRebalanceListener, KafkaConsumer
from kafka import TopicPartition as KafkaPartition
from kafka import errors as kafka_errors
from kafka.structs import MemberState, OffsetAndMetadata

from services.kit.eventlog.kafka_clients import CLOSE_MS, close_client, reachable
from services.kit.eventlog.port import (
    Batch,
    Bounds,
    LogUnavailable,
    OffsetOutOfRange,
    Partition,
    Record,
    StartAt,
    Unreadable,
)

_SLICE = 0.1
_PATIENCE = 10.0
_PUBLISH_SECONDS = 1.0

_log = logging.getLogger(__name__)


class _Assignment(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes which partitions we hold. Its methods run on the client's network thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Partition] = set()
        self._fresh: set[Partition] = set()
        self._new: set[Partition] = set()
        self.client: Any = None

    def on_partitions_assigned(self, assigned: Sequence[KafkaPartition]) -> None:
        """Keep the partitions still until the polling thread has set their positions."""
        self.client.pause(*assigned)
        for partition in assigned:
            # Any position keeps the client from asking Kafka for one of its own.
            self.client.seek(partition, 0)
        with self._lock:
            names = {Partition(*partition) for partition in assigned}
            self._held |= names
            self._fresh |= names
            self._new |= names

    def on_partitions_revoked(self, revoked: Sequence[KafkaPartition]) -> None:
        """Forget them; whoever comes next begins where our last transaction ended."""
        with self._lock:
            names = {Partition(*partition) for partition in revoked}
            self._held -= names
            self._fresh -= names

    def on_partitions_lost(self, lost: Sequence[KafkaPartition]) -> None:
        """The same: our transactions are guarded by the stored offset, not by Kafka."""
        self.on_partitions_revoked(lost)

    def held(self) -> frozenset[Partition]:
        """The partitions that are ours now."""
        with self._lock:
            return frozenset(self._held)

    def fresh(self) -> list[Partition]:
        """Those of them whose start has to be asked."""
        with self._lock:
            return sorted(self._fresh)

    def take_new(self) -> set[Partition]:
        """Those that were given to us since this was last asked."""
        with self._lock:
            taken, self._new = self._new, set()
            return taken

    def ask_again(self, partitions: Sequence[Partition]) -> None:
        """Count partitions as fresh again, those that are still ours."""
        with self._lock:
            self._fresh |= self._held.intersection(partitions)

    def answered(self, partitions: Sequence[Partition]) -> None:
        """Their start is known, or refused."""
        with self._lock:
            self._fresh.difference_update(partitions)


class KafkaLogConsumer:
    """A member of a Kafka consumer group whose positions are kept elsewhere."""

    def __init__(
        self,
        make: Callable[[ConsumerRebalanceListener], KafkaConsumer],
        bounds_of: Callable[[Sequence[Partition]], Mapping[Partition, Bounds]],
        start_at: StartAt,
        stall_seconds: float,
    ) -> None:
        self._make, self._bounds_of, self._start_at = make, bounds_of, start_at
        self._stall_seconds = stall_seconds
        self._client: Any = None
        self._assignment = _Assignment()
        self._positions: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._unpublished: dict[Partition, int] = {}
        self._published_at = 0.0
        self._moved_at = time.monotonic()
        self._failing_since: float | None = None

    def poll(self, *, max_records: int, timeout: float) -> list[Batch]:
        """Ask the client in short slices, so that a new assignment is served at once."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                batches = self._poll_once(max_records, deadline - time.monotonic())
                self._failing_since = None
            except (kafka_errors.OffsetOutOfRangeError, kafka_errors.LogTruncationError) as error:
                raise self._out_of_range(error) from error
            except kafka_errors.KafkaError as error:
                self._bear(error)
                batches = []
            if batches:
                self._moved_at = time.monotonic()
                return batches
            self._watch_for_stall()
            if time.monotonic() >= deadline:
                return []

    def _poll_once(self, max_records: int, left: float) -> list[Batch]:
        client = self._connected()
        self._ask_starts(client)
        self._publish(client)
        self._set_flow([Partition(*name) for name in client.budget.renew()], still=False)
        _finish_join(client)
        wait = ceil(max(0.0, min(_SLICE, left)) * 1000)
        found = client.poll(timeout_ms=wait, max_records=max_records)
        unasked = set(self._assignment.fresh())
        batches = []
        for partition in sorted(self._assignment.held() - unasked):
            start = self._positions.get(partition)
            name = KafkaPartition(*partition)
            end = None if start is None else self._position(client, name)
            if start is not None and end is not None and end > start:
                batches.append(_batch(partition, start, end, found.get(name, ())))
                self._positions[partition] = end
        return batches

    def _connected(self) -> Any:
        if self._client is None:
            self._assignment = _Assignment()
            self._positions.clear()
            self._paused.clear()
            with reachable():
                client = self._make(self._assignment)
            self._assignment.client = self._client = client
            self._moved_at = time.monotonic()
        return self._client

    def _ask_starts(self, client: Any) -> None:
        """Ask where to start; whoever gets no answer is not read until rewound."""
        self._paused -= self._assignment.take_new()
        asked = self._assignment.fresh()
        if not asked:
            return
        starts = self._start_at(asked)
        for partition in asked:
            self._positions.pop(partition, None)
        self._assignment.answered(asked)
        for partition, start in starts.items():
            # It may have been taken from us while we asked: then it is fresh again, or gone.
            with contextlib.suppress(ValueError, KeyError):
                client.seek(KafkaPartition(*partition), start)
                self._positions[partition] = start
                if partition not in self._paused:
                    client.resume(KafkaPartition(*partition))

    @staticmethod
    def _position(client: Any, name: KafkaPartition) -> int | None:
        try:
            return cast("int | None", client.position(name, timeout_ms=0))
        except (kafka_errors.IllegalStateError, KeyError):  # just taken from us
            return None

    def _out_of_range(self, error: Any) -> OffsetOutOfRange:
        told = getattr(error, "divergent_offsets", None) or error.args[0]
        partition = Partition(*next(iter(told)))
        offset = self._positions.get(partition, -1)
        self.rewind([partition])
        return OffsetOutOfRange(partition, offset, self._bounds_of([partition])[partition])

    def _bear(self, error: Exception) -> None:
        """Give the client time to recover by itself, then make another one and say so."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        _log.debug("polling Kafka: %r", error)
        if now - self._failing_since > _PATIENCE or self._client is None:
            self._failing_since = None
            self._drop()
            raise LogUnavailable(f"Kafka: {error!r}") from error
        time.sleep(_SLICE)

    def _watch_for_stall(self) -> None:
        """Make the client anew when it has got nothing for long although there is something."""
        quiet = time.monotonic() - self._moved_at
        if self._client is None or quiet < self._stall_seconds:
            return
        try:
            behind = any(n for p, n in self.lag().items() if p not in self._paused)
        except LogUnavailable:
            return  # no wonder then
        outside = self._client.group_metadata().state != MemberState.STABLE
        if behind or (outside and quiet > 3 * self._stall_seconds):
            _log.warning("nothing came from Kafka for %.0f s: joining the group anew", quiet)
            self._drop()
        elif not outside:
            self._moved_at = time.monotonic()

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            close_client(client, timeout_ms=CLOSE_MS)

    def assigned(self) -> frozenset[Partition]:
        """The partitions that this member reads now."""
        return self._assignment.held()

    def rewind(self, partitions: Sequence[Partition]) -> None:
        """Forget how far these were read; the next poll asks `start_at` again."""
        self._set_flow(partitions, still=True)
        for partition in partitions:
            self._positions.pop(partition, None)
        self._assignment.ask_again(partitions)

    def pause(self, partitions: Sequence[Partition]) -> None:
        """Deliver nothing from these until `resume`."""
        self._paused.update(self._assignment.held().intersection(partitions))
        self._set_flow(partitions, still=True)

    def resume(self, partitions: Sequence[Partition]) -> None:
        """End a pause."""
        self._paused.difference_update(partitions)
        self._set_flow(partitions, still=False)

    def _set_flow(self, partitions: Sequence[Partition], *, still: bool) -> None:
        """Pause or resume at the client; what is paused or has no start yet stays still."""
        for partition in self._assignment.held().intersection(partitions):
            flows = partition in self._positions and partition not in self._paused
            with contextlib.suppress(KeyError):  # just taken from us
                if still:
                    self._client.pause(KafkaPartition(*partition))
                elif flows:
                    self._client.resume(KafkaPartition(*partition))

    def lag(self) -> dict[Partition, int]:
        """Records not yet delivered, per assigned partition whose position is known."""
        known = dict(self._positions)
        bounds = self._bounds_of(sorted(known))
        return {partition: bounds[partition].next - at for partition, at in known.items()}

    def publish_offsets(self, offsets: Mapping[Partition, int]) -> None:
        """Show these positions to Kafka's lag tools, at most once a second."""
        self._unpublished.update(offsets)

    def _publish(self, client: Any) -> None:
        now = time.monotonic()
        if not self._unpublished or now - self._published_at < _PUBLISH_SECONDS:
            return
        self._published_at = now
        client.commit_async(self._taken_unpublished(), callback=_note_publication)

    def _taken_unpublished(self) -> dict[KafkaPartition, OffsetAndMetadata]:
        taken, self._unpublished = self._unpublished, {}
        return {KafkaPartition(*name): OffsetAndMetadata(at) for name, at in taken.items()}

    def close(self) -> None:
        """Leave the group, having shown the last positions if that is quick."""
        if self._client is not None and self._unpublished:
            try:
                self._client.commit(self._taken_unpublished(), timeout_ms=CLOSE_MS // 2)
            except kafka_errors.KafkaError as error:
                _log.debug("publishing offsets: %r", error)
        self._drop()


def _finish_join(client: KafkaConsumer) -> None:
    """Have the next poll wait for a join that goes on.

    A leader that joins again because partitions came to be known does not remember that
    it has to: when the join ends between two polls, what it was given would be lost, and
    with it the heartbeat.
    """
    if client.group_metadata().state == MemberState.REBALANCING:
        client._coordinator.request_rejoin()  # noqa: SLF001 - there is no other way in


def _note_publication(_: object, answer: object) -> None:
    if isinstance(answer, Exception):
        _log.debug("publishing offsets: %r", answer)


def _batch(
    partition: Partition, start: int, end: int, found: Sequence[Record | Unreadable]
) -> Batch:
    records = [item for item in found if isinstance(item, Record)]
    # A batch comes whole, although we may have been through some of it.
    unreadable = [
        replace(item, first=max(item.first, start))
        for item in found
        if isinstance(item, Unreadable)
    ]
    return Batch(partition, start, end, records, unreadable)
