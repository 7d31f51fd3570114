"""Cases: who must judge which output, by when, and what happened so far."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.escalation.rules import CaseState, Clock, Priority, Trigger
from services.kit.columns import one_of
from services.kit.database import Base, Json
from services.tools.rules import VerdictKind

_OPEN = "state IN ('open', 'claimed', 'waiting', 'snoozed')"


class Case(Base):
    """A unit of human work on one output.

    It keeps a copy of the output's facts, the rule that routed it and the ladder that it
    climbs, all frozen at opening, so that neither the output's room nor a later policy is
    needed to work on it. Owner and claimant are two fields: the one is accountable and
    never absent, the other holds the work for the length of a lease. `claim_within` is the time
    to claim as it was at opening; `claim_due_at` moves on while somebody holds the case.
    """

    __tablename__ = "case"
    __table_args__ = (
        UniqueConstraint("tool", "output_id"),
        one_of("trigger", Trigger),
        one_of("exception_trigger", Trigger),
        one_of("state", CaseState),
        one_of("priority", Priority),
        one_of("verdict", VerdictKind),
        CheckConstraint("num_nonnulls(owner_team, owner_person) = 1", name="owner"),
        CheckConstraint("exception_trigger <> 'audit'", name="audit_is_no_exception"),
        CheckConstraint(
            "(state = 'claimed') = (claimant IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name="claimant",
        ),
        CheckConstraint(
            "state NOT IN ('resolved', 'closed') OR verdict IS NOT NULL", name="resolved"
        ),
        CheckConstraint("verdict <> 'corrected' OR verdict_value IS NOT NULL", name="corrected"),
        CheckConstraint("level >= 0 AND cycle >= 1 AND claim_seq >= 0", name="counters"),
        Index(
            "ix_case_awaiting",
            "tool",
            "output_id",
            postgresql_where=text("trigger = 'unmatched' AND kind IS NULL"),
        ),
        Index("ix_case_due", "due_at", "id", postgresql_where=text(_OPEN)),
        Index("ix_case_team_due", "team", "due_at", "id", postgresql_where=text(_OPEN)),
        Index("ix_case_person_due", "owner_person", "due_at", "id", postgresql_where=text(_OPEN)),
        Index("ix_case_queue", "queue", postgresql_where=text(_OPEN)),
        Index("ix_case_claimant", "claimant", postgresql_where=text("claimant IS NOT NULL")),
        Index("ix_case_lease", "lease_expires_at", postgresql_where=text("state = 'claimed'")),
        Index("ix_case_resolved", "resolved_at", postgresql_where=text("state = 'resolved'")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    output_id: Mapped[str]
    tool_version: Mapped[str]
    trigger: Mapped[str]
    exception_trigger: Mapped[str | None]
    kind: Mapped[str | None]
    value: Mapped[Any | None] = mapped_column(Json)
    confidence: Mapped[float | None]
    alternatives: Mapped[list[Any] | None]
    input: Mapped[dict[str, Any] | None]
    attributes: Mapped[dict[str, Any] | None]
    subject: Mapped[str | None]
    failure: Mapped[dict[str, Any] | None]
    blind: Mapped[bool] = mapped_column(server_default="false")
    dispute: Mapped[dict[str, Any] | None]
    disputed_by: Mapped[str | None]
    queue: Mapped[str]
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"))
    owner_team: Mapped[str | None] = mapped_column(ForeignKey("team.slug"))
    owner_person: Mapped[str | None] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    claimant: Mapped[str | None] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    claim_seq: Mapped[int] = mapped_column(server_default="0")
    claimed_at: Mapped[datetime | None]
    lease_expires_at: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(server_default=CaseState.OPEN.value)
    cycle: Mapped[int] = mapped_column(server_default="1")
    level: Mapped[int] = mapped_column(server_default="0")
    priority: Mapped[str]
    rule: Mapped[str]
    routing_revision: Mapped[str]
    ladder: Mapped[list[Any]]
    owner_since: Mapped[datetime]
    opened_at: Mapped[datetime]
    cycle_opened_at: Mapped[datetime]
    claim_within: Mapped[timedelta | None]
    claim_due_at: Mapped[datetime]
    resolve_due_at: Mapped[datetime]
    due_at: Mapped[datetime]
    overdue_since: Mapped[datetime | None]
    verdict: Mapped[str | None]
    verdict_value: Mapped[Any | None] = mapped_column(Json)
    verdict_by: Mapped[str | None]
    verdict_note: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    version: Mapped[int] = mapped_column(server_default="1")


class Objection(Base):
    """What somebody said against an output that has a case. It counts once, until withdrawn."""

    __tablename__ = "objection"

    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    correction_id: Mapped[str] = mapped_column(primary_key=True)
    actor: Mapped[str]
    said: Mapped[dict[str, Any]]
    at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class TimelineEntry(Base):
    """Something that happened to a case. Rows are only ever added; the database sees to it."""

    __tablename__ = "timeline_entry"
    __table_args__ = (Index("ix_timeline_entry_case", "case_id", "id"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    at: Mapped[datetime]
    event: Mapped[str]
    actor: Mapped[str]
    note: Mapped[str | None]
    detail: Mapped[dict[str, Any] | None]


class Timer(Base):
    """A step that will fire at a time. The key makes "exactly once" a constraint.

    A stopped timer keeps its remainder (`due_at - stopped_at`) and goes on with it.
    """

    __tablename__ = "timer"
    __table_args__ = (
        UniqueConstraint("case_id", "cycle", "clock", "step"),
        one_of("clock", Clock),
        Index(
            "ix_timer_due",
            "due_at",
            postgresql_where=text("fired_at IS NULL AND stopped_at IS NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    cycle: Mapped[int]
    clock: Mapped[str]
    step: Mapped[int]
    due_at: Mapped[datetime]
    fired_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
