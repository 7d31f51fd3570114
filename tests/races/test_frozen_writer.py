"""A writer that is frozen past its lease: whatever it had read before, it cannot write."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.factories import OWNER, TEAMMATE, output, rows
from tests.factories.pipeline import Pipeline, open_pipeline
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
LEASE = 2.0


@pytest.fixture
def pipeline(fresh_database: Callable[[], str]) -> Iterator[Pipeline]:
    with open_pipeline(fresh_database()) as opened:
        opened.send(output("o-1", confidence=0.2))
        opened.settle()
        yield opened


class Writer:
    """The process of `tests.races.writer`, step by step."""

    def __init__(self, pipeline: Pipeline) -> None:
        arguments = [pipeline.url, str(pipeline.case("o-1")), OWNER, str(LEASE)]
        self.child = subprocess.Popen(
            [sys.executable, "-m", "tests.races.writer", *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def read(self) -> str:
        assert self.child.stdout is not None
        return self.child.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.child.stdin is not None
        self.child.stdin.write("\n")
        self.child.stdin.flush()

    def run_to(self, step: str) -> None:
        while (said := self.read()) != step:
            assert said, "the writer ended"
            self.go_on()

    def freeze(self) -> None:
        os.kill(self.child.pid, signal.SIGSTOP)

    def thaw(self) -> str:
        """Let it go on to its end; answers its last word."""
        os.kill(self.child.pid, signal.SIGCONT)
        words = ["nothing"]
        while self.child.poll() is None and not words[-1].startswith(
            ("refused", "failed", "reviewed")
        ):
            self.go_on()
            words.append(self.read())
        return words[-1]

    def close(self) -> None:
        self.child.kill()
        self.child.communicate()


@pytest.fixture
def writer(pipeline: Pipeline) -> Iterator[Writer]:
    made = Writer(pipeline)
    yield made
    made.close()


def lease_is_over(pipeline: Pipeline) -> bool:
    query = 'SELECT lease_expires_at < clock_timestamp() FROM "case"'
    return bool(rows(pipeline.database, query)[0][0])


def state(pipeline: Pipeline) -> tuple[str, str | None, str | None]:
    row = rows(pipeline.database, 'SELECT state, claimant, verdict_by FROM "case"')[0]
    return tuple(row)


@pytest.mark.parametrize("step", ["claimed", "clock read"])
def test_frozen_while_somebody_else_claims(step: str, pipeline: Pipeline, writer: Writer) -> None:
    writer.run_to(step)
    writer.freeze()
    until(lambda: lease_is_over(pipeline))
    token = pipeline.claim(TEAMMATE, pipeline.case("o-1"))
    assert writer.thaw() == f"refused StaleToken {TEAMMATE}"
    assert state(pipeline) == ("claimed", TEAMMATE, None)
    pipeline.give_verdict(TEAMMATE, pipeline.case("o-1"), token=token)
    pipeline.settle()
    assert pipeline.check() == []


@pytest.mark.parametrize("step", ["claimed", "clock read"])
def test_frozen_while_nobody_claims(step: str, pipeline: Pipeline, writer: Writer) -> None:
    writer.run_to(step)
    writer.freeze()
    until(lambda: lease_is_over(pipeline))
    assert writer.thaw() == f"refused StaleToken {OWNER}"
    assert state(pipeline)[2] is None
    pipeline.settle()
    assert pipeline.check() == []


def test_frozen_before_its_commit_loses_the_case(pipeline: Pipeline, writer: Writer) -> None:
    """It holds the row's lock, so the next one waits until the server ends its transaction."""
    writer.run_to("written")
    writer.freeze()
    until(lambda: lease_is_over(pipeline))
    begun = time.monotonic()
    pipeline.claim(TEAMMATE, pipeline.case("o-1"))
    assert time.monotonic() - begun < 10
    assert writer.thaw().startswith("failed")
    assert state(pipeline) == ("claimed", TEAMMATE, None)
    pipeline.settle()
    assert pipeline.check() == []


def test_not_frozen_it_reviews(pipeline: Pipeline, writer: Writer) -> None:
    writer.run_to("written")
    assert writer.thaw() == "reviewed"
    pipeline.ledger.verdict(pipeline.case("o-1"), OWNER).times += 1
    pipeline.settle()
    assert pipeline.check() == []
