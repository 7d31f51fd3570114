"""Schedules: as they are written, and who is on duty by them at which time. Pure.

Days and weeks are handed over at the same time by the wall clock of the schedule, whatever
summer time does; hours pass as they do. Of several layers the first counts in which somebody
is there.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict
from secondlook.text import ID_BYTES, actor_id, is_address, storable

from services.kit import documents
from services.kit.documents import wrong
from services.people.calendars import TimeZone
from services.people.moments import FIRST_YEAR, LAST_YEAR
from services.people.presence import Presence

_EXPLAINED = "docs/schedules.md"
_MOST_LAYERS, _MOST_PEOPLE = 10, 100
_EVERY = re.compile(r"([1-9][0-9]{0,2})([hdw])")
_DAYS = {"d": 1, "w": 7}
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


# --- as it is written -----------------------------------------------------------------------


def _address(written: Any) -> str:
    address = actor_id(written) if isinstance(written, str) else ""
    if is_address(address) and storable(address) and len(address.encode()) <= ID_BYTES:
        return address
    hint = "Write the address that the person signs in with."
    raise wrong(f"'{str(written)[:60]}' is no e-mail address", hint)


def _every(written: Any) -> str:
    if isinstance(written, str) and _EVERY.fullmatch(written):
        return written
    hint = "Write a whole number up to 999 with h, d or w, as in 12h, 1d or 1w."
    raise wrong(f"'{str(written)[:40]}' is no length of a turn", hint)


def _start(written: Any) -> datetime:
    hint = "Write date and time of the first handover without a zone, as in 2026-11-02T09:00."
    try:
        moment = datetime.fromisoformat(written) if isinstance(written, str) else written
    except ValueError:
        moment = None
    if not isinstance(moment, datetime) or not FIRST_YEAR <= moment.year <= LAST_YEAR:
        raise wrong(f"'{str(written)[:40]}' is no date with a time", hint)
    if moment.tzinfo is not None:
        raise wrong("it has a zone, and the schedule's is meant", hint)
    return moment.replace(fold=0)


def _listed(most: int, what: str) -> BeforeValidator:
    """A list that is neither empty nor longer than anybody would write."""

    def check(written: Any) -> Any:
        if not isinstance(written, list) or not written:
            raise wrong(f"it is no list of {what}", "List one at least.")
        if len(written) > most:
            raise wrong(f"it has {len(written)} {what}", f"List {most} at most.")
        return written

    return BeforeValidator(check)


class LayerDocument(BaseModel):
    """People who take turns: each for so long, the first from the start on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: Annotated[
        list[Annotated[str, BeforeValidator(_address)]], _listed(_MOST_PEOPLE, "people")
    ]
    every: Annotated[str, BeforeValidator(_every)]
    start: Annotated[datetime, BeforeValidator(_start)]


class ScheduleDocument(BaseModel):
    """A schedule as it is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    timezone: TimeZone
    layers: Annotated[list[LayerDocument], _listed(_MOST_LAYERS, "layers")]


def read(text: str) -> ScheduleDocument:
    """Read a schedule.

    Raises:
        InvalidInput: it is no YAML or no schedule; every problem names its line.
    """
    found = documents.read(text, "The schedule", begin_with="`timezone:` and `layers:`")
    return documents.checked(found, ScheduleDocument, explained_in=_EXPLAINED)


# --- as time goes by it ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer:
    """People who take turns."""

    people: tuple[str, ...]
    start: datetime
    """By the wall clock of the zone."""
    zone: ZoneInfo
    count: int
    unit: str

    def handover(self, turn: int) -> datetime:
        """When a turn begins, in UTC; the first turn is 0."""
        if self.unit == "h":
            return self._moment(self.start) + turn * self.count * _HOUR
        return self._moment(self.start + turn * self.count * _DAYS[self.unit] * _DAY)

    def _moment(self, clock: datetime) -> datetime:
        # A time that the clock leaves out is as long after the jump; of one that it shows twice
        # the first is meant.
        return clock.replace(tzinfo=self.zone).astimezone(UTC)

    def turn(self, at: datetime) -> int:
        """Which turn it is at a moment; before the first one, a number below 0."""
        if self.unit == "h":
            return (at - self._moment(self.start)) // (self.count * _HOUR)
        clock = at.astimezone(self.zone).replace(tzinfo=None)
        turn = (clock - self.start) // (self.count * _DAYS[self.unit] * _DAY)
        # The wall clock may have jumped between the handover and now.
        while self.handover(turn) > at:
            turn -= 1
        while self.handover(turn + 1) <= at:
            turn += 1
        return turn

    def person(self, at: datetime) -> str | None:
        """Whose turn it is; nobody's before the start."""
        turn = self.turn(at)
        return self.people[turn % len(self.people)] if turn >= 0 else None

    def handovers(self, begin: datetime, end: datetime) -> Iterator[datetime]:
        """The moments within a span at which the turn goes on to the next person."""
        turn = max(self.turn(begin) + 1, 0)
        while (at := self.handover(turn)) < end:
            yield at
            turn += 1


