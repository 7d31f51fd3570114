"""Signing in with a password: too many attempts wait, and few are hashed at once."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from services.kit.errors import TooMany
from services.people import access, attempts
from services.people.attempts import Attempt
from services.people.rules import Actor
from ui.kit.context import PageContext

T = TypeVar("T")

# A hash takes a fifth of a second and 64 MiB.
_HASHED_AT_ONCE = 2
_WAITING, _WAITING_OF_ONE_NETWORK = 100, 20


class Entered(NamedTuple):
    """Who came in: the session's secret, the person, and the browser's where it is new."""

    secret: str
    actor: Actor
    device: str | None


class PasswordSignIn:
    """Checks passwords, for any number of attempts at once."""

    def __init__(self, pages: PageContext) -> None:
        self._pages = pages
        self._hashing = ThreadPoolExecutor(_HASHED_AT_ONCE, thread_name_prefix="hashing")
        self._waiting: Counter[str] = Counter()

    async def enter(self, attempt: Attempt, password: str) -> Entered:
        """Sign in, once it is this attempt's turn.

        Raises:
            SignInRefused: address or password is wrong.
            TooMany: too many wait already, from this network or from all of them.
        """
        network = attempt.network
        if self._waiting.total() >= _WAITING or self._waiting[network] >= _WAITING_OF_ONE_NETWORK:
            raise TooMany("Too many people sign in just now. Try again in a moment.", retry_after=5)
        self._waiting[network] += 1
        try:
            await asyncio.sleep(await run_in_threadpool(self._begin, attempt))
            return await asyncio.wrap_future(self._hashing.submit(self._check, attempt, password))
        finally:
            self._waiting[network] -= 1
            self._waiting += Counter()  # without those that are at none

    def confirm(self, attempt: Attempt, check: Callable[[], T]) -> T:
        """Let `check` look at the present password of somebody signed in, when it is their turn.

        Raises:
            TooMany: too many of theirs wait already.
        """
        time.sleep(self._begin(attempt))
        done = self._hashing.submit(check).result()
        with self._pages.transaction() as (session, now):
            attempts.succeeded(session, attempt, now=now)
        return done

    def _begin(self, attempt: Attempt) -> float:
        with self._pages.transaction() as (session, now):
            return attempts.begin(session, attempt, now=now)

    def _check(self, attempt: Attempt, password: str) -> Entered:
        with self._pages.transaction() as (session, now):
            length = self._pages.session_length
            secret, actor = access.sign_in(session, attempt.email, password, now=now, length=length)
            attempts.succeeded(session, attempt, now=now)
            return Entered(secret, actor, attempts.remember_device(session, attempt, now=now))
