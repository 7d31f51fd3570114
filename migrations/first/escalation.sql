-- By it texts are compared. It comes with PostgreSQL, and whoever owns the database may make it.
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE "case" (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    subject_kind TEXT NOT NULL,
    subject_key TEXT NOT NULL,
    tool TEXT NOT NULL,
    trigger TEXT NOT NULL,
    blind BOOLEAN DEFAULT 'false' NOT NULL,
    reviewers BIGINT DEFAULT '1' NOT NULL,
    divided BOOLEAN DEFAULT 'false' NOT NULL,
    dispute JSONB,
    disputed_by TEXT,
    queue TEXT NOT NULL,
    team TEXT NOT NULL,
    owner_team TEXT,
    owner_person TEXT,
    owner_schedule TEXT,
    claimant TEXT,
    claim_seq BIGINT DEFAULT '0' NOT NULL,
    claimed_at TIMESTAMP WITH TIME ZONE,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    state TEXT DEFAULT 'open' NOT NULL,
    cycle BIGINT DEFAULT '1' NOT NULL,
    level BIGINT DEFAULT '0' NOT NULL,
    priority TEXT NOT NULL,
    rule TEXT NOT NULL,
    routing_revision TEXT NOT NULL,
    ladder JSONB NOT NULL,
    monitored JSONB DEFAULT '[]' NOT NULL,
    owner_since TIMESTAMP WITH TIME ZONE NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    cycle_opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    timezone TEXT NOT NULL,
    calendar TEXT,
    calendar_team TEXT,
    counted_calendar TEXT,
    counted_revision BIGINT DEFAULT '0' NOT NULL,
    claim_within TEXT NOT NULL,
    resolve_within TEXT NOT NULL,
    claim_due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    resolve_due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    overdue_since TIMESTAMP WITH TIME ZONE,
    paused_since TIMESTAMP WITH TIME ZONE,
    wakes_at TIMESTAMP WITH TIME ZONE,
    pause_reason TEXT,
    pauses BIGINT DEFAULT '0' NOT NULL,
    paused_for INTERVAL DEFAULT '0' NOT NULL,
    wakes_after BIGINT,
    verdict TEXT,
    verdict_id TEXT,
    verdict_value JSONB,
    verdict_by TEXT,
    verdict_note TEXT,
    resolved_at TIMESTAMP WITH TIME ZONE,
    closed_at TIMESTAMP WITH TIME ZONE,
    cause TEXT,
    incident BIGINT,
    merged_at TIMESTAMP WITH TIME ZONE,
    children BIGINT DEFAULT '0' NOT NULL,
    version BIGINT DEFAULT '1' NOT NULL,
    CONSTRAINT pk_case PRIMARY KEY (id),
    CONSTRAINT uq_case_subject_kind_subject_key UNIQUE (subject_kind, subject_key),
    CONSTRAINT ck_case_subject_kind CHECK (subject_kind IN ('output', 'incident')),
    CONSTRAINT ck_case_trigger CHECK (trigger IN ('low_confidence', 'dispute', 'tool_failure',
        'policy', 'audit', 'unmatched')),
    CONSTRAINT ck_case_state CHECK (state IN ('open', 'claimed', 'waiting', 'snoozed', 'resolved',
        'closed', 'merged')),
    CONSTRAINT ck_case_priority CHECK (priority IN ('P1', 'P2', 'P3', 'P4')),
    CONSTRAINT ck_case_verdict CHECK (verdict IN ('upheld', 'corrected', 'undecidable',
        'not_actionable')),
    CONSTRAINT ck_case_queue CHECK (queue ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT ck_case_owner CHECK (num_nonnulls(owner_team, owner_person) = 1),
    CONSTRAINT ck_case_duty CHECK (owner_schedule IS NULL OR owner_person IS NOT NULL),
    CONSTRAINT ck_case_claimant CHECK ((state = 'claimed') = (claimant IS NOT NULL AND
        lease_expires_at IS NOT NULL)),
    CONSTRAINT ck_case_resolved CHECK ((state IN ('resolved', 'closed')) = (verdict IS NOT NULL
        AND verdict_id IS NOT NULL AND verdict_by IS NOT NULL)),
    CONSTRAINT ck_case_corrected CHECK (verdict <> 'corrected' OR verdict_value IS NOT NULL),
    CONSTRAINT ck_case_paused CHECK ((state IN ('waiting', 'snoozed')) = (paused_since IS NOT NULL
        AND wakes_at IS NOT NULL AND pause_reason IS NOT NULL)),
    CONSTRAINT ck_case_merged CHECK (state <> 'merged' OR (incident IS NOT NULL AND merged_at IS
        NOT NULL)),
    CONSTRAINT ck_case_reviewers CHECK (reviewers BETWEEN 1 AND 3),
    CONSTRAINT ck_case_divided CHECK (NOT divided OR (reviewers > 1 AND verdict IS NULL)),
    CONSTRAINT ck_case_incident CHECK (incident <> id AND (incident IS NULL OR children = 0)),
    CONSTRAINT ck_case_of_incident CHECK (subject_kind <> 'incident' OR (cause IS NOT NULL AND
        incident IS NULL)),
    CONSTRAINT ck_case_wakes_after CHECK (wakes_after IS NULL OR state = 'snoozed'),
    CONSTRAINT ck_case_counters CHECK (level >= 0 AND cycle >= 1 AND claim_seq >= 0 AND
        pauses >= 0 AND children >= 0),
    CONSTRAINT fk_case_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug),
    CONSTRAINT fk_case_team_team FOREIGN KEY(team) REFERENCES team (slug),
    CONSTRAINT fk_case_owner_team_team FOREIGN KEY(owner_team) REFERENCES team (slug),
    CONSTRAINT fk_case_owner_person_person FOREIGN KEY(owner_person) REFERENCES person (email) ON
        UPDATE CASCADE,
    CONSTRAINT fk_case_owner_schedule_schedule FOREIGN KEY(owner_schedule) REFERENCES schedule (slug),
    CONSTRAINT fk_case_incident_case FOREIGN KEY(incident) REFERENCES "case" (id) ON DELETE SET
        NULL,
    CONSTRAINT fk_case_calendar_calendar FOREIGN KEY(calendar) REFERENCES calendar (slug),
    CONSTRAINT fk_case_calendar_team_team FOREIGN KEY(calendar_team) REFERENCES team (slug),
    CONSTRAINT fk_case_counted_calendar_calendar FOREIGN KEY(counted_calendar) REFERENCES calendar
        (slug),
    CONSTRAINT fk_case_claimant_person FOREIGN KEY(claimant) REFERENCES person (email) ON UPDATE
        CASCADE
);
CREATE INDEX ix_case_claimant ON "case" (claimant) WHERE claimant IS NOT NULL;
CREATE INDEX ix_case_closed ON "case" (closed_at) WHERE state = 'closed';
CREATE UNIQUE INDEX uq_case_open_incident ON "case" (cause) WHERE subject_kind = 'incident' AND
    state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_cause ON "case" (cause, team, opened_at) WHERE cause IS NOT NULL AND
    subject_kind <> 'incident' AND state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_incident ON "case" (incident, state, due_at, id) WHERE incident IS NOT NULL;
