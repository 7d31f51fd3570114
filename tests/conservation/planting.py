"""A day with everything in it that the checker looks at, and what tests plant bugs with."""

from datetime import timedelta
from typing import Any

from secondlook.testing import POISON
from sqlalchemy import text

from tests.factories import (
    OWNER,
    TEAMMATE,
    correction,
    failure,
    output,
)
from tests.factories.pipeline import Pipeline

EXPECTED = {"invalid": "refused", "unknown_type": "parked"}


def tell_the_story(pipeline: Pipeline) -> None:
    """A day with everything in it that the checker looks at."""
    early = correction("late", value="refund", note="n-1")
    pipeline.send(early, output("sure"), output("unsure", confidence=0.2), output("late"))
    pipeline.send(output("doubted"), failure("broken"), output("overdue", confidence=0.1))
    pipeline.send(correction("doubted", kind="dispute", note="n-2"))
    pipeline.send(output("sure"), output("unsure", confidence=0.2), early)
    pipeline.send(correction("sure", kind="confirmation", note="n-3"))
    for number, poison in enumerate(p for p in POISON[-60:] if p.expected in EXPECTED):
        if not poison.headers:
            pipeline.send_raw(f"poison-{number}", poison.raw, fate=EXPECTED[poison.expected])
    pipeline.settle()
    pipeline.give_verdict(OWNER, pipeline.case("unsure"))
    pipeline.claim(OWNER, pipeline.case("broken"), lease=timedelta(seconds=0))
    pipeline.give_verdict(TEAMMATE, pipeline.case("broken"), token=None)
    pipeline.pass_time(hours=0.6)
    pipeline.settle()
    pipeline.send(correction("unsure", kind="appeal", note="n-4"))
    pipeline.settle()
    pipeline.pass_time(hours=5)
    pipeline.settle()


def found(pipeline: Pipeline) -> set[str]:
    return {violation.check for violation in pipeline.check()}


def run(pipeline: Pipeline, statement: str, **given: Any) -> None:
    with pipeline.database.transaction() as session:
        assert session.execute(text(statement), given).rowcount > 0  # type: ignore[attr-defined]


def run_ddl(pipeline: Pipeline, statement: str) -> None:
    with pipeline.database.transaction() as session:
        session.execute(text(statement))
