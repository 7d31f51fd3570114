"""Whether one rule's clauses hold wherever another's do. Pure.

Where in doubt they do not: what is said to cover another always does.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from math import inf, nextafter
from typing import Any

from secondlook.conditions import Choice, Clause, Comparison, Condition, is_pattern

_ANYTHING = "*"
_ALWAYS_THERE: Mapping[str, Clause] = dict.fromkeys(("tool", "trigger", "version"), _ANYTHING)
"""Texts that every case has, so that a rule without a clause about one takes any of them."""
_MOST = sys.float_info.max


class Cover:
    """Clauses made ready to be compared often with others."""

    def __init__(self, when: Mapping[str, Clause]) -> None:
        self.plain = frozenset(_plain(when))
        self._tests = [
            (fact, isinstance(clause, Comparison), Condition({fact: clause}))
            for fact, clause in when.items()
        ]
        self.examples = {
            (fact, of_bounds): _examples(fact, clause, of_bounds=of_bounds)
            for fact, clause in {**_ALWAYS_THERE, **when}.items()
            for of_bounds in (True, False)
        }
        """For each fact, values such that bounds, or other clauses, that hold for all of them hold
        wherever these clauses do."""

    def covers(self, other: "Cover") -> bool:
        """Whether these clauses hold for every case for which those of another do."""
        # Most are told apart by a plain value, and a large policy has millions of pairs.
        return self.plain <= other.plain and all(
            (fact, of_bounds) in other.examples
            and all(test.holds({fact: one}) for one in other.examples[fact, of_bounds])
            for fact, of_bounds, test in self._tests
        )


def _plain(when: Mapping[str, Clause]) -> Iterator[tuple[str, Choice]]:
    """The facts that can be one value alone, with that value."""
    for fact, clause in when.items():
        match clause:
            case [one] | (str() | bool() | int() | float() as one) if not is_pattern(one):
                yield fact, one


def _examples(fact: str, clause: Clause, *, of_bounds: bool) -> Sequence[Any]:
    if isinstance(clause, list):
        return clause
    if not isinstance(clause, Comparison):
        # A pattern is an example of its texts itself: an asterisk is a character that no other
        # pattern names, so what takes it takes any characters in its place.
        return [clause]
    if not of_bounds:
        # One number can be written in many ways.
        return [_ANYTHING]
    # Bounds that hold at both ends of others hold between them.
    missing = [None] if Condition({fact: clause}).holds({}) else []
    return [*missing, *_ends(clause, *((0.0, 1.0) if fact == "confidence" else (-_MOST, _MOST)))]


def _ends(bounds: Comparison, least: float, most: float) -> tuple[float, float]:
    """The least and the greatest number within bounds, of those that there can be."""
    above = -inf if bounds.gt is None else nextafter(bounds.gt, inf)
    below = inf if bounds.lt is None else nextafter(bounds.lt, -inf)
    low = least if bounds.ge is None else bounds.ge
    high = most if bounds.le is None else bounds.le
    return max(least, low, above), min(most, high, below)
