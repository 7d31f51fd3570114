CREATE SEQUENCE tool_revision;

CREATE TABLE tool (
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    team TEXT NOT NULL,
    maturity_seconds BIGINT NOT NULL,
    matured_since TIMESTAMP WITH TIME ZONE,
    revision BIGINT DEFAULT nextval('tool_revision') NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_tool PRIMARY KEY (slug),
    CONSTRAINT ck_tool_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT ck_tool_maturity CHECK (maturity_seconds >= 0),
    CONSTRAINT ck_tool_kind CHECK (kind IN ('category', 'text', 'flag', 'fields')),
    CONSTRAINT uq_tool_revision UNIQUE (revision),
    CONSTRAINT fk_tool_team_team FOREIGN KEY(team) REFERENCES team (slug)
);
CREATE INDEX ix_tool_team ON tool (team);

CREATE TABLE api_key (
    prefix TEXT NOT NULL,
    tool TEXT NOT NULL,
    slot BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    actor TEXT NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_key PRIMARY KEY (prefix),
    CONSTRAINT ck_api_key_slot CHECK (slot IN (1, 2)),
    CONSTRAINT fk_api_key_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
CREATE UNIQUE INDEX uq_api_key_live_slot ON api_key (tool, slot) WHERE revoked_at IS NULL;

CREATE TABLE taxonomy (
    tool TEXT NOT NULL,
    revision BIGINT NOT NULL,
    names TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    actor TEXT NOT NULL,
    CONSTRAINT pk_taxonomy PRIMARY KEY (tool, revision),
    CONSTRAINT fk_taxonomy_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);

CREATE TABLE tool_version (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    tool TEXT NOT NULL,
    model TEXT,
    prompt TEXT,
    other BOOLEAN DEFAULT 'false' NOT NULL,
    first_seen_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_tool_version PRIMARY KEY (id),
    CONSTRAINT uq_tool_version_tool_model_prompt_other UNIQUE NULLS NOT DISTINCT (tool, model,
        prompt, other),
    CONSTRAINT uq_tool_version_tool_id UNIQUE (tool, id),
    CONSTRAINT ck_tool_version_other CHECK (NOT other OR (model IS NULL AND prompt IS NULL)),
    CONSTRAINT fk_tool_version_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);

CREATE TABLE category (
    tool TEXT NOT NULL,
    name TEXT NOT NULL,
    CONSTRAINT pk_category PRIMARY KEY (tool, name),
    CONSTRAINT fk_category_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);

CREATE TABLE gate_policy (
    tool TEXT NOT NULL,
    revision BIGINT NOT NULL,
    state TEXT NOT NULL,
    threshold DOUBLE PRECISION NOT NULL,
    category_thresholds JSONB DEFAULT '{}' NOT NULL,
    audit_rate DOUBLE PRECISION NOT NULL,
    holdout_rate DOUBLE PRECISION NOT NULL,
    review_when JSONB DEFAULT '[]' NOT NULL,
    max_stale_seconds BIGINT,
    taxonomy BIGINT,
    sampling_key TEXT NOT NULL,
    effective_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    actor TEXT NOT NULL,
    CONSTRAINT pk_gate_policy PRIMARY KEY (tool, revision),
    CONSTRAINT ck_gate_policy_state CHECK (state IN ('live', 'shadow', 'fallback', 'stopped')),
    CONSTRAINT ck_gate_policy_threshold CHECK (threshold BETWEEN 0 AND 1),
    CONSTRAINT ck_gate_policy_audit_rate CHECK (audit_rate BETWEEN 0 AND 1),
    CONSTRAINT ck_gate_policy_holdout_rate CHECK (holdout_rate BETWEEN 0 AND 1),
    CONSTRAINT ck_gate_policy_max_stale_seconds CHECK (max_stale_seconds >= 60),
    CONSTRAINT fk_gate_policy_tool_taxonomy_taxonomy FOREIGN KEY(tool, taxonomy) REFERENCES
        taxonomy (tool, revision),
    CONSTRAINT fk_gate_policy_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);
