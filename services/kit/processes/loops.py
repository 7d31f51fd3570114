"""Steps that are done again and again, each on a thread of its own, under one watchdog."""

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from services.kit.database import is_infrastructure

_log = structlog.get_logger()

_WATCH_SECONDS = 5.0
# A loop that waits for word does not hear meanwhile that it is to end.
_LONGEST_DEAF = 1.0
_BACKOFF_SECONDS = (0.1, 5.0)


def _nothing() -> None:
    """Nothing is to be given back."""


@dataclass(slots=True)
class Loop:
    """One step, done `every` so many seconds, at once again while it says there is more.

    `step` answers whether there is more to do. `wait` may end a pause of so many seconds sooner,
    when there is; it answers whether it did, and `close` gives back what it holds. `share` is the
    most of its time that it works: where there is much to do that nobody waits for, others get on
    meanwhile. A step that raises is logged and tried again with growing pauses; whatever it had
    not committed has not happened.
    """

    name: str
    step: Callable[[], bool]
    every: float
    wait: Callable[[float], bool] | None = None
    close: Callable[[], None] = _nothing
    share: float = 1.0
    last_turn: float = field(default_factory=time.monotonic)
    failures: int = 0

    def run(self, stopping: threading.Event) -> None:
        """Go on until `stopping` is set."""
        while not stopping.is_set():
            pause = self._once()
            if self.wait is None or self.failures:
                stopping.wait(pause)
            else:
                self._wait_for_word(self.wait, pause, stopping)
        self.close()

    @staticmethod
    def _wait_for_word(
        wait: Callable[[float], bool], pause: float, stopping: threading.Event
    ) -> None:
        until = time.monotonic() + pause
        while not stopping.is_set() and (left := until - time.monotonic()) > 0:
            if wait(min(left, _LONGEST_DEAF)):
                return

    def _once(self) -> float:
        """Do the step; answers how long to wait before the next one."""
        begun = time.monotonic()
        try:
            more = self.step()
        except Exception as error:
            self.failures, self.last_turn = self.failures + 1, time.monotonic()
            # Where the database is away there is nothing in our code to look for.
            traceback = None if is_infrastructure(error) else error
            _log.warning("step failed", loop=self.name, error=str(error)[:300], exc_info=traceback)
            least, most = _BACKOFF_SECONDS
            pause: float = min(most, least * 2 ** min(self.failures, 10))
            return pause * random.uniform(0.5, 1.5)  # noqa: S311 - jitter
        self.failures, self.last_turn = 0, time.monotonic()
        rest = (self.last_turn - begun) * (1 / self.share - 1)
        # No longer than where there is nothing to do, or whoever watches took it for a hang.
        return min(rest, self.every) if more else self.every


def run_loops(
    loops: Sequence[Loop], stopping: threading.Event, *, stalled_after: float = 60.0
) -> None:
    """Run all loops until `stopping` is set; end the process where one hangs.

    A step that neither returns nor raises for `stalled_after` seconds cannot be mended
    from inside; the supervisor starts the process anew.
    """
    threads = [
        threading.Thread(target=loop.run, args=(stopping,), name=loop.name) for loop in loops
    ]
    for thread in threads:
        thread.daemon = True
        thread.start()
    while not stopping.wait(_WATCH_SECONDS):
        for loop in loops:
            idle = time.monotonic() - loop.last_turn
            if idle > stalled_after + max(loop.every, 2 * _BACKOFF_SECONDS[1]):
                _log.error("loop hangs, ending the process", loop=loop.name, seconds=round(idle))
                os._exit(70)
    for thread in threads:
        thread.join(timeout=5)