CREATE INDEX ix_case_lease ON "case" (lease_expires_at) WHERE state = 'claimed';
CREATE INDEX ix_case_owner_person
    ON "case" (owner_person, team, due_at, id)
    WHERE owner_person IS NOT NULL AND state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_owner_schedule
    ON "case" (owner_schedule, owner_person)
    WHERE owner_schedule IS NOT NULL AND state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_owner_team
    ON "case" (owner_team, team, due_at, id)
    WHERE owner_team IS NOT NULL AND state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_resolved ON "case" (resolved_at) WHERE state = 'resolved';
CREATE INDEX ix_case_team_due
    ON "case" (team, (overdue_since IS NULL), due_at, id)
    WHERE state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_team_queue
    ON "case" (team, queue, due_at, id)
    WHERE state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_team_state ON "case" (team, state, due_at, id) WHERE state <> 'open';
CREATE INDEX ix_case_team_tool
    ON "case" (team, tool, due_at, id)
    WHERE state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_team_trigger
    ON "case" (team, trigger, due_at, id)
    WHERE state IN ('open', 'claimed', 'waiting', 'snoozed');
CREATE INDEX ix_case_tool_resolved ON "case" (tool, resolved_at DESC) WHERE verdict IS NOT NULL;
CREATE INDEX ix_case_tool_state ON "case" (tool, state);

CREATE TABLE case_output (
    case_id BIGINT NOT NULL,
    tool TEXT NOT NULL,
    output_id TEXT NOT NULL,
    model TEXT,
    prompt TEXT,
    kind TEXT,
    value JSONB,
    confidence DOUBLE PRECISION,
    alternatives JSONB,
    input JSONB,
    words TEXT,
    attributes JSONB,
    subject TEXT,
    cohort TEXT,
    failure JSONB,
    condition TEXT,
    CONSTRAINT pk_case_output PRIMARY KEY (case_id),
    CONSTRAINT uq_case_output_tool_output_id UNIQUE (tool, output_id),
    CONSTRAINT fk_case_output_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id),
    CONSTRAINT fk_case_output_tool_tool FOREIGN KEY(tool) REFERENCES tool (slug)
);

CREATE TABLE objection (
    case_id BIGINT NOT NULL,
    correction_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    said JSONB NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    withdrawn_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_objection PRIMARY KEY (case_id, correction_id),
    CONSTRAINT fk_objection_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);
