"""Real receivers: an SMTP server and an HTTP server, which answer as they are told to."""

import asyncio
import contextlib
import json
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.notifications.browsers import FakeBrowser

Answer = Callable[[int], int | str]
"""What the n-th request under one id is answered: a status, `cut`, `hang`, `drip`, `late`: taken at
once and answered after a while, or `taken, then cut`: taken, and the line cut before the answer.
"""
_LATE_SECONDS = 0.4


class Web:
    """An HTTP server: what came, by the id that it came under, and how each attempt is answered.

    What comes at the path of one of the `browsers` is read by that browser, as it names its id.
    """

    def __init__(self, host: str) -> None:
        self.came: dict[str, list[tuple[dict[str, str], bytes, str]]] = defaultdict(list)
        self.accepted: set[str] = set()
        self.accepted_times: dict[str, int] = defaultdict(int)
        self.answers: Answer = lambda _: 204
        self.by_path: dict[str, Answer] = {}
        self.browsers: dict[str, FakeBrowser] = {}
        self.location = ""
        self.ended = threading.Event()
        self._lock = threading.Lock()
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web.take(self)

            def log_message(self, *_: object) -> None:
                """Nothing is logged."""

        class Server(ThreadingHTTPServer):
            request_queue_size = 256
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                """Cut lines are meant."""

        self.server = Server((host, 0), Handler)
        self.port = self.server.server_address[1]
        self.url = f"http://{host}:{self.port}"

    def take(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("content-length", 0))
        body = request.rfile.read(length)
        if len(body) < length:
            return  # whoever sent it was killed halfway
        headers = {name.lower(): value for name, value in request.headers.items()}
        name = headers.get("webhook-id", "")
        browser = self.browsers.get(request.path)
        if browser is not None:
            body = browser.read(body)
            name = json.loads(body)["id"]
        with self._lock:
            self.came[name].append((headers, body, request.path))
            n = len(self.came[name])
        answer = self.by_path.get(request.path, self.answers)(n)
        taken = answer in ("late", "taken, then cut")
        if taken or (isinstance(answer, int) and 200 <= answer < 300):
            with self._lock:
                self.accepted.add(name)
                self.accepted_times[name] += 1
        if answer == "late":
            self.ended.wait(_LATE_SECONDS)
            self._answer(request, 200)
        elif isinstance(answer, int):
            self._answer(request, answer)
        else:
            self._misbehave(request, answer)

    def _answer(self, request: BaseHTTPRequestHandler, status: int) -> None:
        request.send_response(status)
        if self.location:
            request.send_header("location", self.location)
        request.send_header("content-length", "0")
        request.end_headers()

    def _misbehave(self, request: BaseHTTPRequestHandler, how: str) -> None:
        request.close_connection = True
        if how in ("cut", "taken, then cut"):
            return
        if how == "drip":
            request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not self.ended.wait(0.2):
            if how == "drip":
                with contextlib.suppress(OSError):
                    request.wfile.write(b"x")


@contextmanager
def web_server(host: str = "127.0.0.1") -> Iterator[Web]:
    """An HTTP server on this machine."""
    web = Web(host)
    thread = threading.Thread(target=web.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield web
    finally:
        web.ended.set()
        web.server.shutdown()
        web.server.server_close()
        thread.join()


class Mailbox:
    """An SMTP server's handler: what came, and how each attempt is answered."""

    def __init__(self) -> None:
        self.mails: list[Message] = []
        self.tried: dict[str, int] = defaultdict(int)
        self.answers: Answer = lambda _: 250
        self.refuse: set[str] = set()
        self.port = 0

    @property
    def url(self) -> str:
        """What the setting says."""
        return f"smtp://127.0.0.1:{self.port}"

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _: SMTP, __: Session, envelope: Envelope, address: str, *___: Any
    ) -> str:
        if address in self.refuse:
            return "550 nobody here has that name"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, _: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)
        mail = message_from_bytes(content)
        name = mail["Message-ID"]
        self.tried[name] += 1
        answer = self.answers(self.tried[name])
        if answer == "taken, then cut":
            self.mails.append(mail)
        if answer in ("cut", "taken, then cut"):
            assert isinstance(server.transport, asyncio.WriteTransport)
            server.transport.abort()
            return "421 gone"
        if answer != 250:
            return f"{answer} not now"
        self.mails.append(mail)
        return "250 taken"


@contextmanager
def mail_server(port: int) -> Iterator[Mailbox]:
    """An SMTP server on this machine."""
    mailbox = Mailbox()
    mailbox.port = port
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()
