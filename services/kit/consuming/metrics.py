"""What Prometheus is told of consumers: by their own processes, and from the database."""

from collections.abc import Mapping, Sequence

from prometheus_client import Counter, Gauge
from sqlalchemy.orm import Session

from services.kit.consuming import dead_letters, offsets
from services.kit.consuming.counters import Counters
from services.kit.eventlog.port import Bounds, Partition
from services.kit.metrics import Samples, counter, gauge

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


# --- from the database ------------------------------------------------------------------

METRICS = (
    counter("secondlook_dead_letters", "Events that could not be used.", "topic", "reason"),
    counter("secondlook_parked", "Events that a later version may know.", "topic"),
    gauge(
        "secondlook_dead_letters_waiting",
        "Dead letters that nobody has retried or discarded.",
        "topic",
    ),
    gauge(
        "secondlook_consumer_lag_events",
        "Records on the log that the consumer has not taken.",
        "consumer",
        "topic",
        "partition",
    ),
    gauge(
        "secondlook_consumer_last_progress_timestamp_seconds",
        "When the consumer last took something; 0 where it never has.",
        "consumer",
    ),
    gauge("secondlook_log_gaps", "Gaps in what a consumer could read.", "consumer"),
)


def read_dead_letters(session: Session, samples: Samples) -> None:
    """Dead letters and parked events by topic."""
    for row in dead_letters.by_reason(session):
        if row.parked:
            samples.add("secondlook_parked", row.n, row.topic)
        else:
            samples.set("secondlook_dead_letters", row.n, row.topic, row.reason)
        samples.add("secondlook_dead_letters_waiting", row.waiting, row.topic)


def read_consumers(
    samples: Samples,
    positions: Sequence[offsets.Position],
    gaps: Mapping[str, int],
    *,
    ends: Mapping[Partition, Bounds],
    consumed: Mapping[str, Sequence[str]],
) -> None:
    """What waits for each consumer; one that has never begun has everything before it."""
    reached = {(at.consumer, Partition(at.topic, at.partition)): at for at in positions}
    for consumer, topics in consumed.items():
        last = 0.0
        for partition, held in ends.items():
            if partition.topic not in topics:
                continue
            at = reached.get((consumer, partition))
            place = (consumer, partition.topic, str(partition.number))
            samples.set("secondlook_consumer_lag_events", offsets.behind(at, held), *place)
            last = last if at is None else max(last, at.progressed_at.timestamp())
        samples.set("secondlook_consumer_last_progress_timestamp_seconds", last, consumer)
        samples.set("secondlook_log_gaps", gaps.get(consumer, 0), consumer)
