"""Who may call what: every route of every app, for every role, on own and foreign objects.

The table below is the policy. A route that is not in it fails the test, so a new route
cannot be forgotten.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount

from services.kit.clock import DatabaseClock
from services.registry import access, queries, service
from services.registry.rules import ALLOWED, EVERY_TEAM, Role, Verb
from tests.api.conftest import FOREIGN_TOOL, House, make_house
from tests.house import TOOL, output

# What a route needs: nothing, a tool's key, a sign-in, or a verb; and whether it is about
# an object of a team (then somebody else's answers 404).
OPEN, KEY, SIGNED_IN = "open", "key", "signed in"
Need = str | Verb
API: dict[tuple[str, str], tuple[Need, bool]] = {
    ("GET", "/healthz"): (OPEN, False),
    ("GET", "/readyz"): (OPEN, False),
    ("GET", "/metrics"): (OPEN, False),
    ("GET", "/openapi.json"): (OPEN, False),
    ("POST", "/v1/events"): (KEY, False),
    ("POST", "/v1/outputs"): (KEY, False),
    ("POST", "/v1/corrections"): (KEY, False),
    ("GET", "/v1/policy"): (KEY, False),
    ("GET", "/v1/outputs/{output_id:path}"): (Verb.READ_OUTPUTS, True),
    ("GET", "/v1/datasets/corrections"): (Verb.EXPORT, True),
    ("GET", "/v1/cases"): (Verb.READ_CASES, False),
    ("GET", "/v1/cases/{case_id}"): (Verb.READ_CASES, True),
    ("POST", "/v1/cases/{case_id}/claim"): (Verb.JUDGE, True),
    ("POST", "/v1/cases/{case_id}/release"): (Verb.JUDGE, True),
    ("POST", "/v1/cases/{case_id}/verdict"): (Verb.JUDGE, True),
    ("POST", "/v1/cases/{case_id}/reassign"): (Verb.JUDGE, True),
    ("POST", "/v1/cases/{case_id}/comment"): (Verb.JUDGE, True),
    ("POST", "/v1/cases/{case_id}/escalate"): (Verb.JUDGE, True),
    ("GET", "/v1/tools"): (Verb.READ_OUTPUTS, False),
    ("GET", "/v1/tools/{slug}"): (Verb.READ_OUTPUTS, True),
    ("PUT", "/v1/tools/{slug}"): (Verb.SWITCH_TOOL, True),
    ("GET", "/v1/rates"): (Verb.READ_NUMBERS, True),
}
BODIES: dict[str, Any] = {
    "/v1/cases/{case_id}/release": {"token": "1"},
    "/v1/cases/{case_id}/verdict": {"token": "1", "verdict": "upheld"},
    "/v1/cases/{case_id}/reassign": {"owner": {"kind": "team", "id": "support"}},
    "/v1/cases/{case_id}/comment": {"note": "hello"},
    "/v1/cases/{case_id}/escalate": {"level": 0},
    "/v1/tools/{slug}": {"state": "live"},
}
PAGES: dict[tuple[str, str], tuple[Need, bool]] = {
    ("GET", "/"): (SIGNED_IN, False),
    ("GET", "/sign-in"): (OPEN, False),
    ("POST", "/sign-in"): (OPEN, False),
    ("GET", "/sign-in/{token}"): (OPEN, False),
    ("POST", "/sign-in/{token}"): (OPEN, False),
    ("POST", "/sign-out"): (SIGNED_IN, False),
    ("GET", "/account"): (SIGNED_IN, False),
    ("POST", "/account/password"): (SIGNED_IN, False),
    ("POST", "/account/token"): (SIGNED_IN, False),
    ("GET", "/queue"): (Verb.READ_CASES, False),
    ("GET", "/queue/new"): (Verb.READ_CASES, False),
    ("GET", "/c/{case_id}"): (Verb.READ_CASES, True),
    ("GET", "/c/{case_id}/remarks"): (Verb.READ_CASES, True),
    ("POST", "/c/{case_id}/undo"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/reopen"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/claim"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/release"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/verdict"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/comment"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/reassign"): (Verb.JUDGE, True),
    ("POST", "/c/{case_id}/escalate"): (Verb.JUDGE, True),
    ("GET", "/dead-letters"): (SIGNED_IN, False),
    ("GET", "/dead-letters/{number}"): (SIGNED_IN, False),
    ("POST", "/dead-letters/{number}/retry"): (SIGNED_IN, False),
    ("POST", "/dead-letters/{number}/discard"): (SIGNED_IN, False),
    ("GET", "/outputs"): (Verb.READ_OUTPUTS, False),
    ("GET", "/output"): (Verb.READ_OUTPUTS, True),
    ("GET", "/o/{tool}/{output_id:path}"): (SIGNED_IN, False),
    ("POST", "/output"): (Verb.CORRECT, True),
    ("POST", "/output/undo"): (Verb.CORRECT, True),
    ("GET", "/health"): (Verb.READ_NUMBERS, False),
    ("GET", "/health/{slug}"): (Verb.READ_NUMBERS, True),
    ("POST", "/health/{slug}/state"): (Verb.SWITCH_TOOL, True),
    ("GET", "/tools"): (Verb.MANAGE_TOOLS, False),
    ("GET", "/tools/new"): (Verb.MANAGE_TOOLS, False),
    ("POST", "/tools/new"): (Verb.MANAGE_TOOLS, False),
    ("GET", "/tools/{slug}"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/review-when"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/keys"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/keys/{prefix}/revoke"): (Verb.MANAGE_TOOLS, True),
    ("GET", "/people"): (Verb.MANAGE_PEOPLE, False),
    ("POST", "/people"): (Verb.MANAGE_PEOPLE, False),
    ("POST", "/people/teams"): (Verb.MANAGE_PEOPLE, False),
    ("POST", "/people/change"): (Verb.MANAGE_PEOPLE, False),
    ("POST", "/people/active"): (Verb.MANAGE_PEOPLE, False),
    ("POST", "/people/link"): (Verb.MANAGE_PEOPLE, False),
    ("GET", "/audit"): (Verb.READ_AUDIT, False),
}
THROWN_AWAY = "thrown.away@example.org"
FORMS: dict[str, dict[str, str]] = {
    "/people/change": {"email": THROWN_AWAY, "role": "owner", "team": "other"},
    "/people/active": {"email": THROWN_AWAY, "active": "no"},
}
MATRIX = API | PAGES
SEE_OTHER, UNAUTHENTICATED, FORBIDDEN, MISSING = 303, 401, 403, 404


@pytest.fixture(scope="module")
def house(postgres_url: str) -> Iterator[House]:
    """One house for the whole matrix: a case and an output of each team."""
    import psycopg

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE matrix TEMPLATE template")
        made = make_house(f"{postgres_url.rpartition('/')[0]}/matrix")
        made.log.take(output("o-1", confidence=0.1), _foreign(output("o-2", confidence=0.1)))
        _add_thrown_away(made)
        with made.client:
            yield made
        made.resources.close()
        connection.execute("DROP DATABASE matrix WITH (FORCE)")


def _add_thrown_away(made: House) -> None:
    with made.resources.database.transaction() as session:
        service.add_person(
            session,
            THROWN_AWAY,
            name="Thrown away",
            role=Role.REP,
            teams=["support"],
            actor="test",
            now=DatabaseClock().now(session),
        )


def _thrown_away(house: House) -> tuple[str, bool]:
    """The role of the person to throw away, and whether they may sign in."""
    with house.resources.database.transaction() as session:
        found = queries.person(session, THROWN_AWAY)
    return found.role, found.active


def _foreign(event: Any) -> Any:
    return event.model_copy(update={"source": f"/tools/{FOREIGN_TOOL}"})


def routes(found: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Every (method, path) of these routes; what is mounted is static files."""
    for context in iter_route_contexts(found):
        route = context.original_route
        if isinstance(route, Mount):
            assert route.path == "/static"
            continue
        for method in context.methods or ():
            if method not in ("HEAD", "OPTIONS"):
                yield method, str(context.path)


