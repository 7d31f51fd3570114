"""String enums as columns: a CHECK beside the column keeps both saying the same."""

from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """A CHECK that `column` holds one of `words` (or NULL, where the column allows it)."""
    listed = ", ".join(f"'{word.value}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def values(words: type[StrEnum]) -> list[str]:
    """The words as plain strings, in their declared order."""
    members: Any = words
    return [word.value for word in members]
