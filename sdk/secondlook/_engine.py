"""The running parts behind a client: the backlog, the threads, and what becomes of them."""

import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secondlook import keys
from secondlook._backlog import Backlog
from secondlook._http import Connection, HttpTransport, Transport
from secondlook._poller import POLICY_BYTES, WAIT_SECONDS, PolicyPoller
from secondlook._problems import invalid
from secondlook._sender import Sender
from secondlook._spill import Spill
from secondlook._verdicts import WAIT_SECONDS as VERDICT_SECONDS
from secondlook._verdicts import VerdictReader
from secondlook._warn import Warner
from secondlook.events import EVENT_BYTES, Event
from secondlook.gate import GatePolicy

_JOIN_SECONDS = 1.0
_START_AGAIN_SECONDS = 1.0
_SOURCE_BYTES = 100


@dataclass(frozen=True, slots=True)
class Config:
    """How a client is set up. The key is never shown."""

    url: str
    key: str = field(repr=False)
    kafka_bootstrap_servers: str | None = None
    kafka_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    spill_dir: Path | None = None
    spill_bytes: int = 268_435_456
    buffer_size: int = 10_000
    buffer_bytes: int = 67_108_864
    timeout: float = 10.0
    close_timeout: float = 5.0


@dataclass(frozen=True, slots=True)
class Stats:
    """Where the events are, and how fresh the policy is."""

    taken: int
    """Events recorded so far, or found on disk at the start: the sum of the next five."""
    queued: int
    """Waiting in memory; with a spill folder, on disk as well."""
    spilled: int
    """Waiting on disk alone."""
    sent: int
    refused: int
    """The server said that it will never take them; nobody sees them, and the log says why."""
    dropped: int
    """Lost for want of room, or corrections that were not valid."""
    invalid: int
    """Outputs that were not valid; each was recorded as a failed one, where that could be."""
    policy_revision: int | None
    policy_age_seconds: float | None
    """Since the server last said that the policy holds."""


