"""Warnings that are said once a minute, however often they are true."""

import logging
import time

logger = logging.getLogger("secondlook")
_EVERY_SECONDS = 60.0


class Warner:
    """Repeats each warning at most once a minute."""

    def __init__(self) -> None:
        """Nothing has been said yet."""
        self._said_at: dict[str, float] = {}

    def warn(self, message: str, *arguments: object) -> None:
        """Log a warning, unless this message was logged within the last minute."""
        now = time.monotonic()
        if now - self._said_at.get(message, -_EVERY_SECONDS) >= _EVERY_SECONDS:
            self._said_at[message] = now
            logger.warning(message, *arguments)
