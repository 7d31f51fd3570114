"""The thread that sends."""

import random
from collections.abc import Callable, Container, Sequence
from itertools import groupby

from secondlook._backlog import Backlog, Segment
from secondlook._http import Refused, Transport, Unavailable
from secondlook._warn import Warner, logger

FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
_LOOK_AGAIN = 0.1


class Sender:
    """Takes batch after batch to the event log until the backlog is stopped."""

    def __init__(
        self, backlog: Backlog, transport: Transport, source: Callable[[], str | None]
    ) -> None:
        """Send from `backlog` by `transport`; `source` answers None while it is not known."""
        self._backlog = backlog
        self._transport = transport
        self._source = source
        self._warner = Warner()

    def run(self) -> None:
        """Send until the backlog is stopped."""
        self._open()
        while batch := self._backlog.take():
            try:
                going_on = self._deliver(batch)
            except Exception:
                # A bug must not end the thread that everything waits for.
                logger.exception("sending failed in a way that it should not")
                going_on = self._backlog.pause(LONGEST_PAUSE)
            self._backlog.reclaim()
            if not going_on:
                break
        self._transport.close()

    def _open(self) -> None:
        try:
            self._transport.open()
        except Exception:
            # Sending will fail the same way, and say so; its thread must live to try again.
            logger.exception("the way to the server can't be opened")

    def _deliver(self, batch: Segment) -> bool:
        """Send a batch, retrying; False where the backlog was stopped before it was done."""
        source = self._wait_for_source()
        if source is None:
            return False
        size = batch.count
        tries = 0
        refused = set[int]()
        while left := batch.left[:size]:
            rest = [at for at in range(len(left)) if at not in refused]
            try:
                if rest:
                    self._transport.send(source, [left[at] for at in rest])
            except Refused as error:
                blamed = self._blamed(rest, error)
                refused |= blamed
                size = size if blamed else len(left) // 2
            except Unavailable as outage:
                tries += 1
                if not self._wait(outage, tries):
                    return False
            else:
                self._settle(batch, len(left), refused)
                size, tries, refused = 2 * size, 0, set()
        return True

    def _wait_for_source(self) -> str | None:
        """Wait until a policy names the tool; None once stopped."""
        while (source := self._source()) is None:
            if not self._backlog.pause(_LOOK_AGAIN):
                return None
        return source

    def _blamed(self, sent: Sequence[int], refused: Refused) -> set[int]:
        """Which of those sent are to blame: what the server names, or the only one; else none."""
        named = {sent[at] for at in refused.positions if at < len(sent)}
        blamed = named or (set(sent) if len(sent) == 1 else set())
        if blamed:
            self._warner.warn("the server refused an event: %s", refused)
        return blamed

    def _settle(self, batch: Segment, count: int, refused: Container[int]) -> None:
        for is_refused, run in groupby(range(count), lambda at: at in refused):
            self._backlog.settle(batch, len(list(run)), sent=not is_refused)

    def _wait(self, outage: Unavailable, tries: int) -> bool:
        self._warner.warn("events can't be sent just now, still trying: %s", outage)
        self._backlog.sync()
        if outage.retry_after is not None:
            return self._backlog.pause(outage.retry_after + random.random(), until_flush=False)  # noqa: S311
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(tries, 20))
        return self._backlog.pause(longest * random.uniform(0.5, 1.0))  # noqa: S311
