"""Values that nobody means, in every place that takes one: nothing makes the server fail.

The places come from the apps themselves, so a new parameter is tested without a word here.
Only what a route reads without declaring it (`READS`, `FORMS`) and the JSON bodies stand below.
"""

import json
from collections.abc import Iterator
from functools import cache, partial
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from services.people import attempts
from services.people.rules import Role
from services.tools.rules import OutputKind
from tests.api.nasty import CURSORS, JSON_VALUES, TEXTS
from tests.api.test_authorisation import API, BODIES, KEY, PAGES, signed_in
from tests.factories import TOOL, add_person, add_schedule, add_tool, output
from tests.factories.api import Api, open_api
from tests.notifications import bodies
from ui.kit import context as page_context
from ui.kit.forms import read_form

_WHEN = "2026-01-01T00:00:00+00:00"
URL_LENGTH = 40_000  # Servers take no longer addresses anyway.

# What routes read without declaring it.
_QUEUE = ("tool", "trigger", "overdue", "mine", "state")
READS = {path: _QUEUE for _, path in PAGES if path.startswith(("/queue", "/c/"))} | {
    "/routing/try": (
        *("tool", "trigger", "value", "confidence", "failure", "model", "prompt", "language"),
        *("cohort", "attributes"),
    )
}
_ROUTING = "{version: 1, catch_all: {team: support, sla: {claim: 1h, resolve: 2h}}}"
_TOOL = {
    "name": "Name",
    "team": "support",
    "threshold": "0.7",
    "audit_rate": "0",
    "holdout_rate": "0",
    "maturity": "72h",
    "categories": "billing\nrefund",
}
_TIME = "2099-01-01T09:00"
_SCHEDULE = (
    "{timezone: UTC, layers: [{people: [olga@example.org], every: 1d, start: 2026-01-01T09:00}]}"
)
FORMS: dict[str, dict[str, str]] = bodies.FORMS | {
    "/sign-in": {
        "email": "x@example.org",
        "password": "x",
        "next": "/",
        "draft": "",
        "draft_to": "",
    },
    "/account/password": {"password": "x", "current": "x"},
    "/account/away": {"from": _TIME, "until": _TIME, "stand_in": "olga@example.org"},
    "/account/back": {"number": "1"},
    "/schedules": {"slug": "first", "team": "support", "document": _SCHEDULE},
    "/schedules/{slug}/override": {
        "person": "olga@example.org",
        "day": "2099-01-01",
        "until": "2099-01-02",
    },
    "/schedules/{slug}/override/end": {"number": "1"},
    "/routing/propose": {"content": _ROUTING, "upon": "0"},
    "/routing/put": {"content": _ROUTING, "upon": "0"},
    "/c/{case_id}/release": {"token": "1"},
    "/c/{case_id}/put-off": {"token": "", "span": "1h", "note": "later"},
    "/c/{case_id}/merge": {"into": "1"},
    "/c/{case_id}/parts/verdict": {
        "choice": "is:refund",
        "cases": "1",
        "note": "n",
    },
    "/c/{case_id}/parts/undo": {"at": _WHEN},
    "/c/{case_id}/comment": {"note": "n", "token": ""},
    "/dead-letters/{number}/discard": {"reason": "n"},
    "/tools/{slug}/review-when": {"condition": "a", "when": "kind: text", "revision": "1"},
    "/c/{case_id}/reopen": {"note": "n"},
    "/c/{case_id}/escalate": {"level": "0", "note": "n"},
    "/c/{case_id}/undo": {"verdict_id": "verdict-1"},
    "/health/{slug}/state": {"state": "live"},
    "/output/undo": {"correction": "none"},
    "/c/{case_id}/verdict": {
        "choice": "corrected",
        "value": "x",
        "field.x": "y",
        "note": "",
        "token": "1",
    },
    "/c/{case_id}/hand-on": {"owner": "team:other", "note": "n", "token": ""},
    "/c/{case_id}/reassign": {"owner": "user:ada@example.org", "note": "n", "token": ""},
    "/output": {"choice": "is:refund", "value": "x", "note": "", "reason": ""},
    "/tools/new": {"slug": "new", "kind": "category"} | _TOOL,
    "/tools/{slug}": _TOOL,
    "/people": {"email": "new@example.org", "name": "New", "role": "rep", "team": "support"},
    "/people/teams": {"slug": "new", "title": "New"},
    "/people/change": {"email": "gone@example.org", "role": "rep", "team": "support"},
    "/people/skills": {"email": "gone@example.org", "skills": "tax", "seen_skills": ""},
    "/people/active": {"email": "gone@example.org", "active": "no"},
    "/people/link": {"email": "gone@example.org"},
}
# Whole bodies: each of their fields is replaced in turn.
_OUTPUT = {
    "output_id": "o-9",
    "subject": "s",
    "kind": "category",
    "value": "billing",
    "confidence": 0.5,
    "alternatives": [{"value": "refund", "confidence": 0.1}],
    "input": {"text": "t", "language": "en", "url": "https://example.org"},
    "attributes": {"a": "b"},
    "version": {"model": "m", "prompt": "p"},
    "occurred_at": _WHEN,
}
_CORRECTION = {
    "output_id": "o-1",
    "kind": "correction",
    "value": "refund",
    "note": "n",
    "actor": {"id": "rita@example.org"},
    "occurred_at": _WHEN,
}
_CORRECTED = {"token": "1", "verdict": "corrected", "value": "refund", "note": "n", "alone": True}
_PLAIN = ("wait", "snooze", "wake", "merge", "unmerge", "bulk", "reopen", "undo")
"""Verbs of which one body says everything."""
JSON_BODIES: dict[str, list[Any]] = {path: [body] for path, body in BODIES.items()} | {
    "/v1/events": [
        {
            "specversion": "1.0",
            "id": "e-1",
            "source": f"/tools/{TOOL}",
            "type": "secondlook.output.recorded.v1",
            "time": _WHEN,
            "data": _OUTPUT,
        }
    ],
    "/v1/outputs": [_OUTPUT],
    "/v1/corrections": [_CORRECTION],
    "/v1/cases/{case_id}/claim": [{}],
    "/v1/cases/{case_id}/verdict": [_CORRECTED, _CORRECTED | {"value": {"a": {"value": 1}}}],
    "/v1/cases/{case_id}/reassign": [
        {"owner": {"kind": kind, "id": "nobody"}, "token": "1", "note": "n"}
        for kind in ("person", "team")
    ],
    "/v1/cases/{case_id}/comment": [{"note": "hello", "token": "1"}],
    "/v1/cases/{case_id}/escalate": [{"level": 0, "note": "n"}],
    **{path: [body] for path, body in BODIES.items() if path.split("/")[-1] in _PLAIN},
    "/v1/tools/{slug}": [
        {
            "name": "n",
            "team": "support",
            "state": "live",
            "threshold": 0.6,
            "category_thresholds": {"refund": 0.5},
            "audit_rate": 0.1,
            "holdout_rate": 0.1,
            "maturity_seconds": 0,
            "categories": ["billing", "refund"],
            "review_when": [{"id": "vip", "when": {"attributes.vip": "yes"}}],
            "max_stale_seconds": 600,
        }
    ],
}
KINDS = {"text": "A", "fields": {"a": "b"}}
FAILED, BAD, INVALID = 500, 400, 422


