"""What every route of the pages is given: where to read, how to write, who is asking."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from fastapi import Request
from starlette.responses import Response

from services.escalation.routing import Router
from services.kit.clock import Clock
from services.kit.database import Database, Session
from services.kit.errors import NotAllowed, NotSignedIn
from services.kit.web.addresses import ClientAddresses
from services.notifications.destinations import Network
from services.people.duties import Duty
from services.people.rules import Actor, Verb
from services.tools.identity import Identity, SignedIn
from ui.kit.templating import Templates

_SETTLE_SECONDS, _LOOK_SECONDS = 2.0, 0.02
_SESSION = "secondlook.session"


class Publish(Protocol):
    """Puts events of a tool onto the log; returns once they are durable."""

    def __call__(self, said: Sequence[Any]) -> None:
        """Publish them, or raise what the API would answer."""
        ...


@dataclass(frozen=True, slots=True)
class PageContext:
    """The resources of the pages, the same for every request."""

    database: Database
    clock: Clock
    identity: Identity
    templates: Templates
    publish: Publish
    duties: Sequence[Duty]
    router: Router
    lease: timedelta
    reopen_window: timedelta
    pause_limit: timedelta
    session_length: timedelta
    link_length: timedelta
    timezone: str
    """Whose wall clock is meant where somebody types a time."""
    outbound_allow: Sequence[Network]
    """Networks beside the public ones that push may lead to."""
    https: bool
    addresses: ClientAddresses
    address: Callable[[], str]
    api_address: Callable[[], str]

    @contextmanager
    def transaction(self) -> Iterator[tuple[Session, datetime]]:
        """One transaction and its time."""
        with self.database.transaction() as session:
            yield session, self.clock.now(session)

    def signed_in(self, request: Request) -> SignedIn:
        """Who is signed in.

        Raises:
            NotSignedIn: nobody is.
        """
        found = browser_session(request)
        if found is None:
            raise NotSignedIn("Sign in to see this page.")
        return found

    def actor(self, request: Request, verb: Verb) -> Actor:
        """Who is signed in, if their role allows `verb`.

        Raises:
            NotSignedIn: nobody is signed in.
            NotAllowed: the role does not allow it.
        """
        actor = self.signed_in(request).actor
        if not actor.may(verb):
            raise NotAllowed(f"Your role, {actor.role}, may not {verb.replace('_', ' ')}.")
        return actor

    def wait_until(self, done: Callable[[Session], bool]) -> bool:
        """Wait until `done(session)`, for a moment: what was published is durable on the log before
        it is in the tables, and a page should show it. False when it took longer than that.
        """
        deadline = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < deadline:
            with self.database.transaction() as session:
                if done(session):
                    return True
            time.sleep(_LOOK_SECONDS)
        return False

    def redirect(self, request: Request, url: str) -> Response:
        """On to another page after a POST."""
        return self.templates.redirect(request, url)


def browser_session(request: Request) -> SignedIn | None:
    """The browser session that the middleware found for this request."""
    found: SignedIn | None = request.scope.get(_SESSION)
    return found


def use_session(request: Request, session: SignedIn | None) -> None:
    """Let this request be one of that browser session."""
    request.scope[_SESSION] = session
