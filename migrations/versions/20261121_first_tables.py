"""First tables.

Revision 0001, after nothing.

The previous release is still running while this one migrates: add before you use, stop
using before you remove.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# An open case's owner is there: nobody becomes one who is not active, and nobody who is one
# stops being active. FOR SHARE makes the two wait for each other.
_OWNERS_STAY = (
    """
CREATE FUNCTION require_active_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.owner_team IS NOT NULL THEN
        PERFORM FROM team WHERE slug = NEW.owner_team AND active FOR SHARE;
    ELSE
        PERFORM FROM person WHERE email = NEW.owner_person AND active FOR SHARE;
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION '% is not active and cannot own a case',
            coalesce(NEW.owner_team, NEW.owner_person)
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owner_is_active';
    END IF;
    RETURN NEW;
END $$""",
    """
CREATE TRIGGER owner_is_active BEFORE INSERT OR UPDATE OF owner_team, owner_person ON "case"
FOR EACH ROW EXECUTE FUNCTION require_active_owner()""",
    """
CREATE FUNCTION refuse_leaving_owner() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM "case" c
        WHERE c.state IN ('open', 'claimed', 'waiting', 'snoozed')
          AND CASE TG_TABLE_NAME WHEN 'person' THEN c.owner_person = to_jsonb(OLD)->>'email'
                                 ELSE c.owner_team = to_jsonb(OLD)->>'slug' END
    ) THEN
        RAISE EXCEPTION 'an owner of open cases cannot leave'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'owner_stays';
    END IF;
    RETURN NEW;
END $$""",
    """
CREATE TRIGGER owner_stays BEFORE UPDATE OF active ON person
FOR EACH ROW WHEN (OLD.active AND NOT NEW.active) EXECUTE FUNCTION refuse_leaving_owner()""",
    """
