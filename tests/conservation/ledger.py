"""What the senders and the reviewers know, and what a broken promise is called."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

OUTPUTS, CORRECTIONS = "secondlook.outputs", "secondlook.corrections"


class Violation(NamedTuple):
    """A promise that was broken: its short name, and what was found."""

    check: str
    found: str


@dataclass(slots=True)
class Sent:
    """One event as its sender knows it.

    `name` is what it is found by: an output's id, a correction's note, or for bytes that are
    no event the key of their record. `fate` is where it must be: `stored`, `refused`,
    `parked`, or `any` of them. `times` were acknowledged; of `unanswered` nobody knows.
    """

    topic: str
    name: str
    fate: str = "stored"
    times: int = 0
    unanswered: int = 0


@dataclass(slots=True)
class Ledger:
    """What the senders and the reviewers know of what they did."""

    sent: dict[tuple[str, str], Sent] = field(default_factory=dict)
    verdicts: dict[tuple[int, str], Sent] = field(default_factory=dict)

    def entry(self, topic: str, name: str, fate: str = "stored") -> Sent:
        """The entry of an event, made when it is first met."""
        return self.sent.setdefault((topic, name), Sent(topic, name, fate))

    def verdict(self, case: int, actor: str) -> Sent:
        """The entry of a person's verdicts on a case."""
        return self.verdicts.setdefault((case, actor), Sent("verdict", actor))


Ends = Mapping[tuple[str, int], int]
"""The offset after the last record, by topic and partition."""


class Check(NamedTuple):
    """A promise, and the SQL that finds where it is broken."""

    name: str
    sql: str
