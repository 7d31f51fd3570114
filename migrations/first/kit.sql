CREATE TABLE audit_entry (
    id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    actor TEXT NOT NULL,
    verb TEXT NOT NULL,
    object_kind TEXT NOT NULL,
    object_id TEXT NOT NULL,
    detail JSONB NOT NULL,
    previous_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    CONSTRAINT pk_audit_entry PRIMARY KEY (id)
);

CREATE TABLE clock_watch (
    boot TEXT NOT NULL,
    wall TIMESTAMP WITH TIME ZONE NOT NULL,
    steady DOUBLE PRECISION NOT NULL,
    divergence DOUBLE PRECISION NOT NULL,
    even_since DOUBLE PRECISION,
    confirmed BOOLEAN NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_clock_watch PRIMARY KEY (boot)
);

CREATE TABLE consumer_offset (
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition BIGINT NOT NULL,
    start_offset BIGINT NOT NULL,
    next_offset BIGINT NOT NULL,
    taken BIGINT DEFAULT '0' NOT NULL,
    attempted_offset BIGINT DEFAULT '-1' NOT NULL,
    attempts BIGINT DEFAULT '0' NOT NULL,
    progressed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_consumer_offset PRIMARY KEY (consumer, topic, partition),
    CONSTRAINT ck_consumer_offset_forward CHECK (next_offset >= start_offset)
);

CREATE TABLE dead_letter (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    key BYTEA,
    value BYTEA NOT NULL,
    headers JSONB,
    tool TEXT,
    parked BOOLEAN NOT NULL,
    reason TEXT NOT NULL,
    problems JSONB,
    received_at TIMESTAMP WITH TIME ZONE NOT NULL,
    kept_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    retried_at TIMESTAMP WITH TIME ZONE,
    discarded_at TIMESTAMP WITH TIME ZONE,
    discarded_by TEXT,
    discard_reason TEXT,
    CONSTRAINT pk_dead_letter PRIMARY KEY (id),
    CONSTRAINT uq_dead_letter_consumer_topic_partition_offset UNIQUE (consumer, topic, partition,
        "offset"),
    CONSTRAINT ck_dead_letter_discarded CHECK (num_nulls(discarded_at, discarded_by,
        discard_reason) IN (0, 3)),
    CONSTRAINT ck_dead_letter_one_end CHECK (retried_at IS NULL OR discarded_at IS NULL)
);
CREATE INDEX ix_dead_letter_kept ON dead_letter (consumer, tool, kept_at);
CREATE INDEX ix_dead_letter_settled
    ON dead_letter (kept_at)
    WHERE (retried_at IS NOT NULL OR discarded_at IS NOT NULL);
CREATE INDEX ix_dead_letter_waiting
    ON dead_letter (id)
    WHERE retried_at IS NULL AND discarded_at IS NULL;

CREATE TABLE hourly_count (
    measure TEXT NOT NULL,
    tool TEXT NOT NULL,
    hour TIMESTAMP WITH TIME ZONE NOT NULL,
    version BIGINT NOT NULL,
    label TEXT NOT NULL,
    shard BIGINT NOT NULL,
    n BIGINT NOT NULL,
    CONSTRAINT pk_hourly_count PRIMARY KEY (measure, tool, hour, version, label, shard)
);
CREATE INDEX ix_hourly_count_hour ON hourly_count (hour);

CREATE TABLE idempotency_key (
    actor TEXT NOT NULL,
    key TEXT NOT NULL,
    request_digest BYTEA NOT NULL,
    status BIGINT NOT NULL,
    body JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_idempotency_key PRIMARY KEY (actor, key)
);
CREATE INDEX ix_idempotency_key_created_at ON idempotency_key (created_at);

CREATE TABLE log_gap (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    consumer TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition BIGINT NOT NULL,
    first_missing BIGINT NOT NULL,
    next_present BIGINT NOT NULL,
    found_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_log_gap PRIMARY KEY (id),
    CONSTRAINT uq_log_gap_consumer_topic_partition_first_missing UNIQUE (consumer, topic,
        partition, first_missing)
);

CREATE TABLE log_member (
    consumer_group TEXT NOT NULL,
    member TEXT NOT NULL,
    heartbeat_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_log_member PRIMARY KEY (consumer_group, member)
);

CREATE TABLE log_partition (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    topic TEXT NOT NULL,
    number BIGINT NOT NULL,
    first_offset BIGINT DEFAULT '0' NOT NULL,
    next_offset BIGINT DEFAULT '0' NOT NULL,
    appended_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_log_partition PRIMARY KEY (id),
    CONSTRAINT uq_log_partition_topic_number UNIQUE (topic, number),
    CONSTRAINT ck_log_partition_bounds CHECK (first_offset >= 0 AND first_offset <= next_offset)
);

CREATE TABLE log_record (
    partition_id BIGINT NOT NULL,
    "offset" BIGINT NOT NULL,
    key BYTEA NOT NULL,
    value BYTEA NOT NULL,
    headers JSONB,
    appended_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_log_record PRIMARY KEY (partition_id, "offset")
);

CREATE TABLE outbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    topic TEXT NOT NULL,
    key BYTEA NOT NULL,
    value BYTEA NOT NULL,
    headers JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    claimed_until TIMESTAMP WITH TIME ZONE,
    sent_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_outbox PRIMARY KEY (id)
);
CREATE INDEX ix_outbox_unsent ON outbox (id) WHERE sent_at IS NULL;

CREATE TABLE rate_bucket (
    name TEXT NOT NULL,
    tokens DOUBLE PRECISION NOT NULL,
    refilled_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_rate_bucket PRIMARY KEY (name)
);

CREATE TABLE total_count (
    measure TEXT NOT NULL,
    tool TEXT NOT NULL,
    version BIGINT NOT NULL,
    label TEXT NOT NULL,
    shard BIGINT NOT NULL,
    n BIGINT NOT NULL,
    CONSTRAINT pk_total_count PRIMARY KEY (measure, tool, version, label, shard)
);
