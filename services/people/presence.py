"""Who is there at a moment: absences with their stand-ins, and people's own hours. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from services.kit.working_time import WorkingCalendar

_DAY = timedelta(days=1)


class Absence(NamedTuple):
    """A span in which somebody is away, and who stands in for them meanwhile."""

    id: int
    person: str
    begin: datetime
    end: datetime
    stand_in: str | None


class Member(NamedTuple):
    """Somebody of a team who may review, what they can do, and whether they are there."""

    email: str
    skills: frozenset[str]
    here: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """What is known of the people whom schedules name."""

    able: Mapping[str, WorkingCalendar | None]
    """Who is active and may review, each with their own hours; None: at any hour."""
    absences: Mapping[str, Sequence[Absence]] = field(default_factory=dict)
    """Of each person; what was said last stands first, and holds where two overlap."""

    def absence(self, person: str, at: datetime) -> Absence | None:
        """By which somebody is away at a moment, or None where they are not."""
        spans = self.absences.get(person, ())
        return next((span for span in spans if span.begin <= at < span.end), None)

    def answering(self, person: str, at: datetime, *, any_hour: bool = False) -> str | None:
        """Who answers where a person should: they themselves, or who stands in for them.

        A stand-in who is away has one too; where they name each other, nobody is left. Outside
        somebody's hours nobody stands in for them: there is the next layer for that.

        Args:
            person: whose turn it is.
            at: the moment.
            any_hour: they were asked for just this span, whatever their hours are.
        """
        asked: set[str] = set()
        while person not in asked:
            asked.add(person)
            away = self.absence(person, at)
            if away is None:
                return person if self._works(person, at, any_hour=any_hour) else None
            if away.stand_in is None:
                return None
            person = away.stand_in
        return None

    def is_here(self, person: str, at: datetime) -> bool:
        """Whether somebody can do something themselves: not away, and within their own hours."""
        return self.absence(person, at) is None and self._works(person, at, any_hour=False)

    def _works(self, person: str, at: datetime, *, any_hour: bool) -> bool:
        if person not in self.able:
            return False
        calendar = self.able[person]
        return any_hour or calendar is None or works(calendar, at)

    def changes(self, people: Iterable[str], begin: datetime, end: datetime) -> Iterator[datetime]:
        """The moments of a span at which who answers for these people may become another."""
        for person in self.involved(people):
            for span in self.absences.get(person, ()):
                yield from (span.begin, span.end)
            calendar = self.able.get(person)
            if calendar is not None:
                yield from _hours(calendar, begin, end)

    def involved(self, people: Iterable[str]) -> set[str]:
        """These people, their stand-ins, and theirs in turn."""
        found: set[str] = set()
        left = list(people)
        while left:
            person = left.pop()
            if person not in found:
                found.add(person)
                left += [one.stand_in for one in self.absences.get(person, ()) if one.stand_in]
        return found


def works(calendar: WorkingCalendar, at: datetime) -> bool:
    """Whether somebody with this calendar works at a moment."""
    day = at.astimezone(calendar.zone).date()
    # What is written as 24:00 may lie on the next day by the clock, where that jumps at midnight.
    spells = (spell for near in (day - _DAY, day) for spell in calendar.spells(near))
    return any(begin <= at < end for begin, end in spells)


def _hours(calendar: WorkingCalendar, begin: datetime, end: datetime) -> Iterator[datetime]:
    day = begin.astimezone(calendar.zone).date() - _DAY
    last = end.astimezone(calendar.zone).date()
    while day <= last:
        for spell in calendar.spells(day):
            yield from spell
        day += _DAY
