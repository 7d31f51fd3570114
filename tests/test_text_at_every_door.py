"""One corpus of texts through every door: what names something is one text behind all of them.

What is fit is stored in one form; what is not is refused by name, or kept as a dead letter
where nobody waits for an answer, and nothing of it is stored.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from secondlook import events
from secondlook.testing import FakeSecondlook, a_policy
from typer.testing import CliRunner

from services.cli import app as commands
from tests.api.test_authorisation import signed_in
from tests.factories import TOOL
from tests.factories.api import Api, open_api

FIT = {
    "plain": ("refund", "refund"),
    "byte-order mark": ("\ufeffrefund", "refund"),
    "decomposed": ("gro\u0308ße", "größe"),
    "composed": ("größe", "größe"),
    "white space around": (" \trefund ", "refund"),
    "line separator": ("a\u2028b", "a\u2028b"),
    "paragraph separator": ("a\u2029b", "a\u2029b"),
    "next line": ("a\u0085b", "a\u0085b"),
    "beyond the basic plane": ("🙂", "🙂"),
}
"""A text as it is given, and as it is kept."""
UNFIT = {
    "NUL": b"a\0b",
    "nothing": b"",
    "nothing but a mark": "\ufeff".encode(),
    "too long": b"x" * 201,
    "too many bytes": "ß".encode() * 101,
    "no UTF-8": b"caf\xe9",
    "half of a pair": b"\xed\xa0\x80",
}
"""A text that nothing is named by, as bytes."""

DONE, ACCEPTED = 200, 202
Door = Callable[[Api, bytes, Path], str | None]
"""Gives a text; answers what is stored of it, or None where it is refused."""


@pytest.fixture
def api(fresh_database: Callable[[], str]) -> Iterator[Api]:
    """The API, the pages and the commands over one database."""
    with open_api(fresh_database(), pages=True) as opened:
        yield opened


# --- doors ------------------------------------------------------------------------------------


def _as_json(text: bytes) -> bytes:
    """A JSON string with these very bytes in it, escaped only where JSON has no other way."""
    escaped = text.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    for control in range(0x20):
        escaped = escaped.replace(bytes([control]), f"\\u{control:04x}".encode())
    return b'"' + escaped + b'"'


_OUTPUT = b'{"output_id": %s, "kind": "category", "value": "billing", "confidence": 0.9}'
_CORRECTION = b'{"output_id": %s, "kind": "confirmation", "actor": {"id": "ana@x.org"}}'
_EVENT = (
    b'{"specversion": "1.0", "id": "e-1", "source": "/tools/%s", "time": "2026-11-28T12:00:00Z",'
    b' "type": "secondlook.output.recorded.v1", "data": %s}'
)
_MEDIA = {"json": "application/json", "events": "application/cloudevents+json"}


def _post(api: Api, path: str, body: bytes, media: str = "json", **headers: str) -> str | None:
    sent = api.client.post(
        path,
        content=body,
        headers={**api.bearer("tool"), "Content-Type": _MEDIA[media], **headers},
    )
    if sent.status_code != ACCEPTED:
        first = sent.json()["errors"][0]
        assert first["problem"]
        assert first["hint"]
        return None
    api.settle()
    return _stored(api)


def _stored(api: Api, column: str = "output_id", table: str = "output") -> str | None:
    found = api.rows(f"SELECT {column} FROM {table}")
    return str(found[0][0]) if found else None


def outputs(api: Api, text: bytes, _: Path) -> str | None:
    """`POST /v1/outputs`."""
    return _post(api, "/v1/outputs", _OUTPUT % _as_json(text))


def corrections(api: Api, text: bytes, _: Path) -> str | None:
    """`POST /v1/corrections`."""
    return _post(api, "/v1/corrections", _CORRECTION % _as_json(text))


def structured_events(api: Api, text: bytes, _: Path) -> str | None:
    """`POST /v1/events`, the event as the body."""
    body = _EVENT % (TOOL.encode(), _OUTPUT % _as_json(text))
    return _post(api, "/v1/events", body, "events")


def binary_events(api: Api, text: bytes, _: Path) -> str | None:
    """`POST /v1/events`, the event's id as a header."""
    headers = {
        "ce-specversion": "1.0",
        "ce-id": quote_from_bytes(text),
        "ce-source": f"/tools/{TOOL}",
        "ce-type": "secondlook.output.recorded.v1",
        "ce-time": "2026-11-28T12:00:00Z",
    }
    found = _post(api, "/v1/events", _OUTPUT % b'"o-1"', **headers)
    return found and _stored(api, "event_id")


