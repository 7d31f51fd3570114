"""Tools: their gate policies, taxonomies, versions and keys."""

from datetime import datetime
from typing import Any

from secondlook.text import SLUG
from sqlalchemy import (
    ARRAY,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Sequence,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.columns import one_of
from services.kit.database import Base
from services.kit.models import NOW
from services.tools.rules import OutputKind, ToolState

# Rises with every change to any tool, so that a process can ask "has anything changed?"
# with one number.
tool_revision = Sequence("tool_revision", metadata=Base.metadata)


class Tool(Base):
    """A deployed AI system. Its gate policy and taxonomy are the newest rows of theirs."""

    __tablename__ = "tool"
    __table_args__ = (
        CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),
        CheckConstraint("maturity_seconds >= 0", name="maturity"),
        one_of("kind", OutputKind),
        UniqueConstraint("revision"),
    )

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"), index=True)
    maturity_seconds: Mapped[int]
    matured_since: Mapped[datetime | None]
    """What was recorded before stays mature, whatever the maturity becomes."""
    revision: Mapped[int] = mapped_column(server_default=tool_revision.next_value())
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class GatePolicy(Base):
    """One revision of what a tool's gate goes by. Never changed, only followed by the next."""

    __tablename__ = "gate_policy"
    __table_args__ = (
        one_of("state", ToolState),
        CheckConstraint("threshold BETWEEN 0 AND 1", name="threshold"),
        CheckConstraint("audit_rate BETWEEN 0 AND 1", name="audit_rate"),
        CheckConstraint("holdout_rate BETWEEN 0 AND 1", name="holdout_rate"),
        CheckConstraint("max_stale_seconds >= 60", name="max_stale_seconds"),
        ForeignKeyConstraint(["tool", "taxonomy"], ["taxonomy.tool", "taxonomy.revision"]),
    )

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    threshold: Mapped[float]
    category_thresholds: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    audit_rate: Mapped[float]
    holdout_rate: Mapped[float]
    review_when: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    max_stale_seconds: Mapped[int | None]
    taxonomy: Mapped[int | None]
    """The revision of the taxonomy whose categories go straight through; none allows any."""
    sampling_key: Mapped[str]
    effective_at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]


class Taxonomy(Base):
    """One revision of a tool's list of categories. Never changed, only followed by the next."""

    __tablename__ = "taxonomy"

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    names: Mapped[list[str]] = mapped_column(ARRAY(Text))
    """In the order in which people see them."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]


class Category(Base):
    """A name that any revision of a tool's taxonomy has held."""

    __tablename__ = "category"

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)


class ToolVersion(Base):
    """A model and prompt under which a tool has been seen at work: what counts go by.

    `other` is the one row of a tool for all versions past the number that is told apart.
    """

    __tablename__ = "tool_version"
    __table_args__ = (
        UniqueConstraint("tool", "model", "prompt", "other", postgresql_nulls_not_distinct=True),
        UniqueConstraint("tool", "id"),
        CheckConstraint("NOT other OR (model IS NULL AND prompt IS NULL)", name="other"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    model: Mapped[str | None]
    prompt: Mapped[str | None]
    other: Mapped[bool] = mapped_column(server_default="false")
    first_seen_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ApiKey(Base):
    """A tool's key. Two may be live at once, so that keys can be rotated without a pause."""

    __tablename__ = "api_key"
    __table_args__ = (
        CheckConstraint("slot IN (1, 2)", name="slot"),
        Index(
            "uq_api_key_live_slot",
            "tool",
            "slot",
            unique=True,
            postgresql_where=text("revoked_at IS NULL"),
        ),
    )

    prefix: Mapped[str] = mapped_column(primary_key=True)
    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"))
    slot: Mapped[int]
    hash: Mapped[bytes]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]
    revoked_at: Mapped[datetime | None]
