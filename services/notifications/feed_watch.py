"""Long polls for verdicts: however many tools wait, one query looks for all of them."""

import asyncio
import time
from collections.abc import Mapping

import structlog
from starlette.concurrency import run_in_threadpool

from services.kit.database import Database
from services.notifications import feed

_log = structlog.get_logger()

_LOOK_SECONDS = 0.4
_CAPACITY = 4_000


class FeedWatch:
    """Lets up to `capacity` long polls wait; those beyond are answered at once."""

    def __init__(self, database: Database, *, capacity: int = _CAPACITY) -> None:
        self._database, self._capacity = database, capacity
        self._waiting = 0
        self._closing = False
        self._reading: asyncio.Task[Mapping[str, int]] | None = None

    def close(self) -> None:
        """Answer whoever waits, soon: the server is going down, and the tool asks the next one."""
        self._closing = True

    async def passed(self, tool: str, place: int, *, wait: float) -> bool:
        """Whether the tool's feed goes beyond a place, or comes to within so many seconds."""
        if self._waiting >= self._capacity:
            return False
        deadline = time.monotonic() + wait
        self._waiting += 1
        try:
            while not self._closing and (left := deadline - time.monotonic()) > 0:
                if (await self._ends()).get(tool, 0) > place:
                    return True
                await asyncio.sleep(min(left, _LOOK_SECONDS))
            return False
        finally:
            self._waiting -= 1

    async def _ends(self) -> Mapping[str, int]:
        """Where the feeds end; whoever asks within a moment shares the one read."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._reading)

    async def _look(self) -> Mapping[str, int]:
        try:
            found = await run_in_threadpool(self._read)
        except Exception as error:  # whoever waits goes on waiting, and asks again
            _log.warning("verdicts cannot be read just now", error=str(error)[:200])
            found = {}
        await asyncio.sleep(_LOOK_SECONDS / 2)
        return found

    def _read(self) -> Mapping[str, int]:
        with self._database.transaction() as session:
            return feed.ends(session)