class Engine:
    """Sends what is put in, and holds the policy, until closed."""

    def __init__(self, config: Config) -> None:
        """Start the threads.

        Raises:
            ValueError: the address or the key is malformed.
            OSError: the spill folder can't be used.
            ImportError: Kafka is asked for, and kafka-python is not installed.
        """
        self._config = config
        self._readers: weakref.WeakSet[VerdictReader] = weakref.WeakSet()
        self._starting = threading.Lock()
        self._closed = False
        self._warner = Warner()
        self._build(last=None)
        _live.add(self)
        self._start()

    @property
    def policy(self) -> GatePolicy | None:
        """The newest policy seen."""
        return self._poller.policy

    @property
    def policy_age_seconds(self) -> float | None:
        """Since the server last said that the policy holds; None without a policy."""
        return self._poller.age_seconds

    def put(self, event: Event) -> None:
        """Queue an event; its `source` is put in when it is sent.

        Raises:
            InvalidEvent: it is over 1 MiB.
        """
        item = encode_without_source(event)
        if self._idle:
            self._start()
        self._backlog.put(item)

    def count_dropped(self) -> None:
        """Count an event that is not valid."""
        self._backlog.count_dropped()

    def count_invalid(self) -> None:
        """Count an output that is not valid."""
        with self._starting:
            self._invalid += 1

    def verdicts(self, cursor: str | None) -> VerdictReader:
        """What reads the tool's verdicts from a cursor on, on a connection of its own."""
        config = self._config
        timeout = VERDICT_SECONDS + config.timeout
        asking = Connection(config.url, config.key, timeout=timeout, answer_bytes=POLICY_BYTES)
        reader = VerdictReader(asking, cursor)
        self._readers.add(reader)
        return reader

    def stats(self) -> Stats:
        """The counts at this moment."""
        tally = self._backlog.tally()
        policy = self._poller.policy
        return Stats(
            taken=tally.taken,
            queued=tally.queued,
            spilled=tally.spilled,
            sent=tally.sent,
            refused=tally.refused,
            dropped=tally.dropped,
            invalid=self._invalid,
            policy_revision=policy.revision if policy else None,
            policy_age_seconds=self._poller.age_seconds,
        )

    def wait_for_policy(self, timeout: float) -> bool:
        """Wait until there is a policy, at most so many seconds; whether there is."""
        if self._idle:
            self._start()
        return self._poller.wait(timeout)

    def flush(self, timeout: float) -> bool:
        """Wait until all is sent, at most so many seconds; whether it is."""
        return self._backlog.flush(timeout)

    def close(self, timeout: float | None = None) -> bool:
        """Flush, then stop; what is left goes to disk, else is dropped. Whether all was sent."""
        with self._starting:
            if self._closed:
                return True
            self._closed = True
        _live.discard(self)
        waiting = self._config.close_timeout if timeout is None else timeout
        done = self._backlog.flush(0 if self._idle else waiting)
        for reader in list(self._readers):
            reader.stop()
        self._poller.stop()
        self._backlog.stop()
        self._transport.abort()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS)
        self._backlog.close()
        return done

    def restart_after_fork(self) -> None:
        """Begin anew in a forked child: the parent keeps what was queued, and its threads.

        Nothing here takes a lock or starts a thread: another thread of the parent may have held
        the lock, and the child may never record anything.
        """
        self._backlog.release()
        if self._spill:
            self._spill.release()
        self._starting = threading.Lock()
        self._build(last=self._poller)

    def _build(self, *, last: PolicyPoller | None) -> None:
        config = self._config
        key_hash = keys.key_hash(config.key)
        cache = config.spill_dir / "policy.json" if config.spill_dir else None
        asking = Connection(
            config.url,
            config.key,
            timeout=WAIT_SECONDS + config.timeout,
            answer_bytes=POLICY_BYTES,
        )
        self._poller = PolicyPoller(asking, key_hash, last=last, cache=cache)
        self._spill = self._open_spill(adopt=last is None)
        self._backlog = Backlog(
            most_items=config.buffer_size, most_bytes=config.buffer_bytes, spill=self._spill
        )
        self._transport = _transport(config)
        sender = Sender(self._backlog, self._transport, lambda: self._poller.source)
        self._invalid = 0
        self._idle: list[Callable[[], None]] = [self._poller.run, sender.run]
        self._threads: list[threading.Thread] = []
        self._start_again_at = 0.0

    def _open_spill(self, *, adopt: bool) -> Spill | None:
        """The spill folder; what earlier processes left there is for one that starts anew."""
        config = self._config
        if not config.spill_dir:
            return None
        try:
            return Spill(config.spill_dir, most_bytes=config.spill_bytes, adopt=adopt)
        except OSError as error:
            if adopt:
                raise
            self._warner.warn("a forked process has no spill folder: %s", error)
            return None

    def _start(self) -> None:
        """Start what does not run yet. Where no thread can start now, a later event tries again."""
        if not self._starting.acquire(blocking=False):
            return
        try:
            while self._idle and not self._closed and time.monotonic() >= self._start_again_at:
                thread = threading.Thread(target=self._idle[0], name="secondlook", daemon=True)
                thread.start()
                self._threads.append(thread)
                self._idle.pop(0)
            _close_at_exit()
        except RuntimeError as error:
            self._start_again_at = time.monotonic() + _START_AGAIN_SECONDS
            self._warner.warn("nothing can be sent just now: %s", error)
        finally:
            self._starting.release()


def encode_without_source(event: Event) -> bytes:
    """An event as it is queued.

    Raises:
        InvalidEvent: it is over 1 MiB.
    """
    item = event.model_dump_json(exclude={"source"}, exclude_none=True).encode()
    if len(item) > EVENT_BYTES - _SOURCE_BYTES:
        raise invalid((), "it is over 1 MiB", "Shorten its texts.")
    return item


def _transport(config: Config) -> Transport:
    if not config.kafka_bootstrap_servers:
        return HttpTransport(config.url, config.key, timeout=config.timeout)
    from secondlook._kafka import KafkaTransport  # needs the extra

    return KafkaTransport(config.kafka_bootstrap_servers, config.kafka_options)


_live: "weakref.WeakSet[Engine]" = weakref.WeakSet()


def _close_all() -> None:
    for engine in list(_live):
        engine.close()


def _restart_all_after_fork() -> None:
    for engine in list(_live):
        engine.restart_after_fork()


def _close_at_exit() -> None:
    """A child of `multiprocessing` runs no exit handlers but those of its own registry."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if util and process and process.parent_process():
        util.Finalize(None, _close_all, exitpriority=0)


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_after_fork)
