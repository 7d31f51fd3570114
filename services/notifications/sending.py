"""Sends what is due: many at once, each in its own time, and nothing within a transaction.

A delivery is `unknown` before its first byte leaves, and stays so until what came back is written
down. So whoever is killed, or frozen, between leaves it to be sent again under the same id.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import Awaitable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import structlog
from pydantic import ValidationError

from services.kit.clock import Clock
from services.kit.database import Database
from services.kit.errors import InvalidInput
from services.notifications import deliveries, rules
from services.notifications.channels.outcome import Outcome, Result, outcome
from services.notifications.channels.push import PushChannel
from services.notifications.channels.slack import SlackChannel
from services.notifications.channels.webhook import WebhookChannel
from services.notifications.deliveries import Due
from services.notifications.rules import Channel

_log = structlog.get_logger()

AT_ONCE = 64
EACH = 8
"""So many are on their way at once, and so many of them to one receiver."""
_WRITERS = 4
_SECONDS = 30.0
"""No attempt takes longer, whatever its channel says: less than the lease."""
_LOOK_SECONDS = 0.5
_END_SECONDS = 2.0


class Mailer(Protocol):
    """Hands over mails."""

    async def send(self, to: str, message_id: str, payload: str) -> Outcome:
        """Hand over one."""
        ...


class Channels:
    """Every way out."""

    def __init__(
        self, mail: Mailer, slack: SlackChannel, webhook: WebhookChannel, push: PushChannel
    ) -> None:
        self._mail, self._slack, self._webhook, self._push = mail, slack, webhook, push

    async def send(self, due: Due) -> Outcome:
        """Make one attempt; it never raises."""
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._by(due)
        except TimeoutError:
            return outcome(Result.UNKNOWN, f"no answer within {_SECONDS:g} s")
        except ValidationError as error:
            return outcome(Result.NEVER, f"it cannot be read: {error}")
        except InvalidInput as error:
            return outcome(Result.NEVER, error.detail)
        except Exception as error:  # whatever a library raises, the sender goes on
            _log.error("delivery failed in a way that it should not", id=due.id, exc_info=error)
            return outcome(Result.UNKNOWN, f"{type(error).__name__}: {error}")

    def _by(self, due: Due) -> Awaitable[Outcome]:
        if due.channel == Channel.WEBHOOK:
            secret = due.secret or ""
            return self._webhook.send(due.destination, due.message_id, due.payload, secret)
        if due.channel == Channel.PUSH:
            return self._push.send(due.device, due.message_id, due.payload, due.secret or "")
        way: Mailer = self._slack if due.channel == Channel.SLACK else self._mail
        return way.send(due.destination, due.message_id, due.payload)


class Sender:
    """Takes what is due and sends it. Any number of senders may work on the same deliveries."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        channels: Channels,
        *,
        first_pause: timedelta = rules.FIRST_PAUSE,
        lease: timedelta = rules.LEASE,
    ) -> None:
        self._database, self._clock, self._channels = database, clock, channels
        self._first_pause, self._lease = first_pause, lease
        self._under_way: dict[Future[None], str] = {}
        self._loop = asyncio.new_event_loop()
        # Names are looked up in threads that nobody can end: one for each of those under way, and
        # as many for who has given up waiting. What came back is written down in others.
        self._loop.set_default_executor(ThreadPoolExecutor(2 * AT_ONCE, "names"))
        self._writers = ThreadPoolExecutor(_WRITERS, "writers")
        self._thread = threading.Thread(target=self._loop.run_forever, name="sender", daemon=True)
        self._thread.start()

    def step(self) -> bool:
        """Begin to send what is due, as far as there is room; answers whether to look again soon.

        Where nothing is to begin it waits a moment for what is under way.
        """
        self._let_go()
        claimed = self._claim()
        for due in claimed:
            self._under_way[asyncio.run_coroutine_threadsafe(self._send(due), self._loop)] = (
                due.lane
            )
        if not claimed and self._under_way:
            wait(self._under_way, timeout=_LOOK_SECONDS, return_when=FIRST_COMPLETED)
        return bool(self._under_way)

    def close(self) -> None:
        """Leave what is under way; it is tried again."""
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(_END_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=_END_SECONDS)
        # What came back is written down, as far as the database lets it in this time.
        writing = threading.Thread(target=self._writers.shutdown, daemon=True)
        writing.start()
        writing.join(_END_SECONDS)
        if not self._thread.is_alive():
            self._loop.close()

    def _let_go(self) -> None:
        for done in [one for one in self._under_way if one.done()]:
            del self._under_way[done]
            error = done.exception()
            if error is not None:
                # It stays `unknown`, and is tried again when its lease is over.
                _log.warning("what came back is not written down", error=str(error)[:300])

    def _claim(self) -> list[Due]:
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return []
        busy: Mapping[str, int] = Counter(self._under_way.values())
        with self._database.transaction() as session:
            now = self._clock.now(session)
            return deliveries.claim(
                session, limit=room, each=EACH, busy=busy, now=now, lease=self._lease
            )

    async def _send(self, due: Due) -> None:
        came = await self._channels.send(due)
        await self._loop.run_in_executor(self._writers, self._record, due, came)

    def _record(self, due: Due, came: Outcome) -> None:
        with self._database.transaction() as session:
            now = self._clock.now(session)
            deliveries.record(session, due, came, now=now, first_pause=self._first_pause)


async def _cancel_others() -> None:
    """End every other task of this loop; names that are being looked up are not waited for."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
