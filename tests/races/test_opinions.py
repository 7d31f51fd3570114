"""Many reviewers reach for one case at once: each gives one opinion at most, two decide it."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from sqlalchemy import text

from services.escalation.errors import AlreadyReviewed, HeldBySomebody, MovedOn
from services.kit.errors import SecondlookError
from tests.factories import LEAD, OWNER, TEAMMATE, add_person, output, rows
from tests.factories.cases import LEASE, Casework
from tests.factories.pipeline import Pipeline, open_pipeline

PEOPLE = [f"reviewer-{number}@example.org" for number in range(12)]


@pytest.fixture
def pipeline(fresh_database: Callable[[], str]) -> Iterator[Pipeline]:
    with open_pipeline(fresh_database()) as opened:
        opened.send(output("o-1", confidence=0.2))
        opened.settle()
        with opened.database.transaction() as session:
            for email in PEOPLE:
                add_person(session, email)
            session.execute(text('UPDATE "case" SET reviewers = 2, blind = true'))
        yield opened


def at_once(attempts: list[Callable[[], object]]) -> None:
    """All of these at the same moment, each again until it is told that it comes too late."""
    barrier = threading.Barrier(len(attempts))

    def run(attempt: Callable[[], object]) -> None:
        barrier.wait()
        held = True
        while held:
            held = False
            try:
                attempt()
            except HeldBySomebody:
                held = True
            except SecondlookError:
                pass

    with ThreadPoolExecutor(len(attempts)) as threads:
        list(threads.map(run, attempts))


def say(pipeline: Pipeline, who: str, value: str = "tax", **more: object) -> None:
    given = {"value": value, "token": None, **more}
    Casework.give_verdict(pipeline, who, 1, "corrected", **given)  # type: ignore[arg-type]


_OPINIONS = "SELECT count(*), count(DISTINCT reviewer) FROM opinion WHERE taken_back_at IS NULL"
_TOLD = "SELECT count(*) FROM timeline_entry WHERE event = 'resolved'"


def test_two_of_many_decide(pipeline: Pipeline) -> None:
    at_once([lambda who=who: say(pipeline, who) for who in PEOPLE])  # type: ignore[misc]
    assert rows(pipeline.database, _OPINIONS) == [(2, 2)]
    assert rows(pipeline.database, 'SELECT state, verdict FROM "case"') == [
        ("resolved", "corrected")
    ]
    assert rows(pipeline.database, _TOLD) == [(1,)]


def test_one_person_in_many_windows_gives_one_opinion(pipeline: Pipeline) -> None:
    token = pipeline.claim(OWNER, 1, lease=LEASE)
    at_once([lambda: say(pipeline, OWNER, token=token)] * 12)
    assert rows(pipeline.database, _OPINIONS) == [(1, 1)]
    assert rows(pipeline.database, 'SELECT state FROM "case"') == [("open",)]


def test_opinion_taken_back_while_another_comes_does_not_decide(pipeline: Pipeline) -> None:
    for _ in range(10):
        with suppress(AlreadyReviewed):
            say(pipeline, OWNER)

        def take_back() -> None:
            Casework.undo(pipeline, OWNER, 1)

        at_once([lambda: say(pipeline, TEAMMATE), take_back])
        (state,) = rows(pipeline.database, 'SELECT state, verdict_by FROM "case"')
        standing = rows(pipeline.database, _OPINIONS)[0][0]
        assert (state[0] == "resolved") == (standing == 2)
        if state[0] == "resolved":
            pipeline.undo(TEAMMATE, 1)
        with suppress(MovedOn):
            pipeline.undo(TEAMMATE, 1)


def test_lead_alone_and_a_reviewer_at_once_give_one_verdict(pipeline: Pipeline) -> None:
    say(pipeline, OWNER)
    alone = {"alone": True, "note": "it cannot wait"}
    at_once([lambda: say(pipeline, TEAMMATE), lambda: say(pipeline, LEAD, "refund", **alone)])
    assert rows(pipeline.database, _TOLD) == [(1,)]
    (decided,) = rows(pipeline.database, 'SELECT verdict_value, verdict_by FROM "case"')
    assert tuple(decided) in {("tax", TEAMMATE), ("refund", LEAD)}
