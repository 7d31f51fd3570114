"""How much all the clauses of one policy may ask for together. Pure.

Every decision may have to ask them all, and limits of a condition, a clause and a list alone
would multiply. A clause costs a step; so does a pattern with `*`, whose steps grow with its
length. Plain values are looked up all at once, and count because policies are sent and read whole.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from secondlook.conditions import Clause, is_pattern

VALUES = 2_000
"""The most values of all clauses together; bounds for a number are one."""
PATTERN_CHARACTERS = 2_000
"""The most characters of all patterns with `*` together: at their worst about a millisecond."""


class Excess(NamedTuple):
    """The clause with which a policy asks for too much."""

    position: int
    """Of the condition."""
    fact: str
    problem: str
    hint: str


def excess(conditions: Iterable[Mapping[str, Clause]]) -> Excess | None:
    """The first clause that goes beyond what a policy may ask for, if one does."""
    values = characters = 0
    for position, when in enumerate(conditions):
        for fact, clause in when.items():
            choices = clause if isinstance(clause, list) else [clause]
            values += len(choices)
            characters += sum(len(str(one)) for one in choices if is_pattern(one))
            if values > VALUES:
                problem = f"with it, all conditions together have over {VALUES:,} values"
                return Excess(position, fact, problem, "Take out values, or whole conditions.")
            if characters > PATTERN_CHARACTERS:
                problem = (
                    "with it, the patterns with * of all conditions together have over"
                    f" {PATTERN_CHARACTERS:,} characters"
                )
                hint = "Name values in full, which costs less, or write fewer patterns."
                return Excess(position, fact, problem, hint)
    return None
