"""The verdicts on a tool's outputs, asked of the server again and again, from a cursor on."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from secondlook._http import Answer, Connection, Unavailable
from secondlook._poller import Backoff
from secondlook._warn import Warner

WAIT_SECONDS = 25
_AT_ONCE = 100
_QUICK_SECONDS = 1.0
_UNUSABLE = 422


@dataclass(frozen=True, slots=True)
class Verdict:
    """A reviewer's verdict on one of the tool's outputs."""

    output_id: str
    verdict: str
    """`upheld`, `corrected`, `undecidable` or `not_actionable`; or `undone`: the last one before
    counts no longer."""
    value: Any
    """What stands in the output's place: with `upheld` the tool's own; None with the others."""
    at: datetime
    cursor: str
    """Where to go on after this one."""
    case_id: str


class VerdictReader:
    """Reads a tool's verdicts, those after `cursor`, each once at least. For one thread, but for
    `stop`.
    """

    def __init__(self, connection: Connection, cursor: str | None) -> None:
        """`connection` has to bear a wait of `WAIT_SECONDS`."""
        self._connection, self._cursor = connection, cursor
        self._stopped, self._reading = threading.Event(), threading.Lock()
        self._backoff, self._warner = Backoff(), Warner()

    @property
    def stopped(self) -> bool:
        """Whether there will be no more."""
        return self._stopped.is_set()

    def wait(self) -> list[Verdict]:
        """Wait for the next verdicts, however long; none once it is stopped.

        While the server cannot be reached it is asked again, after growing pauses.

        Raises:
            ValueError: the server does not know the cursor.
        """
        with self._reading:
            found = self._wait()
            if self.stopped:
                self._connection.close()
        return found

    def _wait(self) -> list[Verdict]:
        while not self.stopped:
            begun = time.monotonic()
            try:
                found = self._ask()
            except Unavailable as error:
                self._backoff.failed(error.retry_after)
                if not self.stopped:
                    self._warner.warn("no verdicts just now, asking again: %s", error)
                self._stopped.wait(self._backoff.pause)
                continue
            if found:
                self._backoff = Backoff()
                return found
            # Who was answered at once, with nothing, is one of too many that wait.
            self._stopped.wait(max(0.0, _QUICK_SECONDS - (time.monotonic() - begun)))
        return []

    def stop(self) -> None:
        """Make `wait` return soon. Whoever is last closes the connection."""
        self._stopped.set()
        self._connection.abort()
        if self._reading.acquire(blocking=False):
            self._connection.close()
            self._reading.release()

    def _ask(self) -> list[Verdict]:
        asked: dict[str, str | int] = {"wait": WAIT_SECONDS, "limit": _AT_ONCE}
        if self._cursor:
            asked["cursor"] = self._cursor
        answer = self._connection.request("GET", f"/v1/verdicts?{urlencode(asked)}", {})
        if answer.status == _UNUSABLE and answer.is_ours:
            raise ValueError(f"cursor: the server does not know {(self._cursor or '')[:80]!r}")
        if answer.status != 200:
            raise answer.unavailable()
        found = _read(answer)
        if found:
            self._cursor = found[-1].cursor
        return found


def _read(answer: Answer) -> list[Verdict]:
    said = answer.json()
    try:
        items = said["items"]  # type: ignore[index]
        return [_verdict(item) for item in items]
    except (LookupError, TypeError, ValueError) as error:
        raise Unavailable(f"something else than verdicts came: {type(error).__name__}") from None


def _verdict(item: Mapping[str, Any]) -> Verdict:
    return Verdict(
        output_id=item["output_id"],
        verdict=item["verdict"],
        value=item["value"],
        at=datetime.fromisoformat(item["at"]),
        cursor=item["cursor"],
        case_id=item["case_id"],
    )
