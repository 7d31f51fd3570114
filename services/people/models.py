"""People, their teams, and how they prove who they are."""

from datetime import datetime
from typing import Any

from secondlook.text import SLUG
from sqlalchemy import (
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.columns import one_of
from services.kit.database import Base
from services.kit.models import NOW
from services.people.rules import Role

ENDPOINT_LENGTH = 2_000


class Calendar(Base):
    """When people work; the document is what `calendars.read` answers."""

    __tablename__ = "calendar"
    __table_args__ = (CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),)

    slug: Mapped[str] = mapped_column(primary_key=True)
    document: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(server_default="1")
    """Rises by one with each change: what was counted before it is counted anew."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Team(Base):
    """People who answer for tools and cases together."""

    __tablename__ = "team"
    __table_args__ = (CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),)

    slug: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    active: Mapped[bool] = mapped_column(server_default="true")
    calendar: Mapped[str | None] = mapped_column(ForeignKey("calendar.slug"))
    """By which its cases count working time; Monday to Friday where it has none."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Person(Base):
    """Somebody who can sign in. The e-mail address, in lower case, is the identity."""

    __tablename__ = "person"
    __table_args__ = (
        CheckConstraint("email = lower(email) AND email LIKE '%_@_%'", name="email"),
        one_of("role", Role),
        CheckConstraint("manager <> email", name="manager"),
    )

    email: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    role: Mapped[str]
    password_hash: Mapped[str | None]
    active: Mapped[bool] = mapped_column(server_default="true")
    calendar: Mapped[str | None] = mapped_column(ForeignKey("calendar.slug"))
    """When they work; at any hour, where they have none."""
    manager: Mapped[str | None] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Membership(Base):
    """A person's place in a team."""

    __tablename__ = "membership"

    person: Mapped[str] = mapped_column(
        ForeignKey("person.email", onupdate="CASCADE"), primary_key=True
    )
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"), primary_key=True, index=True)


class PersonSkill(Base):
    """Something that a person can do: rules give cases to those who can."""

    __tablename__ = "person_skill"
    __table_args__ = (CheckConstraint(f"skill ~ '{SLUG}'", name="skill"),)

    person: Mapped[str] = mapped_column(
        ForeignKey("person.email", onupdate="CASCADE"), primary_key=True
    )
    skill: Mapped[str] = mapped_column(primary_key=True)


class Schedule(Base):
    """Who has a team's duty when; the document is what `rotations.read` answers."""

    __tablename__ = "schedule"
    __table_args__ = (CheckConstraint(f"slug ~ '{SLUG}'", name="slug"),)

    slug: Mapped[str] = mapped_column(primary_key=True)
    team: Mapped[str] = mapped_column(ForeignKey("team.slug"), index=True)
    document: Mapped[dict[str, Any]]
    revision: Mapped[int] = mapped_column(server_default="1")
    """Rises by one with each change of the document or the team."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)


class ScheduleOverride(Base):
    """A span in which somebody has a schedule's duty whosever turn it is."""

    __tablename__ = "schedule_override"
    __table_args__ = (
        CheckConstraint("begins_at < ends_at", name="span"),
        Index(None, "schedule", "ends_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    schedule: Mapped[str] = mapped_column(ForeignKey("schedule.slug"))
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class Absence(Base):
    """A span in which somebody is away, and who stands in for them."""

    __tablename__ = "absence"
    __table_args__ = (
        CheckConstraint("begins_at < ends_at", name="span"),
        CheckConstraint("stand_in <> person", name="stand_in"),
        Index(None, "person", "ends_at"),
        Index(None, "ends_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    begins_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    stand_in: Mapped[str | None] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)


class FeedToken(Base):
    """The secret in the address by which a person's calendar reads schedules: one at a time."""

    __tablename__ = "feed_token"
    __table_args__ = (
        Index(
            "ix_feed_token_live", "person", unique=True, postgresql_where=text("revoked_at IS NULL")
        ),
    )

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
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


class KnownDevice(Base):
    """A browser in which this person has signed in: attacks from elsewhere do not slow it down."""

    __tablename__ = "known_device"

    hash: Mapped[bytes] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"), index=True)
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    expires_at: Mapped[datetime]


class PushDevice(Base):
    """A browser that shows its owner what is pushed to them.

    `endpoint` is where its maker's push service takes messages; `p256dh` and `auth` are what
    they are encrypted with, so that the browser alone reads them.
    """

    __tablename__ = "push_device"
    __table_args__ = (
        UniqueConstraint("endpoint"),
        CheckConstraint(f"length(endpoint) <= {ENDPOINT_LENGTH}", name="endpoint"),
        Index("ix_push_device_person", "person"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    endpoint: Mapped[str]
    p256dh: Mapped[str]
    auth: Mapped[str]
    browser: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    last_error: Mapped[str | None]
    """What came back of the last attempt to reach it, where it was not reached."""
