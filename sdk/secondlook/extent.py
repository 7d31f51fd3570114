"""How much all the clauses of one policy may ask for together. Pure.

Every decision may have to ask them all, and limits of a condition, a clause and a list alone
would multiply. Bounds and patterns with `*` are asked one by one, and a pattern's steps grow with
its length. Plain values are looked up all at once, and count because policies are sent and read
whole. At the worst a decision takes about a millisecond.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from secondlook.conditions import Clause, Comparison, is_pattern

VALUES = 2_000
"""The most values of all clauses together; bounds for a number are one."""
SEARCHES = 500
"""The most bounds and patterns with `*` together."""
PATTERN_CHARACTERS = 2_000
"""The most characters of all patterns with `*` together."""

_LIMITS = (
    (VALUES, "values", "Take out values, or whole conditions."),
    (SEARCHES, "bounds and patterns with *", "Name values in full, or take out conditions."),
    (PATTERN_CHARACTERS, "characters in patterns with *", "Name values in full, or shorten them."),
)


class Excess(NamedTuple):
    """The clause with which a policy asks for too much."""

    position: int
    """Of the condition."""
    fact: str
    problem: str
    hint: str


def excess(conditions: Iterable[Mapping[str, Clause]]) -> Excess | None:
    """The first clause that goes beyond what a policy may ask for, if one does."""
    totals = [0, 0, 0]
    for position, when in enumerate(conditions):
        for fact, clause in when.items():
            totals = [total + more for total, more in zip(totals, _extent(clause), strict=True)]
            for total, (most, what, hint) in zip(totals, _LIMITS, strict=True):
                if total > most:
                    problem = f"with it, all conditions together have over {most:,} {what}"
                    return Excess(position, fact, problem, hint)
    return None


def steps(conditions: Iterable[Mapping[str, Clause]]) -> int:
    """How many steps a decision takes at most, each well under two microseconds: as many as there
    are clauses, bounds, patterns and parts of patterns."""
    return sum(_steps(clause) for when in conditions for clause in when.values())


def _steps(clause: Clause) -> int:
    choices = clause if isinstance(clause, list) else [clause]
    stars = sum(str(one).count("*") for one in choices if is_pattern(one))
    return 1 + _extent(clause)[1] + stars


def _extent(clause: Clause) -> tuple[int, int, int]:
    """How many values, bounds and patterns, and characters in patterns a clause has."""
    choices = clause if isinstance(clause, list) else [clause]
    patterns = [str(one) for one in choices if is_pattern(one)]
    searches = len(patterns) + isinstance(clause, Comparison)
    return len(choices), searches, sum(map(len, patterns))
