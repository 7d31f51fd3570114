CREATE TABLE notification (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    person TEXT NOT NULL,
    what TEXT NOT NULL,
    line TEXT NOT NULL,
    case_id BIGINT,
    tool TEXT,
    output_id TEXT,
    dedupe_key TEXT NOT NULL,
    urgent BOOLEAN DEFAULT false NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    read_at TIMESTAMP WITH TIME ZONE,
    mail_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_notification PRIMARY KEY (id),
    CONSTRAINT uq_notification_person_dedupe_key UNIQUE (person, dedupe_key),
    CONSTRAINT ck_notification_what CHECK (what IN ('opened', 'reassigned', 'reopened',
        'escalated', 'overdue', 'reminded', 'reviewed', 'divided', 'mentioned', 'verdict',
        'verdict_undone', 'test')),
    CONSTRAINT fk_notification_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
CREATE INDEX ix_notification_inbox ON notification (person, id DESC);
CREATE INDEX ix_notification_made ON notification (made_at);
CREATE INDEX ix_notification_mail ON notification (mail_at) WHERE mail_at IS NOT NULL;
CREATE INDEX ix_notification_unread ON notification (person) WHERE read_at IS NULL;

CREATE TABLE webhook (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    channel TEXT NOT NULL,
    url TEXT NOT NULL,
    events JSONB NOT NULL,
    team TEXT,
    secret TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    removed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_webhook PRIMARY KEY (id),
    CONSTRAINT ck_webhook_channel CHECK (channel IN ('email', 'slack', 'webhook', 'push')),
    CONSTRAINT fk_webhook_team_team FOREIGN KEY(team) REFERENCES team (slug)
);

CREATE TABLE delivery (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    channel TEXT NOT NULL,
    destination TEXT NOT NULL,
    webhook_id BIGINT,
    device_id BIGINT,
    lane TEXT NOT NULL,
    message_id TEXT NOT NULL,
    payload TEXT NOT NULL,
    state TEXT DEFAULT 'waiting' NOT NULL,
    attempts BIGINT DEFAULT '0' NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    answer TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    sent_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_delivery PRIMARY KEY (id),
    CONSTRAINT uq_delivery_message_id UNIQUE (message_id),
    CONSTRAINT ck_delivery_channel CHECK (channel IN ('email', 'slack', 'webhook', 'push')),
    CONSTRAINT ck_delivery_state CHECK (state IN ('waiting', 'sent', 'failed', 'unknown')),
    CONSTRAINT ck_delivery_sent CHECK ((state = 'sent') = (sent_at IS NOT NULL)),
    CONSTRAINT ck_delivery_webhook CHECK ((channel IN ('slack', 'webhook')) = (webhook_id IS NOT
        NULL)),
    CONSTRAINT ck_delivery_device CHECK (channel = 'push' OR device_id IS NULL),
    CONSTRAINT fk_delivery_webhook_id_webhook FOREIGN KEY(webhook_id) REFERENCES webhook (id),
    CONSTRAINT fk_delivery_device_id_push_device FOREIGN KEY(device_id) REFERENCES push_device (id)
        ON DELETE SET NULL
);
CREATE INDEX ix_delivery_created ON delivery (created_at);
CREATE INDEX ix_delivery_due ON delivery (next_attempt_at) WHERE state IN ('waiting', 'unknown');
CREATE INDEX ix_delivery_lane ON delivery (lane, next_attempt_at, id)
    WHERE state IN ('waiting', 'unknown');
CREATE INDEX ix_delivery_device_id ON delivery (device_id);
CREATE INDEX ix_delivery_webhook_id ON delivery (webhook_id);

CREATE TABLE push_key (
    alone BOOLEAN DEFAULT 'true' NOT NULL,
    private TEXT NOT NULL,
    public TEXT NOT NULL,
    made_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_push_key PRIMARY KEY (alone),
    CONSTRAINT ck_push_key_alone CHECK (alone)
);

CREATE TABLE notification_choice (
    person TEXT NOT NULL,
    not_mailed JSONB NOT NULL,
    pushed BOOLEAN DEFAULT 'true' NOT NULL,
    digest_minutes BIGINT NOT NULL,
    quiet_from TEXT,
    quiet_until TEXT,
    timezone TEXT NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_notification_choice PRIMARY KEY (person),
    CONSTRAINT fk_notification_choice_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);

CREATE TABLE word_on_output (
    tool TEXT NOT NULL,
    event_id TEXT NOT NULL,
    output_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    heard_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_word_on_output PRIMARY KEY (tool, event_id)
);
CREATE INDEX ix_word_on_output_heard ON word_on_output (heard_at);
CREATE INDEX ix_word_on_output_output ON word_on_output (tool, output_id);

CREATE TABLE verdict_feed (
    tool TEXT NOT NULL,
    last_place BIGINT NOT NULL,
    CONSTRAINT pk_verdict_feed PRIMARY KEY (tool)
);

CREATE TABLE heard_verdict (
    tool TEXT NOT NULL,
    place BIGINT NOT NULL,
    event_id TEXT NOT NULL,
    output_id TEXT NOT NULL,
    case_id TEXT NOT NULL,
    verdict TEXT NOT NULL,
    value JSONB,
    actor TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    heard_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_heard_verdict PRIMARY KEY (tool, place),
    CONSTRAINT uq_heard_verdict_tool_event_id UNIQUE (tool, event_id)
);
CREATE INDEX ix_heard_verdict_heard ON heard_verdict (heard_at);
CREATE INDEX ix_heard_verdict_output ON heard_verdict (tool, output_id);
