"""The checker finds what is wrong with cases that several people review."""

import pytest

from services.escalation import judgement, opinions
from services.escalation.judgement import Asks, Standing
from tests.conservation.planting import found, run, run_ddl
from tests.factories import LEAD, OWNER, TEAMMATE, output
from tests.factories.pipeline import Pipeline


@pytest.fixture
def case(pipeline: Pipeline) -> int:
    """A case that asks two reviewers."""
    pipeline.send(output("young", confidence=0.1))
    pipeline.settle()
    run(
        pipeline,
        'UPDATE "case" SET reviewers = 2, blind = true WHERE id = :c',
        c=pipeline.case("young"),
    )
    return pipeline.case("young")


def say(pipeline: Pipeline, case: int, who: str, value: str, *, last: bool = False) -> None:
    pipeline.give_verdict(who, case, value=value)
    pipeline.settle()
    if not last:
        # The ledger counts verdicts: this is an opinion.
        pipeline.ledger.verdict(case, who).times -= 1


@pytest.fixture
def agreed(pipeline: Pipeline, case: int) -> int:
    """The same, after two who agree."""
    say(pipeline, case, OWNER, "tax")
    say(pipeline, case, TEAMMATE, "tax", last=True)
    assert found(pipeline) == set()
    return case


def test_all_ways_to_a_verdict_are_well(pipeline: Pipeline, case: int) -> None:
    say(pipeline, case, OWNER, "tax")
    pipeline.undo(OWNER, case)
    assert found(pipeline) == set()
    for who, value in ((OWNER, "tax"), (TEAMMATE, "refund")):
        say(pipeline, case, who, value)
    assert found(pipeline) == set()
    say(pipeline, case, LEAD, "billing")
    assert found(pipeline) == set()
    say(pipeline, case, "ada@example.org", "tax", last=True)
    assert found(pipeline) == set()


def test_two_opinions_of_one_person_are_found(pipeline: Pipeline, case: int) -> None:
    say(pipeline, case, OWNER, "tax")
    run_ddl(pipeline, "DROP INDEX uq_opinion_reviewer")
    run(
        pipeline,
        """INSERT INTO opinion (case_id, cycle, reviewer, verdict, value, blind, given_at)
           SELECT case_id, cycle, reviewer, verdict, value, blind, given_at FROM opinion""",
    )
    assert "opinions" in found(pipeline)


def test_opinion_that_went_by_itself_is_found(pipeline: Pipeline, agreed: int) -> None:
    run_ddl(pipeline, "ALTER TABLE opinion DISABLE TRIGGER USER")
    run(pipeline, "DELETE FROM opinion WHERE reviewer = :who", who=OWNER)
    assert found(pipeline) == {"opinions", "judged"}


def test_opinion_that_was_changed_is_found(pipeline: Pipeline, agreed: int) -> None:
    run_ddl(pipeline, "ALTER TABLE opinion DISABLE TRIGGER USER")
    run(pipeline, "UPDATE opinion SET value = '\"refund\"' WHERE reviewer = :who", who=OWNER)
    assert found(pipeline) == {"judged"}


def test_verdict_after_one_opinion_is_found(
    pipeline: Pipeline, case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "standing", lambda given, **_: Standing(None, given[-1]))
    say(pipeline, case, OWNER, "tax", last=True)
    assert found(pipeline) == {"judged"}


def test_lead_who_is_asked_though_nobody_differs_is_found(
    pipeline: Pipeline, case: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judgement, "standing", lambda *_, **__: Standing(Asks.LEAD, None))
    say(pipeline, case, OWNER, "tax")
    assert found(pipeline) == {"judged"}
    assert opinions.judgement is judgement


def test_reviewer_who_settles_what_a_lead_should_is_found(pipeline: Pipeline, agreed: int) -> None:
    run_ddl(pipeline, "ALTER TABLE timeline_entry DISABLE TRIGGER USER")
    run(
        pipeline,
        """UPDATE timeline_entry SET detail = detail || '{"by": "alone"}', note = 'n'
            WHERE event = 'resolved' AND case_id = :c""",
        c=agreed,
    )
    assert found(pipeline) == {"judged"}
