"""Tables that know nothing of the domain: the embedded log, offsets, outbox, audit entries."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Identity,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.database import Base

NOW = func.clock_timestamp()


class LogPartition(Base):
    """A partition of the embedded log; its row is the lock that makes offsets gap-free.

    `appended_at` is the moment of its newest record: the next one's is never earlier,
    whatever the wall clock does.
    """

    __tablename__ = "log_partition"
    __table_args__ = (
        UniqueConstraint("topic", "number"),
        CheckConstraint("first_offset >= 0 AND first_offset <= next_offset", name="bounds"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    topic: Mapped[str]
    number: Mapped[int]
    first_offset: Mapped[int] = mapped_column(server_default="0")
    next_offset: Mapped[int] = mapped_column(server_default="0")
    appended_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LogRecord(Base):
    """A record of the embedded log."""

    __tablename__ = "log_record"

    # No foreign key: it would be checked once a record, and only `append` writes here.
    partition_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    offset: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[bytes]
    value: Mapped[bytes]
    headers: Mapped[list[Any] | None]
    appended_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LogMember(Base):
    """A live member of a consumer group of the embedded log."""

    __tablename__ = "log_member"

    consumer_group: Mapped[str] = mapped_column(primary_key=True)
    member: Mapped[str] = mapped_column(primary_key=True)
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ConsumerOffset(Base):
    """How far a consumer has come, moved only by compare-and-set in the consumer's transaction.

    `start_offset` is where it began. `taken` counts the records that it read and committed,
    replays included, so that whoever says what became of them can be held against it.
    `attempts` counts the starts at `attempted_offset` without progress: a record that
    kills its reader is found that way.
    """

    __tablename__ = "consumer_offset"
    __table_args__ = (CheckConstraint("next_offset >= start_offset", name="forward"),)

    consumer: Mapped[str] = mapped_column(primary_key=True)
    topic: Mapped[str] = mapped_column(primary_key=True)
    partition: Mapped[int] = mapped_column(primary_key=True)
    start_offset: Mapped[int]
    next_offset: Mapped[int]
    taken: Mapped[int] = mapped_column(server_default="0")
    attempted_offset: Mapped[int] = mapped_column(server_default="-1")
    attempts: Mapped[int] = mapped_column(server_default="0")
    progressed_at: Mapped[datetime] = mapped_column(server_default=NOW)


class LogGap(Base):
    """Offsets that were gone before they were consumed. Each is for a person to look at.

    Where `next_present` is the smaller one, the partition ended before the stored offset,
    as one that was made anew does, and its consumer waits to be rewound.
    """

    __tablename__ = "log_gap"
    __table_args__ = (UniqueConstraint("consumer", "topic", "partition", "first_missing"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    consumer: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    first_missing: Mapped[int]
    next_present: Mapped[int]
    found_at: Mapped[datetime] = mapped_column(server_default=NOW)


class OutboxRecord(Base):
    """An event written with the state it speaks of, to be appended to the log afterwards.

    `claimed_until` is how long a relay that is sending it may take; then another one may.
    """

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_unsent", "id", postgresql_where=text("sent_at IS NULL")),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    topic: Mapped[str]
    key: Mapped[bytes]
    value: Mapped[bytes]
    headers: Mapped[list[Any] | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    claimed_until: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]


WAITING = "retried_at IS NULL AND discarded_at IS NULL"
SETTLED = "(retried_at IS NOT NULL OR discarded_at IS NOT NULL)"


class DeadLetter(Base):
    """A record that could not be used, whole, with the reason. `parked`: a later version may."""

    __tablename__ = "dead_letter"
    __table_args__ = (
        UniqueConstraint("consumer", "topic", "partition", "offset"),
        CheckConstraint(
            "num_nulls(discarded_at, discarded_by, discard_reason) IN (0, 3)", name="discarded"
        ),
        CheckConstraint("retried_at IS NULL OR discarded_at IS NULL", name="one_end"),
        Index("ix_dead_letter_waiting", "id", postgresql_where=text(WAITING)),
        Index("ix_dead_letter_kept", "consumer", "tool", "kept_at"),
        Index("ix_dead_letter_settled", "kept_at", postgresql_where=text(SETTLED)),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    consumer: Mapped[str]
    topic: Mapped[str]
    partition: Mapped[int]
    offset: Mapped[int]
    key: Mapped[bytes | None]
    value: Mapped[bytes]
    headers: Mapped[list[Any] | None]
    tool: Mapped[str | None]
    parked: Mapped[bool]
    reason: Mapped[str]
    problems: Mapped[list[Any] | None]
    received_at: Mapped[datetime]
    kept_at: Mapped[datetime] = mapped_column(server_default=text("clock_timestamp()"))
    retried_at: Mapped[datetime | None]
    discarded_at: Mapped[datetime | None]
    discarded_by: Mapped[str | None]
    discard_reason: Mapped[str | None]


class AuditEntry(Base):
    """Who changed what, chained by hash so that an edit of the past shows."""

    __tablename__ = "audit_entry"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    actor: Mapped[str]
    verb: Mapped[str]
    object_kind: Mapped[str]
    object_id: Mapped[str]
    detail: Mapped[dict[str, Any]]
    previous_hash: Mapped[bytes]
    hash: Mapped[bytes]


class IdempotencyKey(Base):
    """The saved answer to a write that was sent with an Idempotency-Key."""

    __tablename__ = "idempotency_key"

    actor: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    request_digest: Mapped[bytes]
    status: Mapped[int]
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW, index=True)


class RateBucket(Base):
    """Tries under a name that all processes share: how many are left, and since when."""

    __tablename__ = "rate_bucket"

    name: Mapped[str] = mapped_column(primary_key=True)
    tokens: Mapped[float]
    refilled_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ClockWatch(Base):
    """How the database's clock stands to a machine's steady one, counted from one start of it.

    At `steady` the database's clock told `wall`, or should have; it is `divergence` seconds from
    there. While it is not believed `even_since` says since when it goes on evenly.
    """

    __tablename__ = "clock_watch"

    boot: Mapped[str] = mapped_column(primary_key=True)
    wall: Mapped[datetime]
    steady: Mapped[float]
    divergence: Mapped[float]
    even_since: Mapped[float | None]
    confirmed: Mapped[bool]
    seen_at: Mapped[datetime]


class HourlyCount(Base):
    """How often something happened in an hour, kept up in the transaction that it happened in.

    `hour` is the hour of the thing counted (an output's recording, say), so a later
    change of mind about that thing lands in the same row. `shard` keeps consumers of
    different partitions from waiting for each other; readers sum over it.
    """

    __tablename__ = "hourly_count"
    __table_args__ = (Index("ix_hourly_count_hour", "hour"),)

    measure: Mapped[str] = mapped_column(primary_key=True)
    tool: Mapped[str] = mapped_column(primary_key=True)
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]


class TotalCount(Base):
    """The same counts over all time, so that reading a counter never walks the hours."""

    __tablename__ = "total_count"

    measure: Mapped[str] = mapped_column(primary_key=True)
    tool: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    label: Mapped[str] = mapped_column(primary_key=True)
    shard: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    n: Mapped[int]
