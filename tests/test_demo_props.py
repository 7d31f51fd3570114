"""What the demo makes and leaves alone in the registry."""

from collections.abc import Callable, Iterator

import pytest

from services.app import web as app_web
from services.app.resources import Resources
from services.commands import demo, flow
from services.kit.clock import DatabaseClock
from services.kit.database import Database, make_engine
from services.kit.errors import Conflict
from services.kit.settings import Settings
from services.people import access
from services.people import queries as people_queries
from services.people import service as people_service
from services.tools import keys as tool_keys
from services.tools import queries as tool_queries
from services.tools import service as tool_service
from services.tools.rules import OutputKind
from tests.browser.harness import serve_app
from tests.factories.people import OPERATOR


@pytest.fixture
def found(fresh_database: Callable[[], str]) -> Iterator[Resources]:
    url = fresh_database()
    made = Resources(Settings(), Database(make_engine(url)), url, DatabaseClock())
    yield made
    made.close()


def live(found: Resources, key: str) -> bool:
    with found.database.transaction() as session:
        return tool_keys.tool_of_key(session, key) is not None


def test_second_demo_leaves_the_key_of_the_first_one_alone(found: Resources) -> None:
    first = demo.prepare(found, ["a", "b"], seed=1).key
    second = demo.prepare(found, ["a", "b"], seed=1).key
    assert live(found, first)
    assert live(found, second)
    third = demo.prepare(found, ["a", "b"], seed=1).key
    assert not live(found, first)
    assert live(found, second)
    assert live(found, third)


def test_person_who_was_deactivated_stays_so_and_gets_nothing(found: Resources) -> None:
    demo.make_people(found)
    with found.database.transaction() as session:
        now = found.clock.now(session)
        for email in ("owner@demo.example", "lead@demo.example"):
            people_service.change_person(
                session, email, active=False, actor=OPERATOR, duties=(), now=now
            )
    props = demo.prepare(found, ["a", "b"], seed=1)
    assert len(props.owner_tokens) == 1
    assert props.lead_token is None
    names = [name for name, _, _ in demo.links(found, "http://here")]
    assert len(names) == 5
    assert not {"Olga Owner", "Lea Lead"} & set(names)


def test_tool_of_somebody_else_is_left_alone(found: Resources) -> None:
    with found.database.transaction() as session:
        now = found.clock.now(session)
        people_service.add_team(session, "support", name=None, actor=OPERATOR, now=now)
        given = {"kind": OutputKind.CATEGORY, "team": "support", "maturity_seconds": 0}
        tool_service.add_tool(session, demo.TOOL, actor=OPERATOR, now=now, **given)
    with pytest.raises(Conflict, match="test has made one"):
        demo.prepare(found, ["a", "b"], seed=1)
    with pytest.raises(Conflict, match="test has made one"):
        demo.make_people(found)
    with found.database.transaction() as session:
        assert people_queries.people(session) == []
        assert tool_queries.keys(session, demo.TOOL) == []


def test_owner_who_chooses_a_password_does_not_end_the_demo(
    found: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow, "_LEFT_OPEN", -1)
    tokens = demo.prepare(found, ["a", "b"], seed=1).owner_tokens
    with serve_app(app_web.make_api(found)) as address:
        reviewers = flow.Reviewers(found, address, tokens, seed=1)
        with found.database.transaction() as session:
            now = found.clock.now(session)
            for email in ("owner@demo.example", "owner2@demo.example"):
                access.set_password(session, email, "a long password", actor=OPERATOR, now=now)
        reviewers.review_some({})
        assert reviewers._owners is not None
        assert reviewers._owners.open_cases() == []
        reviewers._take([])
