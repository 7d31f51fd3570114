"""Doing many callers' work in one go: group commit for requests that come one by one."""

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, NamedTuple, TypeVar

from services.kit.errors import TooMany

Job = TypeVar("Job")


class _Waiting(NamedTuple, Generic[Job]):
    """A job that somebody waits for."""

    caller: str
    size: int
    job: Job
    future: "Future[None]"


class GroupWorker(Generic[Job]):
    """One thread that takes whatever has gathered and hands it to `handle` in one call.

    While one group is being handled the next one gathers, so groups grow with the load
    and a lone caller waits for nobody. Callers take turns: however much one has waiting,
    another waits for a group at most, and nobody has more than a share of the room.
    `handle` answers, job by job, None or the error that its caller gets; what it raises,
    all its callers get.
    """

    def __init__(
        self,
        handle: Callable[[Sequence[Job]], Sequence[Exception | None]],
        *,
        size: Callable[[Job], int],
        group_size: int = 2_000,
        waiting_size: int = 20_000,
        callers_size: int = 5_000,
    ) -> None:
        """At most `waiting_size` is waiting at once, `callers_size` of it one caller's."""
        self._handle, self._size = handle, size
        self._group_size, self._waiting_size = group_size, waiting_size
        self._callers_size = callers_size
        self._queues: OrderedDict[str, deque[_Waiting[Job]]] = OrderedDict()
        self._waiting: Counter[str] = Counter()
        self._ready = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def submit(self, job: Job, caller: str) -> "Future[None]":
        """Have `job` done; the future ends when it is, or with its error.

        Raises:
            TooMany: too much is waiting already, of this caller or in all; nothing was taken.
        """
        future: Future[None] = Future()
        size = self._size(job)
        with self._ready:
            if self._waiting[caller] and self._waiting[caller] + size > self._callers_size:
                raise TooMany("More comes in of yours than can be stored. Try again in a second.")
            waiting = self._waiting.total()
            if waiting and waiting + size > self._waiting_size:
                raise TooMany("More comes in than can be stored just now. Try again in a second.")
            self._waiting[caller] += size
            self._queues.setdefault(caller, deque()).append(_Waiting(caller, size, job, future))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="group", daemon=True)
                self._thread.start()
            self._ready.notify()
        return future

    def close(self) -> None:
        """Finish what was submitted, then stop."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while group := self._gather():
            self._do(group)

    def _gather(self) -> list[_Waiting[Job]]:
        """The next group, one job of each caller in turn; empty at the end."""
        group: list[_Waiting[Job]] = []
        size = 0
        with self._ready:
            self._ready.wait_for(lambda: self._queues or self._stopping)
            while self._queues and size < self._group_size:
                caller, queue = self._queues.popitem(last=False)
                group.append(queue.popleft())
                size += group[-1].size
                if queue:
                    self._queues[caller] = queue
        return group

    def _do(self, group: Sequence[_Waiting[Job]]) -> None:
        outcomes: Sequence[Exception | None]
        try:
            outcomes = self._handle([one.job for one in group])
        except Exception as error:  # whoever waits for a job is told, whatever it was
            outcomes = [error] * len(group)
        with self._ready:
            for one in group:
                self._waiting[one.caller] -= one.size
            self._waiting += Counter()  # forgets whoever has nothing waiting
        for one, outcome in zip(group, outcomes, strict=True):
            if not one.future.set_running_or_notify_cancel():
                continue  # whoever asked has gone
            if outcome is None:
                one.future.set_result(None)
            else:
                one.future.set_exception(outcome)
