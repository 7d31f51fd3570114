"""The shapes of what feedback stores and reads: rows on their way into and out of the database."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

from secondlook import events

from services.kit.consuming.dead_letters import Refusal
from services.kit.counts import Counts
from services.kit.eventlog.port import Record
from services.tools.rules import Trigger


class Key(NamedTuple):
    """What names an output."""

    tool: str
    output_id: str


class Identified(TypedDict):
    """What every row of an event has: which output it is about, and what tells it apart."""

    tool: str
    output_id: str
    event_id: str
    digest: str
    """Of the payload, in hexadecimal."""


class OutputRow(Identified):
    """An output, or an output failure, as it is stored."""

    version: int
    """The version that it is counted under."""
    model: str | None
    prompt: str | None
    subject: str | None
    kind: str
    value: NotRequired[Any]
    confidence: NotRequired[float | None]
    alternatives: NotRequired[tuple[events.Alternative, ...] | None]
    input: events.Input | None
    attributes: dict[str, str] | None
    cohort: str | None
    latency_ms: float | None
    cost: NotRequired[events.Cost | None]
    failure: NotRequired[events.ToolError]
    disposition: str
    gate_disposition: str
    gate_reason: str
    condition: str | None
    policy_revision: int | None
    audit: bool
    inclusion_probability: float | None
    trigger: Trigger | None
    """Why it needs a person, or None."""
    exception: Trigger | None
    """The trigger that makes it an exception, or None."""
    occurred_at: datetime


class CorrectionRow(Identified):
    """A person's word on an output, as it is stored."""

    kind: str
    value: Any
    reason: str | None
    note: str | None
    actor: str
    active_seconds: float | None
    channel: str | None
    occurred_at: datetime


class WithdrawalRow(Identified):
    """A word that is taken back."""

    correction_id: str
    actor: str


class VerdictRow(Identified):
    """A reviewer's verdict, as feedback learns it from the log."""

    case_id: int
    verdict: str
    value: Any
    actor: str
    blind: bool
    at: datetime


class UndoneVerdictRow(Identified):
    """A verdict that its reviewer, or a lead, took back."""

    verdict_id: str
    """The event id of the verdict."""


class Word(NamedTuple):
    """What somebody said of an output, as it is stored."""

    tool: str
    output_id: str
    event_id: str
    kind: str
    value: Any
    reason: str | None
    note: str | None
    actor: str
    channel: str | None
    occurred_at: datetime
    withdrawn: bool

    @property
    def key(self) -> Key:
        """The output that it is about."""
        return Key(self.tool, self.output_id)


class LockedOutput(NamedTuple):
    """An output's row, held until the transaction ends; without `recorded_at` it is awaited."""

    tool: str
    output_id: str
    version: int | None
    value: Any
    disposition: str | None
    recorded_at: datetime | None
    unmatched_at: datetime | None
    sought: bool
    decided_value: Any
    decided_by: str | None
    decided_at: datetime | None
    overridden: bool | None

    @property
    def key(self) -> Key:
        """What names it."""
        return Key(self.tool, self.output_id)


Row = TypeVar("Row", bound=Identified)


@dataclass(slots=True)
class StoreResult(Generic[Row]):
    """What became of a batch of rows."""

    stored: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    conflicts: list[Row] = field(default_factory=list)
    tally: Counts = field(default_factory=Counter)
    """What is to be counted because of it."""


def key_of(row: Identified) -> Key:
    """The output that a row is about."""
    return Key(row["tool"], row["output_id"])


@dataclass(slots=True)
class ParsedBatch:
    """A batch by what its records say, each row beside its record."""

    outputs: list[tuple[OutputRow, Record]] = field(default_factory=list)
    corrections: list[tuple[CorrectionRow, Record]] = field(default_factory=list)
    withdrawals: list[tuple[WithdrawalRow, Record]] = field(default_factory=list)
    verdicts: list[tuple[VerdictRow, Record]] = field(default_factory=list)
    undone: list[tuple[UndoneVerdictRow, Record]] = field(default_factory=list)
    refused: list[tuple[Record, Refusal]] = field(default_factory=list)