@pytest.fixture(scope="module")
def api(postgres_url: str) -> Iterator[Api]:
    """An installation with a tool of every kind and a case of each, and people to throw away."""
    # Nobody consumes what is said here, so no page should wait until it is stored.
    patch = pytest.MonkeyPatch()
    patch.setattr(page_context, "_SETTLE_SECONDS", 0)
    # Nor should the hundredth wrong password wait for its turn.
    patch.setattr(attempts, "_wait", lambda *_: 0.0)
    with open_api(postgres_url, pages=True) as opened:
        _add_kinds(opened)
        opened.log.take(output("o-1", confidence=0.1))
        yield opened
    patch.undo()


def _add_kinds(api: Api) -> None:
    with api.database.transaction() as session:
        add_person(session, "gone@example.org", role=Role.REP)
        add_schedule(session, TOOL)
        for kind in KINDS:
            add_tool(session, kind, kind=OutputKind(kind))
    for kind, value in KINDS.items():
        said = {"a": {"value": "b"}} if kind == "fields" else value
        api.log.take(output("o-1", tool=kind, kind=kind, value=said, confidence=0.1))


@cache
def _case(api: Api, tool: str) -> str:
    query = 'SELECT id FROM "case" WHERE tool = :tool ORDER BY id LIMIT 1'
    return str(api.one(query, tool=tool))


