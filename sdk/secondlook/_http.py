"""Sends batches of events to the server, and asks it for the gate policy."""

import contextlib

# `getaddrinfo` imports it at its first use. A process that forks while a thread is at that leaves
# its child a lock that nobody gives back.
import encodings.idna  # noqa: F401
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol
from urllib.parse import urlsplit

from secondlook._proxies import proxy_for

_ANSWER_BYTES = 4_194_304
_LONGEST_WAIT = 300.0
_ACCEPTED = 202
_TOO_LARGE = 413
_JSON = ("application/json", "application/problem+json")
_BATCH = {"Content-Type": "application/cloudevents-batch+json"}
_ENTRY = re.compile(r"/([0-9]{1,6})(?:/|$)")
# Answers that say nothing about the events: the key, the address or the server is the matter.
_NOT_THE_EVENTS = frozenset({401, 403, 404, 405, 407, 408, 415, 421, 425, 429})
# How a connection fails that the other side closed while it was idle.
_CLOSED = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


class Unavailable(Exception):
    """The events were not taken, through no fault of theirs: try again."""

    def __init__(self, why: str, *, retry_after: float | None = None) -> None:
        """Keep why, and how many seconds the server asks us to wait."""
        super().__init__(why)
        self.retry_after = retry_after


class Refused(Exception):
    """At least one of the events will never be taken."""

    def __init__(self, why: str, *, positions: Iterable[int] = ()) -> None:
        """Keep why, and the places of those events that the server names, counted from 0."""
        super().__init__(why)
        self.positions = frozenset(positions)