def records(api: Api, text: bytes, _: Path) -> str | None:
    """A record on the log."""
    raw = _EVENT % (TOOL.encode(), _OUTPUT % _as_json(text))
    api.log.take(raw, topic=events.OUTPUTS, key=f"{TOOL}/x".encode())
    return _stored_or_kept(api, raw)


def _stored_or_kept(api: Api, raw: bytes) -> str | None:
    kept = api.rows("SELECT tool, value, problems FROM dead_letter")
    if not kept:
        return _stored(api)
    ((tool, value, problems),) = kept
    assert (tool, bytes(value)) == (TOOL, raw)
    assert problems[0]["hint"]
    return None


def sdk(_: Api, text: bytes, __: Path) -> str | None:
    """The SDK, in the tool."""
    look = FakeSecondlook(a_policy(), on_invalid="record")
    said = text.decode("utf-8", "surrogatepass")
    decision = look.output(said, kind="category", value="billing", confidence=0.9)
    if decision.reason == "invalid":
        assert decision.review
        assert not look.outputs
        assert len(look.failures) == 1
        return None
    return look.outputs[0].output_id


def command(api: Api, text: bytes, folder: Path) -> str | None:
    """`tools add --categories FILE`."""
    file = folder / "categories.txt"
    file.write_bytes(text + b"\n")
    given = ["tools", "add", "new", "--kind", "category", "--team", "support"]
    done = CliRunner().invoke(commands, [*given, "--categories", str(file)])
    if done.exit_code:
        assert "categories" in str(done.exception or done.output)
        return None
    return _category(api)


def _category(api: Api) -> str | None:
    return _stored(api, "name", "category WHERE tool = 'new'")


def api_of_tools(api: Api, text: bytes, _: Path) -> str | None:
    """`PUT /v1/tools/{slug}`."""
    body = b'{"categories": ["keep", %s]}' % _as_json(text)
    headers = api.bearer("admin.support") | {"Content-Type": "application/json"}
    answer = api.client.put(f"/v1/tools/{TOOL}", content=body, headers=headers)
    if answer.is_client_error:
        assert "categories" in answer.text or "body" in answer.text
        return None
    last = f"category WHERE tool = '{TOOL}' ORDER BY revision DESC, position DESC LIMIT 1"
    return _stored(api, "name", last)


def page(api: Api, text: bytes, _: Path) -> str | None:
    """The form of a new tool."""
    fields = {
        "slug": "new",
        "kind": "category",
        "name": "New",
        "team": "support",
        "threshold": "0.7",
        "audit_rate": "0",
        "holdout_rate": "0",
        "maturity": "72h",
    }
    form = "&".join(f"{name}={value}" for name, value in fields.items())
    answer = signed_in(api, "admin.support")(
        "POST",
        "/tools/new",
        content=f"{form}&categories={quote_from_bytes(text)}",
        extra={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert answer.status_code < 500
    return _category(api) if answer.status_code == DONE else None


DOORS: dict[str, Door] = {
    one.__name__: one
    for one in (
        *(outputs, corrections, structured_events, binary_events, records, sdk),
        *(command, api_of_tools, page),
    )
}
SKIPPED = {
    # An empty line of a file or a form is no category, and so nothing to refuse.
    ("command", "nothing"),
    ("command", "nothing but a mark"),
    ("page", "nothing"),
    # The SDK is given text, not bytes.
    ("sdk", "no UTF-8"),
}


@pytest.fixture(autouse=True)
def same_database(api: Api, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Commands work on the database of the API."""
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", api.resources.database_url)
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))


@pytest.mark.parametrize("door", sorted(DOORS))
def test_fit_text_is_kept_in_one_form(door: str, api: Api, tmp_path: Path) -> None:
    for name, (given, kept) in FIT.items():
        assert DOORS[door](api, given.encode(), tmp_path) == kept, name
        _forget(api)


@pytest.mark.parametrize("door", sorted(DOORS))
def test_unfit_text_names_nothing(door: str, api: Api, tmp_path: Path) -> None:
    for name, given in UNFIT.items():
        if (door, name) not in SKIPPED:
            assert DOORS[door](api, given, tmp_path) is None, name
            assert _stored(api) is None, name
            assert _category(api) is None, name
            _forget(api)


def _forget(api: Api) -> None:
    """As it was before."""
    with api.database.transaction() as session:
        for table in ("output", "correction", "dead_letter"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
        for table in ("category", "gate_policy", "taxonomy", "api_key", "tool"):
            column = "slug" if table == "tool" else "tool"
            session.connection().exec_driver_sql(f"DELETE FROM {table} WHERE {column} = 'new'")