class Override(NamedTuple):
    """A span in which somebody has the duty whosever turn it is."""

    id: int
    person: str
    begin: datetime
    end: datetime


class Spell(NamedTuple):
    """From when to when somebody, or nobody, has the duty."""

    begin: datetime
    end: datetime
    person: str | None


@dataclass(frozen=True, slots=True)
class Rotation:
    """A schedule, as time goes by it."""

    zone: ZoneInfo
    layers: tuple[Layer, ...]
    overrides: tuple[Override, ...] = ()
    """What was said last stands first, and holds where two overlap."""

    @property
    def people(self) -> frozenset[str]:
        """Everybody whom it names."""
        named = {person for layer in self.layers for person in layer.people}
        return frozenset(named | {override.person for override in self.overrides})

    def on_duty(self, at: datetime, presence: Presence) -> str | None:
        """Who has the duty at a moment: by an override, else by the first layer that has one.

        Whoever is asked for a span in particular has it outside their hours, too.
        """
        for override in self.overrides:
            if override.begin <= at < override.end:
                found = presence.answering(override.person, at, any_hour=True)
                if found is not None:
                    return found
        for layer in self.layers:
            person = layer.person(at)
            found = presence.answering(person, at) if person is not None else None
            if found is not None:
                return found
        return None

    def duties(self, begin: datetime, end: datetime, presence: Presence) -> list[Spell]:
        """Who has the duty in a span: spells that follow one another without a gap."""
        moments = [at for layer in self.layers for at in layer.handovers(begin, end)]
        moments += [at for one in self.overrides for at in (one.begin, one.end)]
        moments += presence.changes(self.people, begin, end)
        return _spells(begin, end, moments, lambda at: self.on_duty(at, presence))


def turns(layer: Layer, begin: datetime, end: datetime) -> list[Spell]:
    """Whose turn it is in a layer during a span, whether they are there or not."""
    return _spells(begin, end, layer.handovers(begin, end), layer.person)


def _spells(
    begin: datetime,
    end: datetime,
    moments: Iterable[datetime],
    who: Callable[[datetime], str | None],
) -> list[Spell]:
    """The span, cut at these moments and joined where the same person goes on."""
    cuts = sorted({begin, *(at for at in moments if begin < at < end)}) if begin < end else []
    found: list[Spell] = []
    for at, until in zip(cuts, [*cuts[1:], end], strict=False):
        person = who(at)
        if found and found[-1].person == person:
            found[-1] = found[-1]._replace(end=until)
        else:
            found.append(Spell(at, until, person))
    return found


def holes(spells: Sequence[Spell]) -> list[Spell]:
    """Those of these spells in which nobody has the duty."""
    return [spell for spell in spells if spell.person is None]


def written(document: str) -> str:
    """A stored document, as JSON, as people write it: what `read` takes."""
    found = ScheduleDocument.model_validate_json(document)
    data = {
        "timezone": found.timezone,
        "layers": [
            {"people": one.people, "every": one.every, "start": _as_typed(one.start)}
            for one in found.layers
        ],
    }
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)


def _as_typed(start: datetime) -> str:
    return start.isoformat(timespec="auto" if start.second or start.microsecond else "minutes")


@lru_cache(maxsize=256)
def layers(document: str) -> tuple[ZoneInfo, tuple[Layer, ...]]:
    """What a stored document, as JSON, says: its zone, and its layers as time goes by them."""
    read = ScheduleDocument.model_validate_json(document)
    zone = ZoneInfo(read.timezone)
    return zone, tuple(_layer(one, zone) for one in read.layers)


def _layer(written: LayerDocument, zone: ZoneInfo) -> Layer:
    match = _EVERY.fullmatch(written.every)
    assert match is not None
    return Layer(tuple(written.people), written.start, zone, int(match[1]), match[2])


# --- in words -------------------------------------------------------------------------------

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def day_in_words(day: date) -> str:
    """`Sat 28 Nov`."""
    return f"{_WEEKDAYS[day.weekday()]} {day.day} {_MONTHS[day.month - 1]}"


def moment_in_words(at: datetime, zone: ZoneInfo) -> str:
    """`Sat 28 Nov 09:00`, by the wall clock of a zone."""
    clock = at.astimezone(zone)
    return f"{day_in_words(clock.date())} {clock:%H:%M}"


def holes_in_words(spells: Sequence[Spell], zone: ZoneInfo) -> list[str]:
    """`Nobody from Sat 28 Nov 00:00 to Mon 30 Nov 09:00`, for each hole of a span.

    One that ends with the span may well go on: it lasts until then at least.
    """
    words = []
    for hole in holes(spells):
        begin, end = (moment_in_words(at, zone) for at in (hole.begin, hole.end))
        more = " at least" if hole is spells[-1] else ""
        words.append(f"Nobody from {begin} to {end}{more}")
    return words
