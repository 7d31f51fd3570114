CREATE TABLE correction (
    tool TEXT NOT NULL,
    event_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    output_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    value JSONB,
    reason TEXT,
    note TEXT,
    actor TEXT NOT NULL,
    active_seconds DOUBLE PRECISION,
    channel TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    withdrawn_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_correction PRIMARY KEY (tool, event_id),
    CONSTRAINT ck_correction_kind CHECK (kind IN ('correction', 'confirmation', 'dispute',
        'appeal')),
    CONSTRAINT fk_correction_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE INDEX ix_correction_output ON correction (tool, output_id, recorded_at, event_id);
CREATE INDEX ix_correction_recorded ON correction (tool, recorded_at);
CREATE INDEX ix_correction_standing
    ON correction (tool, output_id, least(occurred_at, recorded_at), event_id COLLATE "C")
    WHERE withdrawn_at IS NULL AND kind IN ('correction', 'confirmation');

CREATE TABLE verdict (
    event_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    tool TEXT NOT NULL,
    output_id TEXT NOT NULL,
    case_id BIGINT NOT NULL,
    verdict TEXT NOT NULL,
    value JSONB,
    actor TEXT NOT NULL,
    blind BOOLEAN NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_verdict PRIMARY KEY (event_id),
    CONSTRAINT ck_verdict_verdict CHECK (verdict IN ('upheld', 'corrected', 'undecidable',
        'not_actionable')),
    CONSTRAINT fk_verdict_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE INDEX ix_verdict_output ON verdict (tool, output_id);

CREATE TABLE undone_verdict (
    verdict_id TEXT NOT NULL,
    event_id TEXT NOT NULL,
    tool TEXT NOT NULL,
    output_id TEXT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_undone_verdict PRIMARY KEY (verdict_id),
    CONSTRAINT fk_undone_verdict_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE INDEX ix_undone_verdict_output ON undone_verdict (tool, output_id);

CREATE TABLE correction_backlog (
    tool TEXT NOT NULL,
    output_id TEXT NOT NULL,
    trigger TEXT NOT NULL,
    after_at TIMESTAMP WITH TIME ZONE NOT NULL,
    after_id TEXT NOT NULL,
    kept_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_correction_backlog PRIMARY KEY (tool, output_id),
    CONSTRAINT ck_correction_backlog_trigger CHECK (trigger IN ('dispute', 'unmatched')),
    CONSTRAINT fk_correction_backlog_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE INDEX ix_correction_backlog_kept ON correction_backlog (kept_at);

CREATE TABLE withdrawal (
    tool TEXT NOT NULL,
    event_id TEXT NOT NULL,
    digest BYTEA NOT NULL,
    output_id TEXT NOT NULL,
    correction_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_withdrawal PRIMARY KEY (tool, event_id),
    CONSTRAINT fk_withdrawal_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE INDEX ix_withdrawal_correction ON withdrawal (tool, correction_id, actor);
CREATE INDEX ix_withdrawal_output ON withdrawal (tool, output_id);

CREATE TABLE output (
    tool TEXT NOT NULL,
    output_id TEXT NOT NULL,
    event_id TEXT,
    digest BYTEA,
    version BIGINT,
    model TEXT,
    prompt TEXT,
    subject TEXT,
    kind TEXT,
    value JSONB,
    confidence DOUBLE PRECISION,
    alternatives JSONB,
    input JSONB,
    attributes JSONB,
    cohort TEXT,
    latency_ms DOUBLE PRECISION,
    cost JSONB,
    failure JSONB,
    disposition TEXT,
    gate_disposition TEXT,
    gate_reason TEXT,
    condition TEXT,
    policy_revision BIGINT,
    audit BOOLEAN DEFAULT 'false' NOT NULL,
    inclusion_probability DOUBLE PRECISION,
    exception TEXT,
    occurred_at TIMESTAMP WITH TIME ZONE,
    recorded_at TIMESTAMP WITH TIME ZONE,
    awaited_since TIMESTAMP WITH TIME ZONE,
    unmatched_at TIMESTAMP WITH TIME ZONE,
    sought BOOLEAN DEFAULT 'false' NOT NULL,
    decided_value JSONB,
    decided_by TEXT,
    decided_at TIMESTAMP WITH TIME ZONE,
    overridden BOOLEAN,
    CONSTRAINT pk_output PRIMARY KEY (tool, output_id),
    CONSTRAINT ck_output_disposition CHECK (disposition IN ('proceed', 'review', 'fallback',
        'stop')),
    CONSTRAINT ck_output_decided_by CHECK (decided_by IN ('correction', 'confirmation',
        'verdict')),
    CONSTRAINT ck_output_exception CHECK (exception IN ('low_confidence', 'dispute',
        'tool_failure', 'policy', 'audit', 'unmatched')),
    CONSTRAINT ck_output_exception_is_an_output CHECK (exception IS NULL OR recorded_at IS NOT
        NULL AND exception NOT IN ('audit', 'unmatched')),
    CONSTRAINT ck_output_recorded_whole CHECK (recorded_at IS NULL OR (event_id IS NOT NULL AND
        digest IS NOT NULL AND version IS NOT NULL AND disposition IS NOT NULL AND occurred_at IS
        NOT NULL)),
    CONSTRAINT ck_output_confidence CHECK (confidence BETWEEN 0 AND 1),
    CONSTRAINT ck_output_inclusion_probability CHECK (inclusion_probability > 0 AND
        inclusion_probability <= 1),
    CONSTRAINT ck_output_audit CHECK (NOT audit OR inclusion_probability IS NOT NULL),
    CONSTRAINT ck_output_decided CHECK ((decided_by IS NULL) = (overridden IS NULL)),
    CONSTRAINT fk_output_tool_version_tool_version FOREIGN KEY(tool, version) REFERENCES
        tool_version (tool, id)
);
CREATE INDEX ix_output_awaited
    ON output (awaited_since)
    WHERE recorded_at IS NULL AND unmatched_at IS NULL;
CREATE INDEX ix_output_decided
    ON output (tool, recorded_at, output_id)
    WHERE decided_by IS NOT NULL;
CREATE INDEX ix_output_recorded ON output (tool, recorded_at);
CREATE INDEX ix_output_unmatched
    ON output (tool, awaited_since)
    WHERE recorded_at IS NULL AND unmatched_at IS NOT NULL;
CREATE UNIQUE INDEX uq_output_event ON output (tool, event_id);
