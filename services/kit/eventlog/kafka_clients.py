"""Making, sharing and closing the clients of kafka-python."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient

from services.kit.eventlog.port import LogUnavailable
from services.kit.settings import Settings

CLOSE_MS = 1_000

_log = logging.getLogger(__name__)


def client_options(settings: Settings) -> dict[str, Any]:
    """What every client of ours needs to find and to enter the cluster."""
    password = settings.kafka_sasl_password
    cafile = settings.kafka_ssl_cafile
    options = {
        "bootstrap_servers": (settings.kafka_bootstrap_servers or "").split(","),
        "security_protocol": settings.kafka_security_protocol,
        "sasl_mechanism": settings.kafka_sasl_mechanism,
        "sasl_plain_username": settings.kafka_sasl_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
        "ssl_cafile": str(cafile) if cafile else None,
    }
    return {name: value for name, value in options.items() if value is not None}


@contextmanager
def reachable() -> Iterator[None]:
    """Let every failure of the client appear as `LogUnavailable`."""
    try:
        yield
    except (kafka_errors.KafkaError, OSError) as error:
        raise LogUnavailable(f"Kafka: {error!r}") from error


def make_client(kind: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Make a client; where that fails, end the network thread that it had started already."""
    started: list[Any] = []

    def network(**config: Any) -> Any:
        started.append(KafkaNetClient(**config))
        return started[-1]

    common = {
        "client_id": "secondlook",
        "reconnect_backoff_max_ms": 1_000,
        "retry_backoff_ms": 200,
        "bootstrap_timeout_ms": 3_000,
    }
    try:
        return kind(**common, **options, kafka_client=network)
    except BaseException:
        for client in started:
            client.close()
        raise


def close_client(client: Any, **arguments: Any) -> None:
    """Close a client that may be beyond help."""
    try:
        client.close(**arguments)
    except Exception as error:  # whatever it says, we are done with it
        _log.debug("closing %s: %r", type(client).__name__, error)


class Shared:
    """A client that threads share, made when first needed and again after it failed."""

    def __init__(self, make: Callable[[], Any], **close: Any) -> None:
        self._make, self._close_arguments = make, close
        self._client: Any = None
        self._lock = threading.RLock()

    @contextmanager
    def exclusively(self) -> Iterator[Any]:
        """The client, for one thread at a time; dropped when the block fails."""
        with self._lock:
            client = self.get()
            try:
                yield client
            except BaseException:
                self.drop(client)
                raise

    def get(self) -> Any:
        """The client, for clients that several threads may use at once."""
        with self._lock:
            if self._client is None:
                self._client = self._make()
            return self._client

    def drop(self, client: Any) -> None:
        """Close this client and let the next caller make another one."""
        with self._lock:
            if self._client is not client or client is None:
                return
            self._client = None
        close_client(client, **self._close_arguments)

    def close(self) -> None:
        """Close the client, if there is one."""
        self.drop(self._client)
