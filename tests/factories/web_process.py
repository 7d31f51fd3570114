"""The web role as a process of its own, watched from outside."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import until

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class WebProcess:
    """A server's process, and where it answers."""

    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def memory(self) -> int:
        """Bytes that it has in memory now."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * _PAGE

    def cpu(self) -> float:
        """Seconds of CPU that it has used."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def connect(self) -> http.client.HTTPConnection:
        """A fresh connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)

    def request(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of the answer to one request."""
        connection = self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def send_for_ever(self, head: str, parts: Iterable[bytes]) -> tuple[int, bytes]:
        """Send a chunked body until the server has enough of it: bytes sent, and the answer."""
        sent = 0
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(f"{head}\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            try:
                for part in parts:
                    connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
                    sent += len(part)
            except OSError:
                return sent, b""
            connection.sendall(b"0\r\n\r\n")
            return sent, connection.recv(65536)


@contextmanager
def web_process(url: str, folder: Path, port: int, **settings: str) -> Iterator[WebProcess]:
    """`secondlook serve all` on the database at `url`."""
    environment = {
        **os.environ,
        "SECONDLOOK_DATABASE_URL": url,
        "SECONDLOOK_PORT": str(port),
        "SECONDLOOK_LOG_LEVEL": "info",
        **settings,
    }
    log = folder / "web.log"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "services.cli", "serve", "all"],
            env=environment,
            stdout=said,
            stderr=said,
        )
    server = WebProcess(process, port, log)
    try:
        until(lambda: process.poll() is not None or _answers(server))
        assert process.poll() is None, log.read_text()
        yield server
    finally:
        process.terminate()
        process.wait(20)


def _answers(server: WebProcess) -> bool:
    try:
        return server.request("GET", "/healthz")[0] == 200
    except OSError:
        return False


@dataclass
class HealthWatch:
    """Asks /healthz again and again, and keeps the longest that it took."""

    server: WebProcess
    longest: float = 0.0
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "HealthWatch":
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        connection = self.server.connect()
        while not self._ended.wait(0.005):
            begun = time.monotonic()
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            self.longest = max(self.longest, time.monotonic() - begun)
        connection.close()
