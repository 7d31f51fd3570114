"""The event log: `open_log` picks the implementation that the settings ask for."""

from services.kit.eventlog.port import EventLog
from services.kit.settings import Settings


def open_log(settings: Settings, database_url: str) -> EventLog:
    """Kafka where brokers are named, else the log in the database."""
    if settings.kafka_bootstrap_servers is None:
        from services.kit.eventlog.postgres import PostgresLog

        return PostgresLog(database_url)
    from services.kit.eventlog.kafka import KafkaLog
    from services.kit.eventlog.kafka_clients import client_options

    return KafkaLog(
        client_options(settings),
        create_topics=settings.kafka_create_topics,
        replication=settings.kafka_replication,
    )
