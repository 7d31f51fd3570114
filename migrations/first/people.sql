CREATE TABLE calendar (
    slug TEXT NOT NULL,
    document JSONB NOT NULL,
    revision BIGINT DEFAULT '1' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_calendar PRIMARY KEY (slug),
    CONSTRAINT ck_calendar_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$')
);

CREATE TABLE person (
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    password_hash TEXT,
    active BOOLEAN DEFAULT 'true' NOT NULL,
    calendar TEXT,
    manager TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_person PRIMARY KEY (email),
    CONSTRAINT ck_person_email CHECK (email = lower(email) AND email LIKE '%%_@_%%'),
    CONSTRAINT ck_person_role CHECK (role IN ('rep', 'owner', 'ops', 'lead', 'admin', 'auditor')),
    CONSTRAINT ck_person_manager CHECK (manager <> email),
    CONSTRAINT fk_person_calendar_calendar FOREIGN KEY(calendar) REFERENCES calendar (slug),
    CONSTRAINT fk_person_manager_person FOREIGN KEY(manager) REFERENCES person (email) ON UPDATE
        CASCADE
);

CREATE TABLE team (
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    active BOOLEAN DEFAULT 'true' NOT NULL,
    calendar TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_team PRIMARY KEY (slug),
    CONSTRAINT ck_team_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT fk_team_calendar_calendar FOREIGN KEY(calendar) REFERENCES calendar (slug)
);

CREATE TABLE membership (
    person TEXT NOT NULL,
    team TEXT NOT NULL,
    CONSTRAINT pk_membership PRIMARY KEY (person, team),
    CONSTRAINT fk_membership_person_person FOREIGN KEY(person) REFERENCES person (email) ON UPDATE
        CASCADE,
    CONSTRAINT fk_membership_team_team FOREIGN KEY(team) REFERENCES team (slug)
);
CREATE INDEX ix_membership_team ON membership (team);

CREATE TABLE person_skill (
    person TEXT NOT NULL,
    skill TEXT NOT NULL,
    CONSTRAINT pk_person_skill PRIMARY KEY (person, skill),
    CONSTRAINT ck_person_skill_skill CHECK (skill ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT fk_person_skill_person_person FOREIGN KEY(person) REFERENCES person (email) ON UPDATE
        CASCADE
);

CREATE TABLE schedule (
    slug TEXT NOT NULL,
    team TEXT NOT NULL,
    document JSONB NOT NULL,
    revision BIGINT DEFAULT '1' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_schedule PRIMARY KEY (slug),
    CONSTRAINT ck_schedule_slug CHECK (slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
    CONSTRAINT fk_schedule_team_team FOREIGN KEY(team) REFERENCES team (slug)
);
CREATE INDEX ix_schedule_team ON schedule (team);

CREATE TABLE schedule_override (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    schedule TEXT NOT NULL,
    person TEXT NOT NULL,
    begins_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_schedule_override PRIMARY KEY (id),
    CONSTRAINT ck_schedule_override_span CHECK (begins_at < ends_at),
    CONSTRAINT fk_schedule_override_schedule_schedule FOREIGN KEY(schedule) REFERENCES schedule (slug),
    CONSTRAINT fk_schedule_override_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
CREATE INDEX ix_schedule_override_schedule_ends_at ON schedule_override (schedule, ends_at);

CREATE TABLE absence (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    person TEXT NOT NULL,
    begins_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ends_at TIMESTAMP WITH TIME ZONE NOT NULL,
    stand_in TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_absence PRIMARY KEY (id),
    CONSTRAINT ck_absence_span CHECK (begins_at < ends_at),
    CONSTRAINT ck_absence_stand_in CHECK (stand_in <> person),
    CONSTRAINT fk_absence_person_person FOREIGN KEY(person) REFERENCES person (email) ON UPDATE
        CASCADE,
    CONSTRAINT fk_absence_stand_in_person FOREIGN KEY(stand_in) REFERENCES person (email) ON UPDATE
        CASCADE
);
CREATE INDEX ix_absence_person_ends_at ON absence (person, ends_at);
CREATE INDEX ix_absence_ends_at ON absence (ends_at);

CREATE TABLE feed_token (
    hash BYTEA NOT NULL,
    person TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_feed_token PRIMARY KEY (hash),
    CONSTRAINT fk_feed_token_person_person FOREIGN KEY(person) REFERENCES person (email) ON UPDATE
        CASCADE
);
CREATE UNIQUE INDEX ix_feed_token_live ON feed_token (person) WHERE revoked_at IS NULL;

CREATE TABLE personal_token (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    person TEXT NOT NULL,
    hash BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    revoked_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_personal_token PRIMARY KEY (id),
    CONSTRAINT fk_personal_token_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE,
    CONSTRAINT uq_personal_token_hash UNIQUE (hash)
);
CREATE INDEX ix_personal_token_person ON personal_token (person);

CREATE TABLE sign_in (
    hash BYTEA NOT NULL,
    person TEXT NOT NULL,
    csrf_token TEXT NOT NULL,
    how TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_sign_in PRIMARY KEY (hash),
    CONSTRAINT fk_sign_in_person_person FOREIGN KEY(person) REFERENCES person (email) ON UPDATE
        CASCADE
);
CREATE INDEX ix_sign_in_person ON sign_in (person);

CREATE TABLE sign_in_link (
    hash BYTEA NOT NULL,
    person TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_sign_in_link PRIMARY KEY (hash),
    CONSTRAINT fk_sign_in_link_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
CREATE INDEX ix_sign_in_link_person ON sign_in_link (person);

CREATE TABLE known_device (
    hash BYTEA NOT NULL,
    person TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_known_device PRIMARY KEY (hash),
    CONSTRAINT fk_known_device_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
CREATE INDEX ix_known_device_person ON known_device (person);

CREATE TABLE push_device (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    person TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    p256dh TEXT NOT NULL,
    auth TEXT NOT NULL,
    browser TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    last_error TEXT,
    CONSTRAINT pk_push_device PRIMARY KEY (id),
    CONSTRAINT uq_push_device_endpoint UNIQUE (endpoint),
    CONSTRAINT ck_push_device_endpoint CHECK (length(endpoint) <= 2000),
    CONSTRAINT fk_push_device_person_person FOREIGN KEY(person) REFERENCES person (email) ON
        UPDATE CASCADE
);
CREATE INDEX ix_push_device_person ON push_device (person);
