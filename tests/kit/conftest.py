"""What the tests of consumers and of the log on Kafka start from."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from services.kit.eventlog.port import TopicSpec
from tests.kit.rig import Rig, make_rig

if TYPE_CHECKING:
    from services.kit.eventlog.kafka import KafkaLog


@pytest.fixture
def rig(fresh_database: Callable[[], str]) -> Iterator[Rig]:
    """A consumer's surroundings, on one partition."""
    made = make_rig(fresh_database())
    yield made
    made.log.close()
    made.database.close()


@pytest.fixture
def log(kafka_bootstrap: str) -> "Iterator[KafkaLog]":
    """A log on the broker that gives up soon."""
    # Its warnings are let be only once pytest is configured.
    from services.kit.eventlog.kafka import KafkaLog

    made = KafkaLog({"bootstrap_servers": [kafka_bootstrap]}, stall_seconds=1, session_seconds=6)
    yield made
    made.close()


@pytest.fixture
def topic(log: "KafkaLog") -> str:
    """A topic of one partition."""
    name = f"test-{uuid4().hex}"
    log.ensure_topics([TopicSpec(name, 1)])
    return name
