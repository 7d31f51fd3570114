"""What a consumer's process tells Prometheus of itself; counts of the facts are in the database."""

from prometheus_client import Counter, Gauge

from services.kit.consuming.runner import Counters

_RECORDS = Counter(
    "secondlook_consumer_records",
    "Records that this process took and committed.",
    ("consumer", "topic"),
)
_RETRIES = Counter(
    "secondlook_consumer_retries",
    "Batches rolled back, to be read again, by cause.",
    ("consumer", "reason"),
)
_REJECTED = Counter(
    "secondlook_consumer_rejected",
    "Records that the handler could not take and that were kept as dead letters.",
    ("consumer", "reason"),
)
_STALE = Counter(
    "secondlook_consumer_stale",
    "Batches given up because another process had taken them.",
    ("consumer",),
)
_PAUSED = Gauge(
    "secondlook_consumer_paused",
    "1 while the consumer reads nothing because too much ends as dead letters.",
    ("consumer",),
)

PROCESS_METRICS = (_RECORDS, _RETRIES, _REJECTED, _STALE, _PAUSED)


def counters(consumer: str) -> Counters:
    """Counters of the consumer of this name, in the process's registry."""
    return Counters(
        committed=lambda partition, n: _RECORDS.labels(consumer, partition.topic).inc(n),
        retried=lambda reason: _RETRIES.labels(consumer, reason).inc(),
        rejected=lambda _, reason: _REJECTED.labels(consumer, reason).inc(),
        stale=lambda _: _STALE.labels(consumer).inc(),
        paused=_PAUSED.labels(consumer).set,
    )