def test_every_route_is_in_the_matrix(house: House) -> None:
    app: Any = house.client.app
    found = {*routes(app.pages.routes), *routes(app.api.routes)}
    assert found
    assert found == set(MATRIX)


def _call(house: House, method: str, path: str, who: str | None, *, own: bool) -> int:
    """Call a route about an own or a foreign object; answers the status."""
    tool, output_id = (TOOL, "o-1") if own else (FOREIGN_TOOL, "o-2")
    address = (
        path.replace("{output_id:path}", output_id)
        .replace("{case_id}", _case(house, tool))
        .replace("{number}", "1")
        .replace("{slug}", tool)
        .replace("{tool}", tool)
        .replace("{token}", "none")
        .replace("{prefix}", "none0000")
    )
    headers = house.bearer(who) if who else {}
    given: dict[str, Any] = {"params": {"tool": tool, "id": output_id}}
    if path in BODIES and method != "GET":
        given["json"] = BODIES[path]
    return house.client.request(method, address, headers=headers, **given).status_code


_cases: dict[str, str] = {}


def _case(house: House, tool: str) -> str:
    from tests.house import one

    if tool not in _cases:
        query = 'SELECT id FROM "case" WHERE tool = :tool'
        _cases[tool] = str(one(house.resources.database, query, tool=tool))
    return _cases[tool]


