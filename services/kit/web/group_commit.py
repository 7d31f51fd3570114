"""Doing many callers' work in one go: group commit for requests that come one by one."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

from services.kit.errors import TooMany

Job = TypeVar("Job")

_STOP = object()


class GroupWorker(Generic[Job]):
    """One thread that takes whatever has gathered and hands it to `handle` in one call.

    While one group is being handled the next one gathers, so groups grow with the load
    and a lone caller waits for nobody. `handle` answers, job by job, None or the error
    that its caller gets; what it raises, all its callers get.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Job]], Sequence[Exception | None]],
        *,
        size: Callable[[Job], int],
        group_size: int = 2_000,
        waiting_size: int = 20_000,
    ) -> None:
        self._handle, self._size = handle, size
        self._group_size, self._waiting_size = group_size, waiting_size
        self._jobs: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._waiting = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> "Future[None]":
        """Have `job` done; the future ends when it is, or with its error.

        Raises:
            TooMany: too much is waiting already; nothing of this job was taken.
        """
        future: Future[None] = Future()
        with self._lock:
            if self._waiting + self._size(job) > max(self._waiting_size, self._size(job)):
                raise TooMany("More comes in than can be stored just now. Try again in a second.")
            self._waiting += self._size(job)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group", daemon=True)
                self._thread.start()
        self._jobs.put((job, future))
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        if self._thread is not None:
            self._jobs.put(_STOP)
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while True:
            group, stopping = self._gather()
            if group:
                self._do(group)
            if stopping:
                return

    def _gather(self) -> "tuple[list[tuple[Job, Future[None]]], bool]":
        group: list[tuple[Job, Future[None]]] = []
        size = 0
        item = self._jobs.get()
        while item is not _STOP:
            group.append(item)  # type: ignore[arg-type]
            size += self._size(group[-1][0])
            if size >= self._group_size:
                return group, False
            try:
                item = self._jobs.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _do(self, group: "list[tuple[Job, Future[None]]]") -> None:
        outcomes: Sequence[Exception | None]
        try:
            outcomes = self._handle([job for job, _ in group])
        except Exception as error:  # whoever waits for a job is told, whatever it was
            outcomes = [error] * len(group)
        with self._lock:
            self._waiting -= sum(self._size(job) for job, _ in group)
        for (_, future), outcome in zip(group, outcomes, strict=True):
            if not future.set_running_or_notify_cancel():
                continue  # whoever asked has gone
            if outcome is None:
                future.set_result(None)
            else:
                future.set_exception(outcome)
