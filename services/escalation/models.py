"""Cases: who must review what, by when, and what happened so far."""

from datetime import datetime, timedelta
from typing import Any

from secondlook.text import SLUG
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Interval,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.escalation.judgement_models import Decider, Opinion, OwnCorrection
from services.escalation.rules import (
    OPEN_STATES,
    CaseState,
    Clock,
    PolicySource,
    Priority,
    SubjectKind,
    TimerKind,
)
from services.kit.columns import one_of
from services.kit.database import Base, Json
from services.tools.rules import Trigger, VerdictKind

__all__ = [
    "OPEN",
    "Case",
    "CaseOutput",
    "ClockMark",
    "Decider",
    "Objection",
    "Opinion",
    "OwnCorrection",
    "RoutingPolicyRevision",
    "TimelineEntry",
    "Timer",
]

OPEN = "state IN ({})".format(", ".join(f"'{state.value}'" for state in OPEN_STATES))
_OF_DUTY = text(f"owner_schedule IS NOT NULL AND {OPEN}")


class Case(Base):
    """A unit of human work on one subject.

    It keeps the rule that routed it and the ladder that it climbs, frozen at opening, so that
    no later policy is needed to work on it. Owner and claimant are two fields: the one is
    accountable and never absent, the other holds the work for the length of a lease.
    `claim_within` and `resolve_within` are spans as the policy wrote them, counted from the
    beginning of each cycle while their clocks run (`clock_mark`): working time by `calendar`, or
    Monday to Friday in `timezone`. What is due when is kept beside them. A database trigger lets
    a state change only as `rules.TRANSITIONS` has it.
    """

    __tablename__ = "case"
    __table_args__ = (
        UniqueConstraint("subject_kind", "subject_key"),
        one_of("subject_kind", SubjectKind),
        one_of("trigger", Trigger),
        one_of("state", CaseState),
        one_of("priority", Priority),
        one_of("verdict", VerdictKind),
        CheckConstraint(f"queue ~ '{SLUG}'", name="queue"),
        CheckConstraint("num_nonnulls(owner_team, owner_person) = 1", name="owner"),
        CheckConstraint("owner_schedule IS NULL OR owner_person IS NOT NULL", name="duty"),
        CheckConstraint(
            "(state = 'claimed') = (claimant IS NOT NULL AND lease_expires_at IS NOT NULL)",
            name="claimant",
        ),
        CheckConstraint(
            "(state IN ('resolved', 'closed')) ="
            " (verdict IS NOT NULL AND verdict_id IS NOT NULL AND verdict_by IS NOT NULL)",
            name="resolved",
        ),
        CheckConstraint("verdict <> 'corrected' OR verdict_value IS NOT NULL", name="corrected"),
        CheckConstraint(
            "(state IN ('waiting', 'snoozed')) = (paused_since IS NOT NULL"
            " AND wakes_at IS NOT NULL AND pause_reason IS NOT NULL)",
            name="paused",
        ),
        CheckConstraint(
            "state <> 'merged' OR (incident IS NOT NULL AND merged_at IS NOT NULL)", name="merged"
        ),
        CheckConstraint("reviewers BETWEEN 1 AND 3", name="reviewers"),
        CheckConstraint("NOT divided OR (reviewers > 1 AND verdict IS NULL)", name="divided"),
        CheckConstraint("incident <> id AND (incident IS NULL OR children = 0)", name="incident"),
        CheckConstraint(
            "subject_kind <> 'incident' OR (cause IS NOT NULL AND incident IS NULL)",
            name="of_incident",
        ),
        CheckConstraint("wakes_after IS NULL OR state = 'snoozed'", name="wakes_after"),
        CheckConstraint(
            "level >= 0 AND cycle >= 1 AND claim_seq >= 0 AND pauses >= 0 AND children >= 0",
            name="counters",
        ),
        # One for each way in which a list of cases is narrowed, in the order of the list.
        Index(
            "ix_case_team_due",
            "team",
            text("(overdue_since IS NULL)"),
            "due_at",
            "id",
            postgresql_where=text(OPEN),
        ),
        *(
            Index(f"ix_case_team_{name}", "team", name, "due_at", "id", postgresql_where=text(OPEN))
            for name in ("queue", "tool", "trigger")
        ),
        *(
            Index(
                f"ix_case_{name}",
                name,
                "team",
                "due_at",
                "id",
                postgresql_where=text(f"{name} IS NOT NULL AND {OPEN}"),
            )
            for name in ("owner_team", "owner_person")
        ),
        Index(
            "ix_case_owner_schedule", "owner_schedule", "owner_person", postgresql_where=_OF_DUTY
        ),
        Index(
            "ix_case_team_state",
            "team",
            "state",
            "due_at",
            "id",
            postgresql_where=text("state <> 'open'"),
        ),
        Index(
            "ix_case_incident",
            "incident",
            "state",
            "due_at",
            "id",
            postgresql_where=text("incident IS NOT NULL"),
        ),
        # At most one open incident a cause.
        Index(
            "uq_case_open_incident",
            "cause",
            unique=True,
            postgresql_where=text(f"subject_kind = 'incident' AND {OPEN}"),
        ),
        Index(
            "ix_case_cause",
            *("cause", "team", "opened_at"),
            postgresql_where=text(f"cause IS NOT NULL AND subject_kind <> 'incident' AND {OPEN}"),
        ),
        Index("ix_case_claimant", "claimant", postgresql_where=text("claimant IS NOT NULL")),
        Index("ix_case_lease", "lease_expires_at", postgresql_where=text("state = 'claimed'")),
        Index("ix_case_resolved", "resolved_at", postgresql_where=text("state = 'resolved'")),
        Index("ix_case_closed", "closed_at", postgresql_where=text("state = 'closed'")),
        Index("ix_case_tool_state", "tool", "state"),
        Index(
            "ix_case_tool_resolved",
            "tool",
            text("resolved_at DESC"),
            postgresql_where=text("verdict IS NOT NULL"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    subject_kind: Mapped[str]
    subject_key: Mapped[str]
    """Of an output `<tool>/<output_id>`."""
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    trigger: Mapped[str]
    blind: Mapped[bool] = mapped_column(server_default="false")
    reviewers: Mapped[int] = mapped_column(server_default="1")
    """How many people are asked, each without knowing what the tool or the others say."""
    divided: Mapped[bool] = mapped_column(server_default="false")
    """They differ, all of them: a lead settles it."""
    dispute: Mapped[dict[str, Any] | None]
    """The last objection that stands."""
    disputed_by: Mapped[str | None]
    queue: Mapped[str]
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"))
    """Whose people see it."""
    owner_team: Mapped[str | None] = mapped_column(ForeignKey("team.slug"))
    owner_person: Mapped[str | None] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    owner_schedule: Mapped[str | None] = mapped_column(ForeignKey("schedule.slug"))
    """Through whose duty the person owns it: with the duty it goes on to the next one."""
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
    monitored: Mapped[list[Any]] = mapped_column(server_default="[]")
    """What rules that are merely tried would have given it when it was opened."""
    owner_since: Mapped[datetime]
    opened_at: Mapped[datetime]
    cycle_opened_at: Mapped[datetime]
    timezone: Mapped[str]
    calendar: Mapped[str | None] = mapped_column(ForeignKey("calendar.slug"))
    """By which working time counts, where the rule named one."""
    calendar_team: Mapped[str | None] = mapped_column(ForeignKey("team.slug"))
    """Whose calendar it is else: that of the team that the case was opened for."""
    counted_calendar: Mapped[str | None] = mapped_column(ForeignKey("calendar.slug"))
    counted_revision: Mapped[int] = mapped_column(server_default="0")
    """By which calendar, as it was then, what is due was counted last."""
    claim_within: Mapped[str]
    resolve_within: Mapped[str]
    claim_due_at: Mapped[datetime]
    resolve_due_at: Mapped[datetime]
    due_at: Mapped[datetime]
    overdue_since: Mapped[datetime | None]
    paused_since: Mapped[datetime | None]
    wakes_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    pauses: Mapped[int] = mapped_column(server_default="0")
    """How often it was put off, or waited for something."""
    paused_for: Mapped[timedelta] = mapped_column(Interval, server_default="0")
    """How long that was, of those pauses that are over."""
    wakes_after: Mapped[int | None]
    """So many more cases of the same cause end a snooze before its time."""
    verdict: Mapped[str | None]
    verdict_id: Mapped[str | None]
    """The id of the event that told of it."""
    verdict_value: Mapped[Any | None] = mapped_column(Json)
    verdict_by: Mapped[str | None]
    verdict_note: Mapped[str | None]
    resolved_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    """What makes it the same as others, as JSON; absent where it can be part of no incident."""
    incident: Mapped[int | None] = mapped_column(ForeignKey("case.id", ondelete="SET NULL"))
    """The case that it is, or was, merged into."""
    merged_at: Mapped[datetime | None]
    """Since when; kept by its verdict, and gone when it is open by itself again."""
    children: Mapped[int] = mapped_column(server_default="0")
    """How many cases name this one as their `incident`."""
    version: Mapped[int] = mapped_column(server_default="1")


class CaseOutput(Base):
    """The output that a case is about, with its facts; they are absent while it has not come."""

    __tablename__ = "case_output"
    __table_args__ = (UniqueConstraint("tool", "output_id"),)

    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    output_id: Mapped[str]
    model: Mapped[str | None]
    prompt: Mapped[str | None]
    kind: Mapped[str | None]
    value: Mapped[Any | None] = mapped_column(Json)
    confidence: Mapped[float | None]
    alternatives: Mapped[list[Any] | None]
    input: Mapped[dict[str, Any] | None]
    words: Mapped[str | None]
    """The beginning of the input's text, by which similar cases are found."""
    attributes: Mapped[dict[str, Any] | None]
    subject: Mapped[str | None]
    cohort: Mapped[str | None]
    failure: Mapped[dict[str, Any] | None]
    condition: Mapped[str | None]
    """The review condition that asked for it."""


_STANDS = text("withdrawn_at IS NULL")


class Objection(Base):
    """What somebody said against an output that has a case. It counts once, until withdrawn."""

    __tablename__ = "objection"
    __table_args__ = (
        Index("ix_objection_actor", "case_id", "actor", postgresql_where=_STANDS),
        Index("ix_objection_last", "case_id", "at", "correction_id", postgresql_where=_STANDS),
    )

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


class ClockMark(Base):
    """That a case's clock stood from a moment on, or ran again. Rows are only ever added.

    In each cycle both clocks run from its beginning; so these say all that deadlines are made
    of, however often they are counted anew.
    """

    __tablename__ = "clock_mark"
    __table_args__ = (
        one_of("clock", Clock),
        Index("ix_clock_mark_case", "case_id", "cycle", "clock", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    cycle: Mapped[int]
    clock: Mapped[str]
    at: Mapped[datetime]
    runs: Mapped[bool]


class RoutingPolicyRevision(Base):
    """A routing policy as somebody put it into force; the newest one is."""

    __tablename__ = "routing_policy"
    __table_args__ = (one_of("source", PolicySource),)

    revision: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    content: Mapped[str]
    """The YAML."""
    source: Mapped[str]
    put_by: Mapped[str]
    put_at: Mapped[datetime]


class AssignmentTurn(Base):
    """Who was given a case last by a rule that goes round the people of its team."""

    __tablename__ = "assignment_turn"

    rule: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    at: Mapped[datetime]


class Timer(Base):
    """Something that will happen to a case at a time. The key makes "exactly once" a constraint.

    `due_at` follows from the case's spans, its clocks and its calendar; a timer whose clock
    stands is stopped. One that failed is parked: it is tried again at `parked_until`, and holds
    up nobody else's.
    """

    __tablename__ = "timer"
    __table_args__ = (
        UniqueConstraint("case_id", "cycle", "kind", "rung"),
        one_of("kind", TimerKind),
        CheckConstraint("(failures = 0) = (parked_until IS NULL)", name="parked"),
        Index(
            "ix_timer_due",
            "due_at",
            postgresql_where=text(
                "fired_at IS NULL AND stopped_at IS NULL AND parked_until IS NULL"
            ),
        ),
        Index(
            "ix_timer_parked",
            "parked_until",
            postgresql_where=text(
                "parked_until IS NOT NULL AND fired_at IS NULL AND stopped_at IS NULL"
            ),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    cycle: Mapped[int]
    kind: Mapped[str]
    rung: Mapped[int]
    """Which of the ladder, or the number of the reminder past its end, or of the pause that a
    wake timer ends; 0 for a deadline."""
    due_at: Mapped[datetime]
    begun_at: Mapped[datetime | None]
    """From when a reminder counts; a rung and a deadline count from the cycle's beginning."""
    fired_at: Mapped[datetime | None]
    stopped_at: Mapped[datetime | None]
    failures: Mapped[int] = mapped_column(server_default="0")
    error: Mapped[str | None]
    parked_until: Mapped[datetime | None]
