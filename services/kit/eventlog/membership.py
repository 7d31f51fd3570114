"""Who shares the work of a consumer group of the embedded log.

Every member writes a heartbeat row and works out its own share from the members that live,
so there is no coordinator. Two members may hold a partition for a moment; that costs one of
them a rolled back transaction and never a wrong count, because offsets are compare-and-set.
"""

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

import psycopg

from services.kit.eventlog.port import LogUnavailable, Partition
from services.kit.processes.existence import exists

HEARTBEAT_SECONDS = 2.0
EXPIRY_SECONDS = 10
# A loop that has not asked for records this long is stuck: its partitions go to others.
STUCK_SECONDS = 60.0

_BEAT = """
    WITH beat AS (
         INSERT INTO log_member (consumer_group, member) VALUES (%(group)s, %(member)s)
             ON CONFLICT (consumer_group, member) DO UPDATE SET heartbeat_at = clock_timestamp())
    SELECT member FROM log_member
     WHERE consumer_group = %(group)s
       AND heartbeat_at > clock_timestamp() - make_interval(secs => %(expiry)s)
"""
_SWEEP = """
    DELETE FROM log_member WHERE heartbeat_at < clock_timestamp() - interval '1 hour'
"""

_log = logging.getLogger(__name__)


class View(NamedTuple):
    """The live members and the partitions to share among them."""

    members: Sequence[str]
    partitions: Mapping[Partition, int]


def share_of(
    member: str, members: Sequence[str], partitions: Sequence[Partition]
) -> frozenset[Partition]:
    """The partitions of one member; with equal arguments all members agree on all shares."""
    everyone = sorted({member, *members})
    return frozenset(partitions[everyone.index(member) :: len(everyone)])


class Connected(Protocol):
    """What a member needs of its log."""

    def connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """A connection that commits each statement."""
        ...

    def partition_ids(self, topics: Sequence[str]) -> dict[Partition, int]:
        """The partitions that these topics have now, with the ids of their rows."""
        ...


class Membership:
    """One member's heartbeat, on a thread of its own so that a long transaction keeps it."""

    def __init__(self, log: Connected, group: str, topics: Sequence[str]) -> None:
        self._machine = _machine()
        self.member = f"{self._machine}/{os.getpid()}/{uuid4().hex[:8]}"
        self._log = log
        self._group = group
        self._topics = list(topics)
        self._view: View | None = None
        self._asked_at = time.monotonic()
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._keep_beating, name="heartbeat", daemon=True)

    def view(self) -> View:
        """The group as of the last heartbeat; the first call joins.

        Raises:
            LogUnavailable: joining failed; ask again.
        """
        self._asked_at = time.monotonic()
        if self._view is None:
            self._sweep()
            self._beat()
            self._thread.start()
        assert self._view is not None
        return self._view

    def leave(self) -> None:
        """Stop beating and let the others share what was ours at once."""
        self._left.set()
        if self._thread.is_alive():
            self._thread.join()
        with contextlib.suppress(LogUnavailable):
            self._remove([self.member])

    def _remove(self, members: Sequence[str]) -> None:
        with self._log.connection() as connection:
            connection.execute("DELETE FROM log_member WHERE member = ANY(%s)", (list(members),))

    def _sweep(self) -> None:
        with self._log.connection() as connection:
            connection.execute(_SWEEP)

    def _beat(self) -> None:
        values = {"group": self._group, "member": self.member, "expiry": EXPIRY_SECONDS}
        with self._log.connection() as connection:
            members = [row[0] for row in connection.execute(_BEAT, values).fetchall()]
        # The dead of this machine need not be waited for.
        if gone := [member for member in members if _is_gone(member, self._machine)]:
            self._remove(gone)
        alive = [member for member in members if member not in gone]
        self._view = View(alive, self._log.partition_ids(self._topics))

    def _keep_beating(self) -> None:
        while not self._left.wait(HEARTBEAT_SECONDS):
            if time.monotonic() - self._asked_at > STUCK_SECONDS:
                continue
            try:
                self._beat()
            except LogUnavailable as error:
                _log.debug("no heartbeat: %s", error)


def _machine() -> str:
    """A name for everything that sees the same processes as we do: a machine, a container."""
    try:
        processes = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        processes = 0
    return f"{socket.gethostname()}/{processes}"


def _is_gone(member: str, machine: str) -> bool:
    """Whether a member's process, being one that we would see, is not there."""
    where, pid, _ = member.rsplit("/", 2)
    return where == machine and not exists(int(pid))
