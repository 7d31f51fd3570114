"""Keeps the gate policy fresh, and the last good one for a restart."""

import contextlib
import os
import random
import threading
import time
from pathlib import Path

from secondlook._http import Answer, Connection, Unavailable
from secondlook._warn import Warner, logger
from secondlook.gate import GatePolicy, PolicyRefused, read_document

WAIT_SECONDS = 30
_SHORTEST_ROUND = 0.5
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0


class PolicyKeeper:
    """Holds the newest policy seen; a thread asks the server for newer ones."""

    def __init__(
        self,
        connection: Connection,
        key_hash: bytes,
        *,
        policy: GatePolicy | None = None,
        cache: Path | None = None,
    ) -> None:
        """Start with `policy`, else with the one kept in `cache` where that is genuine."""
        self.policy = policy
        self._connection = connection
        self._key_hash = key_hash
        self._cache = cache
        self._etag = ""
        self._confirmed_at = 0.0
        self._seen = threading.Event()
        self._stopped = threading.Event()
        self._warner = Warner()
        if policy:
            self._seen.set()
        elif cache:
            self._load(cache)

    @property
    def source(self) -> str | None:
        """The `source` of this tool's events, once a policy has named the tool."""
        return f"/tools/{self.policy.tool}" if self.policy else None

    @property
    def age_seconds(self) -> float | None:
        """Seconds since the server last said that the policy holds; None without one."""
        return max(0.0, time.time() - self._confirmed_at) if self.policy else None

    def wait(self, timeout: float) -> bool:
        """Wait until there is a policy, at most so many seconds; whether there is."""
        return self._seen.wait(timeout)

    def run(self) -> None:
        """Ask the server again and again, until stopped."""
        failures = 0
        while not self._stopped.is_set():
            asked_at = time.monotonic()
            try:
                self._ask()
                failures = 0
            except (Unavailable, PolicyRefused) as error:
                failures += 1
                if not self._stopped.is_set():
                    self._warner.warn("no fresh gate policy, going on with the last: %s", error)
            except Exception:
                # A bug must not end the thread that keeps the policy fresh.
                failures += 1
                logger.exception("asking for the policy failed in a way that it should not")
            self._stopped.wait(_pause(failures, time.monotonic() - asked_at))
        self._connection.close()

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopped.set()
        self._connection.abort()

    def take(self, document: bytes, *, confirmed_at: float) -> None:
        """Use the policy of a document in place of the one before.

        Raises:
            PolicyRefused: it is not genuine, of another tool, or older.
        """
        policy = read_document(document, self._key_hash)
        before = self.policy
        if before and policy.tool != before.tool:
            raise PolicyRefused("it is the policy of another tool")
        if before and policy.revision < before.revision:
            raise PolicyRefused(f"revision {policy.revision} is older than {before.revision}")
        self.policy = policy
        self._confirmed_at = confirmed_at
        self._seen.set()

    def _ask(self) -> None:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        wait = WAIT_SECONDS if self._etag else 0
        answer = self._connection.request("GET", f"/v1/policy?wait={wait}", headers)
        if answer.status == 304:
            self._confirmed_at = time.time()
        elif answer.status == 200:
            self.take(answer.body, confirmed_at=time.time())
            self._etag = _etag_of(answer)
            self._keep(answer.body)
        else:
            raise Unavailable(f"the server answered {answer.status}")

    def _load(self, cache: Path) -> None:
        with contextlib.suppress(OSError, PolicyRefused):
            self.take(cache.read_bytes(), confirmed_at=cache.stat().st_mtime)

    def _keep(self, document: bytes) -> None:
        if not self._cache:
            return
        part = self._cache.with_suffix(f".{os.getpid()}.part")
        try:
            part.touch(mode=0o600)
            part.write_bytes(document)
            part.replace(self._cache)
        except OSError as error:
            self._warner.warn("the policy can't be kept for a restart: %s", error)


def _etag_of(answer: Answer) -> str:
    return next((v for name, v in answer.headers.items() if name.lower() == "etag"), "")


def _pause(failures: int, took: float) -> float:
    """Seconds until the next question; a server that does not wait is not asked without end."""
    if not failures:
        return max(0.0, _SHORTEST_ROUND - took)
    longest: float = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311
