"""Numbers that carry what they rest on. Pure: no database, no web framework."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import sqrt
from typing import Any, Self

_Z95 = 1.959963984540054

EXCEPTION_RATE = "outputs that needed a person, audits excluded ÷ all outputs"
OVERRIDE_RATE = "overridden outputs ÷ matured outputs"
COVERAGE = "outputs that the gate let through ÷ all outputs"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A rate with everything needed to believe it.

    Attributes:
        numerator: how many of `denominator` it was.
        denominator: n.
        definition: what was divided by what, in the words of the glossary.
        since, until: the window, `until` excluded.

    Whoever divides counts makes one by `of`, which holds 0 ≤ numerator ≤ denominator.
    """

    numerator: int
    denominator: int
    definition: str
    since: datetime
    until: datetime

    @classmethod
    def of(
        cls, part: int, whole: int, definition: str, *, since: datetime, until: datetime
    ) -> Self:
        """The ratio of two counts, where the part may be ahead of its whole.

        What is in the part has come, whether or not it is counted in the whole: packages commit
        apart, counts are read one after the other, and an output may be disputed long after
        the window that it was recorded in.
        """
        numerator = max(0, part)
        return cls(numerator, max(numerator, whole), definition, since, until)

    @property
    def value(self) -> float | None:
        """The rate in [0, 1], or None where there is nothing to divide by."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval, or None where there is nothing to divide by."""
        return wilson(self.numerator, self.denominator) if self.denominator else None

    def as_answer(self) -> dict[str, Any]:
        """The rate as the API shows it: never without n, interval, method and window."""
        interval = self.interval
        return {
            "value": self.value,
            "numerator": self.numerator,
            "denominator": self.denominator,
            "n": self.denominator,
            "interval": list(interval) if interval else None,
            "method": "wilson_95",
            "definition": self.definition,
            "window": {"since": self.since, "until": self.until},
        }


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a share (Wilson 1927), for n ≥ 1 and 0 ≤ successes ≤ n."""
    share = successes / n
    weight = 1 + _Z95**2 / n
    centre = (share + _Z95**2 / (2 * n)) / weight
    half = _Z95 * sqrt(share * (1 - share) / n + _Z95**2 / (4 * n**2)) / weight
    return max(0.0, centre - half), min(1.0, centre + half)


DAYS_FOR_LIMITS = 8
"""How many days with outputs there must be before limits say what is normal."""


def control_limits(centre: float | None, sizes: Sequence[int]) -> tuple[float, float] | None:
    """Three-sigma limits of a daily share around `centre`, for a day of the usual size.

    `sizes` holds each day's n; None where too few of them have any.
    """
    known = [size for size in sizes if size]
    if centre is None or len(known) < DAYS_FOR_LIMITS:
        return None
    width = 3 * sqrt(centre * (1 - centre) / (sum(known) / len(known)))
    return max(0.0, centre - width), min(1.0, centre + width)
