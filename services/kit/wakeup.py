"""Waiting for word that another process has committed something, instead of asking again."""

import time
from collections.abc import Callable, Collection

import psycopg
import structlog

from services.kit.database import has_news

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

    def wait(self, seconds: float, about: Collection[str] | None = None) -> bool:
        """Return when something is said, about one of `about` where that is given, or in time.

        Answers whether there is reason to look: something was said, or may have been missed.
        """
        if self.listen():
            return True
        deadline = time.monotonic() + seconds
        while True:
            try:
                listening = self._listening()
                said = {one.payload for one in listening.notifies(timeout=0)}
                if said and (about is None or not said.isdisjoint(about)):
                    return True
                # The driver would wake up ten times a second to look for signals.
                left = deadline - time.monotonic()
                if left <= 0 or not has_news(listening, within=left):
                    return False
            except psycopg.Error as error:
                self._lose(error)
                return True

    def listen(self) -> bool:
        """Hear what is said from now on, in a later wait.

        Answers whether word may have been missed: nobody was listening until now.
        """
        if self._connection is not None:
            return False
        try:
            self._listening()
        except psycopg.Error as error:
            self._lose(error)
        return True

    def close(self) -> None:
        """Hear no more."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _lose(self, error: psycopg.Error) -> None:
        _log.warning("no word to be had", channel=self._channel, error=str(error)[:200])
        self.close()
        time.sleep(_BLIND_SECONDS)

    def _listening(self) -> psycopg.Connection:
        if self._connection is None:
            self._connection = self._connect()
            self._connection.execute(f"LISTEN {self._channel}")
        return self._connection
