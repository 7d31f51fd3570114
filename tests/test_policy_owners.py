"""A routing policy's owners are there: at the start, and when somebody would leave."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services.app import web as app_web
from services.app.resources import Resources, take_routing
from services.commands import people, roles
from services.commands.roles import Consumed
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.errors import InvalidInput
from services.kit.settings import load_settings
from services.people import access
from services.people.errors import StillOwns
from services.tools.identity import COOKIE
from tests.factories import ADMIN, LEAD, OUTSIDER, REP, TEAMMATE, one, populate
from tests.factories.people import OPERATOR

POLICY = """
version: 1
catch_all: {{team: {team}, sla: {{claim: 30m, resolve: 2h}}}}
rules:
  - {{id: all, when: {{tool: "*"}}, owner: {{user: {user}}}}}
"""


class Started(Exception):
    """The roles would start now."""


def _start(*_given: object) -> None:
    raise Started


@pytest.fixture
def policy(
    fresh_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Database]]:
    """Names a database and a policy in the settings; answers the database."""

    def name(*, user: str, team: str = "support", populated: bool = True) -> Database:
        url = fresh_database()
        file = tmp_path / "routing.yaml"
        file.write_text(POLICY.format(user=user, team=team))
        given = {"DATABASE_URL": url, "DATA_DIR": tmp_path, "ROUTING_FILE": file}
        given |= {"PORT": "0", "METRICS_PORT": "0"}
        for setting, value in given.items():
            monkeypatch.setenv(f"SECONDLOOK_{setting}", str(value))
        monkeypatch.setattr(roles.logging, "configure", lambda *_given, **_more: None)
        monkeypatch.setenv(roles._SOCKET, "")
        monkeypatch.setattr(roles, "Supervisor", _start)
        monkeypatch.setattr(roles, "make_consumer", _start)
        database = Database(make_engine(url))
        opened.append(database)
        if populated:
            populate(database)
        return database

    opened: list[Database] = []
    yield name
    for database in opened:
        database.close()


def take(database: Database) -> Resources:
    """The resources of a process that started with the policy."""
    settings = load_settings()
    resources = Resources(settings, database, roles._external(settings), DatabaseClock())
    take_routing(resources)
    return resources


def test_deactivate_by_command_whom_the_policy_names(policy: Callable[..., Database]) -> None:
    database = policy(user=LEAD)
    take(database)
    with pytest.raises(StillOwns, match=f"names user:{LEAD}"):
        people.deactivate_person(LEAD)
    assert one(database, "SELECT active FROM person WHERE email = :e", e=LEAD)
    people.deactivate_person(OUTSIDER)


def test_change_by_page_whom_the_policy_names(policy: Callable[..., Database]) -> None:
    database = policy(user=LEAD)
    resources = take(database)
    with database.transaction() as session:
        now, length = DatabaseClock().now(session), timedelta(hours=1)
        link = access.create_link(session, ADMIN, actor=OPERATOR, now=now, length=length)
        secret, _ = access.use_link(session, link, now=now, length=length)
    client = TestClient(
        app_web.make_ui(resources),
        base_url="http://127.0.0.1",
        headers={"sec-fetch-site": "same-origin"},
        follow_redirects=False,
    )
    client.cookies.set(COOKIE, secret)
    proof = {"csrf_token": one(database, "SELECT csrf_token FROM sign_in")}
    for path, form in (
        ("/people/active", {"active": "no"}),
        ("/people/change", {"role": "rep", "team": "support"}),
    ):
        refused = client.post(path, data={**proof, "email": LEAD, **form})
        assert (refused.status_code, f"names user:{LEAD}" in refused.text) == (409, True)
        taken = client.post(path, data={**proof, "email": TEAMMATE, **form})
        assert taken.status_code == 303
    refused = client.post("/people/change", data={**proof, "email": ADMIN, "role": "rep"})
    assert (refused.status_code, "somebody else an admin first" in refused.text) == (409, True)


START = {
    "run": lambda: roles.run(demo=False),
    "consume": lambda: roles.consume(Consumed.ESCALATION),
}


@pytest.mark.parametrize("start", START.values(), ids=START)
@pytest.mark.parametrize(
    ("named", "says"),
    [
        ({"user": "pat@example.org"}, "names user:pat@example.org: nobody active has"),
        ({"user": LEAD, "team": "nowhere"}, "names team:nowhere: team 'nowhere' has nobody"),
        ({"user": REP}, "is a rep, who may not review"),
    ],
    ids=["person", "team", "role"],
)
def test_start_with_a_policy_whose_owner_is_not_there_is_refused(
    named: dict[str, str], says: str, start: Callable[[], None], policy: Callable[..., Database]
) -> None:
    policy(**named)
    with pytest.raises(InvalidInput, match=says) as refused:
        start()
    assert "name another owner in the policy" in refused.value.detail
    assert "\n" not in refused.value.detail
    assert refused.value.problems == ()


def test_start_of_the_demo_makes_the_people_whom_the_policy_names(
    policy: Callable[..., Database],
) -> None:
    named = {"user": "lead@demo.example", "team": "ticket-triage"}
    database = policy(**named, populated=False)
    with pytest.raises(InvalidInput, match="ticket-triage"):
        roles.run(demo=False)
    with pytest.raises(Started):
        roles.run(demo=True)
    assert one(database, "SELECT can_own('ticket-triage')")
