"""Group commit: one thread does what many have asked for."""

import threading
from collections.abc import Sequence

from services.kit.web.group_commit import GroupWorker


def test_job_of_somebody_who_has_gone_stops_nobody_else() -> None:
    going_on, begun = threading.Event(), threading.Event()

    def handle(jobs: Sequence[str]) -> list[None]:
        begun.set()
        going_on.wait(5)
        return [None] * len(jobs)

    worker: GroupWorker[str] = GroupWorker(handle, size=lambda _: 1)
    left = worker.submit("left")
    begun.wait(5)
    assert left.cancel()
    going_on.set()
    worker.submit("stays").result(5)
    worker.close()
