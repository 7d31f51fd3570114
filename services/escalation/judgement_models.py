"""Who judged what, where several are asked; and who does not judge what they have a part in."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from services.kit.columns import one_of
from services.kit.database import Base, Json
from services.tools.rules import VerdictKind

_STANDS = text("withdrawn_at IS NULL")


class OwnCorrection(Base):
    """That somebody corrected an output themselves. It counts until withdrawn."""

    __tablename__ = "own_correction"
    __table_args__ = (
        Index("ix_own_correction_actor", "tool", "output_id", "actor", postgresql_where=_STANDS),
        Index("ix_own_correction_heard", "heard_at"),
    )

    tool: Mapped[str] = mapped_column(primary_key=True)
    correction_id: Mapped[str] = mapped_column(primary_key=True)
    output_id: Mapped[str]
    actor: Mapped[str]
    heard_at: Mapped[datetime]
    withdrawn_at: Mapped[datetime | None]


class Opinion(Base):
    """What one of several reviewers of a case said, in a cycle: one opinion a person.

    Rows are only ever added; all that changes is that one is taken back, once.
    """

    __tablename__ = "opinion"
    __table_args__ = (
        one_of("verdict", VerdictKind),
        CheckConstraint("(verdict = 'corrected') = (value IS NOT NULL)", name="corrected"),
        Index(
            "uq_opinion_reviewer",
            "case_id",
            "cycle",
            "reviewer",
            unique=True,
            postgresql_where=text("taken_back_at IS NULL"),
        ),
        Index("ix_opinion_case", "case_id", "cycle", "id"),
        Index("ix_opinion_given", "given_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"))
    cycle: Mapped[int]
    reviewer: Mapped[str]
    verdict: Mapped[str]
    """As it was said: a value that the tool gave, too, is `corrected` here."""
    value: Mapped[Any | None] = mapped_column(Json)
    note: Mapped[str | None]
    blind: Mapped[bool]
    """Whether nobody had seen the tool's answer on this case before."""
    given_at: Mapped[datetime]
    taken_back_at: Mapped[datetime | None]


class Decider(Base):
    """Somebody who decided a case, or had a part in it, in a cycle that is over."""

    __tablename__ = "decider"

    case_id: Mapped[int] = mapped_column(ForeignKey("case.id"), primary_key=True)
    cycle: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    person: Mapped[str] = mapped_column(primary_key=True)
    over_at: Mapped[datetime]
    """When the cycle was over. What is said against the output from then on is said against what
    they decided."""
