"""What lies on a topic of Kafka, read to its end."""

from uuid import uuid4

from services.kit.eventlog.kafka import KafkaLog
from services.kit.eventlog.port import Partition, Record, Unreadable
from tests.kit.logs import Store, until


def read_all(log: KafkaLog, topic: str) -> list[Record | Unreadable]:
    """Everything there is, in order, read by a member of a new group."""
    end = log.bounds([topic])[Partition(topic, 0)].next
    found: list[Record | Unreadable] = []
    store = Store()
    consumer = log.consumer(uuid4().hex, [topic], start_at=store.start_at)

    def step() -> None:
        for batch in consumer.poll(max_records=100, timeout=0.2):
            assert store.apply(batch)
            found.extend([*batch.records, *batch.unreadable])

    until(lambda: store.offsets.get(Partition(topic, 0)) == end, step)
    assert consumer.lag() == {Partition(topic, 0): 0}
    consumer.close()
    return sorted(
        found, key=lambda item: item.first if isinstance(item, Unreadable) else item.offset
    )


def values_of(found: list[Record | Unreadable]) -> list[bytes | str]:
    """Their bytes, or why they have none."""
    return [item.reason if isinstance(item, Unreadable) else item.value for item in found]