@pytest.mark.parametrize(("method", "path"), sorted(API))
def test_api_route_needs_what_the_matrix_says(method: str, path: str, house: House) -> None:
    need, about_an_object = API[method, path]
    anonymous = _call(house, method, path, None, own=True)
    assert (anonymous == UNAUTHENTICATED) == (need != OPEN)
    if need == OPEN:
        return
    if need == KEY:
        assert _call(house, method, path, "admin.support", own=True) == UNAUTHENTICATED
        return
    assert isinstance(need, Verb)
    for role in Role:
        status = _call(house, method, path, f"{role}.support", own=True)
        allowed = need in ALLOWED[role]
        assert status < 500, f"{role} own: {status}"
        assert (status in (FORBIDDEN, MISSING)) != allowed, f"{role} own: {status}"
        if about_an_object and allowed and role not in EVERY_TEAM:
            foreign = _call(house, method, path, f"{role}.support", own=False)
            assert foreign == MISSING, f"{role} foreign: {foreign}"
    if path != "/v1/outputs/{output_id:path}":
        assert _call(house, method, path, "tool", own=True) == UNAUTHENTICATED


@pytest.mark.parametrize(("method", "path"), sorted(PAGES))
def test_page_needs_a_sign_in(method: str, path: str, house: House) -> None:
    """Without one a page leads to the sign-in, and an unsafe request is refused."""
    need, _ = PAGES[method, path]
    status = _call(house, method, path, None, own=True)
    if need == OPEN:
        assert status in (200, 403)
    else:
        assert status == (303 if method == "GET" else FORBIDDEN)


def signed_in(house: House, who: str) -> Callable[..., Any]:
    """A browser of somebody: answers a function that makes requests with CSRF proof."""
    from datetime import timedelta

    from tests.house import rows

    email = f"{who}@example.org"
    with house.resources.database.transaction() as session:
        now = DatabaseClock().now(session)
        link = access.create_link(session, email, actor="t", now=now, length=timedelta(hours=1))
        secret, _ = access.use_link(session, link, now=now, length=timedelta(hours=1))
    query = "SELECT csrf_token FROM sign_in WHERE person = :email ORDER BY created_at DESC LIMIT 1"
    token = rows(house.resources.database, query, email=email)[0].csrf_token

    def request(
        method: str, path: str, *, extra: Mapping[str, str] | None = None, **given: Any
    ) -> Any:
        headers = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin", **(extra or {})}
        cookies = {"Cookie": f"secondlook={secret}"}
        return house.client.request(method, path, headers=headers | cookies, **given)

    return request


@pytest.mark.parametrize("role", list(Role))
def test_pages_follow_the_matrix_for_each_role(role: Role, house: House) -> None:
    browser = signed_in(house, f"{role}.support")
    before = _thrown_away(house)
    for (method, path), (need, about_an_object) in sorted(PAGES.items()):
        if not isinstance(need, Verb):
            continue
        allowed = need in ALLOWED[role]
        own = _page(house, browser, method, path, own=True)
        assert own < 500, f"{method} {path} own: {own}"
        assert (own == FORBIDDEN) != allowed, f"{method} {path} own: {own}"
        if path in FORMS:
            assert own == (SEE_OTHER if allowed else FORBIDDEN), f"{method} {path}: {own}"
        if about_an_object and allowed and role not in EVERY_TEAM:
            foreign = _page(house, browser, method, path, own=False)
            assert foreign == MISSING, f"{method} {path} foreign: {foreign}"
    manages = Verb.MANAGE_PEOPLE in ALLOWED[role]
    assert _thrown_away(house) == (("owner", False) if manages else before)


def _page(house: House, browser: Callable[..., Any], method: str, path: str, *, own: bool) -> int:
    tool, output_id = (TOOL, "o-1") if own else (FOREIGN_TOOL, "o-2")
    address = (
        path.replace("{case_id}", _case(house, tool))
        .replace("{slug}", tool)
        .replace("{prefix}", "none0000")
    )
    form = {"choice": "unsure", "state": "live", "note": "x", "email": "nobody@example.org"}
    given = {"data": form | FORMS.get(path, {})} if method == "POST" else {}
    params = {"tool": tool, "id": output_id}
    return int(browser(method, address, params=params, **given).status_code)


def test_unsafe_request_without_csrf_proof_is_refused(house: House) -> None:
    browser = signed_in(house, "admin.support")
    for method, path in sorted(PAGES):
        if method == "POST":
            address = path.replace("{case_id}", "1").replace("{slug}", TOOL)
            address = address.replace("{token}", "x").replace("{prefix}", "x")
            sent = browser("GET", "/account").request.headers["cookie"]
            answer = house.client.post(address, headers={"Cookie": sent})
            assert answer.status_code == FORBIDDEN, path


@pytest.mark.parametrize("role", [Role.OWNER, Role.OPS])
def test_who_switches_a_tool_changes_nothing_else_of_it(role: Role, house: House) -> None:
    headers = house.bearer(f"{role}.support")
    for field, value in (("threshold", 0.6), ("categories", ["a"]), ("maturity_seconds", 1)):
        body = {"state": "live", field: value}
        answer = house.client.put(f"/v1/tools/{TOOL}", json=body, headers=headers)
        assert answer.status_code == FORBIDDEN
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"
