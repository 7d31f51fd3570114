"""Group commit: one thread does what many have asked for."""

import threading
from collections.abc import Sequence

import pytest

from services.kit.errors import TooMany
from services.kit.web.group_commit import GroupWorker


def test_job_of_somebody_who_has_gone_stops_nobody_else() -> None:
    going_on, begun = threading.Event(), threading.Event()

    def handle(jobs: Sequence[str]) -> list[None]:
        begun.set()
        going_on.wait(5)
        return [None] * len(jobs)

    worker: GroupWorker[str] = GroupWorker(handle, size=lambda _: 1)
    left = worker.submit("left", "ada")
    begun.wait(5)
    assert left.cancel()
    going_on.set()
    worker.submit("stays", "ada").result(5)
    worker.close()


def test_callers_take_turns_and_nobody_takes_all_the_room() -> None:
    going_on, begun = threading.Event(), threading.Event()
    done: list[str] = []

    def handle(jobs: Sequence[str]) -> list[None]:
        begun.set()
        going_on.wait(5)
        done.extend(jobs)
        return [None] * len(jobs)

    worker: GroupWorker[str] = GroupWorker(
        handle, size=lambda _: 1, group_size=2, waiting_size=8, callers_size=5
    )
    worker.submit("first", "much")
    begun.wait(5)
    waiting = [worker.submit(f"much {n}", "much") for n in range(4)]
    with pytest.raises(TooMany, match="of yours"):
        worker.submit("much too much", "much")
    waiting += [worker.submit(f"little {n}", "little") for n in range(2)]
    waiting.append(worker.submit("last", "other"))
    with pytest.raises(TooMany, match="just now"):
        worker.submit("no room", "another")
    going_on.set()
    for future in waiting:
        future.result(5)
    assert done == ["first", "much 0", "little 0", "last", "much 1", "little 1", "much 2", "much 3"]
    worker.submit("again", "much").result(5)
    worker.close()


def test_more_than_the_room_is_taken_where_nothing_waits() -> None:
    worker: GroupWorker[int] = GroupWorker(
        lambda jobs: [None] * len(jobs), size=lambda n: n, waiting_size=8, callers_size=5
    )
    worker.submit(100, "ada").result(5)
    worker.close()
