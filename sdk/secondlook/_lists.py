"""Reads the entries of a list one by one, to say of each what is wrong with it."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from secondlook._problems import (
    MOST_PROBLEMS,
    InvalidEvent,
    Problem,
    UnknownEventType,
    refusal,
    unknown_type,
)

M = TypeVar("M", bound=BaseModel)


def read_each(entries: Sequence[bytes], read: Callable[[bytes], M], *, are_events: bool) -> list[M]:
    """Every entry as `read` makes it.

    Raises:
        InvalidEvent: `read` finds an entry wrong; with its position.
        UnknownEventType: all others are sound; names the first of an unknown type.
    """
    found: list[M] = []
    wrong = _Wrong(are_events=are_events)
    for position, entry in enumerate(entries):
        try:
            found.append(read(entry))
        except ValidationError as error:
            wrong.add(position, error)
    wrong.raise_if_any()
    return found


class _Wrong:
    """What is wrong with the entries of a list: the first problems, and a count of the others."""

    def __init__(self, *, are_events: bool) -> None:
        self._are_events = are_events
        self._problems: list[Problem] = []
        self._more = 0
        self._unknown: UnknownEventType | None = None

    def add(self, position: int, error: ValidationError) -> None:
        type_ = unknown_type(error) if self._are_events else None
        if type_ is not None:
            self._unknown = self._unknown or UnknownEventType(type_, f"/{position}/type")
        elif len(self._problems) >= MOST_PROBLEMS:
            self._more += error.error_count()
        else:
            found = refusal(error, is_event=self._are_events)
            self._more += found.more
            self._problems += [
                Problem(f"/{position}{one.pointer}", one.problem, one.hint)
                for one in found.problems
            ]

    def raise_if_any(self) -> None:
        if self._problems:
            raise InvalidEvent(self._problems, self._more)
        if self._unknown:
            raise self._unknown