CREATE INDEX ix_objection_actor ON objection (case_id, actor) WHERE withdrawn_at IS NULL;
CREATE INDEX ix_objection_last
    ON objection (case_id, at, correction_id)
    WHERE withdrawn_at IS NULL;

CREATE TABLE own_correction (
    tool TEXT NOT NULL,
    correction_id TEXT NOT NULL,
    output_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    heard_at TIMESTAMP WITH TIME ZONE NOT NULL,
    withdrawn_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_own_correction PRIMARY KEY (tool, correction_id)
);
CREATE INDEX ix_own_correction_actor
    ON own_correction (tool, output_id, actor)
    WHERE withdrawn_at IS NULL;
CREATE INDEX ix_own_correction_heard ON own_correction (heard_at);

CREATE TABLE opinion (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    case_id BIGINT NOT NULL,
    cycle BIGINT NOT NULL,
    reviewer TEXT NOT NULL,
    verdict TEXT NOT NULL,
    value JSONB,
    note TEXT,
    blind BOOLEAN NOT NULL,
    given_at TIMESTAMP WITH TIME ZONE NOT NULL,
    taken_back_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_opinion PRIMARY KEY (id),
    CONSTRAINT ck_opinion_verdict CHECK (verdict IN ('upheld', 'corrected', 'undecidable',
        'not_actionable')),
    CONSTRAINT ck_opinion_corrected CHECK ((verdict = 'corrected') = (value IS NOT NULL)),
    CONSTRAINT fk_opinion_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);
CREATE INDEX ix_opinion_case ON opinion (case_id, cycle, id);
CREATE INDEX ix_opinion_given ON opinion (given_at);
CREATE UNIQUE INDEX uq_opinion_reviewer
    ON opinion (case_id, cycle, reviewer)
    WHERE taken_back_at IS NULL;

CREATE TABLE decider (
    case_id BIGINT NOT NULL,
    cycle BIGINT NOT NULL,
    person TEXT NOT NULL,
    over_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_decider PRIMARY KEY (case_id, cycle, person),
    CONSTRAINT fk_decider_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);

CREATE TABLE timeline_entry (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    case_id BIGINT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    event TEXT NOT NULL,
    actor TEXT NOT NULL,
    note TEXT,
    detail JSONB,
    CONSTRAINT pk_timeline_entry PRIMARY KEY (id),
    CONSTRAINT fk_timeline_entry_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);
CREATE INDEX ix_timeline_entry_case ON timeline_entry (case_id, id);

CREATE TABLE clock_mark (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    case_id BIGINT NOT NULL,
    cycle BIGINT NOT NULL,
    clock TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    runs BOOLEAN NOT NULL,
    CONSTRAINT pk_clock_mark PRIMARY KEY (id),
    CONSTRAINT ck_clock_mark_clock CHECK (clock IN ('claim', 'resolve')),
    CONSTRAINT fk_clock_mark_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);
CREATE INDEX ix_clock_mark_case ON clock_mark (case_id, cycle, clock, id);

CREATE TABLE timer (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    case_id BIGINT NOT NULL,
    cycle BIGINT NOT NULL,
    kind TEXT NOT NULL,
    rung BIGINT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    begun_at TIMESTAMP WITH TIME ZONE,
    fired_at TIMESTAMP WITH TIME ZONE,
    stopped_at TIMESTAMP WITH TIME ZONE,
    failures BIGINT DEFAULT '0' NOT NULL,
    error TEXT,
    parked_until TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_timer PRIMARY KEY (id),
    CONSTRAINT uq_timer_case_id_cycle_kind_rung UNIQUE (case_id, cycle, kind, rung),
    CONSTRAINT ck_timer_kind CHECK (kind IN ('claim', 'resolve', 'rung', 'wake')),
    CONSTRAINT ck_timer_parked CHECK ((failures = 0) = (parked_until IS NULL)),
    CONSTRAINT fk_timer_case_id_case FOREIGN KEY(case_id) REFERENCES "case" (id)
);
CREATE INDEX ix_timer_due
    ON timer (due_at)
    WHERE fired_at IS NULL AND stopped_at IS NULL AND parked_until IS NULL;
CREATE INDEX ix_timer_parked
    ON timer (parked_until)
    WHERE parked_until IS NOT NULL AND fired_at IS NULL AND stopped_at IS NULL;

CREATE TABLE routing_policy (
    revision BIGINT GENERATED ALWAYS AS IDENTITY,
    content TEXT NOT NULL,
    source TEXT NOT NULL,
    put_by TEXT NOT NULL,
    put_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_routing_policy PRIMARY KEY (revision),
    CONSTRAINT ck_routing_policy_source CHECK (source IN ('file', 'command', 'page'))
);

CREATE TABLE assignment_turn (
    rule TEXT NOT NULL,
    person TEXT NOT NULL,
    at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_assignment_turn PRIMARY KEY (rule),
    CONSTRAINT fk_assignment_turn_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
