"""One tool's bad day at the door: who sends what cannot be used is told to stop for a while."""

import asyncio
import time

from starlette.concurrency import run_in_threadpool

from services.kit.consuming import dead_letters
from services.kit.database import Database
from services.kit.errors import TooMany

_KEPT_SECONDS = 2.0
_RETRY_AFTER = 60


class Admission:
    """Turns away tools of which too many records were kept within the hour, refused or parked.

    All others go on. What is known is two seconds old at most; whoever asks meanwhile shares
    the one read.
    """

    def __init__(self, database: Database, *, limit: int) -> None:
        self._database, self._limit = database, limit
        self._over: frozenset[str] = frozenset()
        self._asked_at = -_KEPT_SECONDS
        self._asking: asyncio.Task[frozenset[str]] | None = None

    async def require(self, tool: str) -> None:
        """Let this tool send.

        Raises:
            TooMany: it is over its limit; says what to do.
        """
        if time.monotonic() - self._asked_at >= _KEPT_SECONDS:
            await self._ask()
        if tool in self._over:
            raise TooMany(
                f"More than {self._limit:,} events of '{tool}' could not be used within the last"
                " hour, or not by this release. `secondlook dead-letters list` says why: correct"
                " the sender, then retry or discard them.",
                retry_after=_RETRY_AFTER,
            )

    async def _ask(self) -> None:
        if self._asking is None or self._asking.done():
            self._asking = asyncio.ensure_future(run_in_threadpool(self._read))
        self._over = await asyncio.shield(self._asking)
        self._asked_at = time.monotonic()

    def _read(self) -> frozenset[str]:
        with self._database.transaction() as session:
            return dead_letters.tools_over_limit(session, limit=self._limit)
