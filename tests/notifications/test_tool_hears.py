"""A tool hears of its verdicts by the SDK, over real HTTP, whatever happens to the server."""

import asyncio
import threading
from collections.abc import Iterator
from itertools import islice

import pytest
from secondlook import AsyncSecondlook, Secondlook, Verdict

from tests.browser.harness import serve_app
from tests.factories import OWNER, Casework, output
from tests.factories.api import Api, open_api


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The API over a database of its own, with three verdicts."""
    with open_api(postgres_url) as opened:
        opened.log.take(*(output(f"o-{n}", confidence=0.1) for n in (1, 2, 3)))
        for n in (1, 2, 3):
            decide(opened, f"o-{n}")
        yield opened


def decide(api: Api, output_id: str) -> None:
    """A verdict on an output."""
    case = api.one("SELECT case_id FROM case_output WHERE output_id = :o", o=output_id)
    Casework(api.database).give_verdict(OWNER, int(str(case)))
    api.log.relay()


def ids(found: list[Verdict]) -> list[str]:
    """What they are about."""
    return [one.output_id for one in found]


def test_verdicts_from_the_beginning_and_from_a_stored_cursor(api: Api) -> None:
    with serve_app(api.client.app) as url:
        with Secondlook(url, api.tool_key) as look:
            first, second = islice(look.verdicts(), 2)
            assert (first.output_id, first.verdict, first.value) == ("o-1", "upheld", "billing")
            assert first.at.tzinfo is not None
        with Secondlook(url, api.tool_key) as look:
            assert ids(list(islice(look.verdicts(cursor=second.cursor), 1))) == ["o-3"]
            with pytest.raises(ValueError, match="cursor"):
                next(look.verdicts(cursor="nonsense"))


def test_next_verdict_is_waited_for_until_the_client_closes(api: Api) -> None:
    heard: list[Verdict] = []
    with serve_app(api.client.app) as url:
        look = Secondlook(url, api.tool_key)
        third = list(islice(look.verdicts(), 3))[-1]

        def listen() -> None:
            heard.extend(look.verdicts(cursor=third.cursor))

        listening = threading.Thread(target=listen)
        listening.start()
        api.log.take(output("o-4", confidence=0.1))
        decide(api, "o-4")
        for _ in range(1000):
            if heard:
                break
            listening.join(0.01)
        look.close()
        listening.join(10)
        assert not listening.is_alive()
    assert ids(heard) == ["o-4"]


def test_the_same_with_asyncio(api: Api) -> None:
    async def hear(url: str) -> list[Verdict]:
        found: list[Verdict] = []
        async with AsyncSecondlook(url, api.tool_key) as look:
            async for verdict in look.verdicts():
                found.append(verdict)
                if len(found) == 3:
                    return found
        return found

    with serve_app(api.client.app) as url:
        assert ids(asyncio.run(hear(url))) == ["o-1", "o-2", "o-3"]


def test_server_that_comes_later_is_waited_for(api: Api) -> None:
    with serve_app(api.client.app) as url:
        pass
    heard: list[Verdict] = []
    look = Secondlook(url, api.tool_key)
    listening = threading.Thread(target=lambda: heard.extend(islice(look.verdicts(), 3)))
    listening.start()
    port = int(url.rpartition(":")[2])
    with serve_app(api.client.app, port=port):
        listening.join(20)
        look.close()
    assert ids(heard) == ["o-1", "o-2", "o-3"]