def _route(api: Api, method: str, path: str) -> Dependant:
    """What a route declares."""
    app: Any = api.client.app
    for context in (
        *iter_route_contexts(app.pages.routes),
        *iter_route_contexts(app.api.routes),
    ):
        if str(context.path) == path and method in (context.methods or ()):
            route = context.original_route
            return route.dependant if isinstance(route, APIRoute) else Dependant()
    raise AssertionError(path)


def _address(api: Api, path: str, query: dict[str, str], **replaced: str) -> str:
    """The address of a route about what there is, but for what is replaced."""
    usual = {
        "case_id": _case(api, TOOL),
        "slug": TOOL,
        "tool": TOOL,
        "output_id": "o-1",
        "token": "none",
        "prefix": "none0000",
        "number": "1",
        "email": "olga@example.org",
    }
    for name, value in (usual | replaced).items():
        for place in (f"{{{name}}}", f"{{{name}:path}}"):
            path = path.replace(place, _quoted(value[:URL_LENGTH]))
    return f"{path}?{_encoded({name: value[:URL_LENGTH] for name, value in query.items()})}"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")


def _encoded(form: dict[str, str]) -> str:
    return "&".join(f"{_quoted(name)}={_quoted(value)}" for name, value in form.items())


def _addresses(api: Api, declared: Dependant, path: str) -> Iterator[tuple[str, str]]:
    """Every address with one nasty value in it, and what that is."""
    usual = {"tool": TOOL, "id": "o-1"}
    for field in declared.path_params:
        for name, value in TEXTS.items():
            yield f"{field.alias}: {name}", _address(api, path, usual, **{field.alias: value})
    for asked in (*(field.alias for field in declared.query_params), *READS.get(path, ())):
        for name, value in (TEXTS | (CURSORS if asked == "cursor" else {})).items():
            yield f"?{asked}: {name}", _address(api, path, usual | {asked: value})


