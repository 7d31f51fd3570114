"""Tools that wait for their policy: told of changes, and answered at once where too many wait."""

import asyncio
from collections.abc import Awaitable, Callable

from services.kit.clock import DatabaseClock
from services.kit.database import Database
from services.tools import queries, service
from services.tools.watch import PolicyWatch, policy_tag
from tests.factories import TOOL, populate
from tests.factories.api import open_api
from tests.factories.people import OPERATOR
from tests.waiting import until


def _tag(database: Database) -> str:
    with database.transaction() as session:
        return policy_tag(queries.tool(session, TOOL))


def _change(database: Database, threshold: float) -> None:
    with database.transaction() as session:
        change = {"threshold": threshold}
        now = DatabaseClock().now(session)
        service.change_tool(session, TOOL, change, actor=OPERATOR, now=now)


def _run(database: Database, capacity: int, do: Callable[[PolicyWatch], Awaitable[None]]) -> None:
    populate(database)

    async def main() -> None:
        await do(PolicyWatch(database, capacity=capacity))

    asyncio.run(main())


def test_everybody_who_waits_hears_of_a_change(database: Database) -> None:
    async def wait(watch: PolicyWatch) -> None:
        tag = _tag(database)
        polls = [asyncio.create_task(watch.tool(TOOL, unless=tag, wait=30)) for _ in range(200)]
        await asyncio.to_thread(until, lambda: len(watch._polls) == 200)
        await asyncio.to_thread(_change, database, 0.123)
        told = await asyncio.wait_for(asyncio.gather(*polls), 20)
        assert {found.tool.policy.threshold for found in told} == {0.123}
        assert not any(found.full for found in told)

    _run(database, 1_000, wait)


def test_whoever_waited_in_vain_makes_room_for_another(database: Database) -> None:
    async def wait(watch: PolicyWatch) -> None:
        tag = _tag(database)
        first = asyncio.create_task(watch.tool(TOOL, unless=tag, wait=1))
        await asyncio.to_thread(until, lambda: len(watch._polls) == 1)
        assert (await watch.tool(TOOL, unless=tag, wait=30)).full
        assert not (await first).full
        assert not (await watch.tool(TOOL, unless=tag, wait=0.1)).full

    _run(database, 1, wait)


def test_poll_beyond_the_capacity_is_told_when_to_ask_again(postgres_url: str) -> None:
    with open_api(postgres_url) as api:
        tag = {"If-None-Match": _tag(api.database), **api.bearer("tool")}
        api.resources.policy_watch._capacity = 0
        answer = api.client.get("/v1/policy?wait=30", headers=tag)
        assert (answer.status_code, answer.headers["retry-after"]) == (304, "10")
        stale = tag | {"If-None-Match": '"another"'}
        answer = api.client.get("/v1/policy?wait=30", headers=stale)
        assert (answer.status_code, answer.headers.get("retry-after")) == (200, None)
