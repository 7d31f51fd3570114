"""A tool's connection to Secondlook.

Nothing that records waits for the network or fails because of it: `output` decides from the
policy at hand and queues the event; threads in the background send, and keep the policy fresh.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from secondlook import keys
from secondlook._engine import Config, Engine, Stats
from secondlook._recorder import OnInvalid
from secondlook._verbs import Verbs
from secondlook._verdicts import Verdict
from secondlook.events import DISPOSITIONS, Disposition


def _now() -> datetime:
    return datetime.now(UTC)


class Client(Verbs):
    """What `Secondlook` and `AsyncSecondlook` share: all but how to wait."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        kafka_bootstrap_servers: str | None = None,
        kafka_options: Mapping[str, Any] | None = None,
        spill_dir: str | os.PathLike[str] | None = None,
        spill_bytes: int = 268_435_456,
        safe_default: Disposition = "review",
        buffer_size: int = 10_000,
        on_invalid: OnInvalid = "record",
        timeout: float = 10.0,
    ) -> None:
        """Connect a tool; the key names it.

        Args:
            url: where Secondlook is, such as `https://secondlook.example`.
            key: the tool's API key.
            kafka_bootstrap_servers: send events straight to Kafka; the policy still comes by HTTP.
            kafka_options: more settings of kafka-python's producer, such as TLS and SASL.
            spill_dir: a local folder of this tool's own, in which each event is kept until the
                server has it: a process that is killed loses none.
            spill_bytes: how large the folder may get.
            safe_default: the disposition while there is no policy to go by.
            buffer_size: how many events wait in memory at most.
            on_invalid: `record` never raises: an output that is not valid is answered `review`
                and recorded as a failed one. `raise` is for tests and development.
            timeout: seconds for each step of a request in the background.

        Raises:
            ValueError: the address, the key or another argument is malformed.
            OSError: the spill folder can't be used.
            ImportError: Kafka is asked for, and `secondlook[kafka]` is not installed.
        """
        key = key.strip()
        keys.prefix(key)
        _require(safe_default in DISPOSITIONS, "safe_default", f"is none of {DISPOSITIONS}")
        allowed = ("record", "raise")
        _require(on_invalid in allowed, "on_invalid", f"is none of {allowed}")
        _require(buffer_size >= 1, "buffer_size", "is less than 1")
        _require(timeout > 0, "timeout", "is not above 0")
        config = Config(
            url=url.strip(),
            key=key,
            kafka_bootstrap_servers=kafka_bootstrap_servers or None,
            kafka_options=kafka_options or {},
            spill_dir=Path(spill_dir) if spill_dir else None,
            spill_bytes=spill_bytes,
            buffer_size=buffer_size,
            timeout=timeout,
        )
        super().__init__(
            Engine(config), safe_default=safe_default, on_invalid=on_invalid, clock=_now
        )

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Connect as the environment says.

        Reads `SECONDLOOK_URL`, `SECONDLOOK_KEY` (or `SECONDLOOK_KEY_FILE`), and where given
        `SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS`, `SECONDLOOK_SPILL_DIR`, `SECONDLOOK_SAFE_DEFAULT`,
        `SECONDLOOK_ON_INVALID`.

        Raises:
            ValueError: one that is needed is missing, or one is malformed.
        """
        env = os.environ if env is None else env
        return cls(
            _needed(env, "SECONDLOOK_URL"),
            _key_from(env),
            kafka_bootstrap_servers=_given(env, "SECONDLOOK_KAFKA_BOOTSTRAP_SERVERS"),
            spill_dir=_given(env, "SECONDLOOK_SPILL_DIR"),
            safe_default=_given(env, "SECONDLOOK_SAFE_DEFAULT") or "review",  # type: ignore[arg-type]
            on_invalid=_given(env, "SECONDLOOK_ON_INVALID") or "record",  # type: ignore[arg-type]
        )

    def stats(self) -> Stats:
        """Where the recorded events are, and how fresh the policy is."""
        return self._engine.stats()

    def wait_for_policy(self, timeout: float = 5.0) -> bool:
        """Wait for the first policy, for scripts that should not start on the safe default."""
        return self._engine.wait_for_policy(timeout)

    def __repr__(self) -> str:
        """Without the key."""
        return f"<{type(self).__name__} of {self._recorder.tool}>"


class Secondlook(Client):
    """A tool's connection to Secondlook.

    Safe for threads; a forked child gets threads and counts of its own. At the end of the
    process it closes by itself.
    """

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded has been sent; whether it has."""
        return self._engine.flush(timeout)

    def verdicts(self, cursor: str | None = None) -> Iterator[Verdict]:
        """The verdicts on this tool's outputs after `cursor`, as they are given; waits for the
        next, until the client is closed.

        Each comes once at least, in one order. Store the `cursor` of the last one that you dealt
        with, and begin with it after a restart; without one all come that the server still has.

        Raises:
            ValueError: the server does not know the cursor.
        """
        reader = self._engine.verdicts(cursor)
        try:
            while not reader.stopped:
                yield from reader.wait()
        finally:
            reader.stop()

    def close(self, timeout: float = 5.0) -> bool:
        """Flush and stop. What is left goes to the spill folder, else is dropped and counted."""
        return self._engine.close(timeout)

    def __enter__(self) -> Self:
        """Use the connection for a `with` block, and close it at the end."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()


class AsyncSecondlook(Client):
    """The same for asyncio: recording is a plain call that never waits, ending is awaited."""

    async def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything recorded has been sent; whether it has."""
        return await asyncio.to_thread(self._engine.flush, timeout)

    async def verdicts(self, cursor: str | None = None) -> AsyncIterator[Verdict]:
        """The verdicts on this tool's outputs after `cursor`, as for `Secondlook.verdicts`."""
        reader = self._engine.verdicts(cursor)
        try:
            while not reader.stopped:
                for verdict in await asyncio.to_thread(reader.wait):
                    yield verdict
        finally:
            reader.stop()

    async def close(self, timeout: float = 5.0) -> bool:
        """Flush and stop. What is left goes to the spill folder, else is dropped and counted."""
        return await asyncio.to_thread(self._engine.close, timeout)

    async def __aenter__(self) -> Self:
        """Use the connection for an `async with` block, and close it at the end."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close it."""
        await self.close()


def _require(holds: bool, name: str, problem: str) -> None:
    if not holds:
        raise ValueError(f"{name} {problem}")


def _given(env: Mapping[str, str], name: str) -> str | None:
    """A setting without the white space that a file of settings may end with."""
    return env.get(name, "").strip() or None


def _needed(env: Mapping[str, str], name: str) -> str:
    if not (value := _given(env, name)):
        raise ValueError(f"{name} is not set")
    return value


def _key_from(env: Mapping[str, str]) -> str:
    if path := _given(env, "SECONDLOOK_KEY_FILE"):
        return Path(path).read_text(encoding="utf-8-sig")
    return _needed(env, "SECONDLOOK_KEY")
