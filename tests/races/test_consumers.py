"""Consumers side by side: halves that always meet, and one effect where two read the same."""

import random
import threading
from collections.abc import Callable, Sequence
from uuid import uuid4

from services.kit.consuming.runner import Counters
from services.kit.database import Database, make_engine
from services.kit.eventlog.port import Bounds, LogConsumer, Partition, StartAt
from services.kit.eventlog.postgres import PostgresLog
from tests.conservation.small import Small, small_house
from tests.house import correction, output, rows, total
from tests.kit.logs import running, wait

PAIRS = 10_000


def say_in_chunks(house: Small, given: Sequence[object], size: int = 500) -> None:
    for start in range(0, len(given), size):
        house.say(*given[start : start + size])


def say_at_once(house: Small, *several: Sequence[object]) -> None:
    threads = [threading.Thread(target=say_in_chunks, args=(house, one)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_ten_thousand_pairs_meet_in_any_order(fresh_database: Callable[[], str]) -> None:
    """Half reversed, half while the other half is just being stored, by four consumers.

    Five partitions among four members: an output and its correction are read by two of them.
    """
    draw = random.Random(10)
    outputs = [output(f"o-{n}") for n in range(PAIRS)]
    words = [correction(f"o-{n}", value="refund", note=f"w-{n}") for n in range(PAIRS)]
    with small_house(fresh_database(), partitions=5) as house:
        wide = Database(make_engine(house.url, pool_size=8))
        with running(*(house.consumer("feedback", database=wide) for _ in range(4))):
            say_in_chunks(house, words[: PAIRS // 2])
            rest = [outputs[PAIRS // 2 :], words[PAIRS // 2 :]]
            for one in rest:
                draw.shuffle(one)
            say_at_once(house, outputs[: PAIRS // 2], *rest)
            wait(lambda: not house.behind("feedback"))
        met = "SELECT count(*) FROM output WHERE recorded_at IS NOT NULL AND overridden"
        assert rows(house.database, met)[0][0] == PAIRS
        assert total(house.database, "corrections") == PAIRS
        assert total(house.database, "overridden") == PAIRS
        house.settle()
        assert house.check() == []
        wide.close()


class Everyone(PostgresLog):
    """A log that gives every member every partition, as to one that was thought dead."""

    def consumer(self, group: str, topics: Sequence[str], *, start_at: StartAt) -> LogConsumer:
        return super().consumer(uuid4().hex, topics, start_at=start_at)


def test_two_consumers_of_one_partition_have_one_effect(
    fresh_database: Callable[[], str],
) -> None:
    with small_house(fresh_database(), partitions=1) as house:
        everyone = Everyone(house.url)
        stale: list[object] = []
        given = {"log": everyone, "batch_records": 20, "counters": Counters(stale=stale.append)}
        members = [house.consumer(name, **given) for name in ("feedback", "escalation") * 2]
        with running(*members):
            for start in range(0, 600, 20):
                house.say(*(output(f"o-{n}", confidence=0.4) for n in range(start, start + 20)))
                house.say(*(correction(f"o-{start}", kind="dispute", note=f"w-{start}"),))
            wait(lambda: not house.behind("feedback") and not house.behind("escalation"))
        house.settle()
        assert stale
        assert house.check() == []
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
    with small_house(fresh_database(), partitions=1) as house:
        house.say(*(output(f"o-{n}") for n in range(10)))
        house.settle()
        log, everyone = Overtaken(house.url), Everyone(house.url)
        other = house.consumer("feedback", log=everyone)

        def meanwhile() -> None:
            house.say(*(output(f"o-{n}") for n in range(10, 20)))
            while house.behind("feedback"):
                other._turn()
            other._member.close()

        log.meanwhile = meanwhile
        with running(house.consumer("feedback", log=log)):
            wait(lambda: log.meanwhile is None)
            house.say(output("o-20"))
            wait(lambda: not house.behind("feedback"))
        house.settle()
        assert house.check() == []
        log.close()
        everyone.close()
