"""Who is calling: the FastAPI dependencies that every API route stands behind."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from fastapi import Request
from secondlook import keys
from starlette.concurrency import run_in_threadpool

from services.kit.database import Database
from services.kit.errors import NotAllowed, NotSignedIn
from services.kit.secrets import token_hash
from services.people import queries as people_queries
from services.people.rules import Actor, Verb
from services.tools import keys as tool_keys
from services.tools.queries import ToolCache, ToolInfo

COOKIE = "secondlook"
SECURE_COOKIE = "__Host-secondlook"
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

# A revoked key is refused within this time.
_KEY_SECONDS = 0.8
_KEYS_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class ToolCaller:
    """A tool that has shown a live key of its own."""

    tool: ToolInfo
    key_hash: bytes


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A person with a live browser session."""

    actor: Actor
    csrf_token: str
    by_link: bool


class Identity:
    """Finds out who is calling. One per process; safe to share between threads.

    `ticks` tells seconds that go by, from any beginning.
    """

    def __init__(self, database: Database, *, ticks: Callable[[], float] = time.monotonic) -> None:
        self._database, self._ticks = database, ticks
        self._tools = ToolCache()
        self._known: dict[str, tuple[float, ToolCaller]] = {}
        self._lock = Lock()

    async def tool(self, request: Request) -> ToolCaller:
        """The tool whose key came as a bearer token.

        Raises:
            NotSignedIn: there is no key, or it is not live.
        """
        token = _bearer(request)
        if token is None:
            raise NotSignedIn("Send the tool's key: `Authorization: Bearer sl_…`.")
        known = self._known.get(token)
        if known is None or known[0] < self._ticks():
            return await run_in_threadpool(self._look_up, token)
        return known[1]

    def _look_up(self, token: str) -> ToolCaller:
        with self._database.transaction() as session:
            found = tool_keys.tool_of_key(session, token)
            if found is None:
                raise NotSignedIn("This key is not known, or has been revoked.")
            caller = ToolCaller(self._tools.get(session, found[0]), found[1])
        with self._lock:
            while len(self._known) >= _KEYS_KEPT:
                del self._known[next(iter(self._known))]
            self._known.pop(token, None)
            self._known[token] = (self._ticks() + _KEY_SECONDS, caller)
        return caller

    def person(self, request: Request) -> Actor:
        """The person whose token or session came with the request.

        Raises:
            NotSignedIn: there is neither, or it is over.
            NotAllowed: a session's unsafe request came without its CSRF token.
        """
        token = _bearer(request)
        if token is not None:
            with self._database.transaction() as session:
                actor = people_queries.actor_of_token(session, token_hash(token))
            if actor is None:
                raise NotSignedIn("This token is not known, or is over.")
            return actor
        return self._of_session(request).actor

    def caller(self, request: Request) -> Actor | ToolCaller:
        """A person or a tool."""
        token = _bearer(request)
        if token is not None and keys.well_formed(token):
            return self._look_up(token)
        return self.person(request)

    def session(self, request: Request) -> SignedIn | None:
        """The browser session that came with the request, or None."""
        secret = request.cookies.get(SECURE_COOKIE) or request.cookies.get(COOKIE)
        if not secret:
            return None
        with self._database.transaction() as session:
            found = people_queries.actor_of_session(session, token_hash(secret))
        return SignedIn(*found) if found is not None else None

    def _of_session(self, request: Request) -> SignedIn:
        signed_in = self.session(request)
        if signed_in is None:
            raise NotSignedIn("Sign in, or send a personal token as a bearer token.")
        if request.method not in SAFE:
            sent = request.headers.get("x-csrf-token", "")
            if sent != signed_in.csrf_token:
                raise NotAllowed("The page's X-CSRF-Token is missing; reload the page.")
        return signed_in

    def may(self, verb: Verb) -> Callable[[Request], Actor]:
        """A dependency: a person whose role allows `verb`.

        Raises:
            NotAllowed: the role does not.
        """

        def allowed(request: Request) -> Actor:
            actor = self.person(request)
            if not actor.may(verb):
                raise NotAllowed(f"Your role, {actor.role}, may not {verb.replace('_', ' ')}.")
            return actor

        return allowed


def _bearer(request: Request) -> str | None:
    """The bearer token, or None where the header is absent or of another scheme."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