def _forms(declared: Dependant, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Every form with one nasty value in it."""
    expected = any(one.call is read_form for one in declared.dependencies)
    assert expected == (path in FORMS), path
    usual = FORMS.get(path, {})
    for field in usual:
        for name, value in TEXTS.items():
            yield f"{field}= {name}", usual | {field: value}
    yield "name of a field", usual | {"field.\0": "x"}


def _replaced(body: Any, value: Any) -> Iterator[tuple[str, Any]]:
    """The body with each part of it replaced by `value` in turn."""
    yield "", value
    if isinstance(body, dict):
        for name, part in body.items():
            for below, changed in _replaced(part, value):
                yield f"/{name}{below}", body | {name: changed}
    elif isinstance(body, list):
        for at, part in enumerate(body):
            for below, changed in _replaced(part, value):
                yield f"/{at}{below}", [*body[:at], changed, *body[at + 1 :]]


def _bodies(path: str) -> Iterator[tuple[str, str]]:
    for body in JSON_BODIES[path]:
        for name, value in JSON_VALUES.items():
            for place, changed in _replaced(body, value):
                yield f"{place or 'the whole'}: {name}", json.dumps(changed)


def _check(answer: Any, what: str, *, problem: bool) -> None:
    assert answer.status_code < FAILED, f"{what}: {answer.status_code}"
    if not problem or answer.status_code < BAD:
        return
    said = answer.json()
    assert said["title"], what
    assert said["detail"], what
    if answer.status_code in (BAD, INVALID):
        assert said["errors"], f"{what}: {said}"
        for error in said["errors"]:
            assert error["pointer"].startswith("/") or not error["pointer"], f"{what}: {error}"
            assert error["problem"], what
            assert error["hint"], what


@pytest.mark.parametrize(("method", "path"), sorted(API))
def test_api_answers_nasty_values(method: str, path: str, api: Api) -> None:
    declared = _route(api, method, path)
    need, _ = API[method, path]
    headers = api.bearer("tool" if need == KEY else "admin.support")
    send = partial(api.client.request, method, headers=headers)
    usual = {"json": JSON_BODIES[path][0]} if method in ("POST", "PUT") else {}
    for what, address in _addresses(api, declared, path):
        if "wait" not in what or what.endswith((": NUL", ": infinity", ": not a number")):
            _check(send(address, **usual), what, problem=True)
    if method not in ("POST", "PUT"):
        return
    headers["Content-Type"] = "application/json"
    # What comes with other verbs is the same, whatever kind of output a case is on.
    for tool in (TOOL, *KINDS) if path.endswith("verdict") else (TOOL,):
        address = _address(api, path, {"tool": TOOL}, case_id=_case(api, tool))
        for what, body in _bodies(path):
            _check(send(address, content=body), f"{tool} {what}", problem=True)


@pytest.mark.parametrize(("method", "path"), sorted(PAGES))
def test_page_answers_nasty_values(method: str, path: str, api: Api) -> None:
    declared = _route(api, method, path)
    browser = signed_in(api, "admin.support")
    for what, address in _addresses(api, declared, path):
        _check(browser(method, address, data=FORMS.get(path)), what, problem=False)
    if method != "POST":
        return
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    says_value = not {"choice", "value"}.isdisjoint(FORMS.get(path, ()))
    for tool in (TOOL, *KINDS) if says_value or path.startswith("/tools/{slug}") else (TOOL,):
        usual = {"tool": tool, "id": "o-1"}
        address = _address(api, path, usual, case_id=_case(api, tool), slug=tool)
        for what, given in _forms(declared, path):
            answer = browser(method, address, content=_encoded(given), extra=form)
            _check(answer, f"{tool} {what}", problem=False)


def test_every_field_of_a_body_is_tried(api: Api) -> None:
    """The bodies above name every field that the API's description does."""
    document = api.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    for path, methods in document["paths"].items():
        for operation in methods.values():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            schema = next((s for s in schema.get("anyOf", ()) if "$ref" in s), schema)
            declared = schemas.get(schema.get("$ref", "").rpartition("/")[2], {})
            known = path.replace("{output_id}", "{output_id:path}")
            if path in ("/v1/events", "/v1/outputs", "/v1/corrections"):
                continue  # The contracts' own tests try their fields.
            named = {name for body in JSON_BODIES.get(known, ()) for name in body}
            assert set(declared.get("properties", ())) <= named, path


# --- what the pages say of values that are too long or are no answer ----------------------


@pytest.mark.parametrize(
    ("tool", "form", "words"),
    [
        (TOOL, {"choice": "unsure", "note": "x" * 4_001}, "The note: it is over 4000 char"),
        (TOOL, {"choice": "unsure", "reason": "x" * 201}, "The reason: it is over 200 char"),
        ("text", {"choice": "text", "value": " "}, "it is empty"),
        ("text", {"choice": "text", "value": "x" * 70_000}, "it is over 65536 characters"),
    ],
)
def test_word_of_a_rep_that_the_contract_refuses_is_answered_on_the_page(
    tool: str, form: dict[str, str], words: str, api: Api
) -> None:
    browser = signed_in(api, "rep.support")
    answer = browser("POST", f"/output?tool={tool}&id=o-1", data=form)
    assert answer.status_code == INVALID
    assert words in answer.text


LONG = "x" * 201


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/people", {"email": "l@example.org", "name": LONG, "role": "rep", "team": "support"}),
        ("/people/teams", {"slug": "long", "title": LONG}),
        ("/tools/new", {"slug": "long", "kind": "category"} | _TOOL | {"name": LONG}),
        (f"/tools/{TOOL}", _TOOL | {"name": LONG}),
    ],
)
def test_name_on_a_page_has_the_limit_of_the_api(path: str, form: dict[str, str], api: Api) -> None:
    browser = signed_in(api, "admin.support")
    answer = browser("POST", path, data=form)
    assert answer.status_code == INVALID
    assert "Use 200 characters at most" in answer.text
