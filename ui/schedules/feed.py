"""A schedule as an iCalendar feed, for calendars: the address itself says who reads."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256

import icalendar
from fastapi import APIRouter
from starlette.responses import Response

from services.kit.database import Session
from services.people import feeds, schedule_queries
from services.people import queries as people_queries
from services.people.fields import Named
from services.people.rotations import Spell
from services.people.rules import Actor
from ui.kit.context import PageContext

_BEHIND, _AHEAD = timedelta(weeks=1), timedelta(weeks=12)
_STEPS = (timedelta(weeks=4), timedelta(weeks=16))
"""So far beyond the ends of the span the true handovers are looked for, before all is."""
_REFRESH = timedelta(hours=1)
_TYPE = "text/calendar; charset=utf-8"


def add_feed(routes: APIRouter, pages: PageContext) -> None:
    """Add the feed, which is read without a sign-in."""

    @routes.get("/schedules/{slug}.ics")
    def feed(slug: Named, key: Named = "") -> Response:
        with pages.transaction() as (session, now):
            actor = feeds.actor_of_feed(session, key)
            content = read(session, actor, slug, now=now)
        return Response(content, media_type=_TYPE)


def read(session: Session, actor: Actor, slug: str, *, now: datetime) -> bytes:
    """A schedule of the actor's teams as a calendar, as it stands now.

    Raises:
        NotFound: there is none of that name, or it is another team's.
    """
    begin, end = now - _BEHIND, now + _AHEAD
    whole = _outermost(now)
    found = schedule_queries.visible_schedule(session, actor, slug, *whole)
    names = people_queries.names(session, found.presence.able)
    spells = _whole(partial(found.duties, slug), begin, end, whole)
    return calendar_of(slug, spells, names, now)


def _outermost(now: datetime) -> tuple[datetime, datetime]:
    """From when to when a duty is followed that is never handed over: the same all year."""
    return datetime(now.year - 1, 1, 1, tzinfo=UTC), datetime(now.year + 2, 1, 1, tzinfo=UTC)


_Duties = Callable[[datetime, datetime], Sequence[Spell]]


def _whole(
    duties: _Duties, begin: datetime, end: datetime, outermost: tuple[datetime, datetime]
) -> list[Spell]:
    """The spells of a span, the outer ones with their true beginning and end.

    So each is the same event whenever the calendar is read.
    """
    spells = list(duties(begin, end))
    first, last = outermost
    spells[0] = spells[0]._replace(begin=_begun(duties, spells[0], first))
    spells[-1] = spells[-1]._replace(end=_ended(duties, spells[-1], last))
    return spells


def _begun(duties: _Duties, spell: Spell, first: datetime) -> datetime:
    for since in (*(spell.begin - step for step in _STEPS), first):
        before = duties(max(since, first), spell.begin)
        if before[-1].person != spell.person:
            return spell.begin
        if len(before) > 1:
            return before[-1].begin
    return first


def _ended(duties: _Duties, spell: Spell, last: datetime) -> datetime:
    for until in (*(spell.end + step for step in _STEPS), last):
        after = duties(spell.end, min(until, last))
        if after[0].person != spell.person:
            return spell.end
        if len(after) > 1:
            return after[0].end
    return last


def calendar_of(
    slug: str, spells: Sequence[Spell], names: Mapping[str, str], now: datetime
) -> bytes:
    """The spells as events; where nobody is on duty is one, too."""
    calendar = icalendar.Calendar.new(
        name=slug,
        uid=f"{slug}@secondlook",
        prodid="-//Secondlook//Schedules//EN",
        refresh_interval=_REFRESH,
    )
    for spell in spells:
        calendar.add_component(_event(slug, spell, names, now))
    return bytes(calendar.to_ical())


def _mark(person: str | None) -> str:
    """What tells one person's event from another's; no address, as calendars are passed on."""
    return "nobody" if person is None else sha256(person.encode()).hexdigest()[:12]


def _event(slug: str, spell: Spell, names: Mapping[str, str], now: datetime) -> icalendar.Event:
    name = "Nobody" if spell.person is None else names.get(spell.person, spell.person)
    return icalendar.Event.new(
        uid=f"{slug}-{spell.begin:%Y%m%dT%H%M%SZ}-{_mark(spell.person)}@secondlook",
        start=spell.begin,
        end=spell.end,
        stamp=now,
        summary=f"{slug}: {name}",
    )
