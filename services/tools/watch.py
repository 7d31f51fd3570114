"""Long polls for tools' policies: thousands wait for a change at the price of one query."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import structlog
from starlette.concurrency import run_in_threadpool

from services.kit.database import Database
from services.tools.queries import ToolCache, ToolInfo

_log = structlog.get_logger()

_WATCH_SECONDS = 0.4
_CAPACITY = 4_000
_TOLD_AT_ONCE = 20


class Watched(NamedTuple):
    """A tool as it is now. `full`: it was not waited for, since too many wait already."""

    tool: ToolInfo
    full: bool = False


class PolicyWatch:
    """Lets up to `capacity` long polls wait at once; those beyond are answered at once."""

    def __init__(self, database: Database, *, capacity: int = _CAPACITY) -> None:
        self._database, self._capacity = database, capacity
        self._cache = ToolCache()
        self._reading: asyncio.Task[Mapping[str, ToolInfo]] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._polls: set[_Poll] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = False

    def close(self) -> None:
        """Answer whoever waits: the server is going down, and the tool asks the next one."""
        self._closing = True
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._answer_all)

    async def tool(self, slug: str, *, unless: str | None, wait: float) -> Watched:
        """The tool, at once or as soon as its policy's tag is no longer `unless`.

        After `wait` seconds it answers whatever there is.
        """
        tool = (await self._tools())[slug]
        if wait <= 0 or self._closing or policy_tag(tool) != unless:
            return Watched(tool)
        if len(self._polls) >= self._capacity:
            return Watched(tool, full=True)
        return Watched(await self._changed(tool, wait))

    async def _changed(self, tool: ToolInfo, wait: float) -> ToolInfo:
        """The tool as soon as its policy is another one, or as it is after `wait` seconds."""
        self._loop = asyncio.get_running_loop()
        poll = _Poll(tool, self._loop.create_future())
        self._polls.add(poll)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.ensure_future(self._watch())
        try:
            with suppress(TimeoutError):
                return await asyncio.wait_for(poll.answer, wait)
            return tool
        finally:
            self._polls.discard(poll)

    async def _watch(self) -> None:
        """Look for changes as long as somebody waits for one."""
        while self._polls:
            await asyncio.sleep(_WATCH_SECONDS)
            try:
                tools = await self._tools()
            except Exception as error:  # whoever waits goes on waiting, and asks again
                _log.warning("policies cannot be read just now", error=str(error)[:200])
                continue
            for number, poll in enumerate(list(self._polls)):
                poll.see(tools.get(poll.tool.slug))
                if number % _TOLD_AT_ONCE == 0:
                    await asyncio.sleep(0)  # to answer them, and whoever else asks

    def _answer_all(self) -> None:
        for poll in list(self._polls):
            poll.end(poll.tool)

    async def _tools(self) -> Mapping[str, ToolInfo]:
        """All tools as they are now; whoever asks meanwhile shares the one read."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.ensure_future(run_in_threadpool(self._read))
        return await asyncio.shield(self._reading)

    def _read(self) -> Mapping[str, ToolInfo]:
        with self._database.transaction() as session:
            return self._cache.tools(session)


class _Poll:
    """One that waits for another policy than it has seen."""

    __slots__ = ("answer", "tool")

    def __init__(self, tool: ToolInfo, answer: "asyncio.Future[ToolInfo]") -> None:
        self.tool, self.answer = tool, answer

    def see(self, tool: ToolInfo | None) -> None:
        """End the wait where this is another policy."""
        if tool is not None and policy_tag(tool) != policy_tag(self.tool):
            self.end(tool)

    def end(self, tool: ToolInfo) -> None:
        if not self.answer.done():
            self.answer.set_result(tool)


def policy_tag(tool: ToolInfo) -> str:
    """The entity tag of a tool's policy: after a restore an old revision may be a new policy."""
    return f'"{tool.policy.epoch}.{tool.policy.revision}"'
