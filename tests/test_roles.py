"""How the roles' processes are wired."""

import asyncio
import os
import socket

import pytest

from services.commands import roles
from services.kit.database import Database
from services.kit.processes.supervisor import bind
from services.tools import queries as tool_queries
from services.tools.watch import PolicyWatch, policy_tag
from tests.factories import TOOL, populate


def test_inherited_socket_is_known_for_tcp(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio turns Nagle's algorithm off for those alone; else each answer takes 40 ms."""
    opened = bind("127.0.0.1", 0)
    monkeypatch.setenv("SECONDLOOK_LISTEN_FD", str(os.dup(opened.fileno())))
    (inherited,) = roles._inherited_sockets() or ()
    with opened, inherited, socket.create_connection(opened.getsockname()):
        accepted, _ = inherited.accept()
        with accepted:
            assert (accepted.family, accepted.proto) == (socket.AF_INET, socket.IPPROTO_TCP)


def test_nothing_is_inherited_by_a_role_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SECONDLOOK_LISTEN_FD", raising=False)
    assert roles._inherited_sockets() is None


def test_server_that_ends_keeps_no_tool_waiting(database: Database) -> None:
    populate(database)
    with database.transaction() as session:
        known = policy_tag(tool_queries.tool(session, TOOL))
    watch = PolicyWatch(database)

    async def ask() -> str:
        waiting = asyncio.create_task(watch.tool(TOOL, unless=known, wait=25))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(waiting), 0.1)
        watch.close()
        return policy_tag((await asyncio.wait_for(waiting, 5)).tool)

    assert asyncio.run(ask()) == known
