"""The export of decided outputs: whole, in order, and never cut off without a word."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from services.app import web as app_web
from services.feedback import api as feedback_api
from services.feedback import queries
from tests.factories import TOOL, correction, output
from tests.factories.api import Api

OUTPUTS, PAGE = 7, 3


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page has three rows, so that seven take several."""
    monkeypatch.setattr(queries, "decided_outputs", partial(queries.decided_outputs, limit=PAGE))


@pytest.fixture
def decided(api: Api) -> Api:
    """As many outputs as are decided, and one that is not."""
    names = [f"o-{n}" for n in range(OUTPUTS)]
    api.log.take(*map(output, names), output("silent"))
    api.log.take(*(correction(name, value="refund") for name in names))
    return api


def lines(api: Api) -> Iterator[bytes]:
    return feedback_api._lines(api.database, app_web.CASES, TOOL, datetime.now(UTC))


def test_every_decided_output_is_there_once_and_the_end_says_so(decided: Api) -> None:
    answer = decided.client.get(
        "/v1/datasets/corrections", params={"tool": TOOL}, headers=decided.bearer("admin.support")
    )
    rows = [json.loads(line) for line in answer.text.splitlines()]
    assert rows.pop() == {"end": True, "rows": OUTPUTS}
    assert sorted(row["output_id"] for row in rows) == [f"o-{n}" for n in range(OUTPUTS)]
    assert {row["decided_value"] for row in rows} == {"refund"}


def test_slow_reader_holds_no_connection(decided: Api) -> None:
    reader = lines(decided)
    for _ in range(PAGE + 1):
        next(reader)
        assert decided.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_export_that_breaks_off_has_no_end(decided: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    read: Callable[..., Any] = queries.decided_outputs

    def breaks(*given: Any, **more: Any) -> Any:
        if more["after"] != queries.BEFORE_ALL:
            raise ConnectionError("the database is gone")
        return read(*given, **more)

    monkeypatch.setattr(queries, "decided_outputs", breaks)
    sent: list[bytes] = []
    with pytest.raises(ConnectionError):
        sent.extend(lines(decided))
    got = [json.loads(line) for line in sent]
    assert len(got) == PAGE
    assert not any("end" in row for row in got)
