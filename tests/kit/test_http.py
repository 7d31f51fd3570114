"""What every app answers when something goes wrong, and how lists go on."""

from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import Depends, FastAPI, Form
from sqlalchemy import text
from starlette.responses import StreamingResponse
from starlette.testclient import TestClient
from structlog.testing import capture_logs

from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.kit.web.http import encode_cursor, install_errors, read_cursor, require_storable_form

NOON = datetime(2026, 11, 16, 12, 0, tzinfo=UTC)


def make_app() -> FastAPI:
    app = FastAPI(dependencies=[Depends(require_storable_form)])

    @app.get("/fails")
    def fails() -> None:
        raise RuntimeError("nobody thought of this")

    @app.get("/breaks")
    def breaks() -> StreamingResponse:
        def lines() -> Any:
            yield b"first"
            raise RuntimeError("half way")

        return StreamingResponse(lines())

    @app.post("/form/{word}")
    def form(word: str, note: str = Form("")) -> dict[str, str]:
        return {"word": word, "note": note}

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
    ("path", "body", "pointer"),
    [
        ("/form/%00", "", "/word"),
        ("/form/x?a=1&q=%00", "", "/q"),
        ("/form/x", "note=a%00b", "/note"),
        ("/form/x", "n%00=a", "/n\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_text_that_no_column_takes_is_refused_by_name(path: str, body: str, pointer: str) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = TestClient(make_app()).post(path, content=body, headers=kind)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_half_a_surrogate_pair_in_a_form_is_refused() -> None:
    body = b'--x\r\nContent-Disposition: form-data; name="note"\r\n\r\n\\ud800\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x; charset=unicode_escape"}
    answer = TestClient(make_app()).post("/form/x", content=body, headers=kind)
    assert answer.status_code == 422


def test_form_that_can_be_stored_reaches_the_view() -> None:
    answer = TestClient(make_app()).post("/form/x", data={"note": "🙂"})
    assert answer.json() == {"word": "x", "note": "🙂"}


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
