"""The server is reached by way of a proxy where the environment asks for one."""

import base64
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from secondlook import Secondlook
from secondlook._proxies import proxy_for

_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "REQUEST_METHOD")


class Proxy:
    """A real proxy: it passes requests on to one server, whatever host they name."""

    def __init__(self, to: int) -> None:
        self.to = to
        self.seen: list[str] = []
        self.authorizations: set[str | None] = set()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self.http.daemon_threads = True
        self.http.owner = self  # type: ignore[attr-defined]
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.http.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_CONNECT(self) -> None:
        self._note()
        with socket.create_connection(("127.0.0.1", self._proxy.to)) as server:
            self.send_response(200)
            self.end_headers()
            there = threading.Thread(target=_pump, args=(self.connection, server), daemon=True)
            there.start()
            _pump(server, self.connection)
        self.close_connection = True

    def do_GET(self) -> None:
        self._pass_on(b"")

    def do_POST(self) -> None:
        self._pass_on(self.rfile.read(int(self.headers["Content-Length"])))

    @property
    def _proxy(self) -> Proxy:
        found: Proxy = self.server.owner  # type: ignore[attr-defined]
        return found

    def _note(self) -> None:
        self._proxy.seen.append(f"{self.command} {self.path}")
        self._proxy.authorizations.add(self.headers["Proxy-Authorization"])

    def _pass_on(self, body: bytes) -> None:
        self._note()
        path = "/" + self.path.split("/", 3)[3]
        lines = [f"{self.command} {path} HTTP/1.1", *(f"{n}: {v}" for n, v in self.headers.items())]
        with socket.create_connection(("127.0.0.1", self._proxy.to)) as server:
            server.sendall("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)
            _pump(server, self.connection)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Without the proxies of whoever runs the tests."""
    for name in _NAMES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


@pytest.fixture
def proxy(server: Any, environment: pytest.MonkeyPatch) -> Iterator[Proxy]:
    made = Proxy(server.port)
    environment.setenv("HTTP_PROXY", f"http://ana:s%40fe@127.0.0.1:{made.port}")
    environment.setenv("HTTPS_PROXY", f"http://ana:s%40fe@127.0.0.1:{made.port}")
    yield made
    made.http.shutdown()
    made.http.server_close()


def record(look: Secondlook) -> None:
    assert look.wait_for_policy()
    look.output("t-1", kind="category", value="refund", confidence=0.9)
    assert look.flush(10)


def test_plain_requests_go_to_the_proxy_whole(server: Any, proxy: Proxy) -> None:
    with Secondlook("http://secondlook.example/below", server.key) as look:
        record(look)
    assert server.ids == ["t-1"]
    assert server.requested == ["/below/v1/events"]
    assert "POST http://secondlook.example:80/below/v1/events" in proxy.seen
    expected = "Basic " + base64.b64encode(b"ana:s@fe").decode()
    assert proxy.authorizations == {expected}


def test_secure_requests_go_through_a_tunnel(
    server: Any, proxy: Proxy, environment: pytest.MonkeyPatch
) -> None:
    # A self-signed certificate of the test's own, with its key, for a name that nobody can have.
    pair = Path(__file__).parent / "certificates" / "secondlook.example.pem"
    environment.setenv("SSL_CERT_FILE", str(pair))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair)
    server.secure(context)
    with Secondlook("https://secondlook.example", server.key) as look:
        record(look)
    assert server.ids == ["t-1"]
    assert set(proxy.seen) == {"CONNECT secondlook.example:443"}


@pytest.mark.parametrize(
    ("env", "scheme", "host", "expected"),
    [
        ({}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:3128"}, "https", "a.example", ("p", 3128)),
        ({"https_proxy": "http://p:3128"}, "https", "a.example", ("p", 3128)),
        ({"HTTPS_PROXY": "p:3128"}, "https", "a.example", ("p", 3128)),
        ({"HTTPS_PROXY": "http://p"}, "https", "a.example", ("p", 80)),
        ({"HTTPS_PROXY": "http://p:3128"}, "http", "a.example", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http", "localhost", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http", "127.0.0.2", None),
        ({"HTTP_PROXY": "http://p:3128"}, "http", "::1", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": ".example,b"}, "https", "a.example", None),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "*"}, "https", "a.example", None),
    ],
)
def test_the_environment_names_the_proxy(
    environment: pytest.MonkeyPatch,
    env: dict[str, str],
    scheme: str,
    host: str,
    expected: tuple[str, int] | None,
) -> None:
    for name, value in env.items():
        environment.setenv(name, value)
    found = proxy_for(scheme, host)
    assert (found and (found.host, found.port)) == expected


def test_a_proxy_that_is_not_spoken_is_said_and_harms_nothing(
    environment: pytest.MonkeyPatch, down: Any, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("HTTP_PROXY", "socks5://p:1080")
    with Secondlook("http://secondlook.example", down.key) as look:
        assert look.output("t-1", kind="flag", value=True).reason == "no_policy"
        assert not look.flush(0.5)
        look.close(0)
    assert "no http:// address" in caplog.text


def test_the_password_of_a_proxy_is_not_shown(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_PROXY", "http://ana:secret@p:3128")
    shown = repr(proxy_for("http", "a.example"))
    assert "secret" not in shown
    assert base64.b64encode(b"ana:secret").decode() not in shown
