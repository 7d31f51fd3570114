"""One tool's bad day at the door: who sends what cannot be used, or more than can be stored, is
told to stop for a while, and all others go on."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.concurrency import run_in_threadpool

from services.kit.consuming import dead_letters
from services.kit.database import Database
from services.kit.errors import TooMany

_KEPT_SECONDS = 2.0
_RETRY_AFTER = 60

# About two seconds of work. Who has sent less than this lately is not why it waits.
_BACKLOG = 20_000
_MUCH, _LATELY_SECONDS = 5_000, 5.0
_BACKLOG_KEPT_SECONDS = 0.5
_RETRY_SOON = 1

Known = TypeVar("Known")


class _Shared(Generic[Known]):
    """Something read from the database at most so often; whoever asks meanwhile shares it."""

    def __init__(self, read: Callable[[], Known], *, seconds: float) -> None:
        self._read, self._seconds = read, seconds
        self._asked_at = -seconds
        self._asking: asyncio.Task[Known] | None = None

    async def value(self) -> Known:
        if self._asking is None or time.monotonic() - self._asked_at >= self._seconds:
            if self._asking is None or self._asking.done():
                self._asking = asyncio.ensure_future(run_in_threadpool(self._read))
            await asyncio.shield(self._asking)
            self._asked_at = time.monotonic()
        return await asyncio.shield(self._asking)


class Admission:
    """Turns away tools of which too many records were kept within the hour, refused or parked;
    and, while much waits to be stored, those that sent much just now.

    All others go on. What is known is two seconds old at most.
    """

    def __init__(self, database: Database, *, limit: int, backlog: Callable[[], int]) -> None:
        """`backlog` answers how many records the consumers have not taken yet."""
        self._database, self._limit = database, limit
        self._over = _Shared(self._tools_over_limit, seconds=_KEPT_SECONDS)
        self._backlog = _Shared(backlog, seconds=_BACKLOG_KEPT_SECONDS)
        self._lately: Counter[str] = Counter()
        self._lately_since = time.monotonic()

    async def require(self, tool: str) -> None:
        """Let this tool send; asked before anything of its request is read.

        Raises:
            TooMany: it is over its limit; says what to do. Or more waits to be stored than
                should, and it has sent much of late.
        """
        if tool in await self._over.value():
            raise TooMany(
                f"More than {self._limit:,} events of '{tool}' could not be used within the last"
                " hour, or not by this release. `secondlook dead-letters list` says why: correct"
                " the sender, then retry or discard them.",
                retry_after=_RETRY_AFTER,
            )
        if self._sent_lately(tool) > _MUCH and await self._backlog.value() > _BACKLOG:
            raise TooMany(
                "More comes in of yours than can be stored just now. Try again in a second.",
                retry_after=_RETRY_SOON,
            )

    def count(self, tool: str, entries: int) -> None:
        """Note that so many entries of this tool were taken."""
        self._lately[tool] += entries

    def _sent_lately(self, tool: str) -> int:
        if time.monotonic() - self._lately_since > _LATELY_SECONDS:
            self._lately_since = time.monotonic()
            self._lately.clear()
        return self._lately[tool]

    def _tools_over_limit(self) -> frozenset[str]:
        with self._database.transaction() as session:
            return dead_letters.tools_over_limit(session, limit=self._limit)
