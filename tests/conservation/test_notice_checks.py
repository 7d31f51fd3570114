"""The checker finds what is wrong with who is told of what."""

from sqlalchemy import text

from tests.conservation.planting import found, run
from tests.factories import LEAD, OWNER
from tests.factories.pipeline import Pipeline


def test_opening_that_nobody_was_told_of_is_found(pipeline: Pipeline) -> None:
    run(pipeline, "DELETE FROM notification WHERE what = 'opened' AND case_id = 1")
    assert found(pipeline) == {"told"}


def test_opening_told_twice_is_found(pipeline: Pipeline) -> None:
    with pipeline.database.transaction() as session:
        session.execute(
            text("""INSERT INTO notification (person, what, line, case_id, dedupe_key)
            SELECT person, what, line, case_id, 'again' FROM notification
            WHERE what = 'opened' LIMIT 1""")
        )
    assert found(pipeline) == {"told", "true news"}


def test_owner_who_was_not_told_is_found(pipeline: Pipeline) -> None:
    given = {"who": LEAD}
    run(pipeline, "DELETE FROM notification WHERE what = 'escalated' AND person = :who", **given)
    assert found(pipeline) == {"owner told"}


def test_verdict_that_whoever_disputed_was_not_told_of_is_found(pipeline: Pipeline) -> None:
    pipeline.give_verdict(OWNER, pipeline.case("doubted"))
    pipeline.settle()
    assert found(pipeline) == set()
    run(pipeline, "DELETE FROM notification WHERE what = 'verdict'")
    assert found(pipeline) == {"answered"}


def test_news_of_what_never_happened_is_found(pipeline: Pipeline) -> None:
    run(
        pipeline,
        """INSERT INTO notification (person, what, line, case_id, dedupe_key)
        SELECT person, 'overdue', line, case_id, 'never' FROM notification
        WHERE what = 'opened' LIMIT 1""",
    )
    assert found(pipeline) == {"true news"}
