"""Consumers side by side: halves that always meet, and one effect where two read the same."""

import random
import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

from services.kit.consuming.counters import Counters
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import Bounds, LogConsumer, Partition, StartAt
from services.kit.eventlog.postgres import PostgresLog
from tests.factories import correction, output, rows, total
from tests.factories.pipeline import Pipeline, open_pipeline
from tests.kit.logs import running
from tests.waiting import until

PAIRS = 10_000
DISPUTED = PAIRS // 20


def say_in_chunks(pipeline: Pipeline, given: Sequence[object], size: int = 500) -> None:
    for start in range(0, len(given), size):
        pipeline.send(*given[start : start + size])


def say_at_once(pipeline: Pipeline, *several: tuple[Sequence[object], int]) -> None:
    """Each in chunks of a size of its own."""
    threads = [threading.Thread(target=say_in_chunks, args=(pipeline, *one)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_ten_thousand_pairs_meet_in_any_order(fresh_database: Callable[[], str]) -> None:
    """Half reversed, half while the other half is just being stored, by four consumers.

    Five partitions among four members: an output and its correction are read by two of them.
    """
    draw = random.Random(10)
    outputs = [output(f"o-{n}", confidence=0.99) for n in range(PAIRS)]
    words = [correction(f"o-{n}", value="refund", note=f"w-{n}") for n in range(PAIRS - DISPUTED)]
    disputed = range(PAIRS - DISPUTED, PAIRS)
    words += [correction(f"o-{n}", kind="dispute", note=f"w-{n}") for n in disputed]
    with open_pipeline(fresh_database(), partitions=5) as pipeline:
        wide = Database(make_engine(pipeline.url, pool_size=8))
        with running(*(pipeline.consumer("feedback", database=wide) for _ in range(4))):
            say_in_chunks(pipeline, words[: PAIRS // 2])
            rest = [outputs[PAIRS // 2 :], words[PAIRS // 2 :]]
            for one in rest:
                draw.shuffle(one)
            say_at_once(pipeline, (outputs[: PAIRS // 2], 500), (rest[0], 2_000), (rest[1], 200))
            until(lambda: not pipeline.behind("feedback"))
        met = "SELECT count(*) FROM output WHERE recorded_at IS NOT NULL AND overridden"
        assert rows(pipeline.database, met)[0][0] == PAIRS - DISPUTED
        assert total(pipeline.database, "corrections") == PAIRS
        assert total(pipeline.database, "overridden") == PAIRS - DISPUTED
        assert total(pipeline.database, "exceptions", "dispute") == DISPUTED
        pipeline.settle()
        assert pipeline.check() == []
        wide.close()


class Everyone(PostgresLog):
    """A log that gives every member every partition, as to one that was thought dead."""

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        return super().consumer(uuid4().hex, topics, start_at=start_at)


def test_two_consumers_of_one_partition_have_one_effect(
    fresh_database: Callable[[], str],
) -> None:
    with open_pipeline(fresh_database(), partitions=1) as pipeline:
        everyone = Everyone(pipeline.url)
        stale: list[object] = []
        given = {"log": everyone, "batch_records": 20, "counters": Counters(stale=stale.append)}
        members = [pipeline.consumer(name, **given) for name in ("feedback", "escalation") * 2]
        with running(*members):
            for start in range(0, 600, 20):
                pipeline.send(*(output(f"o-{n}", confidence=0.4) for n in range(start, start + 20)))
                pipeline.send(*(correction(f"o-{start}", kind="dispute", note=f"w-{start}"),))
            until(lambda: not pipeline.behind("feedback") and not pipeline.behind("escalation"))
        pipeline.settle()
        assert stale
        assert pipeline.check() == []
        everyone.close()


class Overtaken(PostgresLog):
    """A log whose first answer about its bounds is old by the time it arrives."""

    meanwhile: Callable[[], None] | None = None

    def bounds(self, topics: Sequence[str]) -> dict[Partition, Bounds]:
        found = super().bounds(topics)
        if topics and (meanwhile := self.meanwhile) is not None:
            self.meanwhile = None
            meanwhile()
        return found


def test_join_while_another_member_moves_on(fresh_database: Callable[[], str]) -> None:
    """What the other one took after we had read the bounds is no end that was passed."""
    with open_pipeline(fresh_database(), partitions=1) as pipeline:
        pipeline.send(*(output(f"o-{n}") for n in range(10)))
        pipeline.settle()
        log, everyone = Overtaken(pipeline.url), Everyone(pipeline.url)
        other = pipeline.consumer("feedback", log=everyone)

        def meanwhile() -> None:
            pipeline.send(*(output(f"o-{n}") for n in range(10, 20)))
            while pipeline.behind("feedback"):
                other._turn()
            other._member.close()

        log.meanwhile = meanwhile
        with running(pipeline.consumer("feedback", log=log)):
            until(lambda: log.meanwhile is None)
            pipeline.send(output("o-20"))
            until(lambda: not pipeline.behind("feedback"))
        pipeline.settle()
        assert pipeline.check() == []
        log.close()
        everyone.close()
