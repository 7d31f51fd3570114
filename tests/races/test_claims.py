"""Two hundred people reach for one case at once: one gets it, the others learn who."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from starlette.testclient import TestClient

from services.app import web as app_web
from services.app.resources import Resources
from services.escalation import service as escalation
from services.escalation.errors import HeldBySomebody
from services.kit.database import Database, make_engine
from services.kit.settings import Settings
from services.people import access
from services.people import service as people_service
from services.people.rules import Role
from tests.factories import actor_of, output, rows
from tests.factories.people import OPERATOR
from tests.factories.pipeline import Pipeline, open_pipeline

PEOPLE = [f"reviewer-{number}@example.org" for number in range(200)]
LEASE = timedelta(minutes=15)


@pytest.fixture
def pipeline(fresh_database: Callable[[], str]) -> Iterator[Pipeline]:
    with open_pipeline(fresh_database()) as opened:
        opened.send(output("o-1", confidence=0.2))
        opened.settle()
        with opened.database.transaction() as session:
            now = opened.clock.now(session)
            for email in PEOPLE:
                given = {"role": Role.OWNER, "teams": ["support"], "actor": OPERATOR, "now": now}
                people_service.add_person(session, email, name="Reviewer", **given)
        yield opened


def all_at_once(attempt: Callable[[str], tuple[bool, str]]) -> tuple[list[str], set[str]]:
    """Everybody's attempt at the same moment: who won, and whom the others were told of."""
    barrier = threading.Barrier(len(PEOPLE))

    def wait_and_try(who: str) -> tuple[bool, str]:
        barrier.wait()
        return attempt(who)

    with ThreadPoolExecutor(len(PEOPLE)) as threads:
        answers = list(threads.map(wait_and_try, PEOPLE))
    winners = [who for who, (won, _) in zip(PEOPLE, answers, strict=True) if won]
    return winners, {said for won, said in answers if not won}


def assert_one_winner(pipeline: Pipeline, winners: list[str], named: set[str]) -> None:
    assert len(winners) == 1
    assert named == set(winners)
    held = rows(pipeline.database, 'SELECT claimant, claim_seq FROM "case"')
    assert held == [(winners[0], 1)]
    pipeline.settle()
    assert pipeline.check() == []


def test_claim_by_two_hundred_has_one_winner(pipeline: Pipeline) -> None:
    case, wide = pipeline.case("o-1"), Database(make_engine(pipeline.url, pool_size=40))

    def attempt(who: str) -> tuple[bool, str]:
        try:
            with wide.transaction() as session:
                now = pipeline.clock.now(session)
                escalation.claim(session, actor_of(session, who), case, lease=LEASE, now=now)
        except HeldBySomebody as error:
            return False, str(error.extra["holder"])
        return True, who

    assert_one_winner(pipeline, *all_at_once(attempt))
    wide.close()


def test_claim_by_two_hundred_over_http_has_one_winner(pipeline: Pipeline) -> None:
    case = pipeline.case("o-1")
    with pipeline.database.transaction() as session:
        now = pipeline.clock.now(session)
        tokens = {who: access.create_token(session, who, actor=OPERATOR, now=now) for who in PEOPLE}
    engine = make_engine(pipeline.url, pool_size=12)
    resources = Resources(Settings(), Database(engine), pipeline.url, pipeline.clock)

    def attempt(who: str) -> tuple[bool, str]:
        headers = {"Authorization": f"Bearer {tokens[who]}"}
        answer = client.post(f"/v1/cases/{case}/claim", headers=headers)
        assert answer.status_code in (200, 409), answer.text
        return answer.status_code == 200, answer.json().get("holder", who)

    with TestClient(app_web.make_api(resources)) as client:
        winners, named = all_at_once(attempt)
    assert_one_winner(pipeline, winners, named)
    resources.close()
