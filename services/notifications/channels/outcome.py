"""What came of one attempt to send something."""

from dataclasses import dataclass
from enum import StrEnum

ANSWER_SHOWN = 300


class Result(StrEnum):
    """`again`: it surely did not arrive. `unknown`: it may have. `never`: it never will.
    `gone`: it never will, as nobody is there any more."""

    SENT = "sent"
    AGAIN = "again"
    UNKNOWN = "unknown"
    NEVER = "never"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, and what came back in words."""

    result: Result
    answer: str


def outcome(result: Result, answer: str) -> Outcome:
    """An outcome whose words are cut to what is kept of them, on one line that can be stored."""
    plain = "".join(c if c.isprintable() else " " for c in answer)
    return Outcome(result, plain.strip()[:ANSWER_SHOWN])
