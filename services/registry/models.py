"""Tools, people and how they prove who they are."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Sequence,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.database import Base
from services.kit.models import NOW
from services.kit.words import one_of
from services.registry.rules import OutputKind, Role, ToolState

SLUG = "^[a-z0-9][a-z0-9-]{0,62}$"

# Rises with every change to any tool, so that a process can ask "has anything changed?"
# with one number.
tool_revision = Sequence("tool_revision", metadata=Base.metadata)


class Team(Base):
    """People who answer for tools and cases together."""

    __tablename__ = "team"
    __table_args__ = (CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),)

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Person(Base):
    """Somebody who can sign in. The e-mail address, in lower case, is the identity."""

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("email = lower(email) AND email LIKE '%_@_%'", name="email"),
        one_of("role", Role),
    )

    email: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    password_hash: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Membership(Base):
    """A person's place in a team."""

    __tablename__ = "membership"

    person: Mapped[str] = mapped_column(
        ForeignKey("person.email", onupdate="CASCADE"), primary_key=True
    )
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"), primary_key=True, index=True)


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
    )

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[str]
    threshold: Mapped[float]
    category_thresholds: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    audit_rate: Mapped[float]
    holdout_rate: Mapped[float]
    sampling_key: Mapped[str]
    effective_at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]


class Taxonomy(Base):
    """One revision of a tool's list of categories."""

    __tablename__ = "taxonomy"

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    actor: Mapped[str]


class Category(Base):
    """An entry of a taxonomy revision."""

    __tablename__ = "category"
    __table_args__ = (
        ForeignKeyConstraint(["tool", "revision"], ["taxonomy.tool", "taxonomy.revision"]),
        UniqueConstraint("tool", "revision", "position"),
    )

    tool: Mapped[str] = mapped_column(primary_key=True)
    revision: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]


class ToolVersion(Base):
    """A model and prompt under which a tool has been seen at work."""

    __tablename__ = "tool_version"

    tool: Mapped[str] = mapped_column(ForeignKey("tool.slug"), primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
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


class PersonalToken(Base):
    """A person's bearer token for the API."""

    __tablename__ = "personal_token"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"), index=True)
    hash: Mapped[bytes] = mapped_column(unique=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    revoked_at: Mapped[datetime | None]


class SignInLink(Base):
    """A link that signs its person in once."""

    __tablename__ = "sign_in_link"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]


class SignIn(Base):
    """A browser session, begun `how`: by password or link. The secret is kept as a hash alone."""

    __tablename__ = "sign_in"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"), index=True)
    csrf_token: Mapped[str]
    how: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
