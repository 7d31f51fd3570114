"""Durations as people write them: ``4s``, ``30m``, ``2h``, ``3d``, ``4bh``, ``2bd``."""

import re
from dataclasses import dataclass
from enum import StrEnum

DAY = 86_400
"""The seconds of a day."""


class Unit(StrEnum):
    """What a duration is counted in.

    Seconds pass always, whatever clocks are set to meanwhile; the other two only while somebody
    works (`working_time`).
    """

    SECONDS = "seconds"
    WORKING_SECONDS = "working seconds"
    WORKING_DAYS = "working days"


_UNITS = {
    "bd": (Unit.WORKING_DAYS, 1),
    "bh": (Unit.WORKING_SECONDS, 3600),
    "d": (Unit.SECONDS, DAY),
    "h": (Unit.SECONDS, 3600),
    "m": (Unit.SECONDS, 60),
    "s": (Unit.SECONDS, 1),
}
_PATTERN = re.compile(rf"([0-9]{{1,6}})({'|'.join(_UNITS)})")


@dataclass(frozen=True, slots=True)
class Duration:
    """So many of a unit."""

    amount: int = 0
    unit: Unit = Unit.SECONDS

    def __str__(self) -> str:
        fitting = [
            (length, name)
            for name, (unit, length) in _UNITS.items()
            if unit is self.unit and self.amount % length == 0
        ]
        length, name = max(fitting) if self.amount else min(fitting)
        return f"{self.amount // length}{name}"


def parse_duration(text: str) -> Duration:
    """Read one duration.

    Raises:
        ValueError: when `text` is not a whole number followed by s, m, h, d, bh or bd.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise _no_duration(text, "30s, 15m, 2h, 3d, 4bh or 2bd")
    unit, length = _UNITS[match[2]]
    return Duration(int(match[1]) * length, unit)


def parse_seconds(text: str) -> int:
    """Read one duration as elapsed seconds, where working time has no fixed length.

    Raises:
        ValueError: when `text` is not a whole number followed by s, m, h or d.
    """
    match = _PATTERN.fullmatch(text.strip())
    if match is None or _UNITS[match[2]][0] is not Unit.SECONDS:
        raise _no_duration(text, "30s, 15m, 2h or 3d")
    return int(match[1]) * _UNITS[match[2]][1]


def _no_duration(text: str, such_as: str) -> ValueError:
    return ValueError(
        f"'{text[:40]}' cannot be used; write a whole number and a unit, such as {such_as}"
    )
