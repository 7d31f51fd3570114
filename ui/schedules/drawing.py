"""Four weeks of a schedule as a drawing: where each spell begins, how wide it is, what it says."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.people.rotations import Spell, day_in_words, moment_in_words

_TONES = 4
_LETTER = 6.6
"""How wide a letter of the drawing is at most, on average."""
_WIDE, _NARROW = 720, 328
_BAR, _INSET = 26, 4
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Bar:
    """A spell of a row."""

    x: float
    width: float
    words: str
    """What fits into it: a name, or the person's number in the legend."""
    at: float
    """Where the words begin."""
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
class Key:
    """Somebody in the legend."""

    number: int
    name: str
    tone: str


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


def legend(rows: Rows, span: Span) -> dict[str | None, Key]:
    """Everybody in the drawing, in the order in which they come; nobody last, if at all."""
    people = list(dict.fromkeys(spell.person for _, spells in rows for spell in spells))
    found: dict[str | None, Key] = {}
    for number, person in enumerate((one for one in people if one is not None), start=1):
        tone = f"duty-{(number - 1) % _TONES + 1}"
        found[person] = Key(number, span.called(person), tone)
    if None in people:
        found[None] = Key(0, span.called(None), "duty-none")
    return found


def drawings(rows: Rows, span: Span, now: datetime) -> list[Drawing]:
    """The same for wide windows and for narrow ones, as text is never scaled."""
    keys = legend(rows, span)
    return [_drawing(size, rows, span, now, keys) for size in ("wide", "narrow")]


def _drawing(
    size: str, rows: Rows, span: Span, now: datetime, keys: Mapping[str | None, Key]
) -> Drawing:
    narrow = size == "narrow"
    width, left = (_NARROW, 0) if narrow else (_WIDE, 84)
    line, top = (48, 40) if narrow else (34, 22)
    scale = (width - left) / ((span.end - span.begin) / _DAY)

    def x(at: datetime) -> float:
        return round(left + (at - span.begin) / _DAY * scale, 1)

    drawn = [
        Row(label, top + n * line, [_bar(spell, x, span, keys) for spell in spells])
        for n, (label, spells) in enumerate(rows)
    ]
    weeks = [Mark(x(at), day_in_words(at.astimezone(span.zone).date())) for at in _weeks(span)]
    height = top + len(drawn) * line - (line - _BAR)
    at = x(now) if span.begin <= now < span.end else None
    return Drawing(size, width, height, left, narrow, drawn, weeks, at)


def _bar(
    spell: Spell,
    x: Callable[[datetime], float],
    span: Span,
    keys: Mapping[str | None, Key],
) -> Bar:
    begin, key = x(spell.begin), keys[spell.person]
    width = round(x(spell.end) - begin, 1)
    words, inset = _fitting(key, width)
    ends = " to ".join(moment_in_words(at, span.zone) for at in (spell.begin, spell.end))
    return Bar(begin, width, words, round(begin + inset, 1), f"{key.name}, {ends}", key.tone)


def _fitting(key: Key, width: float) -> tuple[str, float]:
    """What a bar has room for, and how far inside it: a name, its first word, a number, nothing."""
    for words in (key.name, key.name.partition(" ")[0].partition("@")[0]):
        if len(words) * _LETTER + 2 * _INSET <= width:
            return words, _INSET
    number = str(key.number or "")
    room = (width - len(number) * _LETTER) / 2
    return (number, room) if room >= 1 else ("", 0)


def _weeks(span: Span) -> Iterator[datetime]:
    """The first day of the span, and each seventh after it, at midnight by its wall clock."""
    clock = span.begin.astimezone(span.zone).replace(tzinfo=None)
    for n in range((span.end - span.begin) // (7 * _DAY) + 1):
        at = (clock + n * 7 * _DAY).replace(tzinfo=span.zone).astimezone(UTC)
        if at < span.end - _DAY:
            yield at
