"""One corpus of texts through every door: what names something is one text behind all of them.

What is fit is stored in one form; what is not is refused by name, or kept as a dead letter
where nobody waits for an answer, and nothing of it is stored.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes, urlencode

import pytest
from fastapi.routing import APIRoute, iter_route_contexts
from secondlook import events
from secondlook.testing import FakeSecondlook, a_policy
from typer.testing import CliRunner

from services.app.web import make_api, make_ui
from services.cli import app as commands
from services.escalation.rules import Owner
from tests.api.test_authorisation import signed_in
from tests.factories import TOOL, Casework, add_person
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
def api(postgres_url: str) -> Iterator[Api]:
    """The API, the pages and the commands over one database."""
    with open_api(postgres_url, pages=True) as opened:
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
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}
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
    last = f"taxonomy WHERE tool = '{TOOL}' ORDER BY revision DESC LIMIT 1"
    return _stored(api, "names[2]", last)


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
    content = f"{form}&categories={quote_from_bytes(text)}"
    send = signed_in(api, "admin.support")
    answer = send("POST", "/tools/new", content=content, extra=_FORM)
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


# --- what is stored is found ------------------------------------------------------------------

STORED = "größe"
TYPED = ("größe", "gro\u0308ße", " gro\u0308ße\t", "\ufeffgro\u0308ße")
"""Ways in which the same name is written in an address."""


@pytest.mark.parametrize("typed", TYPED)
def test_output_is_found_however_its_id_is_written(typed: str, api: Api) -> None:
    assert outputs(api, STORED.encode(), Path()) == STORED
    name, tool = quote(typed), quote(f" {TOOL}")
    for who in ("tool", "lead.support"):
        found = api.client.get(f"/v1/outputs/{name}?tool={tool}", headers=api.bearer(who))
        assert found.json()["output"]["output_id"] == STORED
    page = signed_in(api, "rep.support")
    assert page("GET", f"/output?tool={tool}&id={name}").status_code == DONE
    here = f"/output?{urlencode({'tool': TOOL, 'id': STORED})}"
    for way in (f"/o/{tool}/{name}", f"/outputs?tool={tool}&id={name}"):
        assert page("GET", way).headers["location"] == here
    said = page("POST", f"/output?tool={tool}&id={name}", content="choice=keep", extra=_FORM)
    assert said.headers["location"].startswith(here)
    api.settle()
    assert api.rows("SELECT output_id, kind FROM correction") == [(STORED, "confirmation")]


@pytest.mark.parametrize(
    ("name", "stored", "typed"),
    [
        ("owner", "adm@x.org", "Adm@X.org"),
        ("claimant", "adm@x.org", "\ufeffADM@x.org "),
        ("tool", TOOL, f" {TOOL}"),
        ("queue", "support", "support\t"),
    ],
)
def test_cases_are_found_however_the_filter_is_written(
    name: str, stored: str, typed: str, api: Api
) -> None:
    with api.database.transaction() as session:
        add_person(session, "adm@x.org")
    _post(api, "/v1/outputs", b'{"output_id": "o", "kind": "category", "value": "a"}')
    casework = Casework(api.database)
    casework.do("reassign", "adm@x.org", 1, owner=Owner("person", "adm@x.org"))
    casework.claim("adm@x.org", 1)
    admin = api.bearer("admin.support")
    for value in (stored, typed):
        found = api.client.get("/v1/cases", params={name: value}, headers=admin).json()
        assert [case["id"] for case in found["items"]] == [1], value
    if name == "tool":
        listed = signed_in(api, "admin.support")("GET", f"/queue?tool={quote(typed)}")
        assert 'href="/c/1' in listed.text


KEPT_AS_WRITTEN = {
    *("cursor", "next", "token", "seen"),
    # Words of our own, which choose what a page says.
    *("said", "saved", "everything"),
}
"""Parameters that name nothing."""


def _declared(api: Api) -> Iterator[tuple[str, Any]]:
    """Every text in the path or the query of a route of the API or the pages."""
    for app in (make_api(api.resources), make_ui(api.resources)):
        for one in iter_route_contexts(app.routes):
            if isinstance(one.original_route, APIRoute):
                for field in (*one.dependant.path_params, *one.dependant.query_params):
                    yield f"{one.path}: {field.alias}", field


def test_every_route_reads_text_in_the_form_in_which_it_is_stored(api: Api) -> None:
    texts = 0
    for place, field in _declared(api):
        made, problems = field.validate("gro\u0308ße", {}, loc=("query", field.alias))
        if problems or field.alias in KEPT_AS_WRITTEN:
            continue
        texts += 1
        assert made == STORED, place
    assert texts > 20


# --- what is nothing --------------------------------------------------------------------------

NOTHING = ("\ufeff", " \ufeff ", "\ufeff\ufeff")


@pytest.mark.parametrize("nothing", NOTHING)
def test_note_with_nothing_in_it_is_none(nothing: str, api: Api) -> None:
    _post(api, "/v1/outputs", b'{"output_id": "o", "kind": "category", "value": "a"}')
    send = signed_in(api, "owner.support")
    note = f"note={quote(nothing)}"
    path, owner = "/v1/cases/1/comment", api.bearer("owner.support")
    refused = api.client.post(path, json={"note": nothing}, headers=owner)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/note")
    assert send("POST", "/c/1/comment", content=note, extra=_FORM).status_code == 422
    assert send("POST", "/c/1/escalate", content=f"level=0&{note}", extra=_FORM).status_code == 303
    written = "SELECT event FROM timeline_entry WHERE note IS NOT NULL"
    assert api.rows(written) == []
    rep, here = signed_in(api, "rep.support"), f"/output?tool={TOOL}&id=o"
    rep("POST", here, content=f"choice=keep&{note}", extra=_FORM)
    api.settle()
    assert api.rows("SELECT note FROM correction") == [(None,)]


@pytest.mark.parametrize("nothing", NOTHING)
def test_name_with_nothing_in_it_is_refused(nothing: str, api: Api) -> None:
    before = api.rows("SELECT name FROM tool UNION ALL SELECT name FROM person ORDER BY 1")
    admin = api.bearer("admin.support")
    answer = api.client.put(f"/v1/tools/{TOOL}", json={"name": nothing}, headers=admin)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/name")
    fields = {"email": "new@x.org", "name": nothing, "role": "rep", "team": "support"}
    send = signed_in(api, "admin.support")
    page = send("POST", "/people", content=urlencode(fields), extra=_FORM)
    assert page.status_code == 422
    given = ["people", "add", "new@x.org", "--name", nothing, "--role", "rep"]
    assert CliRunner().invoke(commands, given).exit_code
    after = api.rows("SELECT name FROM tool UNION ALL SELECT name FROM person ORDER BY 1")
    assert after == before


@pytest.mark.parametrize("nothing", NOTHING)
def test_dead_letter_is_not_discarded_without_a_reason(nothing: str, api: Api) -> None:
    api.log.take(b"nonsense", topic=events.OUTPUTS)
    number = api.one("SELECT id FROM dead_letter")
    send = signed_in(api, "admin.support")
    path = f"/dead-letters/{number}/discard"
    page = send("POST", path, content=f"reason={quote(nothing)}", extra=_FORM)
    assert page.status_code == 422
    given = ["dead-letters", "discard", str(number), "--reason", nothing]
    assert CliRunner().invoke(commands, given).exit_code
    assert api.rows("SELECT discarded_at FROM dead_letter") == [(None,)]


def test_verdict_takes_a_category_however_it_is_written(api: Api) -> None:
    listed = {"categories": ["a", STORED]}
    api.client.put(f"/v1/tools/{TOOL}", json=listed, headers=api.bearer("admin.support"))
    _post(api, "/v1/outputs", b'{"output_id": "o", "kind": "category", "value": "a"}')
    owner = api.bearer("owner.support")
    token = api.client.post("/v1/cases/1/claim", headers=owner).json()["token"]
    said = {"token": token, "verdict": "corrected", "value": TYPED[1]}
    assert api.client.post("/v1/cases/1/verdict", json=said, headers=owner).status_code == DONE
    assert api.one('SELECT verdict_value FROM "case"') == STORED


def _forget(api: Api) -> None:
    """As it was before."""
    with api.database.transaction() as session:
        for table in ("output", "correction", "dead_letter"):
            session.connection().exec_driver_sql(f"DELETE FROM {table}")
        for table in ("category", "gate_policy", "taxonomy", "api_key", "tool"):
            column = "slug" if table == "tool" else "tool"
            session.connection().exec_driver_sql(f"DELETE FROM {table} WHERE {column} = 'new'")
