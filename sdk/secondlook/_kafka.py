"""Sends events straight to Apache Kafka; needs `pip install secondlook[kafka]`."""

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from secondlook._http import Refused, Unavailable, with_source
from secondlook.events.topics import TOPIC_OF, key

DELIVERY_SECONDS = 30
_CONTENT_TYPE = [("content-type", b"application/cloudevents+json; charset=UTF-8")]


def settings(bootstrap_servers: str) -> dict[str, Any]:
    """How the producer is set up.

    Not idempotent: kafka-python's idempotent producer stays wedged after a delivery timeout, and
    Secondlook knows a resend by the event's id anyway.
    """
    return {
        "bootstrap_servers": [server.strip() for server in bootstrap_servers.split(",")],
        "client_id": "secondlook-sdk",
        "enable_idempotence": False,
        "acks": "all",
        "max_in_flight_requests_per_connection": 1,
        "compression_type": None,
        "linger_ms": 20,
        "delivery_timeout_ms": DELIVERY_SECONDS * 1_000,
        "request_timeout_ms": 10_000,
        "max_block_ms": 5_000,
        "bootstrap_timeout_ms": 5_000,
        "reconnect_backoff_max_ms": 1_000,
        "max_request_size": 2_097_152,
        "allow_auto_create_topics": False,
    }


def make_producer(bootstrap_servers: str, options: Mapping[str, Any]) -> Any:
    """A `KafkaProducer`; `options` come on top of `settings`."""
    from kafka import KafkaProducer  # the extra may be absent

    return KafkaProducer(**{**settings(bootstrap_servers), **options})


def record_of(source: str, item: bytes) -> tuple[str, bytes, bytes]:
    """The topic, key and value of an event.

    Raises:
        Refused: it is damaged; only a file on disk can have done that.
    """
    try:
        event = json.loads(item)
        topic, record_key = TOPIC_OF[event["type"]], key(source[7:], event["subject"])
    except (ValueError, LookupError, TypeError):
        raise Refused("the event was damaged on disk") from None
    return topic, record_key, with_source(source, item)


class KafkaTransport:
    """Events to their topics, structured JSON, keyed by output."""

    def __init__(
        self,
        bootstrap_servers: str,
        options: Mapping[str, Any],
        make: Callable[[str, Mapping[str, Any]], Any] = make_producer,
    ) -> None:
        """Connect later, at the first batch.

        Raises:
            ImportError: kafka-python is not installed.
        """
        import kafka  # noqa: F401  # fail at the start, not in the background

        self._servers = bootstrap_servers
        self._options = options
        self._make = make
        self._producer: Any = None

    def open(self) -> None:
        """Connect now: the producer has a thread, and none can start once a script is ending."""
        from kafka.errors import KafkaError

        with contextlib.suppress(KafkaError, OSError, RuntimeError):
            self._producer = self._make(self._servers, self._options)

    def send(self, source: str, items: Sequence[bytes]) -> None:
        """Produce the events and wait for all acknowledgements; see `Transport.send`."""
        from kafka.errors import KafkaError, MessageSizeTooLargeError

        records = [record_of(source, item) for item in items]
        try:
            self._produce(records)
        except MessageSizeTooLargeError as error:
            raise Refused(str(error)) from None
        except KafkaError as error:
            # After a delivery timeout a producer may never send again, so begin with a new one.
            self.close()
            raise Unavailable(f"{type(error).__name__}: {error}") from None

    def abort(self) -> None:
        """Do nothing: a send ends by itself at the delivery timeout."""

    def close(self) -> None:
        """Close the producer, without waiting for what it still holds."""
        from kafka.errors import KafkaError

        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            producer.close(timeout=1)
        except (KafkaError, OSError, RuntimeError):
            # It is being thrown away because it failed; that it fails to close is no news.
            return

    def _produce(self, records: Sequence[tuple[str, bytes, bytes]]) -> None:
        if self._producer is None:
            self._producer = self._make(self._servers, self._options)
        futures = [
            self._producer.send(topic, key=record_key, value=value, headers=_CONTENT_TYPE)
            for topic, record_key, value in records
        ]
        self._producer.flush(timeout=DELIVERY_SECONDS)
        for future in futures:
            future.get(timeout=1)
