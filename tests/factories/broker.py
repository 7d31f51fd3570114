"""A real Kafka broker that tests may stop, kill and start again."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ROOT = Path(__file__).parent.parent.parent
_JARS = _ROOT / "build" / "kafka" / "libs"
_SCRIPT = _ROOT / "deploy" / "kafka" / "broker.py"
_BRIEFLY = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1"}


def free_port() -> int:
    """A port that nobody listens on, outside the range of outgoing connections."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port := random.randrange(10_000, 15_000)))
            except OSError:
                continue
            return port


def why_no_kafka() -> str | None:
    """What is missing for a broker, if anything is."""
    if shutil.which("java") is None:
        return "no Java for a Kafka broker: apt-get install default-jre-headless"
    if not (_JARS / "complete").exists() and shutil.which("mvn") is None:
        return "no Maven to fetch Kafka with: apt-get install maven"
    return None


class Broker:
    """One broker, on a port that it will find free again after a kill.

    One that lives `briefly` does not compile its code well: that would take longer than it saves.
    """

    def __init__(self, folder: Path, port: int, *, briefly: bool = False) -> None:
        self.folder, self.port = folder, port
        self._more = _BRIEFLY if briefly else {}
        self.address = f"127.0.0.1:{port}"

    def run(self, command: str) -> None:
        """Carry out one command of `deploy/kafka/broker.py`."""
        done = subprocess.run(
            [sys.executable, _SCRIPT, command, "--dir", self.folder, "--port", str(self.port)],
            env={**os.environ, "SECONDLOOK_KAFKA_JARS": str(_JARS), **self._more},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    @property
    def pid(self) -> int:
        """The broker's process."""
        return int((self.folder / "broker.pid").read_text())


@contextmanager
def running_broker(parent: Path | None = None, *, briefly: bool = False) -> Iterator[Broker]:
    """A broker in a folder of its own, which goes with it."""
    with tempfile.TemporaryDirectory(prefix="secondlook-kafka-", dir=parent) as folder:
        broker = Broker(Path(folder), free_port(), briefly=briefly)
        broker.run("start")
        try:
            yield broker
        finally:
            broker.run("stop")
