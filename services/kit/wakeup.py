"""Waiting for word that another process has committed something, instead of asking again."""

import time
from collections.abc import Callable, Collection

import psycopg
import structlog

_log = structlog.get_logger()

# How long a wait lasts at most while word cannot be had: then it is asking again, as it were.
_BLIND_SECONDS = 0.1


class Wakeup:
    """Hears what is said on a channel of PostgreSQL, with a connection of its own.

    Word is a hint and never the only way: whoever waits looks again after its time is up.
    Not safe to share between threads.
    """

    def __init__(self, connect: Callable[[], psycopg.Connection], channel: str) -> None:
        """`connect` makes a connection that commits each statement."""
        self._connect, self._channel = connect, channel
        self._connection: psycopg.Connection | None = None

    def wait(self, seconds: float, about: Collection[str] | None = None) -> None:
        """Return when something is said, about one of `about` where that is given, or in time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            try:
                for said in self._listening().notifies(timeout=left, stop_after=1):
                    if about is None or said.payload in about:
                        return
            except psycopg.Error as error:
                _log.debug("no word to be had", channel=self._channel, error=str(error)[:200])
                self.close()
                time.sleep(min(_BLIND_SECONDS, left))
                return

    def listen(self) -> None:
        """Begin to hear: what is said from now on ends a later wait."""
        try:
            self._listening()
        except psycopg.Error:
            self.close()

    def close(self) -> None:
        """Hear no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _listening(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.execute(f"LISTEN {self._channel}")
        return self._connection
