"""Ends a process whose loop hangs."""

import os
import threading
import time

import structlog

_EXIT_HUNG = 70
_log = structlog.get_logger()


class Watchdog:
    """Ends the process when nobody has ticked for long: a hung loop cannot recover.

    It counts its own wakings and not the time, so that a process which was frozen and
    goes on is not taken for one that hangs.
    """

    def __init__(self, seconds: float, *, every: float = 1.0) -> None:
        self._allowed = max(1, int(seconds / every))
        self._every = every
        self.last_tick = time.monotonic()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def tick(self) -> None:
        """Say that the loop goes round."""
        self.last_tick = time.monotonic()

    def __enter__(self) -> "Watchdog":
        self.tick()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        seen, missed = self.last_tick, 0
        while not self._ended.wait(self._every):
            missed = missed + 1 if self.last_tick == seen else 0
            seen = self.last_tick
            if missed >= self._allowed:
                _log.error("the loop hangs; ending the process", seconds=missed * self._every)
                os._exit(_EXIT_HUNG)
