"""What every test may ask for: a migrated database of its own, and a real Kafka broker."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from argon2 import PasswordHasher
from hypothesis import HealthCheck, settings
from sqlalchemy.orm import Session

from migrations import run
from services.kit import database as kit_database
from services.kit import secrets
from services.kit.database import Database, make_engine
from services.kit.processes.embedded_postgres import EmbeddedPostgres
from tests.factories import broker
from tests.factories.broker import Broker, running_broker, why_no_kafka
from tests.factories.installation import cloned, named, populated_template

# How fast a machine is that does other things besides says nothing of a property.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

IN_CI = os.environ.get("CI") == "true"

# The machine's crash is not what these tests are about, and the suite should take seconds.
_FAST = {"fsync": "off", "full_page_writes": "off", "max_connections": "100"}
_ROOM = 2 * 1024**3


def pytest_configure(config: pytest.Config) -> None:
    """Let kafka-python be: how it reads its files, and sockets that it leaves to the collector.

    It drops those whose connecting failed, and now and then one to a broker (they listen on
    `free_port`) that was just being opened when its client was closed; once the broker has gone as
    well, such a socket has no other end.
    """
    reads = "ignore:(read|open)_text is deprecated:DeprecationWarning"
    ends = r"laddr=\('0.0.0.0'|laddr=\('127.0.0.1', \d+\)>|raddr=\('127.0.0.1', 1[0-4]\d\d\d\)"
    sockets = f"<socket.socket .*({ends})"
    dropped = f"ignore:Exception ignored in. {sockets}:pytest.PytestUnraisableExceptionWarning"
    for allowed in (reads, dropped):
        config.addinivalue_line("filterwarnings", allowed)


_LONGEST = (
    "tests/conservation/",
    "tests/escalation_machine/",
    "tests/kit/",
    "tests/browser/",
    "tests/ui_foundation/",
    "tests/docs/",
    "tests/api/",
)
"""Begun first, in this order, so that all workers end together."""


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> Iterator[None]:
    """Keep a file on one worker, and all tests with the shared broker; the longest come first."""
    for item in items:
        with_broker = "kafka_broker" in getattr(item, "fixturenames", ())
        if with_broker:
            item.add_marker(pytest.mark.kafka)
        if "chromium" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
        if item.get_closest_marker("xdist_group") is None:
            group = "kafka" if with_broker else item.nodeid.partition("::")[0]
            item.add_marker(pytest.mark.xdist_group(group))
    yield
    if getattr(config.option, "loadgroup", False) and not all("@" in one.nodeid for one in items):
        raise pytest.UsageError("pytest-xdist does not keep groups of tests on one worker")
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    if item.get_closest_marker("kafka"):
        return -1
    return next((n for n, name in enumerate(_LONGEST) if item.nodeid.startswith(name)), 99)


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Hash passwords at once in this process: that it is slow is the library's work."""
    with pytest.MonkeyPatch.context() as patch:
        quick = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)
        patch.setattr(secrets, "_hasher", quick)
        yield


@pytest.fixture(scope="session", autouse=True)
def patient_database() -> Iterator[None]:
    """Let this process stand still in a transaction: on a busy machine it does, of no fault of its
    own. Servers of their own are held to what the product allows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kit_database, "_IDLE_IN_TRANSACTION_MS", 60_000)
        yield


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
        build_schema(named(server.url, "template"))
        yield server.url
    finally:
        server.stop()


@pytest.fixture
def fresh_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes migrated, empty databases; calling it answers the address of another one."""
    with ExitStack() as made:
        yield lambda: made.enter_context(cloned(postgres_url))


@pytest.fixture
def empty(fresh_database: Callable[[], str]) -> Iterator[Database]:
    """A migrated, empty database; commits are real."""
    opened = Database(make_engine(fresh_database()))
    yield opened
    opened.close()


@pytest.fixture
def populated(postgres_url: str) -> Iterator[Database]:
    """The same with people and the tool."""
    with cloned(postgres_url, populated_template(postgres_url)) as url:
        opened = Database(make_engine(url))
        yield opened
        opened.close()


@pytest.fixture
def database(empty: Database) -> Database:
    """The database of a test; an empty one, where the tests around it say nothing else."""
    return empty


@pytest.fixture
def session(database: Database) -> Iterator[Session]:
    """A transaction on `database` that is rolled back."""
    with Session(database.engine, expire_on_commit=False, autoflush=False) as opened:
        yield opened
        opened.rollback()


@pytest.fixture(scope="session")
def kafka_broker(public_folder: Path) -> Iterator[Broker]:
    """The worker's broker. For tests that hurt it; the others take `kafka_bootstrap`."""
    if (why := why_no_kafka()) is not None:
        if IN_CI:
            pytest.fail(why)
        pytest.skip(why)
    with running_broker(public_folder, briefly=True) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka_bootstrap(kafka_broker: Broker) -> str:
    """The address of a real Kafka broker."""
    return kafka_broker.address


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """Answers ports that nobody listens on, outside the range of outgoing connections."""
    return broker.free_port
