"""Servers that the SDK meets, and a way to wait for it."""

from collections.abc import Callable, Iterator

import pytest

from tests.factories.intake_server import IntakeServer
from tests.waiting import until


@pytest.fixture
def server() -> Iterator[IntakeServer]:
    """A server that is up."""
    running = IntakeServer().start()
    yield running
    running.stop()


@pytest.fixture
def down() -> Iterator[IntakeServer]:
    """A server that is down until `start`."""
    made = IntakeServer()
    yield made
    made.stop()


@pytest.fixture
def eventually() -> Callable[..., object]:
    """Wait until something holds."""
    return until
