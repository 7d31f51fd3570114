"""A routing policy's owners are there: at the start, and when somebody would leave."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from services import bootstrap
from services.bootstrap import Resources
from services.commands import registry, roles
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.settings import load_settings
from services.registry import access
from services.registry.errors import StillOwns
from services.registry.identity import COOKIE
from tests.house import ADMIN, LEAD, OUTSIDER, TEAMMATE, furnish, one

POLICY = """
version: 1
catch_all: {{team: {team}, sla: {{claim: 30m, resolve: 2h}}}}
rules:
  - {{id: all, when: {{tool: "*"}}, owner: {{user: {user}}}}}
"""


@pytest.fixture
def policy(
    fresh_database: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Database]]:
    """Names a database and a policy in the settings; answers the database."""

    def name(*, user: str, team: str = "support", furnished: bool = True) -> Database:
        url = fresh_database()
        file = tmp_path / "routing.yaml"
        file.write_text(POLICY.format(user=user, team=team))
        given = {"DATABASE_URL": url, "DATA_DIR": tmp_path, "ROUTING_FILE": file, "PORT": "0"}
        for setting, value in given.items():
            monkeypatch.setenv(f"SECONDLOOK_{setting}", str(value))
        monkeypatch.setattr(roles.logging, "configure", lambda *_given, **_more: None)
        monkeypatch.setenv(roles._SOCKET, "")
        database = Database(make_engine(url))
        opened.append(database)
        if furnished:
            furnish(database)
        return database

    opened: list[Database] = []
    yield name
    for database in opened:
        database.close()


def test_deactivate_by_command_whom_the_policy_names(policy: Callable[..., Database]) -> None:
    database = policy(user=LEAD)
    with pytest.raises(StillOwns, match=f"names user:{LEAD}"):
        registry.deactivate_person(LEAD)
    assert one(database, "SELECT active FROM person WHERE email = :e", e=LEAD)
    registry.deactivate_person(OUTSIDER)


def test_change_by_page_whom_the_policy_names(policy: Callable[..., Database]) -> None:
    database = policy(user=LEAD)
    settings = load_settings()
    resources = Resources(settings, database, roles._external(settings), DatabaseClock())
    with database.transaction() as session:
        now, length = DatabaseClock().now(session), timedelta(hours=1)
        link = access.create_link(session, ADMIN, actor="test", now=now, length=length)
        secret, _ = access.use_link(session, link, now=now, length=length)
    client = TestClient(
        bootstrap.make_ui(resources),
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
