"""What a request's body may be, asked before anything else of the request is looked at."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kit.errors import InvalidInput, Problem, SecondlookError

_NEGLIGIBLE = 64 * 1024
"""As much as this of a body that nobody read is dropped, and the connection goes on."""
_DROP_BYTES, _DROP_SECONDS = 16 * 1024 * 1024, 2.0


class BodyTooLarge(SecondlookError):
    """The body is larger than this address takes, or there should be none."""

    status = 413
    title = "The body is too large"


class WrongMediaType(SecondlookError):
    """The body is of a kind that this address does not take."""

    status = 415
    title = "The body is of the wrong kind"


@dataclass(frozen=True, slots=True)
class BodyRule:
    """What one address takes as a body.

    Attributes:
        most_bytes: its length at most; 0 takes no body at all.
        media_types: which kinds it may be of; empty means that whoever reads it says.
        most_members: for JSON that is read at once, how many members and entries it may have:
            each costs far more than its bytes. The body is then in memory before the app runs.
    """

    most_bytes: int
    media_types: frozenset[str] = frozenset()
    most_members: int | None = None


NO_BODY = BodyRule(0)
FindRule = Callable[[str, str], BodyRule]
"""The rule for a method and a path."""


class BodyLimits:
    """Refuses bodies that no route of the app would take, whoever sends them.

    It stands around all that reads a body or asks who is calling. What it raises, the app
    answers in its own way; the connection is closed where the rest of the body would come.
    """

    def __init__(self, app: ASGIApp, *, rule_of: FindRule) -> None:
        self._app, self._rule_of = app, rule_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with a body that is counted while it comes.

        Raises:
            BodyTooLarge: it is too large, as declared or as it comes.
            WrongMediaType: it is compressed, or of a kind that is not taken.
            InvalidInput: it is JSON with too many members.
        """
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(scope, receive, self._rule_of(scope["method"], scope["path"]))
        body.check_declared()
        if body.there and body.rule.most_members is not None:
            await body.gather()
        await self._app(scope, body.receive, send)


class CloseUnread:
    """Ends the connection where an answer did not wait for the end of a large body.

    Otherwise the server would take in all of it. A little more is read and dropped first: a
    client that hears nothing before it has sent everything would find the connection broken
    instead of the answer. Stands around whatever answers.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and watch how much of its body is taken."""
        if scope["type"] != "http" or not _may_be_long(Request(scope)):
            await self._app(scope, receive, send)
            return
        unread = _Unread(receive, send)
        await self._app(scope, unread.receive, unread.send)


class _Unread:
    """What of a body has not been asked for when the answer is given."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive, self._send = receive, send
        self._ended = False

    async def receive(self) -> Message:
        message = await self._receive()
        self._ended = self._ended or not message.get("more_body", False)
        return message

    async def send(self, message: Message) -> None:
        if self._ended:
            await self._send(message)
        elif message["type"] == "http.response.start":
            MutableHeaders(scope=message)["Connection"] = "close"
            await self._send(message)
        elif message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            await self._drop_some()
            await self._send({"type": "http.response.body"})

    async def _drop_some(self) -> None:
        dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(_DROP_SECONDS):
                while not self._ended and dropped < _DROP_BYTES:
                    dropped += len((await self.receive()).get("body", b""))


class _Body:
    """The body of one request, as far as it has come."""

    def __init__(self, scope: Scope, receive: Receive, rule: BodyRule) -> None:
        self._request, self._receive, self.rule = Request(scope), receive, rule
        self._taken = 0
        self._gathered: Message | None = None

    @property
    def there(self) -> bool:
        """Whether the request says that it has a body."""
        headers = self._request.headers
        return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"

    def check_declared(self) -> None:
        """Refuse what the headers alone tell to be wrong."""
        if not self.there:
            return
        headers = self._request.headers
        declared = headers.get("content-length", "")
        if not self.rule.most_bytes or (
            declared.isdecimal() and int(declared) > self.rule.most_bytes
        ):
            raise self._too_large()
        if headers.get("content-encoding", "identity").lower() != "identity":
            # What it inflates to could not be bounded.
            raise WrongMediaType("Send the body as it is, without Content-Encoding.")
        sent = headers.get("content-type", "").partition(";")[0].strip().lower()
        if self.rule.media_types and sent not in self.rule.media_types:
            wanted = " or ".join(sorted(self.rule.media_types))
            problem = Problem("/Content-Type", "it is of another kind", f"Send {wanted}.")
            raise WrongMediaType(f"Send the body as {wanted}.", problems=(problem,))

    async def receive(self) -> Message:
        """The next part of it, counted."""
        if self._gathered is not None:
            message, self._gathered = self._gathered, None
            return message
        message = await self._receive()
        self._taken += len(message.get("body", b""))
        if self._taken > self.rule.most_bytes:
            raise self._too_large()
        return message

    async def gather(self) -> None:
        """Take in all of it, to be given as one, and refuse it where it has too many members."""
        body = bytearray()
        more = True
        while more:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnect
            body += message.get("body", b"")
            more = message.get("more_body", False)
        members = self.rule.most_members
        if members is not None and body.count(b",") >= members:
            problem = Problem("", f"it has over {members:,} commas", "Send less at once.")
            raise InvalidInput("The body has too many members.", problems=(problem,))
        self._gathered = {"type": "http.request", "body": bytes(body), "more_body": False}

    def _too_large(self) -> BodyTooLarge:
        if not self.rule.most_bytes:
            return BodyTooLarge("This address takes no body.")
        return BodyTooLarge(f"The body is larger than {self.rule.most_bytes:,} bytes.")


def _may_be_long(request: Request) -> bool:
    declared = request.headers.get("content-length", "0")
    chunked = "transfer-encoding" in request.headers
    return chunked or not declared.isdecimal() or int(declared) > _NEGLIGIBLE
