"""Who may call what: every route of every app, for every role, on own and foreign objects.

The table below is the policy. A route that is not in it fails the test, so a new route
cannot be forgotten.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount

from services.people import queries as people_queries
from services.people.rules import ALLOWED, EVERY_TEAM, Role, Verb
from tests.factories import (
    FOREIGN,
    OTHER_TEAM,
    OUTSIDER,
    TEAMMATE,
    TOOL,
    add_person,
    add_schedule,
    output,
)
from tests.factories.api import Api, open_api

# What a route needs: nothing, a tool's key, a sign-in, or a verb; and whether it is about
# an object of a team (then somebody else's answers 404). What needs a secret in its address is
# not there without it.
OPEN, KEY, SIGNED_IN, SECRET = "open", "key", "signed in", "secret"
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
    ("POST", "/v1/cases/{case_id}/claim"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/release"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/verdict"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/reassign"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/comment"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/escalate"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/wait"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/snooze"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/wake"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/merge"): (Verb.TAKE_OVER, True),
    ("POST", "/v1/cases/{case_id}/unmerge"): (Verb.TAKE_OVER, True),
    ("POST", "/v1/cases/bulk"): (Verb.REVIEW, False),
    ("POST", "/v1/cases/{case_id}/reopen"): (Verb.REVIEW, True),
    ("POST", "/v1/cases/{case_id}/undo"): (Verb.REVIEW, True),
    ("POST", "/v1/routing/reapply"): (Verb.ROUTE_CASES, False),
    ("GET", "/v1/tools"): (Verb.READ_OUTPUTS, False),
    ("GET", "/v1/tools/{slug}"): (Verb.READ_OUTPUTS, True),
    ("PUT", "/v1/tools/{slug}"): (Verb.SWITCH_TOOL, True),
    ("GET", "/v1/rates"): (Verb.READ_NUMBERS, True),
    ("GET", "/v1/agreement"): (Verb.READ_NUMBERS, True),
    ("GET", "/v1/people/{email}/skills"): (Verb.MANAGE_SKILLS, True),
    ("PUT", "/v1/people/{email}/skills"): (Verb.MANAGE_SKILLS, True),
    ("GET", "/v1/inbox"): (SIGNED_IN, False),
    ("POST", "/v1/inbox/read"): (SIGNED_IN, False),
    ("GET", "/v1/verdicts"): (KEY, False),
}
LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
BODIES: dict[str, Any] = {
    "/v1/cases/{case_id}/release": {"token": "0"},
    "/v1/cases/{case_id}/verdict": {"token": "0", "verdict": "upheld"},
    "/v1/cases/{case_id}/reassign": {"owner": {"kind": "team", "id": "support"}},
    "/v1/cases/{case_id}/comment": {"note": "hello"},
    "/v1/cases/{case_id}/wait": {"token": "0", "until": LATER, "reason": "later"},
    "/v1/cases/{case_id}/snooze": {"token": None, "until": LATER, "more": None, "reason": "later"},
    "/v1/cases/{case_id}/wake": {"note": "hello"},
    "/v1/cases/{case_id}/merge": {"into": 1},
    "/v1/cases/{case_id}/unmerge": {},
    "/v1/cases/bulk": {"verb": "comment", "ids": [1], "body": {"note": "hello"}},
    "/v1/cases/{case_id}/reopen": {"note": "hello"},
    "/v1/cases/{case_id}/escalate": {"level": 0},
    "/v1/cases/{case_id}/undo": {"verdict_id": "verdict-1"},
    "/v1/routing/reapply": {"dry_run": True, "also_reassigned": False},
    "/v1/tools/{slug}": {"state": "live"},
    "/v1/people/{email}/skills": {"skills": ["refunds"]},
    "/v1/inbox/read": {"ids": None, "all": True},
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
    ("POST", "/account/away"): (SIGNED_IN, False),
    ("POST", "/account/back"): (SIGNED_IN, False),
    ("POST", "/account/feed"): (Verb.READ_SCHEDULES, False),
    ("POST", "/account/feed/revoke"): (Verb.READ_SCHEDULES, False),
    ("GET", "/schedules"): (Verb.READ_SCHEDULES, False),
    ("POST", "/schedules"): (Verb.MANAGE_SCHEDULES, False),
    ("GET", "/schedules/{slug}.ics"): (SECRET, False),
    ("GET", "/schedules/{slug}"): (Verb.READ_SCHEDULES, True),
    ("POST", "/schedules/{slug}/override"): (Verb.MANAGE_SCHEDULES, True),
    ("POST", "/schedules/{slug}/override/end"): (Verb.MANAGE_SCHEDULES, True),
    ("GET", "/push.js"): (OPEN, False),
    ("POST", "/account/push"): (SIGNED_IN, False),
    ("POST", "/account/push/remove"): (SIGNED_IN, False),
    ("POST", "/account/notifications"): (SIGNED_IN, False),
    ("POST", "/account/notifications/test"): (SIGNED_IN, False),
    ("GET", "/inbox"): (SIGNED_IN, False),
    ("POST", "/inbox/read"): (SIGNED_IN, False),
    ("GET", "/queue"): (Verb.READ_CASES, False),
    ("GET", "/queue/new"): (Verb.READ_CASES, False),
    ("GET", "/c/{case_id}"): (Verb.READ_CASES, True),
    ("GET", "/c/{case_id}/remarks"): (Verb.READ_CASES, True),
    ("POST", "/c/{case_id}/undo"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/reopen"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/claim"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/release"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/verdict"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/comment"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/reassign"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/hand-on"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/escalate"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/put-off"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/wake"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/merge"): (Verb.TAKE_OVER, True),
    ("POST", "/c/{case_id}/unmerge"): (Verb.TAKE_OVER, True),
    ("GET", "/c/{case_id}/parts/verdict"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/parts/verdict"): (Verb.REVIEW, True),
    ("POST", "/c/{case_id}/parts/undo"): (Verb.REVIEW, True),
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
    ("GET", "/routing"): (Verb.ROUTE_CASES, False),
    ("GET", "/routing/history"): (Verb.ROUTE_CASES, False),
    ("GET", "/routing/history/{number}"): (Verb.ROUTE_CASES, False),
    ("GET", "/routing/try"): (Verb.ROUTE_CASES, False),
    ("GET", "/routing/propose"): (Verb.ROUTE_CASES, False),
    ("POST", "/routing/propose"): (Verb.ROUTE_CASES, False),
    ("POST", "/routing/put"): (Verb.ROUTE_CASES, False),
    ("GET", "/tools"): (Verb.MANAGE_TOOLS, False),
    ("GET", "/tools/new"): (Verb.MANAGE_TOOLS, False),
    ("POST", "/tools/new"): (Verb.MANAGE_TOOLS, False),
    ("GET", "/tools/{slug}"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/review-when"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/keys"): (Verb.MANAGE_TOOLS, True),
    ("POST", "/tools/{slug}/keys/{prefix}/revoke"): (Verb.MANAGE_TOOLS, True),
    ("GET", "/people"): (Verb.MANAGE_SKILLS, False),
    ("POST", "/people/skills"): (Verb.MANAGE_SKILLS, False),
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
def api(postgres_url: str) -> Iterator[Api]:
    """One installation for the whole matrix: a case and an output of each team."""
    with open_api(postgres_url, pages=True) as opened:
        foreign = output("o-2", tool=FOREIGN, confidence=0.1)
        opened.log.take(output("o-1", confidence=0.1), foreign)
        with opened.database.transaction() as session:
            add_person(session, THROWN_AWAY, role=Role.REP)
            # Named as the tools are, so that one slug is of an object of every kind.
            add_schedule(session, TOOL)
            add_schedule(session, FOREIGN, OUTSIDER, team=OTHER_TEAM)
        yield opened


def _thrown_away(api: Api) -> tuple[str, bool]:
    """The role of the person to throw away, and whether they may sign in."""
    with api.database.transaction() as session:
        found = people_queries.person(session, THROWN_AWAY)
    return found.role, found.active


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


def test_every_route_is_in_the_matrix(api: Api) -> None:
    app: Any = api.client.app
    found = {*routes(app.pages.routes), *routes(app.api.routes)}
    assert found
    assert found == set(MATRIX)


def _call(api: Api, method: str, path: str, who: str | None, *, own: bool) -> int:
    """Call a route about an own or a foreign object; answers the status."""
    tool, output_id = (TOOL, "o-1") if own else (FOREIGN, "o-2")
    address = (
        path.replace("{output_id:path}", output_id)
        .replace("{case_id}", _case(api, tool))
        .replace("{number}", "1")
        .replace("{slug}", tool)
        .replace("{tool}", tool)
        .replace("{token}", "none")
        .replace("{prefix}", "none0000")
        .replace("{email}", TEAMMATE if own else OUTSIDER)
    )
    headers = api.bearer(who) if who else {}
    given: dict[str, Any] = {"params": {"tool": tool, "id": output_id}}
    if path in BODIES and method != "GET":
        given["json"] = BODIES[path]
    return api.client.request(method, address, headers=headers, **given).status_code


_OF_THE_TEAM = """
UPDATE "case" SET owner_team = team, owner_person = NULL, owner_schedule = NULL RETURNING id"""
_cases: dict[str, str] = {}


def _case(api: Api, tool: str) -> str:
    if tool not in _cases:
        query = 'SELECT id FROM "case" WHERE tool = :tool'
        _cases[tool] = str(api.one(query, tool=tool))
    return _cases[tool]


@pytest.mark.parametrize(("method", "path"), sorted(API))
def test_api_route_needs_what_the_matrix_says(method: str, path: str, api: Api) -> None:
    need, about_an_object = API[method, path]
    anonymous = _call(api, method, path, None, own=True)
    assert (anonymous == UNAUTHENTICATED) == (need != OPEN)
    if need == OPEN:
        return
    if need == KEY:
        assert _call(api, method, path, "admin.support", own=True) == UNAUTHENTICATED
        return
    if need == SIGNED_IN:
        assert _call(api, method, path, "tool", own=True) == UNAUTHENTICATED
        assert {_call(api, method, path, f"{role}.support", own=True) for role in Role} == {200}
        return
    assert isinstance(need, Verb)
    for role in Role:
        # Who escalated or reassigned it before took it from those who may put it off.
        api.rows(_OF_THE_TEAM)
        status = _call(api, method, path, f"{role}.support", own=True)
        allowed = need in ALLOWED[role]
        assert status < 500, f"{role} own: {status}"
        assert (status == FORBIDDEN) != allowed, f"{role} own: {status}"
        if about_an_object and allowed and role not in EVERY_TEAM:
            foreign = _call(api, method, path, f"{role}.support", own=False)
            assert foreign == MISSING, f"{role} foreign: {foreign}"
    if path != "/v1/outputs/{output_id:path}":
        assert _call(api, method, path, "tool", own=True) == UNAUTHENTICATED


@pytest.mark.parametrize(("method", "path"), sorted(PAGES))
def test_page_needs_a_sign_in(method: str, path: str, api: Api) -> None:
    """Without one a page leads to the sign-in, and an unsafe request is refused."""
    need, _ = PAGES[method, path]
    status = _call(api, method, path, None, own=True)
    if need == OPEN:
        assert status == (200 if method == "GET" else FORBIDDEN)
    elif need == SECRET:
        assert status == MISSING
    else:
        assert status == (303 if method == "GET" else FORBIDDEN)


def signed_in(api: Api, who: str) -> Callable[..., Any]:
    """A browser of somebody: answers a function that makes requests with CSRF proof."""
    email = f"{who}@example.org"
    secret = api.session(email)
    query = "SELECT csrf_token FROM sign_in WHERE person = :email ORDER BY created_at DESC LIMIT 1"
    token = api.rows(query, email=email)[0].csrf_token

    def request(
        method: str, path: str, *, extra: Mapping[str, str] | None = None, **given: Any
    ) -> Any:
        headers = {"X-CSRF-Token": token, "Sec-Fetch-Site": "same-origin", **(extra or {})}
        cookies = {"Cookie": f"secondlook={secret}"}
        return api.client.request(method, path, headers=headers | cookies, **given)

    return request


@pytest.mark.parametrize("role", list(Role))
def test_pages_follow_the_matrix_for_each_role(role: Role, api: Api) -> None:
    browser = signed_in(api, f"{role}.support")
    before = _thrown_away(api)
    for (method, path), (need, about_an_object) in sorted(PAGES.items()):
        if not isinstance(need, Verb):
            continue
        allowed = need in ALLOWED[role]
        own = _page(api, browser, method, path, own=True)
        assert own < 500, f"{method} {path} own: {own}"
        assert (own == FORBIDDEN) != allowed, f"{method} {path} own: {own}"
        if path in FORMS:
            assert own == (SEE_OTHER if allowed else FORBIDDEN), f"{method} {path}: {own}"
        if about_an_object and allowed and role not in EVERY_TEAM:
            foreign = _page(api, browser, method, path, own=False)
            assert foreign == MISSING, f"{method} {path} foreign: {foreign}"
    manages = Verb.MANAGE_PEOPLE in ALLOWED[role]
    assert _thrown_away(api) == (("owner", False) if manages else before)


def _page(api: Api, browser: Callable[..., Any], method: str, path: str, *, own: bool) -> int:
    tool, output_id = (TOOL, "o-1") if own else (FOREIGN, "o-2")
    address = (
        path.replace("{case_id}", _case(api, tool))
        .replace("{slug}", tool)
        .replace("{prefix}", "none0000")
    )
    form = {"choice": "unsure", "state": "live", "note": "x", "email": "nobody@example.org"}
    given = {"data": form | FORMS.get(path, {})} if method == "POST" else {}
    params = {"tool": tool, "id": output_id}
    return int(browser(method, address, params=params, **given).status_code)


def test_unsafe_request_without_csrf_proof_is_refused(api: Api) -> None:
    browser = signed_in(api, "admin.support")
    for method, path in sorted(PAGES):
        if method == "POST":
            address = path.replace("{case_id}", "1").replace("{slug}", TOOL)
            address = address.replace("{token}", "x").replace("{prefix}", "x")
            sent = browser("GET", "/account").request.headers["cookie"]
            answer = api.client.post(address, headers={"Cookie": sent})
            assert answer.status_code == FORBIDDEN, path


@pytest.mark.parametrize("role", [Role.OWNER, Role.OPS])
def test_who_switches_a_tool_changes_nothing_else_of_it(role: Role, api: Api) -> None:
    headers = api.bearer(f"{role}.support")
    for field, value in (("threshold", 0.6), ("categories", ["a"]), ("maturity_seconds", 1)):
        body = {"state": "live", field: value}
        answer = api.client.put(f"/v1/tools/{TOOL}", json=body, headers=headers)
        assert answer.status_code == FORBIDDEN
        assert answer.json()["errors"][0]["pointer"] == f"/{field}"


def test_skills_are_said_as_a_whole_and_a_wrong_one_is_named(api: Api) -> None:
    headers, path = api.bearer("lead.support"), f"/v1/people/{TEAMMATE.upper()}/skills"
    said = {"person": TEAMMATE, "skills": ["refunds", "taxes"]}
    answer = api.client.put(path, json={"skills": ["taxes", "refunds"]}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, said)
    refused = api.client.put(path, json={"skills": ["refunds", "Tax law"]}, headers=headers)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/skills")
    assert api.client.get(path, headers=headers).json() == said
