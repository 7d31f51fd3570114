"""Who was told what, what is to be sent where, and who asked to hear of events."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.columns import one_of
from services.kit.database import Base
from services.kit.models import NOW
from services.notifications.rules import Channel, DeliveryState, What

TO_DO = "state IN ('waiting', 'unknown')"


class Notification(Base):
    """One thing that one person is told, once: `dedupe_key` names what it is about.

    The row is the inbox's entry. `mail_at` is when it is to be mailed, together with whatever
    else is due for the person by then; empty where it was, or never will be.
    """

    __tablename__ = "notification"
    __table_args__ = (
        UniqueConstraint("person", "dedupe_key"),
        one_of("what", What),
        Index("ix_notification_inbox", "person", text("id DESC")),
        Index("ix_notification_unread", "person", postgresql_where=text("read_at IS NULL")),
        Index("ix_notification_mail", "mail_at", postgresql_where=text("mail_at IS NOT NULL")),
        Index("ix_notification_made", "made_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("person.email", onupdate="CASCADE"))
    what: Mapped[str]
    line: Mapped[str]
    """What happened, and what to do, in one line; nothing that a customer wrote."""
    case_id: Mapped[int | None]
    tool: Mapped[str | None]
    output_id: Mapped[str | None]
    dedupe_key: Mapped[str]
    urgent: Mapped[bool] = mapped_column(server_default="false")
    """Whether a device is woken for it that saves its battery."""
    made_at: Mapped[datetime] = mapped_column(server_default=NOW)
    read_at: Mapped[datetime | None]
    mail_at: Mapped[datetime | None]


class Webhook(Base):
    """An address that asked to hear of events. Its secret signs, so it is kept as it is."""

    __tablename__ = "webhook"
    __table_args__ = (one_of("channel", Channel),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    channel: Mapped[str]
    url: Mapped[str]
    events: Mapped[list[Any]]
    """Types of events, as their CloudEvents say them."""
    team: Mapped[str | None] = mapped_column(ForeignKey("team.slug"))
    secret: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    removed_at: Mapped[datetime | None]


class Delivery(Base):
    """Something on its way to one destination.

    `state`: `unknown` is what it is from before the first byte is sent until an answer is
    written down, so that whoever is killed between leaves it to be sent again, under the same
    `message_id`. `attempts` fences: an answer is written only by who made the last attempt.
    `lane` is what a slow receiver holds up: the mail server, one webhook, or a push service.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("message_id"),
        one_of("channel", Channel),
        one_of("state", DeliveryState),
        CheckConstraint("(state = 'sent') = (sent_at IS NOT NULL)", name="sent"),
        CheckConstraint(
            "(channel IN ('slack', 'webhook')) = (webhook_id IS NOT NULL)", name="webhook"
        ),
        CheckConstraint("channel = 'push' OR device_id IS NULL", name="device"),
        Index("ix_delivery_due", "next_attempt_at", postgresql_where=text(TO_DO)),
        # Of each lane the first that are due, however many wait in others.
        Index("ix_delivery_lane", "lane", "next_attempt_at", "id", postgresql_where=text(TO_DO)),
        Index("ix_delivery_created", "created_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    channel: Mapped[str]
    destination: Mapped[str]
    webhook_id: Mapped[int | None] = mapped_column(ForeignKey("webhook.id"), index=True)
    device_id: Mapped[int | None] = mapped_column(
        ForeignKey("push_device.id", ondelete="SET NULL"), index=True
    )
    """Of a push where it goes; empty once the device is removed."""
    lane: Mapped[str]
    message_id: Mapped[str]
    payload: Mapped[str]
    """Of a webhook the event as JSON; of everything else what is said, as JSON of ours."""
    state: Mapped[str] = mapped_column(server_default=DeliveryState.WAITING.value)
    attempts: Mapped[int] = mapped_column(server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=NOW)
    answer: Mapped[str | None]
    """What came back last: the receiver's words, or ours of why there are none."""
    created_at: Mapped[datetime] = mapped_column(server_default=NOW)
    sent_at: Mapped[datetime | None]


class PushKey(Base):
    """The one pair of keys by which push services know this installation.

    The private one signs, so it is kept as it is.
    """

    __tablename__ = "push_key"
    __table_args__ = (CheckConstraint("alone", name="alone"),)

    alone: Mapped[bool] = mapped_column(server_default="true", primary_key=True)
    private: Mapped[str]
    public: Mapped[str]
    made_at: Mapped[datetime] = mapped_column(server_default=NOW)


class NotificationChoice(Base):
    """How a person wants to be told. `not_mailed`: of what they get no mail."""

    __tablename__ = "notification_choice"

    person: Mapped[str] = mapped_column(
        ForeignKey("person.email", onupdate="CASCADE"), primary_key=True
    )
    not_mailed: Mapped[list[Any]]
    pushed: Mapped[bool] = mapped_column(server_default="true")
    """Whether what is mailed is pushed to their devices, too."""
    digest_minutes: Mapped[int]
    quiet_from: Mapped[str | None]
    quiet_until: Mapped[str | None]
    timezone: Mapped[str]
    changed_at: Mapped[datetime] = mapped_column(server_default=NOW)


class WordOnOutput(Base):
    """That somebody disputed or corrected an output, so that they are told of its verdict."""

    __tablename__ = "word_on_output"
    __table_args__ = (
        Index("ix_word_on_output_output", "tool", "output_id"),
        Index("ix_word_on_output_heard", "heard_at"),
    )

    tool: Mapped[str] = mapped_column(primary_key=True)
    event_id: Mapped[str] = mapped_column(primary_key=True)
    output_id: Mapped[str]
    actor: Mapped[str]
    heard_at: Mapped[datetime] = mapped_column(server_default=NOW)


class VerdictFeed(Base):
    """How many verdicts a tool's feed has had. Its row is the lock that makes places gap-free."""

    __tablename__ = "verdict_feed"

    tool: Mapped[str] = mapped_column(primary_key=True)
    last_place: Mapped[int]


class HeardVerdict(Base):
    """A verdict, or word that one counts no longer, at its place in its tool's feed."""

    __tablename__ = "heard_verdict"
    __table_args__ = (
        UniqueConstraint("tool", "event_id"),
        Index("ix_heard_verdict_heard", "heard_at"),
        Index("ix_heard_verdict_output", "tool", "output_id"),
    )

    tool: Mapped[str] = mapped_column(primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    event_id: Mapped[str]
    output_id: Mapped[str]
    case_id: Mapped[str]
    verdict: Mapped[str]
    """A verdict's word, or `undone`."""
    value: Mapped[dict[str, Any] | None]
    """What stands in the output's place, under the member `value`: it may be of any JSON type."""
    actor: Mapped[str]
    at: Mapped[datetime]
    heard_at: Mapped[datetime] = mapped_column(server_default=NOW)
