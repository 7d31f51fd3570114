"""HTTP: a person's inbox, and the verdicts that a tool waits for."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.concurrency import run_in_threadpool

from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import invalid
from services.notifications import feed, inbox
from services.notifications.feed_watch import FeedWatch
from services.people.rules import Actor

_LONGEST_WAIT = 60
_MOST = 200
_CURSOR_DIGITS = 18
Number = Annotated[int, Field(strict=True, ge=1, lt=2**63)]

PersonOf = Callable[[Request], Actor]
"""Finds out which person is calling."""
ToolOf = Callable[[Request], Awaitable[str]]
"""Finds out which tool is calling, by its key."""


class ReadBody(BaseModel):
    """What was read: some by their numbers, or everything."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Number], Field(max_length=1_000)] | None = None
    all: Annotated[bool, Field(strict=True)] = False

    @model_validator(mode="after")
    def _one_of_both(self) -> "ReadBody":
        if (self.ids is not None) == self.all:
            raise ValueError("send either ids, or all as true")
        return self


def inbox_router(database: Database, clock: Clock, person: PersonOf) -> APIRouter:
    """The routes of one's own inbox."""
    api = APIRouter(prefix="/v1/inbox", tags=["notifications"])
    caller: Any = Annotated[Actor, Depends(person)]

    @api.get("")
    def get_inbox(
        actor: caller,
        unread: Annotated[bool, Query()] = False,  # noqa: FBT002 - a query's default
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 50,
        cursor: str | None = None,
    ) -> dict[str, Any]:
        """What the caller was told, the newest first."""
        before = _place(cursor) or None
        with database.transaction() as session:
            found = inbox.entries(session, actor, before=before, unread=unread, limit=limit + 1)
            count = inbox.unread(session, actor.email)
        last = found[limit - 1] if len(found) > limit else None
        return {
            "items": [entry.as_answer() for entry in found[:limit]],
            "next_cursor": str(last.id) if last is not None else None,
            "unread": count,
        }

    @api.post("/read")
    def post_read(body: ReadBody, actor: caller) -> dict[str, Any]:
        """Mark as read; answers how many were new."""
        with database.transaction() as session:
            now = clock.now(session)
            if body.all:
                return {"read": inbox.mark_all_read(session, actor, now=now)}
            return {"read": inbox.mark_read(session, actor, body.ids or (), now=now)}

    return api


def verdicts_router(database: Database, tool_of: ToolOf, watch: FeedWatch) -> APIRouter:
    """The route by which tools hear of verdicts."""
    api = APIRouter(prefix="/v1", tags=["notifications"])

    def read(tool: str, after: int, limit: int) -> list[feed.Entry]:
        with database.transaction() as session:
            return feed.read(session, tool, after=after, limit=limit)

    @api.get("/verdicts")
    async def get_verdicts(
        tool: Annotated[str, Depends(tool_of)],
        cursor: str | None = None,
        wait: Annotated[float, Query(ge=0, le=_LONGEST_WAIT)] = 0,
        limit: Annotated[int, Query(ge=1, le=_MOST)] = 100,
    ) -> dict[str, Any]:
        """The tool's verdicts after `cursor`, the oldest first; with `wait`, as soon as there are
        any. One that counts no longer comes again as `undone`.
        """
        after = _place(cursor)
        found = await run_in_threadpool(read, tool, after, limit)
        if not found and wait and await watch.passed(tool, after, wait=wait):
            found = await run_in_threadpool(read, tool, after, limit)
        following = str(found[-1].place) if found else cursor
        return {"items": [entry.as_answer() for entry in found], "next_cursor": following}

    return api


def _place(cursor: str | None) -> int:
    """The place that a cursor stands for; the beginning where there is none.

    Raises:
        InvalidInput: it is no cursor of ours.
    """
    if not cursor:
        return 0
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) <= _CURSOR_DIGITS):
        raise invalid("cursor", "it is no cursor of this list", "Take one as it came.")
    return int(cursor)
