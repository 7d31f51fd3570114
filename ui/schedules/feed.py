"""A schedule as an iCalendar feed, for calendars: the address itself says who reads."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import icalendar
from fastapi import APIRouter
from starlette.responses import Response

from services.people import feeds, schedule_queries
from services.people import queries as people_queries
from services.people.fields import Named
from services.people.rotations import Spell
from ui.kit.context import PageContext

_BEHIND, _AHEAD = timedelta(weeks=1), timedelta(weeks=12)
_REFRESH = timedelta(hours=1)
_TYPE = "text/calendar; charset=utf-8"


def add_feed(routes: APIRouter, pages: PageContext) -> None:
    """Add the feed, which is read without a sign-in."""

    @routes.get("/schedules/{slug}.ics")
    def feed(slug: Named, key: Named = "") -> Response:
        with pages.transaction() as (session, now):
            actor = feeds.actor_of_feed(session, key)
            begin, end = now - _BEHIND, now + _AHEAD
            found = schedule_queries.visible_schedule(session, actor, slug, begin, end)
            names = people_queries.names(session, found.presence.able)
            spells = found.duties(slug, begin, end)
        return Response(calendar_of(slug, spells, names, now), media_type=_TYPE)


def calendar_of(
    slug: str, spells: Sequence[Spell], names: Mapping[str, str], now: datetime
) -> bytes:
    """The spells as events; where nobody is on duty is one, too."""
    calendar = icalendar.Calendar.new(
        name=slug, prodid="-//Secondlook//Schedules//EN", refresh_interval=_REFRESH
    )
    for spell in spells:
        calendar.add_component(_event(slug, spell, names, now))
    return bytes(calendar.to_ical())


def _event(slug: str, spell: Spell, names: Mapping[str, str], now: datetime) -> icalendar.Event:
    name = "Nobody" if spell.person is None else names.get(spell.person, spell.person)
    return icalendar.Event.new(
        uid=f"{slug}-{spell.begin:%Y%m%dT%H%M%S%fZ}@secondlook",
        start=spell.begin,
        end=spell.end,
        stamp=now,
        summary=f"{slug}: {name}",
    )
