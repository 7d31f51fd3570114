"""What every app answers when something goes wrong, and how lists go on."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from fastapi import Depends, FastAPI, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient
from starlette.types import Message
from structlog.testing import capture_logs

from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.kit.web.cursors import encode_cursor, read_cursor
from services.kit.web.problems import install_errors
from services.kit.web.storable import Utf8Addresses, require_storable

NOON = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)


def make_app() -> FastAPI:
    app = FastAPI(dependencies=[Depends(require_storable)])

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError("nobody thought of this")

    @app.get("/breaks")
    def breaks() -> StreamingResponse:
        def lines() -> Any:
            yield b"first"
            raise RuntimeError("half way")

        return StreamingResponse(lines())

    @app.get("/says/{word}")
    def says(word: str) -> str:
        return word

    app.add_middleware(Utf8Addresses)
    install_errors(app)
    return app


def test_unhandled_error_is_answered_and_logged_once() -> None:
    """The client below raises what the server would: what comes out of the app."""
    client = TestClient(make_app())
    with capture_logs() as logged:
        answer = client.get("/fails")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert [entry["event"] for entry in logged] == ["unhandled"]


def test_answer_that_breaks_half_way_is_not_ended_as_if_it_were_whole() -> None:
    with pytest.raises(RuntimeError):
        TestClient(make_app()).get("/breaks")


@pytest.mark.parametrize(
    ("path", "pointer"),
    [
        ("/says/%00", "/word"),
        ("/says/x?a=1&q=%00", "/q"),
    ],
)
def test_text_that_no_column_takes_is_refused_by_name(path: str, pointer: str) -> None:
    answer = TestClient(make_app()).get(path)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("path", "pointers"),
    [
        ("/says/x%ffy", ["/path"]),
        ("/says/%ed%a0%80", ["/path"]),
        ("/says/x?a=1&q=%ff", ["/q"]),
        ("/says/x?%ff=1&a%20b=%c3&c=%c3%a4", ["/\N{REPLACEMENT CHARACTER}", "/a b"]),
        ("/says/%80?q=%80", ["/path", "/q"]),
        ("/nowhere/%ff", ["/path"]),
    ],
)
def test_address_that_is_no_utf8_is_refused_by_name(path: str, pointers: list[str]) -> None:
    answer = TestClient(make_app()).get(path)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == pointers


def test_query_with_bytes_that_are_not_escaped_is_refused() -> None:
    # Starlette takes them for Latin-1: one letter would become two others.
    scope = {"type": "http", "raw_path": b"/", "query_string": "q=\xe4".encode()}

    async def nobody(*_: Any) -> None:
        raise AssertionError("this is not passed on")

    with pytest.raises(InvalidInput) as refused:
        asyncio.run(Utf8Addresses(nobody)(scope, nobody, nobody))  # type: ignore[arg-type]
    assert [problem.pointer for problem in refused.value.problems] == ["/q"]


@pytest.mark.parametrize("word", ["\xe4\ufffd\N{SNOWMAN}", "100 %", "a+b"])
def test_address_in_utf8_is_passed_on(word: str) -> None:
    answer = TestClient(make_app()).get(f"/says/{quote(word)}", params={"q": word})
    assert (answer.status_code, answer.json()) == (200, word)


def test_what_the_database_refuses_is_the_senders_mistake(database: Database) -> None:
    app = make_app()

    @app.get("/stores")
    def stores() -> None:
        with database.transaction() as session:
            session.execute(text("SELECT CAST(:word AS text)"), {"word": "\0"})

    answer = TestClient(app).get("/stores")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["hint"]


@pytest.mark.parametrize("last", [7, "output/7"])
def test_list_goes_on_where_it_was(last: Any) -> None:
    cursor = encode_cursor(NOON.isoformat(), last)
    assert read_cursor(cursor, type(last)) == (NOON, last)
    assert read_cursor(None, int) is None


@pytest.mark.parametrize(
    "parts",
    [
        '["2026-01-01T00:00:00+00:00", Infinity]',
        '["2026-01-01T00:00:00+00:00", 10000000000000000000000]',
        '["2026-01-01T00:00:00+00:00", true]',
        '["2026-01-01T00:00:00+00:00", "1"]',
        '["0001-01-01T00:00:00+23:59", 1]',
        '["tomorrow", 1]',
        "[1, 1]",
        "[1]",
        "{}",
        "[" * 100_000,
        "\0",
    ],
)
def test_cursor_of_somebody_elses_making_is_refused(parts: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read_cursor(urlsafe_b64encode(parts.encode()).decode(), int)
    assert [problem.pointer for problem in refused.value.problems] == ["/cursor"]


@pytest.mark.parametrize("word", ["a\0b", r"\ud800"])
def test_cursor_with_text_that_cannot_be_stored_is_refused(word: str) -> None:
    written = encode_cursor(NOON.isoformat(), word.encode().decode("unicode_escape"))
    with pytest.raises(InvalidInput):
        read_cursor(written, str)


def test_client_that_hangs_up_is_no_error_of_ours() -> None:
    app = make_app()

    @app.post("/reads")
    async def reads(request: Request) -> bytes:
        return await request.body()

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def nobody_hears(_: Message) -> None:
        raise AssertionError("there is nobody to answer")

    scope = {"type": "http", "method": "POST", "path": "/reads", "headers": [], "query_string": b""}
    with capture_logs() as logged:
        asyncio.run(app(scope, gone, nobody_hears))
    assert [entry["event"] for entry in logged if entry["log_level"] != "debug"] == []


def test_thousands_of_problems_are_counted_beyond_the_first() -> None:
    app = make_app()

    class Body(BaseModel):
        model_config = ConfigDict(extra="forbid")

    @app.post("/strict")
    def strict(body: Body) -> None:
        """Takes nothing."""

    answer = TestClient(app).post("/strict", json={f"n{n}": 1 for n in range(5_000)})
    assert (answer.status_code, len(answer.json()["errors"])) == (422, 20)
    assert answer.json()["more"] == 4_980


def test_database_that_is_away_is_unavailable_however_it_says_so() -> None:
    app = make_app()

    @app.get("/away")
    def away() -> None:
        raise psycopg.OperationalError("the connection is closed")

    assert TestClient(app).get("/away").status_code == 503
