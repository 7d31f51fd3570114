"""What a tool hears of verdicts, by HTTP and in the order of its feed."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from services.kit.database import Database
from services.notifications import feed
from tests.factories import OWNER, TOOL, Casework, Delivery, output, rows
from tests.factories.api import Api, open_api


def decide(api_or_database: Database, log: Delivery, *ids: str) -> list[int]:
    """Cases on these outputs, each with a verdict; answers their numbers."""
    log.take(*(output(one, confidence=0.1) for one in ids))
    query = "SELECT case_id FROM case_output WHERE output_id = ANY(:ids) ORDER BY case_id"
    cases = [row[0] for row in rows(api_or_database, query, ids=list(ids))]
    for case in cases:
        Casework(api_or_database).give_verdict(OWNER, case)
    log.relay()
    return cases


@pytest.fixture
def api(postgres_url: str) -> Iterator[Api]:
    """The API over a database of its own."""
    with open_api(postgres_url) as opened:
        yield opened


def ask(api: Api, who: str = "tool", **params: Any) -> Any:
    """The tool's verdicts."""
    return api.client.get("/v1/verdicts", params=params, headers=api.bearer(who)).json()


def test_tool_hears_its_verdicts_from_a_cursor_on(api: Api) -> None:
    cases = decide(api.database, api.log, "o-1", "o-2")
    first = ask(api, limit=1)
    assert [(v["output_id"], v["verdict"], v["value"]) for v in first["items"]] == [
        ("o-1", "upheld", "billing")
    ]
    rest = ask(api, cursor=first["next_cursor"])
    assert [v["output_id"] for v in rest["items"]] == ["o-2"]
    assert ask(api, cursor=rest["next_cursor"])["items"] == []
    assert ask(api, "foreign tool")["items"] == []
    Casework(api.database).undo(OWNER, cases[0])
    api.log.relay()
    (undone,) = ask(api, cursor=rest["next_cursor"])["items"]
    assert (undone["output_id"], undone["verdict"]) == ("o-1", "undone")


def test_cursor_of_another_life_begins_anew(api: Api) -> None:
    decide(api.database, api.log, "o-1")
    assert [v["output_id"] for v in ask(api, cursor="99")["items"]] == ["o-1"]
    assert ask(api, cursor="x")["errors"][0]["pointer"] == "/cursor"


def test_waiting_tool_is_answered_as_soon_as_there_is_a_verdict(api: Api) -> None:
    later = threading.Timer(0.5, lambda: decide(api.database, api.log, "o-1"))
    later.start()
    begun = time.monotonic()
    assert len(ask(api, wait=30)["items"]) == 1
    assert time.monotonic() - begun < 10
    later.join()
    assert ask(api, wait=0.2, cursor="1") == {"items": [], "next_cursor": "1"}


def test_verdict_that_comes_twice_has_one_place(database: Database, log: Delivery) -> None:
    decide(database, log, "o-1")
    with database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE outbox SET sent_at = NULL")
    log.relay()
    with database.transaction() as session:
        assert [one.place for one in feed.read(session, TOOL, after=0, limit=9)] == [1]


def test_person_reads_the_inbox_by_api(api: Api) -> None:
    api.log.take(output("o-1", confidence=0.1))
    mine = {"headers": api.bearer("owner.support")}
    told = api.client.get("/v1/inbox", **mine).json()
    assert told["unread"] == 1
    (entry,) = told["items"]
    assert (entry["what"], entry["output_id"], entry["read_at"]) == ("opened", "o-1", None)
    assert api.client.post("/v1/inbox/read", json={"ids": [entry["id"]]}, **mine).json() == {
        "read": 1
    }
    assert api.client.get("/v1/inbox", params={"unread": True}, **mine).json()["items"] == []
    assert api.client.post("/v1/inbox/read", json={}, **mine).status_code == 422
