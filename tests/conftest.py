"""What every test may ask for: a migrated database of its own, and a real Kafka broker."""

import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.orm import Session

from migrations import run
from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres

ROOT = Path(__file__).parent.parent
KAFKA_JARS = ROOT / "build" / "kafka" / "libs"
BROKER = ROOT / "deploy" / "kafka" / "broker.py"
IN_CI = os.environ.get("CI") == "true"

# The machine's crash is not what these tests are about, and the suite should take seconds.
_FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
_ROOM = 2 * 1024**3


def pytest_configure(config: pytest.Config) -> None:
    """Let kafka-python be: how it reads its files, and sockets that it leaves to the collector.

    It drops those whose connecting failed, and now and then one to a broker (they listen on
    `free_port`) that was just being opened when its client was closed.
    """
    reads = "ignore:(read|open)_text is deprecated:DeprecationWarning"
    sockets = r"<socket.socket .*(laddr=\('0.0.0.0'|raddr=\('127.0.0.1', 1[0-4]\d\d\d\))"
    dropped = f"ignore:Exception ignored in. {sockets}:pytest.PytestUnraisableExceptionWarning"
    for allowed in (reads, dropped):
        config.addinivalue_line("filterwarnings", allowed)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep all tests with a broker on one worker, so that there is one broker."""
    for item in items:
        if "kafka_broker" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.kafka)
            item.add_marker(pytest.mark.xdist_group("kafka"))


@pytest.fixture(scope="session")
def public_folder() -> Iterator[Path]:
    """A folder that other accounts can reach, as pytest's own cannot be: PostgreSQL needs it."""
    folder = Path(tempfile.mkdtemp(prefix="secondlook-tests-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def build_schema(url: str) -> None:
    """Bring an empty database to the newest schema."""
    run.upgrade(url)


@pytest.fixture(scope="session")
def memory_folder(public_folder: Path) -> Iterator[Path]:
    """A folder in memory where there is room for it: a database is cloned ten times faster."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or shutil.disk_usage(memory).free < _ROOM:
        yield public_folder
        return
    folder = Path(tempfile.mkdtemp(prefix="secondlook-tests-", dir=memory))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url(memory_folder: Path) -> Iterator[str]:
    """One PostgreSQL per worker, with the migrated database `template`."""
    server = EmbeddedPostgres(memory_folder / "data", options=_FAST)
    server.start()
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE DATABASE template")
        build_schema(_named(server.url, "template"))
        yield server.url
    finally:
        server.stop()


def _named(url: str, database: str) -> str:
    return f"{url.rpartition('/')[0]}/{database}"


@pytest.fixture
def fresh_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes migrated, empty databases; calling it answers the address of another one."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{next(_NUMBERS)}"
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template")
        made.append(name)
        return _named(postgres_url, name)

    with psycopg.connect(postgres_url, autocommit=True) as connection:
        yield make
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


_NUMBERS = count()


@pytest.fixture
def database(fresh_database: Callable[[], str]) -> Iterator[Database]:
    """A migrated, empty database; commits are real."""
    opened = Database(make_engine(fresh_database()))
    yield opened
    opened.close()


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A transaction on `database` that is rolled back."""
    with Session(database.engine, expire_on_commit=False, autoflush=False) as opened:
        yield opened
        opened.rollback()


def _why_no_kafka() -> str | None:
    if shutil.which("java") is None:
        return "no Java for a Kafka broker: apt-get install default-jre-headless"
    if not (KAFKA_JARS / "complete").exists() and shutil.which("mvn") is None:
        return "no Maven to fetch Kafka with: apt-get install maven"
    return None


class Broker:
    """A real Kafka broker that tests may stop, kill and start again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.address = f"127.0.0.1:{port}"

    def run(self, command: str) -> None:
        """Carry out one command of `deploy/kafka/broker.py`."""
        done = subprocess.run(
            [sys.executable, BROKER, command, "--dir", self.folder, "--port", str(self.port)],
            env={**os.environ, "SECONDLOOK_KAFKA_JARS": str(KAFKA_JARS)},
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        assert done.returncode == 0, done.stderr

    @property
    def pid(self) -> int:
        """The broker's process."""
        return int((self.folder / "broker.pid").read_text())


@pytest.fixture(scope="session")
def kafka_broker(public_folder: Path, free_port: Callable[[], int]) -> Iterator[Broker]:
    """The worker's broker. For tests that hurt it; the others take `kafka_bootstrap`."""
    if (why := _why_no_kafka()) is not None:
        if IN_CI:
            pytest.fail(why)
        pytest.skip(why)
    broker = Broker(public_folder / "kafka", free_port())
    broker.run("start")
    yield broker
    broker.run("stop")


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_broker: Broker) -> str:
    """The address of a real Kafka broker."""
    return kafka_broker.address


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Answers ports that nobody listens on, outside the range of outgoing connections."""

    def find() -> int:
        while True:
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port := random.randrange(10_000, 15_000)))
                except OSError:
                    continue
                return port

    return find
