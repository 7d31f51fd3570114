"""A replay as a drawing: for each team or owner two bars, before and after."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.escalation.policy.replay import Load, Loads, Replay

MOST = 12
"""So many are drawn; the table below has them all."""
_WIDE, _NARROW = 720, 328
_BAR, _GAP, _BETWEEN, _ABOVE = 14, 3, 12, 18
_NUMBER = 52
"""Room for the number at a bar's end."""


@dataclass(frozen=True, slots=True)
class Bar:
    """How many cases somebody has."""

    y: int
    width: float
    n: int
    at: float
    """Where the number stands."""


@dataclass(frozen=True, slots=True)
class Row:
    """Somebody, before and after."""

    label: str
    y: int
    before: Bar | None
    """None where there is nothing to hold the other one against."""
    after: Bar


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing for one width of the window."""

    size: str
    width: int
    height: int
    left: int
    rows: list[Row]


@dataclass(frozen=True, slots=True)
class LoadRow:
    """A row of the table."""

    name: str
    before: int
    after: int

    @property
    def change(self) -> str:
        """By how much it changes, with its sign."""
        return f"{self.after - self.before:+,}" if self.after != self.before else "0"


def rows_of(loads: Loads) -> list[LoadRow]:
    """Everybody, whose load changes most first."""

    def weight(item: tuple[str, Load]) -> tuple[int, int, str]:
        name, load = item
        return -abs(load.after - load.before), -load.before, name

    return [
        LoadRow(name, one.before, one.after) for name, one in sorted(loads.of.items(), key=weight)
    ]


@dataclass(frozen=True, slots=True)
class Shift:
    """How many cases would have been due then: a row of the table."""

    name: str
    cases: int


def shifts_of(found: Replay) -> list[Shift]:
    """How many cases would have been due earlier, later and when they were."""
    same = found.cases - found.earlier - found.later
    return [Shift("Earlier", found.earlier), Shift("Later", found.later), Shift("As now", same)]


def drawings(rows: Sequence[LoadRow]) -> list[Drawing]:
    """The same for wide windows and for narrow ones, as text is never scaled."""
    pairs = [(row.name, row.before, row.after) for row in rows[:MOST]]
    return [_drawing(size, pairs) for size in ("wide", "narrow")]


def shift_drawings(shifts: Sequence[Shift]) -> list[Drawing]:
    """Deadlines, with one bar each."""
    pairs = [(shift.name, None, shift.cases) for shift in shifts]
    return [_drawing(size, pairs) for size in ("wide", "narrow")]


def _drawing(size: str, rows: Sequence[tuple[str, int | None, int]]) -> Drawing:
    narrow = size == "narrow"
    width, left, above = (_NARROW, 0, _ABOVE) if narrow else (_WIDE, 200, 0)
    most = max((max(before or 0, after) for _, before, after in rows), default=0) or 1
    scale = (width - left - _NUMBER) / most

    def bar(y: int, n: int) -> Bar:
        long = round(n * scale, 1)
        return Bar(y, long, n, round(left + long + 6, 1))

    drawn, y = [], above
    for label, before, after in rows:
        first = None if before is None else bar(y, before)
        drawn.append(Row(label, y, first, bar(y if first is None else y + _BAR + _GAP, after)))
        y += (_BAR if first is None else 2 * _BAR + _GAP) + _BETWEEN + above
    return Drawing(size, width, y - _BETWEEN - above, left, drawn)
