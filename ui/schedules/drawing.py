"""Four weeks of a schedule as a drawing: where each spell begins, how wide it is, what it says."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.people.rotations import Spell, day_in_words, moment_in_words

_TONES = 4
_LETTER = 6.6
"""How wide a letter of the drawing is at most, on average."""
_WIDE, _NARROW = 720, 328
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A spell of a row."""

    x: float
    width: float
    words: str
    """What fits into it."""
    title: str
    tone: str


@dataclass(frozen=True, slots=True)
class Row:
    """A layer, or what comes of them all."""

    label: str
    y: int
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a week begins."""

    x: float
    words: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing for one width of the window."""

    size: str
    width: int
    height: int
    left: int
    label_above: bool
    rows: list[Row]
    weeks: list[Mark]
    now: float | None


@dataclass(frozen=True, slots=True)
class Span:
    """What is drawn: from when to when, by whose wall clock, and who is called what."""

    begin: datetime
    end: datetime
    zone: ZoneInfo
    names: Mapping[str, str]

    def called(self, person: str | None) -> str:
        """Somebody's name, or that it is nobody."""
        return "Nobody" if person is None else self.names.get(person, person)


Rows = Sequence[tuple[str, Sequence[Spell]]]
"""A label, and the spells beside it."""


def drawings(rows: Rows, span: Span, now: datetime) -> list[Drawing]:
    """The same for wide windows and for narrow ones, as text is never scaled."""
    tones = _tones(spell.person for _, spells in rows for spell in spells)
    return [_drawing(size, rows, span, now, tones) for size in ("wide", "narrow")]


def _tones(people: Iterable[str | None]) -> dict[str, str]:
    """A tint for each of the people, in the order in which they come."""
    known = list(dict.fromkeys(person for person in people if person is not None))
    return {person: f"duty-{n % _TONES + 1}" for n, person in enumerate(known)}


def _drawing(size: str, rows: Rows, span: Span, now: datetime, tones: Mapping[str, str]) -> Drawing:
    narrow = size == "narrow"
    width, left = (_NARROW, 0) if narrow else (_WIDE, 84)
    line, top = (48, 40) if narrow else (34, 22)
    scale = (width - left) / ((span.end - span.begin) / _DAY)

    def x(at: datetime) -> float:
        return round(left + (at - span.begin) / _DAY * scale, 1)

    drawn = [
        Row(label, top + n * line, [_bar(spell, x, span, tones) for spell in spells])
        for n, (label, spells) in enumerate(rows)
    ]
    weeks = [Mark(x(at), day_in_words(at.astimezone(span.zone).date())) for at in _weeks(span)]
    height = top + len(drawn) * line - (line - 26)
    at = x(now) if span.begin <= now < span.end else None
    return Drawing(size, width, height, left, narrow, drawn, weeks, at)


def _bar(spell: Spell, x: Callable[[datetime], float], span: Span, tones: Mapping[str, str]) -> Bar:
    begin, end = x(spell.begin), x(spell.end)
    width, name = round(end - begin, 1), span.called(spell.person)
    tone = tones[spell.person] if spell.person is not None else "duty-none"
    whole = f"{name}, {moment_in_words(spell.begin, span.zone)} to "
    whole += moment_in_words(spell.end, span.zone)
    return Bar(begin, width, _fitting(name, width), whole, tone)


def _fitting(name: str, width: float) -> str:
    """As much of a name as a bar has room for: all of it, the first word, or nothing."""
    for words in (name, name.partition(" ")[0].partition("@")[0]):
        if len(words) * _LETTER + 8 <= width:
            return words
    return ""


def _weeks(span: Span) -> Iterator[datetime]:
    """The first day of the span, and each seventh after it, at midnight by its wall clock."""
    clock = span.begin.astimezone(span.zone).replace(tzinfo=None)
    for n in range((span.end - span.begin) // (7 * _DAY) + 1):
        at = (clock + n * 7 * _DAY).replace(tzinfo=span.zone).astimezone(UTC)
        if at < span.end - _DAY:
            yield at
