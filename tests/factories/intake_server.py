"""A stand-in for Secondlook's server that can fail in every way that servers do."""

import json
import socket
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from secondlook import Secondlook, keys
from secondlook.gate import GatePolicy, write_document
from secondlook.testing import a_policy

# What a script makes of one POST: a status, or a way not to answer.
Act = int | str


class IntakeServer:
    """Takes events as Secondlook would, unless told to fail.

    `script` holds what the next POSTs meet, first to last: a status; `drop` (take the events,
    close the connection without an answer), `cut` (close it before reading), `hang`; a page of
    HTML with a status (`200 html`), as something on the way here would answer. An empty script
    means 202. `policy_script` is the same for the next questions for the policy.
    """

    def __init__(self) -> None:
        self.key = keys.generate()
        self.script: list[Act] = []
        self.policy_script: list[int] = []
        self.requested: list[str] = []
        self.refused_ids: set[str] = set()
        self.names_refused = True
        self.retry_after = "1"
        self.close_after_answer = False
        self.errors: list[dict[str, str]] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.posted_at: list[float] = []
        self.asked_at: list[float] = []
        self.authorizations: set[str] = set()
        self.policy_asks = 0
        self.longest_wait = 5.0
        self.document = b""
        self.etag = ""
        self.changed = threading.Condition()
        self.ending = threading.Event()
        self._http: _QuietServer | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.publish(a_policy())

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ids(self) -> list[str]:
        """The output ids that were taken, in order, resends included."""
        return [event["data"]["output_id"] for batch in self.batches for event in batch]

    def publish(self, policy: GatePolicy, *, key: str | None = None) -> None:
        self.serve_document(write_document(policy, keys.key_hash(key or self.key)))

    def serve_document(self, document: bytes) -> None:
        with self.changed:
            self.document = document
            self.etag = f'"{hash(document)}"'
            self.changed.notify_all()

    def start(self) -> "IntakeServer":
        self.ending.clear()
        self._http = _QuietServer(("127.0.0.1", self.port), _Handler)
        self._http.owner = self
        self._http.daemon_threads = True
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from now on."""
        assert self._http is not None
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True)

    def stop(self) -> None:
        self.ending.set()
        with self.changed:
            self.changed.notify_all()
        if self._http:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def client(self, **options: Any) -> Secondlook:
        return Secondlook(self.url, self.key, **options)


class _QuietServer(ThreadingHTTPServer):
    allow_reuse_address = True
    block_on_close = False
    owner: IntakeServer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Connections break here on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def ours(self) -> IntakeServer:
        assert isinstance(self.server, _QuietServer)
        return self.server.owner

    def do_GET(self) -> None:
        server = self.ours
        server.policy_asks += 1
        server.asked_at.append(time.monotonic())
        if server.policy_script:
            self._answer(server.policy_script.pop(0), b"{}")
            return
        wait = float(parse_qs(urlsplit(self.path).query).get("wait", ["0"])[0])
        seen = self.headers.get("If-None-Match")
        with server.changed:
            server.changed.wait_for(
                lambda: server.etag != seen or server.ending.is_set(),
                min(wait, server.longest_wait),
            )
            document = None if seen == server.etag else server.document
        if server.ending.is_set():
            self.close_connection = True
        else:
            self._answer(200 if document else 304, document)

    def do_POST(self) -> None:
        server = self.ours
        server.requested.append(self.path)
        act: Act = server.script.pop(0) if server.script else 202
        server.posted_at.append(time.monotonic())
        if act == "cut":
            self.close_connection = True
            return
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        server.authorizations.add(self.headers["Authorization"])
        if act == "hang":
            server.ending.wait(30)
        if act in (202, "drop"):
            act = self._read(raw, act)
        if isinstance(act, int):
            self._answer(act, json.dumps({"errors": server.errors}).encode())
        elif act.endswith(" html"):
            self._answer(int(act.split()[0]), b"<html>Welcome to the guest network</html>", "html")
        else:
            self.close_connection = True

    def _read(self, raw: bytes, act: Act) -> Act:
        try:
            return self._take(json.loads(raw), act)
        except ValueError:
            return 400

    def _take(self, batch: list[dict[str, Any]], act: Act) -> Act:
        server = self.ours
        bad = [i for i, event in enumerate(batch) if event["id"] in server.refused_ids]
        named = bad if server.names_refused else []
        server.errors = [{"pointer": f"/{i}/data/value", "problem": "private"} for i in named]
        if bad:
            return 422
        server.batches.append(batch)
        return act

    def _answer(self, status: int, body: bytes | None, kind: str = "json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if kind == "html" else "application/json")
        self.send_header("ETag", self.ours.etag)
        if body is not None:
            self.send_header("Content-Length", str(len(body)))
        if status in (429, 503):
            self.send_header("Retry-After", self.ours.retry_after)
        self.end_headers()
        self.wfile.write(body or b"")
        if self.ours.close_after_answer:
            # As a server does that closes idle connections: after an answer that kept it.
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""
