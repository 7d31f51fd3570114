"""Signing in with a password: too many attempts wait, and few are hashed at once."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from starlette.concurrency import run_in_threadpool

from services.kit.errors import TooMany
from services.people import access, attempts
from services.people.attempts import Attempt
from services.people.rules import Actor
from ui.kit.context import PageContext

T = TypeVar("T")

# A hash takes a fifth of a second and 64 MiB, so few are made at once. Of those who wait no network
# can take all places, and whoever goes for one account leaves some to the others of the network.
_HASHED_AT_ONCE = 2
_WAITING, _WAITING_OF_ONE_NETWORK, _WAITING_OF_ONE_ACCOUNT = 200, 40, 20
# Browsers that are known wait behind no others, however many those are.
_KNOWN_HASHED_AT_ONCE = 1
_KNOWN_WAITING, _KNOWN_WAITING_OF_ONE_ACCOUNT = 50, 5


class Entered(NamedTuple):
    """Who came in: the session's secret, the person, and the browser's where it is new."""

    secret: str
    actor: Actor
    device: str | None


class _Queue:
    """Attempts that wait for their turn, in bounded numbers. Used by one event loop."""

    def __init__(self, hashed_at_once: int) -> None:
        self.hashing = ThreadPoolExecutor(hashed_at_once, thread_name_prefix="hashing")
        self._waiting: Counter[str] = Counter()

    @contextmanager
    def place(self, limits: Mapping[str, int]) -> Iterator[None]:
        """Wait as one of those who are counted under each of these names.

        Raises:
            TooMany: so many wait already under one of them.
        """
        if any(self._waiting[name] >= most for name, most in limits.items()):
            raise TooMany("Too many people sign in just now. Try again in a moment.", retry_after=5)
        names = Counter(list(limits))
        self._waiting += names
        try:
            yield
        finally:
            self._waiting -= names


class PasswordSignIn:
    """Checks passwords, for any number of attempts at once."""

    def __init__(self, pages: PageContext) -> None:
        self._pages = pages
        self._known = _Queue(_KNOWN_HASHED_AT_ONCE)
        self._others = _Queue(_HASHED_AT_ONCE)

    async def enter(self, attempt: Attempt, password: str) -> Entered:
        """Sign in, once it is this attempt's turn.

        Raises:
            SignInRefused: address or password is wrong.
            TooMany: too many wait already, on this account, from this network or in all.
        """
        return await self._in_turn(attempt, lambda: self._check(attempt, password))

    async def confirm(self, attempt: Attempt, check: Callable[[], None]) -> None:
        """Let `check` look at the present password of somebody signed in, when it is their turn.

        Raises:
            TooMany: as when signing in.
        """
        await self._in_turn(attempt, lambda: self._confirm(attempt, check))

    async def _in_turn(self, attempt: Attempt, check: Callable[[], T]) -> T:
        known = bool(attempt.device) and await run_in_threadpool(self._is_known, attempt)
        queue = self._known if known else self._others
        with queue.place(_limits(attempt, known=known)):
            await asyncio.sleep(await run_in_threadpool(self._begin, attempt))
            return await asyncio.wrap_future(queue.hashing.submit(check))

    def _is_known(self, attempt: Attempt) -> bool:
        with self._pages.transaction() as (session, now):
            return attempts.is_known(session, attempt, now=now)

    def _begin(self, attempt: Attempt) -> float:
        with self._pages.transaction() as (session, now):
            return attempts.begin(session, attempt, now=now)

    def _check(self, attempt: Attempt, password: str) -> Entered:
        with self._pages.transaction() as (session, now):
            length = self._pages.session_length
            secret, actor = access.sign_in(session, attempt.email, password, now=now, length=length)
            attempts.succeeded(session, attempt, now=now)
            return Entered(secret, actor, attempts.remember_device(session, attempt, now=now))

    def _confirm(self, attempt: Attempt, check: Callable[[], None]) -> None:
        check()
        with self._pages.transaction() as (session, now):
            attempts.succeeded(session, attempt, now=now)


def _limits(attempt: Attempt, *, known: bool) -> Mapping[str, int]:
    """Under which names an attempt waits, and how many may wait under each."""
    account, network = attempt.account, attempt.network
    if known:
        return {"all": _KNOWN_WAITING, f"on {account}": _KNOWN_WAITING_OF_ONE_ACCOUNT}
    return {
        "all": _WAITING,
        f"from {network}": _WAITING_OF_ONE_NETWORK,
        f"on {account} from {network}": _WAITING_OF_ONE_ACCOUNT,
    }