class Transport(Protocol):
    """Takes events to the event log."""

    def open(self) -> None:
        """Prepare for the first `send`, where that can be done; never raises."""

    def send(self, source: str, items: Sequence[bytes]) -> None:
        """Return once all are durable.

        Args:
            source: the `source` that the events lack.
            items: events as JSON objects without `source`.

        Raises:
            Unavailable: unknown whether any was taken; send all again.
            Refused: one of them will never be taken.
        """

    def abort(self) -> None:
        """Make a `send` in another thread fail soon."""

    def close(self) -> None:
        """Let go of connections; a later `send` opens new ones."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Whether it is JSON, as the server answers: no page of something on the way to it."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        return kind in _JSON and isinstance(self.json(), dict)

    def json(self) -> object:
        """What the body says; None where it is no JSON."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    @property
    def retry_after(self) -> float | None:
        """The seconds that a `Retry-After` asks for, at most five minutes."""
        asked = self.headers.get("retry-after", "").strip()
        if not asked:
            return None
        try:
            if asked.isdecimal():
                seconds = float(asked)
            else:
                seconds = (parsedate_to_datetime(asked) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
        return min(max(seconds, 0.0), _LONGEST_WAIT)

    def unavailable(self) -> Unavailable:
        """That the server can't do what was asked just now, and why."""
        to = self.headers.get("location")
        leads = f" and leads to {to[:80]!r}, which is not followed: give that address" if to else ""
        return Unavailable(f"the answer was {self.status}{leads}", retry_after=self.retry_after)


class Connection:
    """One kept-alive connection to the server; for one thread, but for `abort`."""

    def __init__(
        self, url: str, key: str, *, timeout: float, answer_bytes: int = _ANSWER_BYTES
    ) -> None:
        """Connect later, at the first request.

        Raises:
            ValueError: the address is not http or https, or holds more than host, port and path.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: {url[:80]!r} is no address such as https://secondlook.example")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                "url: give scheme, host, port and path alone; the key has its own place"
            )
        self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {key}", "User-Agent": "secondlook-python"}
        self._timeout = timeout
        self._answer_bytes = answer_bytes
        self._fresh = True
        self._aborted = False
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None
    ) -> Answer:
        """Ask and wait for the answer.

        Raises:
            Unavailable: there was none.
        """
        if self._aborted:
            raise Unavailable("the client is being closed")
        try:
            return self._once(method, path, body, headers)
        except (http.client.HTTPException, OSError, ValueError) as error:
            # A server may close a connection that was idle. That is no outage: try a new one.
            was_idle = not self._fresh and isinstance(error, _CLOSED)
            self.close()
            if was_idle:
                return self.request(method, path, headers, body)
            raise Unavailable(f"{type(error).__name__}: {error}") from None

    def abort(self) -> None:
        """End a request that another thread is waiting in, and allow no second try."""
        self._aborted = True
        sock = self._connection.sock if self._connection else None
        if sock:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        self._fresh = True
        if self._connection:
            self._connection.close()

    def _once(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        # Made here, in the background: to read the system's certificates takes a while.
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, self._path + path, body, {**self._headers, **headers})
        response = self._connection.getresponse()
        answer = response.read(self._answer_bytes)
        self._fresh = False
        if not response.isclosed():
            self.close()
        named = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status, named, answer)

    def _connect(self) -> http.client.HTTPConnection:
        """A connection, by way of a proxy where the environment asks for one."""
        proxy = proxy_for(self._scheme, self._host)
        to = (proxy.host, proxy.port) if proxy else (self._host, self._port)
        if self._scheme == "https":
            context = ssl.create_default_context()
            secure = http.client.HTTPSConnection(*to, timeout=self._timeout, context=context)
            if proxy:
                secure.set_tunnel(self._host, self._port, proxy.headers)
            return secure
        if proxy:
            # To a proxy, a request without TLS names the whole address.
            name = f"[{self._host}]" if ":" in self._host else self._host
            self._path = f"http://{name}:{self._port or 80}{self._path}"
            self._headers |= proxy.headers
        return http.client.HTTPConnection(*to, timeout=self._timeout)


class HttpTransport:
    """Events to `POST /v1/events`."""

    def __init__(self, url: str, key: str, *, timeout: float) -> None:
        """Connect later, at the first batch; `timeout` is for each step, in seconds."""
        self._connection = Connection(url, key, timeout=timeout)

    def open(self) -> None:
        """Do nothing: to connect takes no preparation."""

    def send(self, source: str, items: Sequence[bytes]) -> None:
        """Post the events as one batch; see `Transport.send`."""
        body = b"[" + b",".join(with_source(source, item) for item in items) + b"]"
        answer = self._connection.request("POST", "/v1/events", _BATCH, body)
        if answer.status == _ACCEPTED and answer.is_ours:
            return
        if _is_about_the_events(answer):
            pointers = pointers_of(answer.body)
            said = ", ".join(pointers[:10]) or "no reason given"
            raise Refused(f"{answer.status}: {said}", positions=_positions(pointers))
        if answer.status < 300:
            raise Unavailable(f"something else than Secondlook answered, with {answer.status}")
        raise answer.unavailable()

    def abort(self) -> None:
        """Make a `send` in another thread fail soon."""
        self._connection.abort()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def with_source(source: str, item: bytes) -> bytes:
    """An event made whole: `source` put in as the first attribute."""
    return b'{"source":"' + source.encode() + b'",' + item[1:]


def pointers_of(body: bytes) -> list[str]:
    """Where the problems of an RFC 9457 answer are; nothing of the values, which may be private."""
    try:
        return [str(error["pointer"])[:200] for error in json.loads(body)["errors"]]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return []


def _positions(pointers: Iterable[str]) -> Iterator[int]:
    """Which entries of a batch the pointers lead into."""
    for pointer in pointers:
        if named := _ENTRY.match(pointer):
            yield int(named[1])


def _is_about_the_events(answer: Answer) -> bool:
    """Whether the server will never take the events, as opposed to something on the way to it."""
    if answer.status == _TOO_LARGE:
        return True  # whoever says so: fewer of them may pass
    return 400 <= answer.status < 500 and answer.status not in _NOT_THE_EVENTS and answer.is_ours
