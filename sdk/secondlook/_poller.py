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
POLICY_BYTES = 33_554_432
"""More than a policy of 10,000 categories has, each with a threshold, all escaped as ASCII."""
_SHORTEST_ROUND = 0.5
_LONGEST_ROUND = 5.0
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 30.0


class PolicyPoller:
    """Holds the newest policy seen; a thread asks the server for newer ones."""

    def __init__(
        self,
        connection: Connection,
        key_hash: bytes,
        *,
        last: "PolicyPoller | None" = None,
        cache: Path | None = None,
    ) -> None:
        """Start where `last` was, else with the policy kept in `cache` where that is genuine."""
        self.policy: GatePolicy | None = last.policy if last else None
        self._connection = connection
        self._key_hash = key_hash
        self._cache = cache
        self._etag = ""
        self.confirmed: Confirmation = last.confirmed if last else Confirmation(0.0)
        self._seen = threading.Event()
        self._stopped = threading.Event()
        self._warner = Warner()
        if self.policy:
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
        return self.confirmed.age() if self.policy else None

    def wait(self, timeout: float) -> bool:
        """Wait until there is a policy, at most so many seconds; whether there is."""
        return self._seen.wait(timeout)

    def run(self) -> None:
        """Ask the server again and again, until stopped."""
        backoff = Backoff()
        while not self._stopped.is_set():
            asked_at = time.monotonic()
            try:
                answer = self._ask()
                backoff.succeeded(answer, took=time.monotonic() - asked_at)
            except (Unavailable, PolicyRefused) as error:
                backoff.failed(error.retry_after if isinstance(error, Unavailable) else None)
                if not self._stopped.is_set():
                    self._warner.warn("no fresh gate policy, going on with the last: %s", error)
            except Exception:
                # A bug must not end the thread that keeps the policy fresh.
                backoff.failed(None)
                logger.exception("asking for the policy failed in a way that it should not")
            self._stopped.wait(backoff.pause)
        self._connection.close()

    def stop(self) -> None:
        """Make `run` return soon."""
        self._stopped.set()
        self._connection.abort()

    def take(self, document: bytes, *, confirmed_at: float) -> None:
        """Use the policy of a document in place of the one before.

        Revisions are compared within an epoch alone: a server that was restored from a backup
        begins another, and what it says holds, a lower revision that stops the tool included.
        Where a copy of the whole data folder was put back, the epoch is the same; then the later
        of two policies is the one that came into force later.

        Raises:
            PolicyRefused: it is not genuine, of another tool, or older.
        """
        policy = read_document(document, self._key_hash)
        before = self.policy
        if before and policy.tool != before.tool:
            raise PolicyRefused("it is the policy of another tool")
        if before and _is_older(policy, before):
            raise PolicyRefused(f"revision {policy.revision} is older than {before.revision}")
        self.policy = policy
        self.confirmed = Confirmation(confirmed_at)
        self._seen.set()
        if policy.not_understood:
            asked = ", ".join(policy.not_understood)
            self._warner.warn("the policy asks for what this version does not know: %s", asked)

    def _ask(self) -> Answer:
        headers = {"If-None-Match": self._etag} if self._etag else {}
        wait = WAIT_SECONDS if self._etag else 0
        answer = self._connection.request("GET", f"/v1/policy?wait={wait}", headers)
        if answer.status == 304 and self._etag:
            self.confirmed = Confirmation(time.time())
            self._touch()
        elif answer.status == 200:
            self.take(answer.body, confirmed_at=time.time())
            self._etag = answer.headers.get("etag", "")
            self._keep(answer.body)
        else:
            raise answer.unavailable()
        return answer

    def _load(self, cache: Path) -> None:
        with contextlib.suppress(OSError, PolicyRefused):
            self.take(cache.read_bytes(), confirmed_at=cache.stat().st_mtime)

    def _touch(self) -> None:
        """Let the kept policy tell after a restart when it was last confirmed."""
        if self._cache:
            with contextlib.suppress(OSError):
                os.utime(self._cache)

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


class Confirmation:
    """When something was, told by two clocks: one that jumps, and one that stands in sleep."""

    def __init__(self, at: float) -> None:
        """Take a time of `time.time()`, now or before."""
        self._at = at
        self._steady_at = time.monotonic() - max(0.0, time.time() - at)

    def age(self) -> float:
        """Seconds since then; where the clocks differ, the more of the two."""
        return max(time.time() - self._at, time.monotonic() - self._steady_at)


class Backoff:
    """How long to wait before the next question, so that no server is asked without end."""

    def __init__(self) -> None:
        self.pause = 0.0
        self._failures = 0
        self._rounds = 0

    def succeeded(self, answer: Answer, *, took: float) -> None:
        """After an answer: at once, where the server waited before it answered."""
        self._failures = 0
        self._rounds = self._rounds + 1 if answer.status == 304 and took < _SHORTEST_ROUND else 0
        shortest = min(_LONGEST_ROUND, _SHORTEST_ROUND * 2 ** min(self._rounds // 2, 10))
        self.pause = max(0.0, shortest - took, _with_jitter(answer.retry_after))

    def failed(self, retry_after: float | None) -> None:
        """After none: longer each time, and no shorter than the server asks for."""
        self._failures += 1
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self._failures, 20))
        self.pause = max(longest * random.uniform(0.5, 1.0), _with_jitter(retry_after))  # noqa: S311


def _with_jitter(seconds: float | None) -> float:
    """A wait that was asked for and up to half as long again, for not all to come back at once."""
    return (seconds or 0.0) * random.uniform(1.0, 1.5)  # noqa: S311


def _is_older(policy: GatePolicy, before: GatePolicy) -> bool:
    """Whether a policy came before the one that is held, in one life of the server's database."""
    return (
        policy.epoch == before.epoch
        and policy.revision < before.revision
        and policy.effective_at <= before.effective_at
    )
