"""The example policies: sound where their people are, and their own tests pass."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from services.escalation.policy.read import read
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.people import service as people_service
from services.people.rules import Role
from tests.factories import add_person
from tests.factories.command import secondlook
from tests.factories.people import OPERATOR

FOLDER = Path(__file__).parent.parent / "examples" / "routing"
POLICIES = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture
def database(
    fresh_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Database]:
    """The database that commands work on; nobody is in it."""
    url = fresh_database()
    monkeypatch.setenv("SECONDLOOK_DATABASE_URL", url)
    monkeypatch.setenv("SECONDLOOK_DATA_DIR", str(tmp_path))
    opened = Database(make_engine(url))
    yield opened
    opened.close()


def furnish(database: Database, file: Path) -> None:
    """The teams and people that a policy says must be there."""
    named = read(file.read_text()).owners
    with database.transaction() as session:
        now = DatabaseClock().now(session)
        for team in sorted(owner.id for owner in named if owner.kind == "team"):
            people_service.add_team(session, team, name=None, actor=OPERATOR, now=now)
            add_person(session, f"{team}@example.org", teams=[team])
        for email in sorted(owner.id for owner in named if owner.kind == "person"):
            add_person(session, email, role=Role.LEAD, teams=[])


def test_there_are_three() -> None:
    assert [file.stem for file in POLICIES] == ["draft-texts", "finance-flags", "support-desk"]


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_example_passes_its_own_tests(file: Path) -> None:
    done = secondlook("route", "test", str(file), "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["tests"] >= len(read(file.read_text()).rules)


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_example_is_sound_where_its_people_are(file: Path, database: Database) -> None:
    missing = secondlook("route", "check", str(file))
    assert missing.returncode == 1, "nobody is there yet"
    furnish(database, file)
    found = secondlook("route", "check", str(file), "--json")
    assert json.loads(found.stdout) == {"sound": True, "problems": [], "warnings": []}
    assert secondlook("route", "put", str(file)).returncode == 0


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_example_names_at_its_top_who_must_be_there(file: Path) -> None:
    head = file.read_text().partition("version: 1")[0]
    listed = set(re.findall(r"[a-z][a-z-]*(?:@example\.org)?", head.partition("be there:")[2]))
    assert {owner.id for owner in read(file.read_text()).owners} <= listed


@pytest.mark.parametrize("file", POLICIES, ids=lambda file: file.stem)
def test_every_rule_of_an_example_is_tested(file: Path) -> None:
    policy = read(file.read_text())
    tested = {test.expect.rule for test in policy.tests}
    assert {rule.id for rule in policy.rules if rule.mode == "active"} | {"catch-all"} == tested
