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
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_person PRIMARY KEY (email),
    CONSTRAINT ck_person_email CHECK (email = lower(email) AND email LIKE '%%_@_%%'),
    CONSTRAINT ck_person_role CHECK (role IN ('rep', 'owner', 'ops', 'lead', 'admin', 'auditor'))
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
