"""Facts about outputs, what people said of them, and the decided truth."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from services.feedback.rules import CorrectionKind, DecidedBy, Disposition
from services.kit.columns import one_of
from services.kit.database import Base, Json
from services.kit.models import NOW
from services.tools.rules import Trigger, VerdictKind


class Output(Base):
    """What a tool returned for one input, and what was decided about it.

    The row is also where an output and its corrections meet: a correction that comes
    first makes the row with `recorded_at` still empty (the output is *awaited*), and the
    primary key makes concurrent halves wait for each other instead of missing each other.
    """

    __tablename__ = "output"
    __table_args__ = (
        one_of("disposition", Disposition),
        one_of("decided_by", DecidedBy),
        one_of("exception", Trigger),
        CheckConstraint(
            "exception IS NULL OR recorded_at IS NOT NULL AND exception NOT IN"
            " ('audit', 'unmatched')",
            name="exception_is_an_output",
        ),
        CheckConstraint(
            "recorded_at IS NULL OR (event_id IS NOT NULL AND digest IS NOT NULL"
            " AND version IS NOT NULL AND disposition IS NOT NULL AND occurred_at IS NOT NULL)",
            name="recorded_whole",
        ),
        CheckConstraint("confidence BETWEEN 0 AND 1", name="confidence"),
        CheckConstraint(
            "inclusion_probability > 0 AND inclusion_probability <= 1",
            name="inclusion_probability",
        ),
        CheckConstraint("NOT audit OR inclusion_probability IS NOT NULL", name="audit"),
        CheckConstraint("(decided_by IS NULL) = (overridden IS NULL)", name="decided"),
        # Of an awaited output, the corrections that await it hold the tool.
        ForeignKeyConstraint(["tool", "version"], ["tool_version.tool", "tool_version.id"]),
        Index("uq_output_event", "tool", "event_id", unique=True),
        Index("ix_output_recorded", "tool", "recorded_at"),
        Index(
            "ix_output_decided",
            "tool",
            "recorded_at",
            "output_id",
            postgresql_where=text("decided_by IS NOT NULL"),
        ),
        Index(
            "ix_output_awaited",
            "awaited_since",
            postgresql_where=text("recorded_at IS NULL AND unmatched_at IS NULL"),
        ),
        Index(
            "ix_output_unmatched",
            "tool",
            "awaited_since",
            postgresql_where=text("recorded_at IS NULL AND unmatched_at IS NOT NULL"),
        ),
    )

    tool: Mapped[str] = mapped_column(primary_key=True)
    output_id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str | None]
    digest: Mapped[bytes | None]
    version: Mapped[int | None]
    """The version of the tool that it is counted under."""
    model: Mapped[str | None]
    prompt: Mapped[str | None]
    subject: Mapped[str | None]
    kind: Mapped[str | None]
    value: Mapped[Any | None] = mapped_column(Json)
    confidence: Mapped[float | None]
    alternatives: Mapped[list[Any] | None]
    input: Mapped[dict[str, Any] | None]
    attributes: Mapped[dict[str, Any] | None]
    cohort: Mapped[str | None]
    latency_ms: Mapped[float | None]
    cost: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    disposition: Mapped[str | None]
    gate_disposition: Mapped[str | None]
    gate_reason: Mapped[str | None]
    condition: Mapped[str | None]
    policy_revision: Mapped[int | None]
    audit: Mapped[bool] = mapped_column(server_default="false")
    inclusion_probability: Mapped[float | None]
    exception: Mapped[str | None]
    """The first trigger that made it an exception."""
    occurred_at: Mapped[datetime | None]
    recorded_at: Mapped[datetime | None]
    awaited_since: Mapped[datetime | None]
    unmatched_at: Mapped[datetime | None]
    """When it was found missing, its corrections having waited for long."""
    sought: Mapped[bool] = mapped_column(server_default="false")
    """Whether a review was requested because it is missing."""
    decided_value: Mapped[Any | None] = mapped_column(Json)
    decided_by: Mapped[str | None]
    decided_at: Mapped[datetime | None]
    overridden: Mapped[bool | None]


class Correction(Base):
    """A person's word on an output: correction, confirmation, dispute or appeal."""

    __tablename__ = "correction"
    __table_args__ = (
        one_of("kind", CorrectionKind),
        Index("ix_correction_output", "tool", "output_id", "recorded_at", "event_id"),
        Index(
            "ix_correction_standing",
            "tool",
            "output_id",
            text("least(occurred_at, recorded_at)"),
            "event_id",  # by its bytes, as Python compares: COLLATE "C" in the migration
            postgresql_where=text(
                "withdrawn_at IS NULL AND kind IN ('correction', 'confirmation')"
            ),
        ),
        Index("ix_correction_recorded", "tool", "recorded_at"),
    )

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes]
    output_id: Mapped[str]
    kind: Mapped[str]
    value: Mapped[Any | None] = mapped_column(Json)
    reason: Mapped[str | None]
    note: Mapped[str | None]
    actor: Mapped[str]
    active_seconds: Mapped[float | None]
    channel: Mapped[str | None]
    occurred_at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=NOW)
    withdrawn_at: Mapped[datetime | None]
    """When it and its withdrawal met; None while it stands."""


class CorrectionBacklog(Base):
    """What was said of one output, where it is too much to be sent on in one transaction."""

    __tablename__ = "correction_backlog"
    __table_args__ = (
        CheckConstraint("trigger IN ('dispute', 'unmatched')", name="trigger"),
        Index("ix_correction_backlog_kept", "kept_at"),
    )

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    output_id: Mapped[str] = mapped_column(primary_key=True)
    trigger: Mapped[str]
    after_at: Mapped[datetime]
    """When the last one that was sent on was recorded, and its event's id."""
    after_id: Mapped[str]
    kept_at: Mapped[datetime] = mapped_column(server_default=NOW)
    """Since when it has waited for its turn; what has waited for longest comes first."""


class Withdrawal(Base):
    """A correction taken back by its author. It may arrive before the correction does."""

    __tablename__ = "withdrawal"
    __table_args__ = (
        Index("ix_withdrawal_correction", "tool", "correction_id", "actor"),
        Index("ix_withdrawal_output", "tool", "output_id"),
    )

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes]
    output_id: Mapped[str]
    correction_id: Mapped[str]
    actor: Mapped[str]
    recorded_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Verdict(Base):
    """A reviewer's verdict on a case, as feedback learned it from the log."""

    __tablename__ = "verdict"
    __table_args__ = (
        one_of("verdict", VerdictKind),
        Index("ix_verdict_output", "tool", "output_id"),
    )

    event_id: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[bytes]
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    output_id: Mapped[str]
    case_id: Mapped[int]
    verdict: Mapped[str]
    value: Mapped[Any | None] = mapped_column(Json)
    actor: Mapped[str]
    blind: Mapped[bool]
    at: Mapped[datetime]
    recorded_at: Mapped[datetime] = mapped_column(server_default=NOW)


class UndoneVerdict(Base):
    """A verdict that was taken back. It may arrive before the verdict does, and counts then too."""

    __tablename__ = "undone_verdict"
    __table_args__ = (Index("ix_undone_verdict_output", "tool", "output_id"),)

    verdict_id: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str]
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    output_id: Mapped[str]
    recorded_at: Mapped[datetime] = mapped_column(server_default=NOW)