CREATE TRIGGER owner_stays BEFORE UPDATE OF active ON team
FOR EACH ROW WHEN (OLD.active AND NOT NEW.active) EXECUTE FUNCTION refuse_leaving_owner()""",
)


def _append_only(table: str) -> None:
    """Let the database itself refuse to change or remove what was once written."""
    op.execute(
        f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
        " FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"
    )


def upgrade() -> None:
    op.execute("CREATE SEQUENCE tool_revision")
    op.execute(
        "CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("object_kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column(
            "detail", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_entry")),
    )
    op.create_table(
        "consumer_offset",
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("start_offset", sa.BigInteger(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("attempted_offset", sa.BigInteger(), server_default="-1", nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "progressed_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("next_offset >= start_offset", name=op.f("ck_consumer_offset_forward")),
        sa.PrimaryKeyConstraint("consumer", "topic", "partition", name=op.f("pk_consumer_offset")),
    )
    op.create_table(
        "dead_letter",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "headers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("tool", sa.Text(), nullable=True),
        sa.Column("parked", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column(
            "problems", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retried_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dead_letter")),
        sa.UniqueConstraint(
            "consumer",
            "topic",
            "partition",
            "offset",
            name=op.f("uq_dead_letter_consumer_topic_partition_offset"),
        ),
    )
    op.create_index(
        "ix_dead_letter_open",
        "dead_letter",
        ["id"],
        unique=False,
        postgresql_where=sa.text("retried_at IS NULL"),
    )
    op.create_table(
        "hourly_count",
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("hour", sa.DateTime(timezone=True), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("shard", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "measure", "tool", "hour", "version", "label", "shard", name=op.f("pk_hourly_count")
        ),
    )
    op.create_table(
        "idempotency_key",
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request_digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.BigInteger(), nullable=False),
        sa.Column(
            "body", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("actor", "key", name=op.f("pk_idempotency_key")),
    )
    op.create_index(
        op.f("ix_idempotency_key_created_at"), "idempotency_key", ["created_at"], unique=False
    )
    op.create_table(
        "log_gap",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("consumer", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.BigInteger(), nullable=False),
        sa.Column("first_missing", sa.BigInteger(), nullable=False),
        sa.Column("next_present", sa.BigInteger(), nullable=False),
        sa.Column(
            "found_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_gap")),
        sa.UniqueConstraint(
            "consumer",
            "topic",
            "partition",
            "first_missing",
            name=op.f("uq_log_gap_consumer_topic_partition_first_missing"),
        ),
    )
    op.create_table(
        "log_member",
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("member", sa.Text(), nullable=False),
        sa.Column(
            "heartbeat_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("consumer_group", "member", name=op.f("pk_log_member")),
    )
    op.create_table(
        "log_partition",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("first_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("next_offset", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "appended_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "first_offset >= 0 AND first_offset <= next_offset",
            name=op.f("ck_log_partition_bounds"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_partition")),
        sa.UniqueConstraint("topic", "number", name=op.f("uq_log_partition_topic_number")),
    )
    op.create_table(
        "log_record",
        sa.Column("partition_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("offset", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "headers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "appended_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("partition_id", "offset", name=op.f("pk_log_record")),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column(
            "headers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(
        "ix_outbox_unsent",
        "outbox",
        ["id"],
        unique=False,
        postgresql_where=sa.text("sent_at IS NULL"),
    )
    op.create_table(
        "person",
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "email = lower(email) AND email LIKE '%%_@_%%'", name=op.f("ck_person_email")
        ),
        sa.CheckConstraint(
            "role IN ('rep', 'owner', 'ops', 'lead', 'admin', 'auditor')",
            name=op.f("ck_person_role"),
        ),
        sa.PrimaryKeyConstraint("email", name=op.f("pk_person")),
    )
    op.create_table(
        "rate_bucket",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("tokens", sa.Double(), nullable=False),
        sa.Column(
            "refilled_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_rate_bucket")),
    )
    op.create_table(
        "team",
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="true", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_team_slug")),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_team")),
    )
    op.create_table(
        "total_count",
        sa.Column("measure", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("shard", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "measure", "tool", "version", "label", "shard", name=op.f("pk_total_count")
        ),
    )
    op.create_table(
        "membership",
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person"],
            ["person.email"],
            name=op.f("fk_membership_person_person"),
            onupdate="CASCADE",
        ),
        sa.ForeignKeyConstraint(["team"], ["team.slug"], name=op.f("fk_membership_team_team")),
        sa.PrimaryKeyConstraint("person", "team", name=op.f("pk_membership")),
    )
    op.create_index(op.f("ix_membership_team"), "membership", ["team"], unique=False)
    op.create_table(
        "personal_token",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["person.email"],
            name=op.f("fk_personal_token_person_person"),
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_personal_token")),
        sa.UniqueConstraint("hash", name=op.f("uq_personal_token_hash")),
    )
    op.create_index(op.f("ix_personal_token_person"), "personal_token", ["person"], unique=False)
    op.create_table(
        "sign_in",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column("csrf_token", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"], ["person.email"], name=op.f("fk_sign_in_person_person"), onupdate="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sign_in")),
    )
    op.create_index(op.f("ix_sign_in_person"), "sign_in", ["person"], unique=False)
    op.create_table(
        "sign_in_link",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("person", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["person"],
            ["person.email"],
            name=op.f("fk_sign_in_link_person_person"),
            onupdate="CASCADE",
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_sign_in_link")),
    )
    op.create_index(op.f("ix_sign_in_link_person"), "sign_in_link", ["person"], unique=False)
    op.create_table(
        "tool",
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("maturity_seconds", sa.BigInteger(), nullable=False),
        sa.Column(
            "revision",
            sa.BigInteger(),
            server_default=sa.text("nextval('tool_revision')"),
            nullable=False,
        ),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('category', 'text', 'flag', 'fields')", name=op.f("ck_tool_kind")
        ),
        sa.CheckConstraint("slug ~ '^[a-z0-9][a-z0-9-]{0,62}$'", name=op.f("ck_tool_slug")),
        sa.CheckConstraint("maturity_seconds >= 0", name=op.f("ck_tool_maturity")),
        sa.ForeignKeyConstraint(["team"], ["team.slug"], name=op.f("fk_tool_team_team")),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_tool")),
        sa.UniqueConstraint("revision", name=op.f("uq_tool_revision")),
    )
    op.create_index(op.f("ix_tool_team"), "tool", ["team"], unique=False)
    op.create_table(
        "api_key",
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("slot IN (1, 2)", name=op.f("ck_api_key_slot")),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_api_key_tool_tool")),
        sa.PrimaryKeyConstraint("prefix", name=op.f("pk_api_key")),
    )
    op.create_index(
        "uq_api_key_live_slot",
        "api_key",
        ["tool", "slot"],
        unique=True,
        postgresql_where=sa.text("revoked_at IS NULL"),
    )
    op.create_table(
        "case",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.Column("tool_version", sa.Text(), nullable=False),
        sa.Column("trigger", sa.Text(), nullable=False),
        sa.Column("exception_trigger", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column(
            "value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column(
            "alternatives",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column(
            "input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "attributes", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("blind", sa.Boolean(), server_default="false", nullable=False),
        sa.Column(
            "dispute", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("disputed_by", sa.Text(), nullable=True),
        sa.Column("queue", sa.Text(), nullable=False),
        sa.Column("team", sa.Text(), nullable=False),
        sa.Column("owner_team", sa.Text(), nullable=True),
        sa.Column("owner_person", sa.Text(), nullable=True),
        sa.Column("claimant", sa.Text(), nullable=True),
        sa.Column("claim_seq", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("claimed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False),
        sa.Column("cycle", sa.BigInteger(), server_default="1", nullable=False),
        sa.Column("level", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("priority", sa.Text(), nullable=False),
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("routing_revision", sa.Text(), nullable=False),
        sa.Column(
            "ladder", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False
        ),
        sa.Column("owner_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cycle_opened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claim_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolve_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("overdue_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column(
            "verdict_value",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("verdict_by", sa.Text(), nullable=True),
        sa.Column("verdict_note", sa.Text(), nullable=True),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("closed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("version", sa.BigInteger(), server_default="1", nullable=False),
        sa.CheckConstraint(
            "(state = 'claimed') = (claimant IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name=op.f("ck_case_claimant"),
        ),
        sa.CheckConstraint(
            "exception_trigger <> 'audit'", name=op.f("ck_case_audit_is_no_exception")
        ),
        sa.CheckConstraint(
            "exception_trigger IN ('low_confidence', 'dispute', 'tool_failure', 'policy', 'audit', 'unmatched')",
            name=op.f("ck_case_exception_trigger"),
        ),
        sa.CheckConstraint("priority IN ('P1', 'P2', 'P3', 'P4')", name=op.f("ck_case_priority")),
        sa.CheckConstraint(
            "state IN ('open', 'claimed', 'waiting', 'snoozed', 'resolved', 'closed', 'merged')",
            name=op.f("ck_case_state"),
        ),
        sa.CheckConstraint(
            "state NOT IN ('resolved', 'closed') OR verdict IS NOT NULL",
            name=op.f("ck_case_resolved"),
        ),
        sa.CheckConstraint(
            "trigger IN ('low_confidence', 'dispute', 'tool_failure', 'policy', 'audit', 'unmatched')",
            name=op.f("ck_case_trigger"),
        ),
        sa.CheckConstraint(
            "verdict <> 'corrected' OR verdict_value IS NOT NULL", name=op.f("ck_case_corrected")
        ),
        sa.CheckConstraint(
            "verdict IN ('upheld', 'corrected', 'undecidable', 'not_actionable')",
            name=op.f("ck_case_verdict"),
        ),
        sa.CheckConstraint(
            "level >= 0 AND cycle >= 1 AND claim_seq >= 0", name=op.f("ck_case_counters")
        ),
        sa.CheckConstraint(
            "num_nonnulls(owner_team, owner_person) = 1", name=op.f("ck_case_owner")
        ),
        sa.ForeignKeyConstraint(
            ["claimant"], ["person.email"], name=op.f("fk_case_claimant_person"), onupdate="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["owner_person"],
            ["person.email"],
            name=op.f("fk_case_owner_person_person"),
            onupdate="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["owner_team"], ["team.slug"], name=op.f("fk_case_owner_team_team")
        ),
        sa.ForeignKeyConstraint(["team"], ["team.slug"], name=op.f("fk_case_team_team")),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_case_tool_tool")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_case")),
        sa.UniqueConstraint("tool", "output_id", name=op.f("uq_case_tool_output_id")),
    )
    op.create_index(
        "ix_case_claimant",
        "case",
        ["claimant"],
        unique=False,
        postgresql_where=sa.text("claimant IS NOT NULL"),
    )
    op.create_index(
        "ix_case_due",
        "case",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.create_index(
        "ix_case_lease",
        "case",
        ["lease_expires_at"],
        unique=False,
        postgresql_where=sa.text("state = 'claimed'"),
    )
    op.create_index(
        "ix_case_person_due",
        "case",
        ["owner_person", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.create_index(
        "ix_case_queue",
        "case",
        ["queue"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.create_index(
        "ix_case_resolved",
        "case",
        ["resolved_at"],
        unique=False,
        postgresql_where=sa.text("state = 'resolved'"),
    )
    op.create_index(
        "ix_case_team_due",
        "case",
        ["team", "due_at", "id"],
        unique=False,
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.create_table(
        "correction",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column(
            "value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("active_seconds", sa.Double(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "kind IN ('correction', 'confirmation', 'dispute', 'appeal')",
            name=op.f("ck_correction_kind"),
        ),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_correction_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "event_id", name=op.f("pk_correction")),
    )
    op.create_index("ix_correction_output", "correction", ["tool", "output_id"], unique=False)
    op.create_index("ix_correction_recorded", "correction", ["tool", "recorded_at"], unique=False)
    op.create_table(
        "gate_policy",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column(
            "category_thresholds",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'{}'"),
            nullable=False,
        ),
        sa.Column("audit_rate", sa.Double(), nullable=False),
        sa.Column("holdout_rate", sa.Double(), nullable=False),
        sa.Column("sampling_key", sa.Text(), nullable=False),
        sa.Column(
            "effective_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.CheckConstraint(
            "state IN ('live', 'shadow', 'fallback', 'stopped')", name=op.f("ck_gate_policy_state")
        ),
        sa.CheckConstraint("audit_rate BETWEEN 0 AND 1", name=op.f("ck_gate_policy_audit_rate")),
        sa.CheckConstraint(
            "holdout_rate BETWEEN 0 AND 1", name=op.f("ck_gate_policy_holdout_rate")
        ),
        sa.CheckConstraint("threshold BETWEEN 0 AND 1", name=op.f("ck_gate_policy_threshold")),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_gate_policy_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "revision", name=op.f("pk_gate_policy")),
    )
    op.create_table(
        "output",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column(
            "value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("confidence", sa.Double(), nullable=True),
        sa.Column(
            "alternatives",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column(
            "input", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "attributes", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("cohort", sa.Text(), nullable=True),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column(
            "cost", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column(
            "failure", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("disposition", sa.Text(), nullable=True),
        sa.Column("gate_reason", sa.Text(), nullable=True),
        sa.Column("policy_revision", sa.BigInteger(), nullable=True),
        sa.Column("audit", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("inclusion_probability", sa.Double(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("awaited_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("unmatched_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "decided_value",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            nullable=True,
        ),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("overridden", sa.Boolean(), nullable=True),
        sa.CheckConstraint(
            "decided_by IN ('correction', 'confirmation', 'verdict')",
            name=op.f("ck_output_decided_by"),
        ),
        sa.CheckConstraint(
            "disposition IN ('proceed', 'review', 'fallback', 'stop')",
            name=op.f("ck_output_disposition"),
        ),
        sa.CheckConstraint(
            "(decided_by IS NULL) = (overridden IS NULL)", name=op.f("ck_output_decided")
        ),
        sa.CheckConstraint(
            "NOT audit OR inclusion_probability IS NOT NULL", name=op.f("ck_output_audit")
        ),
        sa.CheckConstraint("confidence BETWEEN 0 AND 1", name=op.f("ck_output_confidence")),
        sa.CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name=op.f("ck_output_inclusion_probability"),
        ),
        sa.CheckConstraint(
            "recorded_at IS NULL OR (event_id IS NOT NULL AND digest IS NOT NULL AND version IS NOT NULL AND disposition IS NOT NULL AND occurred_at IS NOT NULL)",
            name=op.f("ck_output_recorded_whole"),
        ),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_output_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "output_id", name=op.f("pk_output")),
    )
    op.create_index(
        "ix_output_awaited",
        "output",
        ["awaited_since"],
        unique=False,
        postgresql_where=sa.text("recorded_at IS NULL"),
    )
    op.create_index("ix_output_recorded", "output", ["tool", "recorded_at"], unique=False)
    op.create_index("uq_output_event", "output", ["tool", "event_id"], unique=True)
    op.create_table(
        "taxonomy",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_taxonomy_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "revision", name=op.f("pk_taxonomy")),
    )
    op.create_table(
        "tool_version",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column(
            "first_seen_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_tool_version_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "version", name=op.f("pk_tool_version")),
    )
    op.create_table(
        "verdict",
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column(
            "value", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("blind", sa.Boolean(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "verdict IN ('upheld', 'corrected', 'undecidable', 'not_actionable')",
            name=op.f("ck_verdict_verdict"),
        ),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_verdict_tool_tool")),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_verdict")),
    )
    op.create_index("ix_verdict_output", "verdict", ["tool", "output_id"], unique=False)
    op.create_table(
        "withdrawal",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("output_id", sa.Text(), nullable=False),
        sa.Column("correction_id", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column(
            "recorded_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["tool"], ["tool.slug"], name=op.f("fk_withdrawal_tool_tool")),
        sa.PrimaryKeyConstraint("tool", "event_id", name=op.f("pk_withdrawal")),
    )
    op.create_index(
        "ix_withdrawal_correction", "withdrawal", ["tool", "correction_id"], unique=False
    )
    op.create_table(
        "category",
        sa.Column("tool", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tool", "revision"],
            ["taxonomy.tool", "taxonomy.revision"],
            name=op.f("fk_category_tool_revision_taxonomy"),
        ),
        sa.PrimaryKeyConstraint("tool", "revision", "name", name=op.f("pk_category")),
        sa.UniqueConstraint(
            "tool", "revision", "position", name=op.f("uq_category_tool_revision_position")
        ),
    )
    op.create_table(
        "timeline_entry",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("event", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column(
            "detail", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True
        ),
        sa.ForeignKeyConstraint(
            ["case_id"], ["case.id"], name=op.f("fk_timeline_entry_case_id_case")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline_entry")),
    )
    op.create_index("ix_timeline_entry_case", "timeline_entry", ["case_id", "id"], unique=False)
    op.create_table(
        "timer",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("case_id", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.BigInteger(), nullable=False),
        sa.Column("clock", sa.Text(), nullable=False),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("clock IN ('claim', 'resolve', 'rung')", name=op.f("ck_timer_clock")),
        sa.ForeignKeyConstraint(["case_id"], ["case.id"], name=op.f("fk_timer_case_id_case")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timer")),
        sa.UniqueConstraint(
            "case_id", "cycle", "clock", "step", name=op.f("uq_timer_case_id_cycle_clock_step")
        ),
    )
    op.create_index(
        "ix_timer_due",
        "timer",
        ["due_at"],
        unique=False,
        postgresql_where=sa.text("fired_at IS NULL AND stopped_at IS NULL"),
    )
    _append_only("timeline_entry")
    _append_only("audit_entry")
    for statement in _OWNERS_STAY:
        op.execute(statement)


def downgrade() -> None:
    op.drop_index(
        "ix_timer_due",
        table_name="timer",
        postgresql_where=sa.text("fired_at IS NULL AND stopped_at IS NULL"),
    )
    op.drop_table("timer")
    op.drop_index("ix_timeline_entry_case", table_name="timeline_entry")
    op.drop_table("timeline_entry")
    op.drop_table("category")
    op.drop_index("ix_withdrawal_correction", table_name="withdrawal")
    op.drop_table("withdrawal")
    op.drop_index("ix_verdict_output", table_name="verdict")
    op.drop_table("verdict")
    op.drop_table("tool_version")
    op.drop_table("taxonomy")
    op.drop_index("uq_output_event", table_name="output")
    op.drop_index("ix_output_recorded", table_name="output")
    op.drop_index(
        "ix_output_awaited", table_name="output", postgresql_where=sa.text("recorded_at IS NULL")
    )
    op.drop_table("output")
    op.drop_table("gate_policy")
    op.drop_index("ix_correction_recorded", table_name="correction")
    op.drop_index("ix_correction_output", table_name="correction")
    op.drop_table("correction")
    op.drop_index(
        "ix_case_team_due",
        table_name="case",
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.drop_index(
        "ix_case_resolved", table_name="case", postgresql_where=sa.text("state = 'resolved'")
    )
    op.drop_index(
        "ix_case_queue",
        table_name="case",
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.drop_index(
        "ix_case_person_due",
        table_name="case",
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.drop_index("ix_case_lease", table_name="case", postgresql_where=sa.text("state = 'claimed'"))
    op.drop_index(
        "ix_case_due",
        table_name="case",
        postgresql_where=sa.text("state IN ('open', 'claimed', 'waiting', 'snoozed')"),
    )
    op.drop_index(
        "ix_case_claimant", table_name="case", postgresql_where=sa.text("claimant IS NOT NULL")
    )
    op.drop_table("case")
    op.drop_index(
        "uq_api_key_live_slot", table_name="api_key", postgresql_where=sa.text("revoked_at IS NULL")
    )
    op.drop_table("api_key")
    op.drop_index(op.f("ix_tool_team"), table_name="tool")
    op.drop_table("tool")
    op.drop_index(op.f("ix_sign_in_link_person"), table_name="sign_in_link")
    op.drop_table("sign_in_link")
    op.drop_index(op.f("ix_sign_in_person"), table_name="sign_in")
    op.drop_table("sign_in")
    op.drop_index(op.f("ix_personal_token_person"), table_name="personal_token")
    op.drop_table("personal_token")
    op.drop_index(op.f("ix_membership_team"), table_name="membership")
    op.drop_table("membership")
    op.drop_table("total_count")
    op.drop_table("team")
    op.drop_table("rate_bucket")
    op.drop_table("person")
    op.drop_index(
        "ix_outbox_unsent", table_name="outbox", postgresql_where=sa.text("sent_at IS NULL")
    )
    op.drop_table("outbox")
    op.drop_table("log_record")
    op.drop_table("log_partition")
    op.drop_table("log_member")
    op.drop_table("log_gap")
    op.drop_index(op.f("ix_idempotency_key_created_at"), table_name="idempotency_key")
    op.drop_table("idempotency_key")
    op.drop_table("hourly_count")
    op.drop_index(
        "ix_dead_letter_open",
        table_name="dead_letter",
        postgresql_where=sa.text("retried_at IS NULL"),
    )
    op.drop_table("dead_letter")
    op.drop_table("consumer_offset")
    op.drop_table("audit_entry")
    op.execute("DROP FUNCTION refuse_change()")
    op.execute("DROP FUNCTION require_active_owner()")
    op.execute("DROP FUNCTION refuse_leaving_owner()")
    op.execute("DROP SEQUENCE tool_revision")
